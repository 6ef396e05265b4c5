"""Ground floor: pure data and numpy, no framework. Everything above is built from it."""

"""The data sets that need no download."""

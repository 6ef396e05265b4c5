"""A plain convolution network as a teacher: `python -m zoo.plain`."""

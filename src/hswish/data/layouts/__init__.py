"""How data sets lie on disk: `recognise` tells which layout it is, and each has a file of its own."""

"""The demo: two small networks learn, are measured, and label pictures they have not seen."""

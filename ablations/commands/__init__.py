"""The command line, and the Python functions that its commands call."""

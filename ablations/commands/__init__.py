"""The commands: one Python function each, and the command line that calls them."""

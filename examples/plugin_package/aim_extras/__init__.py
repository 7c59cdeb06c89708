"""A placement and an update from outside of the framework."""

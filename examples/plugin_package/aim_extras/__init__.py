"""A placement and an update from outside the framework."""

"""A study as data: reading and checking the content of a study file."""

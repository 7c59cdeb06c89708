"""A study as data: the content of a study file, read and checked."""

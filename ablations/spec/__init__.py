"""A study as data: what a study file may say, read and checked."""

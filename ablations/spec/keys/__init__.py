"""The reference of the keys of a study, derived from the classes that read a study, so that it is never out of date."""

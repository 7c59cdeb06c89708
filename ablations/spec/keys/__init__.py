"""The reference for study keys, derived from the classes that read a study and therefore always up to date."""

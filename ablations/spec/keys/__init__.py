"""The reference of the keys of a study, read from the classes that read them: never out of date, and nothing is imported
before it is asked for.
"""

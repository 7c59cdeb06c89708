"""The user's own training code: a function that trains in its own way, in place of this package's training loop.

`config` contains the configuration of such runs, `run` contains the object that the function receives, and `loop` calls
the function.
"""

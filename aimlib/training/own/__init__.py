"""Own training code: a function that trains in its own way, in place of the training loop of this package.

`config` is the configuration of such runs, `run` the object that the function is given, and `loop` calls it.
"""

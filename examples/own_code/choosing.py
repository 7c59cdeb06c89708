"""A helper that the placement uses, so editing it gives new run ids."""


def every_nth(names, n):
    """Return every n-th name, from the first on."""
    return names[::n]

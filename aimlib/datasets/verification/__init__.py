"""The checks of `aimlib.datasets.verify`, one module per question."""

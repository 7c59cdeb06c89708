"""The plugins keep what the framework asks of every placement and every update."""

from aimlib.testing import PlacementConformance, UpdateConformance


class TestEveryNth(PlacementConformance):
    name = "every_nth"
    options = {"n": 3}


class TestSmoothing(UpdateConformance):
    name = "smoothing"

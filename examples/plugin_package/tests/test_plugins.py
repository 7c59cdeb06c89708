"""The plugins pass the framework's conformance tests for placements and updates."""

from aimlib.testing import PlacementConformance, UpdateConformance


class TestEveryNth(PlacementConformance):
    name = "every_nth"
    options = {"n": 3}


class TestSmoothing(UpdateConformance):
    name = "smoothing"

"""CIFAR-100: 60,000 photos of 32 × 32 pixels in 100 classes, 50,000 for training and 10,000 for testing."""

from __future__ import annotations

from aimlib.datasets.cifar import CifarConfig, CifarPlugin
from aimlib.registry import datasets


@datasets.register("cifar100")
class Cifar100(CifarPlugin):
    """The Python version, as torchvision stores it below its root; the classes are in the authors' order."""

    of_torchvision = "CIFAR100"
    classes = 100

    class Config(CifarConfig):
        """Options of CIFAR-100."""

    config: Config

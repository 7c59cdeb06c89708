"""Data sets: the plugin interface (`base`), and the plugins themselves, each in its own private file."""

from aimlib.datasets.base import DataSet, DatasetPlugin, Images, ImageShape

__all__ = ["DataSet", "DatasetPlugin", "ImageShape", "Images"]

"""Data sets: the interface of plugins (`base`), and the plugins themselves, one private file each."""

from aimlib.datasets.base import DataSet, DatasetPlugin, Images, ImageShape

__all__ = ["DataSet", "DatasetPlugin", "ImageShape", "Images"]

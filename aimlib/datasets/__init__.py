"""Data sets: what a plugin gives (`base`), and the plugins themselves, one private file each."""

from aimlib.datasets.base import DataSet, DatasetPlugin, Images, ImageShape

__all__ = ["DataSet", "DatasetPlugin", "ImageShape", "Images"]

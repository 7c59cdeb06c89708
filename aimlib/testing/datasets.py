"""Conformance tests for data sets."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath
from typing import Any, ClassVar
from unittest import mock

import numpy as np
from PIL import Image

from aimlib.config import RunConfig
from aimlib.datasets.base import DatasetPlugin, Images
from aimlib.datasets.requirements import problems
from aimlib.registry import datasets
from aimlib.testing.conformance import Conformance
from aimlib.testing.tiny_training import result_of
from aimlib.training.loop import train

_FINGERPRINT = 20
"""Number of hexadecimal digits in a fingerprint."""


class DatasetConformance(Conformance):
    """Tests for a data set, which must match its shape, be the same each time, and not depend on its files' location.

    Set options that select a small copy of the data, because every test loads the data.

    Attributes
    ----------
    compared : number of images in each split whose pixels are compared.
    trained_on : number of images in each split that are used to train a network.
    """

    registry = datasets
    compared: ClassVar[int] = 64
    trained_on: ClassVar[int] = 16

    def dataset(self) -> DatasetPlugin:
        """Return the plugin."""
        plugin: DatasetPlugin = datasets.create(self.config())
        return plugin

    def test_the_shape_needs_no_file(self) -> None:
        """Studies can be planned on machines without the data."""
        with _files_closed():
            shape = self.dataset().shape()
        assert min(shape.channels, shape.height, shape.width) >= 1
        assert shape.classes >= 2

    def test_splits_match_the_shape(self) -> None:
        """Pixels are [images, height, width, channels] in uint8 or uint16, with one label and one name per image."""
        plugin = self.dataset()
        shape, data = plugin.shape(), plugin.load()
        found = problems(data, shape)
        assert not found, "; ".join(found)
        for name, images in data.splits().items():
            assert tuple(images.pixels.shape[1:]) == (shape.height, shape.width, shape.channels), name

    def test_splits_have_the_same_type(self) -> None:
        """The network sees training and test images on the same scale."""
        types = {images.pixels.dtype for images in self.dataset().load().splits().values()}
        assert len(types) == 1

    def test_classes_are_named(self) -> None:
        """Each class has a unique name, and has training images."""
        plugin = self.dataset()
        data = plugin.load()
        assert len(set(data.classes)) == len(data.classes) == plugin.shape().classes
        missing = sorted(set(range(len(data.classes))) - set(data.train.labels.tolist()))
        assert not missing, f"no training images of {', '.join(data.classes[each] for each in missing)}"

    def test_it_is_the_same_each_time(self) -> None:
        """A second process loads the same images in the same order, and computes the same fingerprint."""
        first = self.dataset().load()
        assert len(first.fingerprint) == _FINGERPRINT
        assert set(first.fingerprint) <= set("0123456789abcdef")
        for again in (self.dataset().load(), self.dataset().load_known(first.fingerprint)):
            assert again.fingerprint == first.fingerprint
            assert again.classes == first.classes
            assert again.splits().keys() == first.splits().keys()
            for name, images in first.splits().items():
                other = again.splits()[name]
                assert images.names == other.names, name
                assert np.array_equal(images.labels, other.labels), name
                assert np.array_equal(images.pixels[: self.compared], other.pixels[: self.compared]), name

    def test_the_place_of_its_files_is_not_part_of_the_run_id(self) -> None:
        """An option for an absolute path is declared with `aimlib.component.local`, because data can be moved."""
        identity = json.dumps(self.config().identity(), ensure_ascii=False)
        named = [name for name, value in self.options.items() if _is_absolute(value) and str(value) in identity]
        assert not named, f"declare with `local`: {', '.join(named)}"

    def test_another_photo_is_read_like_its_own(self) -> None:
        """`ablate predict` converts images of any size as the data set converts its own images."""
        plugin = self.dataset()
        if not plugin.has_pixels:
            return
        own, shape, content = plugin.load().train.pixels, plugin.shape(), io.BytesIO()
        Image.new("RGB", (40, 30), (255, 0, 0)).save(content, "PNG")
        pixels = plugin.pixels(content.getvalue())
        assert tuple(pixels.shape) == (shape.height, shape.width, shape.channels)
        assert pixels.dtype == own.dtype

    def test_a_network_trains_on_it(self) -> None:
        """One epoch is trained on the first images, with predictions for the first test images."""
        plugin = self.dataset()
        if not plugin.has_pixels:
            return
        data = plugin.load()
        few = replace(
            data, train=self._first(data.train), test=self._first(data.test), validation=None, fingerprint="0" * 20
        )
        found = result_of(train(self._run(), few))
        assert found["status"] == "finished", found["reason"]
        assert len(found["predictions"][0]) == len(few.test.labels)

    def _first(self, images: Images) -> Images:
        count = self.trained_on
        return Images(np.asarray(images.pixels[:count]), images.labels[:count], images.names[:count])

    def _run(self) -> RunConfig:
        return RunConfig.parse(
            {
                "model": {"backbone": {"name": "mlp", "widths": [4]}},
                "data": self.config().model_dump(mode="json"),
                "training": {
                    "epochs": 1,
                    "batch_size": 8,
                    "optimizer": {"name": "sgd", "learning_rate": 0.01},
                    "selection": "last_epoch",
                    "validation_fraction": 0.0,
                },
                "seed": 0,
            }
        )


def _is_absolute(value: Any) -> bool:
    return isinstance(value, (str, PurePath)) and PurePath(value).is_absolute()


@contextlib.contextmanager
def _files_closed() -> Iterator[None]:
    """Prevent code from opening files and listing folders. Importing modules still works."""
    closed = AssertionError("it reads a file or lists a folder; determine the result from the configuration alone")
    with contextlib.ExitStack() as stack:
        for name in ("builtins.open", "io.open", "os.scandir", "os.listdir"):
            stack.enter_context(mock.patch(name, side_effect=closed))
        yield

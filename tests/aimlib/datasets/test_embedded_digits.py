from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from aimlib.datasets.base import DataSet, ImageShape
from aimlib.errors import ConfigError
from aimlib.registry import datasets


def load(**options: object) -> DataSet:
    data: DataSet = datasets.create(datasets.parse({"name": "digits", **options})).load()
    return data


def test_the_shape_is_known_before_loading() -> None:
    plugin = datasets.create(datasets.parse({"name": "digits", "size": 20, "channels": 3, "train_images": 30}))
    assert plugin.shape() == ImageShape(3, 20, 20, 10)
    data = plugin.load()
    assert data.train.pixels.shape == (30, 20, 20, 3)
    assert data.test.pixels.shape == (500, 20, 20, 3)
    assert data.train.pixels.dtype == np.uint8
    assert data.train.labels.dtype == np.int64
    assert (data.train.pixels[..., 0] == data.train.pixels[..., 2]).all()
    assert data.classes == tuple("0123456789")


def test_at_the_original_size_pixels_and_labels_match_scikit_learn() -> None:
    bunch, data = load_digits(), load(size=8)
    for images in (data.train, data.test):
        numbers = [int(name) for name in images.names]
        assert np.array_equal(images.labels, bunch.target[numbers])
        assert np.array_equal(images.pixels[..., 0], np.rint(bunch.images[numbers] * 255 / 16).astype(np.uint8))


def test_the_test_images_do_not_depend_on_the_number_of_training_images() -> None:
    few, many = load(train_images=10), load(train_images=1297)
    assert few.test.names == many.test.names
    assert set(few.train.names) < set(many.train.names)
    assert not set(many.train.names) & set(many.test.names)
    assert len(set(many.train.names) | set(many.test.names)) == 1797


def test_training_images_do_not_depend_on_the_number_of_test_images() -> None:
    few, some, all_of_them = load(test_images=10), load(test_images=100), load()
    assert few.train.names == all_of_them.train.names
    assert set(few.test.names) < set(some.test.names) < set(all_of_them.test.names)
    assert (np.bincount(some.test.labels, minlength=10) == 10).all()


@pytest.mark.parametrize("count", [10, 11, 100, 1000])
def test_the_choice_of_images_is_stratified(count: int) -> None:
    counts = np.bincount(load(train_images=count).train.labels, minlength=10)
    assert counts.sum() == count
    assert counts.max() - counts.min() <= max(1, count // 100)


def test_the_fingerprint_is_stable_and_distinguishes_configurations() -> None:
    prints = {
        load(**options).fingerprint
        for options in ({}, {"size": 17}, {"channels": 3}, {"train_images": 999}, {"test_images": 99})
    }
    assert len(prints) == 5
    assert load().fingerprint == "af056e7db72bde8604cb"


@pytest.mark.parametrize(
    "options",
    [
        {"size": 7},
        {"channels": 2},
        {"train_images": 1298},
        {"train_images": 9},
        {"test_images": 501},
        {"test_images": 9},
        {"root": "x"},
    ],
)
def test_impossible_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        datasets.parse({"name": "digits", **options})


def test_data_sets_do_not_import_torch() -> None:
    code = (
        "import importlib, pkgutil, sys, aimlib.datasets as d\n"
        "for m in pkgutil.iter_modules(d.__path__): importlib.import_module(f'aimlib.datasets.{m.name}')\n"
        "print([name for name in ('torch', 'sklearn', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

"""A tiny study whose runs are trained by the user's own function, with a helper in a second file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

CODE = '''
import tempfile
import time
from pathlib import Path

from centroids import centroids, nearest


def train(config, run):
    """Move the centre of each class towards its images; `options.rate` is how far in an epoch."""
    images, test = run.split("train"), run.split("test")
    drift = run.generator("init").normal(size=(len(run.classes), images.pixels[0].size))
    left = 1.0
    if folder := run.restore():
        left = float((folder / "left.txt").read_text())
    for epoch in range(run.epochs_done + 1, config.training.epochs + 1):
        left *= 1 - config.options.rate
        centres = centroids(images) + 200 * left * drift
        run.predictions("test", test.names, nearest(centres, test))
        time.sleep(config.options.sleep)
        run.report(epoch, train_loss=left)
        with tempfile.TemporaryDirectory() as where:
            (Path(where) / "left.txt").write_text(repr(left))
            run.checkpoint(where)
'''
HELPER = '''
import numpy as np


def centroids(images):
    """Return the mean image of each class."""
    flat = images.pixels.reshape(len(images.labels), -1).astype(float)
    return np.stack([flat[images.labels == label].mean(axis=0) for label in np.unique(images.labels)])


def nearest(centres, images):
    """Return the class of the nearest centre."""
    flat = images.pixels.reshape(len(images.labels), -1).astype(float)
    return ((flat[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
'''
DOCUMENT: dict[str, Any] = {
    "name": "own_loop",
    "train": "loop.py:train",
    "seeds": 2,
    "base": {
        "data": {"name": "digits", "size": 8, "train_images": 100},
        "training": {"epochs": 3},
        "options": {"rate": 0.5, "sleep": 0.0},
    },
    "arms": {"slow": {}, "fast": {"options": {"rate": 0.9}}},
}


def training_code_study(
    folder: Path, changes: dict[str, Any] | None = None, *, code: str = CODE, helper: str = HELPER
) -> Path:
    """Write the study and its two files; return the study file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "loop.py").write_text(code, encoding="utf-8")
    (folder / "centroids.py").write_text(helper, encoding="utf-8")
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**DOCUMENT, **(changes or {})}, sort_keys=False), encoding="utf-8")
    return path

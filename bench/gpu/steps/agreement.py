"""Do the device and the CPU compute the same augmented images, and the same logits for the same uint8 images?"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ablations.planning.arms import shape_of
from aimlib.config import RunConfig
from aimlib.models import build
from aimlib.training.augmentation import augment, draws
from aimlib.training.inputs import identity_scaling, load_batch, standardization, to_device
from aimlib.training.protocols import PROTOCOLS
from aimlib.training.reproducibility import reproducible
from bench.gpu.arms import arms_of_study, changed, noise
from bench.gpu.report import Report

_IMAGES = 8
_NEAR = 1e-3
"""Largest difference between augmented images, in standard deviations of a pixel."""
_NEAR_LOGITS = 1e-3
"""Largest difference between logits, as a share of the largest logit."""


def check(told: Report) -> None:
    """Compare the augmentation of every protocol, and the logits of two networks."""
    arms = arms_of_study(told, "controlled")
    config = arms["aim"].run(0)
    for protocol in PROTOCOLS.values():
        given = dict(protocol.common)["training"].get("augmentation")
        if given:
            _augmentation(told, protocol.name, changed(config, augmentation=given))
    for name in ("baseline", "aim"):
        _logits(told, name, arms[name].run(0))


def _augmentation(told: Report, name: str, config: RunConfig) -> None:
    data, augmentation = noise(shape_of(config), 2 * _IMAGES), config.training.augmentation
    assert augmentation is not None
    batch = np.arange(_IMAGES, dtype=np.int64)
    scaling = standardization(data.train.pixels, batch)
    chance = draws(0, 1, batch, augmentation)

    def on(device: torch.device) -> Tensor:
        with reproducible(threads=None, tf32=False):
            x_BCHW, _ = load_batch(data.train, batch, device)
            return augment(x_BCHW, to_device(chance, device), augmentation, scaling.to(device)).cpu()

    furthest = float((on(told.device) - on(torch.device("cpu"))).abs().max())
    told.row(f"augmentation of `{name}`", "largest difference", [furthest], "sd")
    # If a coordinate lies on the boundary between two pixels, rounding decides which pixel is used. Bilinear weights do
    # not have such a boundary.
    told.expect(furthest <= _NEAR, f"augmentation of `{name}` agrees within {_NEAR} sd", f"{furthest:.3g}")


def _logits(told: Report, name: str, config: RunConfig) -> None:
    shape = shape_of(config)
    data, batch = noise(shape, 2 * _IMAGES), np.arange(_IMAGES, dtype=np.int64)
    standardise = config.training.input_scaling == "standardise"
    scaling = standardization(data.train.pixels, batch) if standardise else identity_scaling(shape.channels)

    def on(device: torch.device) -> Tensor:
        with reproducible(threads=None, tf32=False), torch.no_grad():
            network = build(config.model, shape, seed=0).to(device, memory_format=torch.channels_last).eval()
            x_BCHW, _ = load_batch(data.train, batch, device)
            found: Tensor = network(scaling.to(device)(x_BCHW)).float().cpu()
            return found

    here, there = on(torch.device("cpu")), on(told.device)
    furthest = float((here - there).abs().max() / here.abs().max())
    told.row(f"logits of `{name}`", "largest difference / largest logit", [furthest], "")
    told.expect(furthest <= _NEAR_LOGITS, f"logits of `{name}` agree within {_NEAR_LOGITS}", f"{furthest:.3g}")

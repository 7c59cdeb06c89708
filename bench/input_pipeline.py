"""How fast does the input pipeline deliver augmented images?

Question: How many images per second arrive on the training device as augmented float batches, with the augmentation
    from the post, and does training ever wait for them?

Rivals: torchvision's ImageFolder, Hugging Face `datasets` and webdataset. Each is used with a DataLoader with as many
    persistent workers as cores (better than one worker on this machine). The rivals augment Pillow images (faster here
    than tensors), pass uint8 between processes, and convert to floats on the device. They resize by averaging, fill
    borders with black and draw one contrast factor per image; none of these operations costs more than those in the
    post. Like our pipeline, they interpolate twice. FFCV is not included, because pip does not find a wheel for it, and
    its source does not build without OpenCV. Training is compared with the same steps on one batch that was prepared
    beforehand.

Measured: 2026-11-25, Intel(R) Xeon(R) Processor, 2 cores, 24 GiB, Linux 6.18.44-fc-v657, Python 3.11.7; torch 2.14.1,
    torchvision 0.29.1, ray 2.60.0, optuna 5.0.0, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, scipy 1.17.1, matplotlib
    3.11.2, datasets 5.2.0, webdataset 1.0.2, pillow 13.0.0; medians of 3 to 5 rounds, 132 s in all.

Reached: images/s, aim / ImageFolder, 64 px: 16.3 (≥ 10); NOT MET: images/s, aim / ImageFolder, 128 px: 7.42 (≥ 10);
    NOT MET: images/s, aim / ImageFolder, 224 px: 5.3 (≥ 10); NOT MET: images/s, aim / ImageFolder, 224 px, photos of
    500 px: 5.34 (≥ 10); NOT MET: images/s of training on photos / on one batch prepared before, small_resnet, 64 px:
    0.924 (≥ 0.97); images/s of training on photos / on one batch prepared before, resnet50, 128 px: 1.01 (≥ 0.97).
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch.nn import functional

from aimlib.config import AugmentationConfig, RunConfig
from aimlib.datasets.base import DataSet
from aimlib.registry import datasets
from aimlib.training.augmentation import augment, draws
from aimlib.training.heap import kept_heap
from aimlib.training.inputs import identity_scaling, load_batch, to_device
from aimlib.training.protocols import PROTOCOLS
from aimlib.training.reproducibility import reproducible
from aimlib.training.run import Run
from aimlib.training.splits import batches, epoch_order
from bench.harness import Answer, Asked, Goal, Row, main, ratios, rounds_of, row, versions
from bench.photos import Photos, photos
from bench.rivals import loaders

AUGMENTATION = AugmentationConfig.model_validate(PROTOCOLS["as_described"].common["training"]["augmentation"])
TIMES, SHARE = 10.0, 0.97
SECONDS = 1.0
"""Minimum duration of our pipeline per round, in seconds; a single epoch would be too short."""
ENLARGED = 500
"""Longer side of most photos in the official archive, in pixels; the photos in a subset may have been shrunk."""
ALONE, PLAIN = "one interpolation alone", "aim, without rotation and translation"
"""Parts of our pipeline, timed in the same rounds to show the maximum possible speed."""
TRAINED = {
    "small_resnet, 64 px": {
        "model": {"backbone": {"name": "small_resnet", "stem_stride": 2}},
        "training": {"batch_size": 64},
        "size": 64,
        "steps": 10,
    },
    "resnet50, 128 px": {
        "model": {"backbone": "resnet50"},
        "training": {"batch_size": 32},
        "size": 128,
        "steps": 1,
    },
}


def measure(asked: Asked) -> Answer:
    """Run all loaders in turn at each size, followed by the training steps."""
    device = torch.device(asked.device)
    rows: list[Row] = []
    goals: list[Goal] = []
    notes: list[str] = []
    # The process is configured as for a run.
    with tempfile.TemporaryDirectory() as folder, reproducible(threads=None, tf32=False), kept_heap(device):
        given = photos(Path(folder) / "given", 64 if asked.quick else 1000)
        notes.append(f"Photos: {given.source}.")
        for size in (64,) if asked.quick else (64, 128, 224):
            _compare(given, size, f"{size} px", asked, device, rows, goals, notes)
        if not asked.quick:
            enlarged = photos(Path(folder) / "enlarged", 500, ENLARGED)
            _compare(enlarged, 224, f"224 px, photos of {ENLARGED} px", asked, device, rows, goals, notes)
        _training(given, asked, device, rows, goals)
    return Answer(rows, goals, notes, versions(("datasets", "webdataset", "pillow")))


def _packed(given: Photos, size: int) -> DataSet:
    options = {"name": "image_folder", "root": str(given.root), "cache": str(given.root / "cache")}
    return datasets.create(
        datasets.parse({**options, "classes": given.classes, "size": size, "antialias": False})
    ).load()


def _compare(
    given: Photos,
    size: int,
    case: str,
    asked: Asked,
    device: torch.device,
    rows: list[Row],
    goals: list[Goal],
    notes: list[str],
) -> None:
    began = time.perf_counter()
    data = _packed(given, size)
    packing = time.perf_counter() - began
    pinned = device.type == "cuda"
    rivals = {"ImageFolder": loaders.image_folder(given, size, pinned)}
    if importlib.util.find_spec("datasets"):
        rivals["Hugging Face datasets"] = loaders.hugging_face(given, size, pinned)
    if importlib.util.find_spec("webdataset"):
        rivals["webdataset"] = loaders.web_dataset(given, size, pinned)
    seconds = 0.0 if asked.quick else SECONDS
    unmoved = AUGMENTATION.model_copy(update={"rotation": 0.0, "translation": 0.0})
    subjects = {
        "aim": lambda: _rate(_ours(data, device, AUGMENTATION), device, seconds),
        PLAIN: lambda: _rate(_ours(data, device, unmoved), device, seconds),
        ALONE: lambda: _rate(_interpolated(size, device), device, seconds),
    }
    subjects |= {name: _once(loader, device) for name, loader in rivals.items()}
    found = rounds_of(subjects, 1 if asked.quick else 3)
    rows += [row(case, name, values, "images/s") for name, values in found.items()]
    times = row(case, "aim / ImageFolder", ratios(found["aim"], found["ImageFolder"]), "×")
    rows.append(times)
    why = "" if times.figure >= TIMES else _slowest(found)
    goals.append(Goal(f"images/s, aim / ImageFolder, {case}", times.figure, TIMES, "least", why))
    images = len(data.train.labels) + len(data.test.labels)
    ours, theirs = (float(np.median(found[name])) for name in ("aim", "ImageFolder"))
    gained = images * (1 / theirs - 1 / ours)
    paid = f"pays off after {packing / gained:.2g} epochs" if gained > 0 else "never pays off"
    notes.append(f"{case}: packing {images} photos took {packing:.2f} s once; this {paid}.")


def _slowest(found: dict[str, list[float]]) -> str:
    """Return sentences that say how our pipeline spends its time, in milliseconds of all cores per image."""
    names = ("aim", PLAIN, ALONE, "ImageFolder")
    ours, plain, alone, theirs = (1000 / float(np.median(found[name])) for name in names)
    return (
        f"An image takes {ours:.3f} ms; {TIMES:.0f} times the speed of ImageFolder would be {theirs / TIMES:.3f} "
        f"ms. Only reading, flipping, changing the contrast and converting to floats takes {plain:.3f} ms. A "
        f"single call of torch's grid_sample, on existing floats and positions, takes {alone:.3f} ms. Computing "
        "and reflecting positions and the second interpolation take the rest."
    )


def _interpolated(size: int, device: torch.device) -> Iterator[Iterator[torch.Tensor]]:
    """Yield images rotated by a single grid_sample and nothing else, few enough at a time to fit into a cache."""
    x_BCHW = torch.rand(2, 3, size, size, device=device)
    turn = torch.tensor([[0.9, -0.4, 0.0], [0.4, 0.9, 0.0]], device=device).expand(2, -1, -1)
    grid = functional.affine_grid(turn, [2, 3, size, size], align_corners=False)
    options = {"mode": "bilinear", "padding_mode": "border", "align_corners": False}
    while True:
        yield (functional.grid_sample(x_BCHW, grid, **options) for _ in range(50))


def _once(loader: loaders.Loader, device: torch.device) -> Callable[[], float]:
    return lambda: _rate(_theirs(loader, device), device, 0.0)


def _rate(epochs: Iterator[Iterator[torch.Tensor]], device: torch.device, seconds: float) -> float:
    """Return images per second over at least one epoch; no epoch starts after `seconds` seconds."""
    images, began = 0, time.perf_counter()
    for epoch in epochs:
        images += sum(len(x_BCHW) for x_BCHW in epoch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if time.perf_counter() - began >= seconds:
            break
    return images / (time.perf_counter() - began)


def _ours(data: DataSet, device: torch.device, augmentation: AugmentationConfig) -> Iterator[Iterator[torch.Tensor]]:
    scaling = identity_scaling(3).to(device)
    images = np.arange(len(data.train.labels), dtype=np.int64)

    def batch(chosen: np.ndarray, epoch: int) -> torch.Tensor:
        x_BCHW, _ = load_batch(data.train, chosen, device)
        return augment(x_BCHW, to_device(draws(0, epoch, chosen, augmentation), device), augmentation, scaling)

    epoch = 0
    while True:
        epoch += 1
        yield (batch(chosen, epoch) for chosen in batches(epoch_order(images, 0, epoch), loaders.BATCH))


def _theirs(loader: loaders.Loader, device: torch.device) -> Iterator[Iterator[torch.Tensor]]:
    while True:
        yield (x_BCHW.to(device, non_blocking=True).float() for x_BCHW, _ in loader)


def _training(given: Photos, asked: Asked, device: torch.device, rows: list[Row], goals: list[Goal]) -> None:
    for case, chosen in list(TRAINED.items())[: 1 if asked.quick else None]:
        data = _packed(given, chosen["size"])
        real, fixed = (_run(chosen, data, device, augmented) for augmented in (True, False))
        steps = 1 if asked.quick else chosen["steps"]
        found = rounds_of(
            {
                "aim": lambda run=real, steps=steps: _trained(run, steps),
                "one batch prepared before": lambda run=fixed, steps=steps: _trained_on_one(run, steps),
                "reading and augmenting alone": lambda run=real, steps=steps: _read(run, steps),
            },
            1 if asked.quick else 5,
        )
        rows += [row(f"training, {case}", name, values, "images/s") for name, values in found.items()]
        share = row(
            f"training, {case}", "aim / one batch", ratios(found["aim"], found["one batch prepared before"]), "×"
        )
        rows.append(share)
        text = f"images/s of training on photos / on one batch prepared before, {case}"
        why = "" if share.figure >= SHARE else _shared(found)
        goals.append(Goal(text, share.figure, SHARE, "least", why))


def _shared(found: dict[str, list[float]]) -> str:
    whole, fixed, read = (1000 / float(np.median(values)) for values in found.values())
    return (
        f"An image takes {whole:.3f} ms, compared with {fixed:.3f} ms for the batch that was prepared before. Only "
        f"reading, augmenting and scaling it takes {read:.3f} ms on the same cores, all of which the steps also use."
    )


def _run(chosen: dict, data: DataSet, device: torch.device, augmented: bool) -> Run:
    training = {**PROTOCOLS["controlled"].common["training"], "validation_fraction": 0.0, "selection": "last_epoch"}
    training |= chosen["training"]
    if not augmented:
        training |= {"augmentation": None, "input_scaling": "raw"}
    config = {"model": chosen["model"], "data": {"name": "digits"}, "training": training, "seed": 0}
    return Run(RunConfig.parse(config), data, device)


def _trained(run: Run, steps: int) -> float:
    size = min(run.options.batch_size, len(run.training))
    order = epoch_order(run.training, 0, 1)
    run.network.train()
    began = time.perf_counter()
    for step in range(steps):
        start = step * size % (len(order) - size + 1)
        run.step(order[start : start + size], 1)
    if run.device.type == "cuda":
        torch.cuda.synchronize(run.device)
    return steps * size / (time.perf_counter() - began)


def _read(run: Run, steps: int) -> float:
    """Do only the work that precedes the network; return the seconds."""
    size = min(run.options.batch_size, len(run.training))
    order = epoch_order(run.training, 0, 1)
    augmentation = run.options.augmentation
    assert augmentation is not None
    began = time.perf_counter()
    for step in range(steps):
        start = step * size % (len(order) - size + 1)
        chosen = order[start : start + size]
        x_BCHW, _ = load_batch(run.data.train, chosen, run.device)
        augment(x_BCHW, to_device(draws(0, 1, chosen, augmentation), run.device), augmentation, run.scaling)
    if run.device.type == "cuda":
        torch.cuda.synchronize(run.device)
    return steps * size / (time.perf_counter() - began)


def _trained_on_one(run: Run, steps: int) -> float:
    """Take the same training steps, but with one batch that is already on the device as floats; return the seconds."""
    size = min(run.options.batch_size, len(run.training))
    x_BCHW, labels = load_batch(run.data.train, run.training[:size], run.device)
    ready = ((x_BCHW.float() - 128) / 64, labels)
    with mock.patch.object(run._loaders["train"], "batch", return_value=ready):
        return _trained(run, steps)


if __name__ == "__main__":
    main(__doc__, measure)

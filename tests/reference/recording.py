"""Records the reference: the results that every later version must reproduce. Executed once, with the first version.

    python tests/reference/recording.py

Existing files are never overwritten: to replace a file, delete it by hand, and only for a good reason.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import recipes
import tiny_study
import torch
import yaml
from environment import DATA, after_steps, data_set, digest, digest_of, environment, sample, tensors_of

import aimlib
import analysis
from ablations.execution import run_task
from ablations.planning.arms import expand
from ablations.sessions import screening
from ablations.spec.study import read_study, shipped_studies
from aimlib.config import AugmentationConfig, RunConfig
from aimlib.datasets.base import ImageShape
from aimlib.models import build
from aimlib.registry import datasets
from aimlib.seeding import seed_for
from aimlib.training import rng_state, splits
from aimlib.training.augmentation import draws
from aimlib.training.loop import train

FINGERPRINT = "0123456789abcdef0123"
STEPS, SEED = 3, 7


def write(name: str, content: Any, indent: int | None = 1) -> None:
    path = DATA / name
    if path.exists():
        print(f"{path} exists: kept")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=indent, allow_nan=False) + "\n", encoding="utf-8")


def recorded() -> dict[str, Any]:
    return {"version": aimlib.__version__, "environment": environment()}


def config_of(recipe: Mapping[str, Any], **training: Any) -> tuple[RunConfig, int, int]:
    """Return a recipe's configuration, number of images and image side."""
    count, side = recipe.get("images", 30), recipe.get("side", 8)
    document = {
        "model": {name: value for name, value in recipe["model"].items() if value is not None},
        "data": {"name": "digits", "size": 8},
        "training": {"batch_size": count // 5, **recipes._SGD, **recipe.get("training", {}), **training},
        "seed": SEED,
    }
    return RunConfig.parse(document), count, side


def record_studies() -> None:
    """Copy every shipped study, with its full configurations and the ids of its runs."""
    for name, path in sorted(shipped_studies().items()):
        copy = DATA / "studies" / f"{name}.yaml"
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(Path(path).read_bytes())
        study = read_study(copy)
        arms = [
            {
                "name": arm.name,
                "role": arm.role,
                "of": arm.of,
                "levels": dict(arm.levels),
                "config": arm.config.model_dump(mode="json"),
                "run_ids": [arm.run(seed).run_id(FINGERPRINT) for seed in study.spec.seeds],
            }
            for arm in expand(study)
        ]
        write(f"studies/{name}.json", {**recorded(), "fingerprint": FINGERPRINT, "arms": arms})


def record_networks() -> None:
    """Record the names and digests of all initial values, and the state after three steps."""
    found, arrays = {}, {}
    for name, recipe in recipes.STEPS.items():
        config, count, side = config_of(recipe, epochs=2, selection="last_epoch", validation_fraction=0.0)
        network = build(config.model, ImageShape(3, side, side, 3), SEED)
        with tempfile.TemporaryDirectory() as folder:
            state = tensors_of(after_steps(config, data_set(count, side), STEPS, Path(folder)))
        found[name] = {
            "config": config.model_dump(mode="json"),
            "run_id": config.run_id(FINGERPRINT),
            "images": count,
            "side": side,
            "parameters": {key: digest(value) for key, value in network.named_parameters()},
            "buffers": {key: digest(value) for key, value in network.named_buffers()},
            "tensors": list(state),
            "after": digest_of(state.values()),
        }
        arrays[name] = np.stack([sample(value) for value in state.values()])
        print(name, len(state))
    data = {"fingerprint": data_set(30, 8).fingerprint}
    if not (DATA / "networks.npz").exists():
        np.savez_compressed(DATA / "networks.npz", **arrays)
    write(
        "networks.json",
        {**recorded(), **data, "id_fingerprint": FINGERPRINT, "seed": SEED, "steps": STEPS, "networks": found},
        indent=0,
    )


def record_runs() -> None:
    """Record complete runs, epoch by epoch."""
    found = {}
    for name, recipe in recipes.RUNS.items():
        config, count, side = config_of(recipe, epochs=5, validation_fraction=0.2, **recipe["rule"])
        outcome = train(config, data_set(count, side), threads=1)
        epochs = [{key: value for key, value in row.items() if key != "seconds"} for row in outcome.epochs]
        found[name] = {
            "config": config.model_dump(mode="json"),
            "images": count,
            "side": side,
            "status": outcome.status,
            "reason": outcome.reason,
            "epochs": epochs,
            "selected_epoch": outcome.selected_epoch,
            "selected": {k: v if v is None or np.isfinite(v) else repr(v) for k, v in outcome.selected.items()},
            "predictions": outcome.predictions.tolist(),
            "counts": outcome.images,
        }
        print(name, outcome.status, outcome.reason, [round(row["train_loss"], 3) for row in epochs])
    write("runs.json", {**recorded(), "runs": found})


def record_streams() -> None:
    """Record the numbers in every named random stream, and the fingerprints of data that need no download."""
    streams = ("init", "layers", "numpy", "python", "augment", "crop", "order", "split", "digits", "train_images")
    labels = np.arange(40, dtype=np.int64) % 4
    all_images = np.arange(40, dtype=np.int64)
    cropped = AugmentationConfig(crop_scale=0.5, passes=2)
    training, held_out = splits.hold_out(labels, 0.25, SEED)
    rng_state.seed(SEED, 3)
    write(
        "streams.json",
        {
            **recorded(),
            "seeds": {
                name: [seed_for(SEED, name), seed_for(SEED, name, 3), seed_for(SEED, name, "a.b", 4)]
                for name in streams
            },
            "draws": draws(SEED, 2, all_images[:5], AugmentationConfig(rotation=0.1)).tolist(),
            "crop draws": draws(SEED, 2, all_images[:5], cropped).tolist(),
            "hold_out": [training.tolist(), held_out.tolist()],
            "epoch_order": splits.epoch_order(all_images, SEED, 2).tolist(),
            "fixed_order": splits.fixed_order(all_images, tuple(map(str, range(40)))).tolist(),
            "after seeding": {
                "torch": torch.rand(3).tolist(),
                "numpy": np.random.random(3).tolist(),
            },
            "fingerprints": {
                json.dumps(options): datasets.create(datasets.parse(options)).load().fingerprint
                for options in (
                    {"name": "digits", "size": 8},
                    {"name": "digits", "size": 16, "train_images": 60},
                    {"name": "digits", "size": 16, "train_images": 200},
                )
            },
        },
    )


class Interrupted:
    """Trains as usual, except for two runs: one raises an error, and one is stopped in the middle of an epoch."""

    def __init__(self) -> None:
        self.confirming = 0

    def __call__(self, config: RunConfig, *arguments: Any, **options: Any) -> Any:
        if config.seed < 1000:
            self.confirming += 1
            if self.confirming == 4:
                raise RuntimeError("an error that was recorded on purpose")
            if self.confirming == 9:
                steps = iter(range(1000))
                options["pause"] = lambda: next(steps) == 40
        return train(config, *arguments, **options)


def record_study() -> None:
    """Record the directory of an unfinished study, and its state after the study is continued."""
    left = DATA / "study"
    if left.exists():
        print(f"{left} exists: kept")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "reference.yaml"
        file.write_text(yaml.safe_dump(recipes.STUDY, sort_keys=False), encoding="utf-8")
        out = folder / "study"
        with mock.patch.object(run_task, "train", Interrupted()):
            found = screening.run(file, out, executor="inline")
        print(found.session)
        assert found.session.failed
        assert list((out / "confirmation" / "checkpoints").rglob("*.pt"))
        shutil.copytree(out, left, symlinks=True)
        shutil.copy(file, DATA / "study.yaml")
        before = tiny_study.numbers(out / "confirmation")
        done = screening.run(file, out, executor="inline")
        assert not done.session.failed
        assert not done.session.open
        findings = analysis.examine(analysis.load(out / "confirmation"))
        primary = findings.primary
        assert primary is not None
        interval = primary.interval
        write(
            "study.json",
            {
                **recorded(),
                "settled": sorted(before),
                "failed": sorted(found.session.failed),
                "screening": tiny_study.numbers(out / "screening"),
                "confirmation": tiny_study.numbers(out / "confirmation"),
                "interval": {key: getattr(interval, key) for key in ("n", "mean", "lower", "upper", "sd")},
                "verdict": {
                    "kind": primary.verdict.kind,
                    "decided": primary.verdict.decided,
                    "text": primary.verdict.text,
                },
                "headline": findings.headline,
                "causal": findings.causal,
                "deviations": [deviation.text for deviation in findings.deviations],
            },
        )
        print(findings.headline)


if __name__ == "__main__":
    record_studies()
    record_streams()
    record_networks()
    record_runs()
    record_study()

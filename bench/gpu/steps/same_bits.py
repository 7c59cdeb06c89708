"""Are runs with the same seed bitwise identical if they are repeated, or killed in mid-epoch and resumed?"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ablations.planning.arms import shape_of
from aimlib.config import RunConfig
from aimlib.training import checkpointing
from aimlib.training.loop import train
from bench.gpu.arms import graphs, has, noise
from bench.gpu.crew import Crew, Died
from bench.gpu.report import Report

_SMALL = {"name": "small_resnet", "widths": [8, 16], "blocks": [1, 1], "stem_stride": 2}
_MEMORY = {"placement": "every_layer", "update": "conv_sigmoid"}
_NOISE = {"name": "noise", "channels": 8, "rows": 4, "columns": 4}
CASES: dict[str, dict[str, Any]] = {
    "memory of ones, updated": {"backbone": _SMALL, "memory": {**_NOISE, "name": "conv_ones"}, **_MEMORY},
    "noise as memory": {"backbone": _SMALL, "memory": _NOISE, **_MEMORY},
    "dropout": {"backbone": {"name": "torchvision", "architecture": "mobilenet_v3_small"}},
}
_BATCHES = 6
_KILLED_AFTER = 3
"""Number of steps in the second epoch after which a run is killed."""


def config_of(model: dict[str, Any], step: str | None, size: int = 64) -> RunConfig:
    """Return a run with two epochs of `_BATCHES` steps, with augmentation and a schedule."""
    training: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 8,
        "optimizer": {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.05},
        "schedule": {"name": "cosine"},
        "selection": "last_epoch",
        "validation_fraction": 0.0,
        "augmentation": {"rotation": 0.05, "translation": 0.1, "horizontal_flip": 0.5, "contrast": 0.1},
    }
    if step is not None:
        training["step"] = step
    data = {"name": "stanford_dogs", "classes": 4, "size": size}
    return RunConfig.parse({"model": model, "data": data, "training": training, "seed": 3})


def member(options: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Train as requested, on the device in `options`, and answer with digests of all results."""

    def carry_out(order: dict[str, Any]) -> dict[str, Any]:
        config, folder = RunConfig.parse(order["config"]), Path(order["folder"])
        data = noise(shape_of(config), _BATCHES * config.training.batch_size)
        # Number of calls since the end of the first epoch; the first call is before the second epoch starts.
        asked = [0]

        def pause() -> bool:
            asked[0] += asked[0] > 0
            return order["killed"] and asked[0] == _KILLED_AFTER + 2

        def saved(_file: Path) -> None:
            if order["killed"] and asked[0] == _KILLED_AFTER + 2:
                os.kill(os.getpid(), signal.SIGKILL)

        def after_epoch(_row: Any) -> None:
            asked[0] = 1

        device = torch.device(options["device"])
        with graphs(device) if order["step"] == "graph" else contextlib.nullcontext():
            outcome = train(
                config,
                data,
                device=device,
                threads=1,
                checkpoint_directory=folder,
                checkpoint_share=float("inf"),
                on_epoch=after_epoch,
                pause=pause,
                on_checkpoint=saved,
            )
        return {"attempts": outcome.attempts, **_digests(folder, outcome)}

    return carry_out


def _digests(folder: Path, outcome: Any) -> dict[str, str]:
    kept = checkpointing.load(folder, "")
    assert kept is not None
    history = [{name: value for name, value in row.items() if name != "seconds"} for row in outcome.epochs]
    return {
        "history": repr(history),
        "predictions": hashlib.sha256(outcome.predictions.tobytes()).hexdigest(),
        "weights": _digest(kept.network),
        "optimizer state": _digest(kept.optimizer),
    }


def _digest(state: Any) -> str:
    """Return the digest of all tensors and numbers in nested mappings and lists."""
    found = hashlib.sha256()

    def take(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                found.update(str(key).encode())
                take(value[key])
        elif isinstance(value, (list, tuple)):
            for each in value:
                take(each)
        else:
            found.update(repr(value).encode())

    take(state)
    return found.hexdigest()


def check(told: Report) -> None:
    """Train every case twice without interruption, and once with a kill and a resume, in every available step mode."""
    modes: list[str | None] = [None]
    if has("step"):
        modes = ["eager", "graph"]
    else:
        told.unmeasured("captured graphs", "there is no option `training.step`")
    cases = [(case, mode) for mode in modes for case in CASES]
    # One process computes all uninterrupted runs, and one process per case is killed. All processes start together.
    with Crew(1 + len(cases), __name__, {"device": str(told.device)}) as crew:
        orders = [_order(told, number, case, mode) for number, (case, mode) in enumerate(cases, start=1)]
        for number, order in enumerate(orders, start=1):  # all processes create their CUDA contexts at the same time
            crew.order(number, {**order, "killed": True, "folder": str(Path(order["folder"]) / "killed")})
        for number, ((case, mode), order) in enumerate(zip(cases, orders, strict=True), start=1):
            name = case if mode in (None, "eager") else f"{case}, {mode}"
            folder = Path(order["folder"])
            first = crew.together([{**order, "folder": str(folder / "first")}])[0]
            second = crew.together([{**order, "folder": str(folder / "second")}])[0]
            _expect_same(told, f"{name}: the same seed twice", first, second)
            _killed(told, crew, number, name, folder / "killed")
            resumed = crew.together([{**order, "folder": str(folder / "killed")}])[0]
            told.expect(
                resumed["attempts"] == 2, f"{name}: continues from its checkpoint", f"{resumed['attempts']} attempts"
            )
            _expect_same(told, f"{name}: killed in mid-epoch and resumed", first, resumed)


def _order(told: Report, number: int, case: str, mode: str | None) -> dict[str, Any]:
    config = config_of(CASES[case], mode)
    return {
        "config": config.model_dump(mode="json"),
        "killed": False,
        "step": mode,
        "folder": str(told.scratch / str(number)),
    }


def _killed(told: Report, crew: Crew, number: int, name: str, folder: Path) -> None:
    """Require that a run was killed right after it had saved its state in mid-epoch."""
    try:
        found = f"it continued until its end: {crew.answer(number)['attempts']}"
    except Died as death:
        found = str(death)
    kept = checkpointing.load(folder, "")
    step = kept.under_way["step"] if kept is not None and kept.under_way is not None else 0
    holds = "-9" in found and step == _KILLED_AFTER
    told.expect(holds, f"{name}: killed right after a save in mid-epoch", f"{found}; saved after {step} steps")


def _expect_same(told: Report, text: str, first: dict[str, Any], other: dict[str, Any]) -> None:
    parts = [name for name in first if name != "attempts"]
    differing = [name for name in parts if first[name] != other[name]]
    told.expect(not differing, f"{text}: the same {', '.join(parts)}", f"different: {', '.join(differing)}")

"""Does the same seed give the same bits, twice, and when killed in mid-epoch and resumed?"""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ablations.arms import shape_of
from aimlib.config import RunConfig
from aimlib.training import checkpoints
from aimlib.training.loop import train
from bench.gpu.arms import has, noise
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
_KILLED_AFTER = 3 + _BATCHES
"""Steps after which a run is killed: in the middle of its second epoch."""


def config_of(model: dict[str, Any], step: str | None, size: int = 64) -> RunConfig:
    """Return a run of two epochs of `_BATCHES` steps, with augmentation and a schedule."""
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
    """Train as an order says, on the device of `options`; answer with digests of all that came of it."""

    def carry_out(order: dict[str, Any]) -> dict[str, Any]:
        config, folder = RunConfig.parse(order["config"]), Path(order["folder"])
        data = noise(shape_of(config), _BATCHES * config.training.batch_size)
        steps = [0]

        def pause() -> bool:
            steps[0] += 1
            return steps[0] == order.get("killed_after")

        def saved(_file: Path) -> None:
            if steps[0] == order.get("killed_after"):
                os.kill(os.getpid(), signal.SIGKILL)

        outcome = train(
            config,
            data,
            device=torch.device(options["device"]),
            threads=1,
            checkpoint_directory=folder,
            checkpoint_share=float("inf"),
            pause=pause,
            on_checkpoint=saved,
        )
        return {"attempts": outcome.attempts, **_digests(folder, outcome)}

    return carry_out


def _digests(folder: Path, outcome: Any) -> dict[str, str]:
    kept = checkpoints.load(folder, "")
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
    """Train every case twice, and once killed and resumed, in every step mode that is there."""
    device = str(told.device)
    modes = [None] if not has("step") else ["eager"] if told.rehearsal else ["eager", "graph"]
    if modes == [None]:
        told.unmeasured("captured graphs", "`training.step` is not there")
    options = {"device": device}
    with Crew(2, __name__, options) as crew:  # the second one is killed
        for number, (case, mode) in enumerate((case, mode) for mode in modes for case in CASES):
            name = case if mode in (None, "eager") else f"{case}, {mode}"
            order = {"config": config_of(CASES[case], mode).model_dump(mode="json")}
            folder = told.scratch / str(number)
            first = crew.together([{**order, "folder": str(folder / "first")}])[0]
            second = crew.together([{**order, "folder": str(folder / "second")}])[0]
            _expect_same(told, f"{name}: the same seed twice", first, second)
            crew = _kill(told, crew, {**order, "folder": str(folder / "killed")}, options)
            resumed = crew.together([{**order, "folder": str(folder / "killed")}])[0]
            told.expect(resumed["attempts"] == 2, f"{name}: went on from its checkpoint", f"{resumed['attempts']} attempts")
            _expect_same(told, f"{name}: killed in mid-epoch and resumed", first, resumed)


def _kill(told: Report, crew: Crew, order: dict[str, Any], options: dict[str, Any]) -> Crew:
    """Have a member killed after the save in the middle of an epoch; return the crew with another in its place."""
    crew.order(1, {**order, "killed_after": _KILLED_AFTER})
    try:
        crew.answer(1)
    except Died as death:
        told.expect("-9" in str(death), "a run is killed by SIGKILL right after a save in mid-epoch", str(death))
    else:
        told.expect(False, "a run is killed by SIGKILL right after a save in mid-epoch", "it went on to its end")
    other = Crew(1, __name__, options)
    crew.members[1].wait()
    other.__enter__()
    crew.members[1] = other.members[0]
    return crew


def _expect_same(told: Report, text: str, first: dict[str, Any], other: dict[str, Any]) -> None:
    parts = [name for name in first if name != "attempts"]
    differing = [name for name in parts if first[name] != other[name]]
    told.expect(not differing, f"{text}: the same {', '.join(parts)}", f"different: {', '.join(differing)}")

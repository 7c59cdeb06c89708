"""How many runs per hour are completed if 1, 2, 4 or 8 run at the same time on one card, with and without MPS?"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from aimlib.config import RunConfig
from aimlib.training.device_memory import limit_memory
from bench.gpu.arms import Trainer, changed
from bench.gpu.crew import Crew
from bench.gpu.report import Report
from bench.harness import Goal

_AT_ONCE = (1, 2, 4, 8)
_ROUNDS = 3


def member(options: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Build a run with its share of the card's memory, and train for as many epochs as requested."""
    device = torch.device(options["device"])
    if options["share"] is not None:
        limit_memory(device, options["share"])
    trainer = Trainer(RunConfig.parse(options["config"]), device, options["batches"], threads=options["threads"])
    trainer.epoch()

    def carry_out(order: dict[str, Any]) -> dict[str, Any]:
        began = time.time()
        for _ in range(order["epochs"]):
            trainer.epoch()
        return {"from": began, "to": time.time(), "images": order["epochs"] * trainer.images}

    return carry_out


def check(told: Report) -> None:
    """Measure with the running MPS daemon if there is one; otherwise without MPS and, if MPS=1, with its own daemon."""
    running = mps_is_running()
    name = "MPS running" if running else "without MPS"
    rates = _measured(told, name, {})
    if rates.get(4) and rates.get(1):
        told.goal(Goal(f"runs/h of four packed runs / one after the other, {name}", rates[4] / rates[1], 2.0, "least"))
    if os.environ.get("MPS") == "1" and not running and not told.rehearsal:
        with _own_mps(told.scratch / "mps") as env:
            packed = _measured(told, "MPS, started by this step", env)
        if packed.get(4) and rates.get(1):
            text = "runs/h of four packed runs under MPS / one after the other without"
            told.goal(Goal(text, packed[4] / rates[1], 2.0, "least"))
    elif not running:
        told.unmeasured("packing under MPS", "no daemon is running; MPS=1 starts one for this step, with its own pipes")


def _measured(told: Report, name: str, env: dict[str, str]) -> dict[int, float]:
    """Return the number of runs per hour, by the number of simultaneous runs."""
    from ablations.planning.plan import arms_of
    from ablations.spec.study import read_study

    counts = told.choose(_AT_ONCE, (1, 2))
    study = {arm.name: arm for arm in arms_of(read_study("controlled_small", ["data.classes=120"]))}
    run = study["aim"].run(0)
    config = changed(run)
    batches, epochs = told.choose((40, 2), (2, 1))
    options = {
        "config": config.model_dump(mode="json"),
        "device": str(told.device),
        "batches": batches,
        "threads": told.choose(2, 1),
        "share": None if told.rehearsal else 1 / max(counts),
    }
    images = run.training.epochs * 12_000  # images of all breeds
    told.note(f"runs/h: training on {images:,} images without evaluation; each run has {options['threads']} threads")
    found: dict[int, float] = {}
    with Crew(max(counts), __name__, options, env) as crew:
        for count in counts:
            rates = []
            for _ in range(_ROUNDS):
                answers = crew.together([{"epochs": epochs}] * count)
                seconds = max(each["to"] for each in answers) - min(each["from"] for each in answers)
                rates.append(sum(each["images"] for each in answers) / seconds)
            at_once = "1 run" if count == 1 else f"{count} runs at once"
            told.row(f"controlled_small aim, 120 breeds, {name}", at_once, rates, "images/s")
            hours = [3600 * rate / images for rate in rates]
            found[count] = told.row(f"controlled_small aim, 120 breeds, {name}", at_once, hours, "runs/h")
    return found


def mps_is_running() -> bool:
    """Return whether this user's CUDA programs already use an MPS daemon."""
    return (Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")) / "control").exists()


@contextlib.contextmanager
def _own_mps(folder: Path) -> Iterator[dict[str, str]]:
    """Start an MPS daemon, yield the environment of its clients, and stop the daemon."""
    program = shutil.which("nvidia-cuda-mps-control")
    if program is None:
        raise RuntimeError("MPS=1 is set, but there is no nvidia-cuda-mps-control on this machine")
    places = {"CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipe"), "CUDA_MPS_LOG_DIRECTORY": str(folder / "log")}
    for place in places.values():
        Path(place).mkdir(parents=True)
    env = os.environ | places
    subprocess.run([program, "-d"], env=env, check=True, timeout=10)
    try:
        yield places
    finally:
        subprocess.run([program], input="quit\n", text=True, env=env, check=False, timeout=10)

"""How long does it take to save one checkpoint of 1.9 GB, and eight at the same time?"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ablations.spec.resources import Resources
from ablations.store.save_slots import SLOTS, SaveSlots
from aimlib.training import checkpointing
from aimlib.training.checkpointing import Checkpoint
from bench.gpu.crew import Crew
from bench.gpu.report import Report
from bench.harness import Goal

_TENSORS = 16


def member(options: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Keep a state of the given size on the device, save it on request, and return the duration of the save."""
    device, each = torch.device(options["device"]), int(options["bytes"]) // 4 // _TENSORS
    network = {f"weight_{number}": torch.zeros(each, device=device) for number in range(_TENSORS)}

    def carry_out(order: dict[str, Any]) -> dict[str, Any]:
        for tensor in network.values():
            tensor.add_(1)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.time()
        state = Checkpoint("0" * 20, [], torch.zeros(0, 0, dtype=torch.uint8), network, {}, 0.0, 1, "")
        with _turn(order) as may_save:
            assert may_save
            file = checkpointing.save(state, Path(order["folder"]))
        return {"from": began, "to": time.time(), "bytes": file.stat().st_size}

    return carry_out


def _turn(order: dict[str, Any]) -> contextlib.AbstractContextManager[bool]:
    """Return the context in which a save waits for its slot, as in runs, or starts immediately."""
    if not order.get("slots"):
        return contextlib.nullcontext(True)
    return SaveSlots(Path(order["slots"])).taken((order["epochs"], 0), 0.0, lambda: None)


def check(told: Report) -> None:
    """Save one state alone, then one per process at the same time, if space and time allow it."""
    size, number = told.choose((1_940_000_000, 8), (4_000_000, 2))
    free = shutil.disk_usage(told.scratch).free
    if not told.rehearsal:
        number = min(number, int(torch.cuda.mem_get_info(told.device)[0] // (size + 600 * 2**20)))
    if free < 1.5 * size * number:  # the old checkpoint is kept until the new one is complete
        size = max(free // (2 * number), 4_000_000)
        told.note(
            f"{free / 1e9:.0f} GB are free on the disk: using checkpoints of {size / 1e9:.2f} GB instead of 1.94 GB"
        )
    with Crew(number, __name__, {"device": str(told.device), "bytes": size}) as crew:
        alone = crew.together([{"folder": str(told.scratch / "0")}])[0]
        seconds = alone["to"] - alone["from"]
        told.row(f"{alone['bytes'] / 1e9:.2f} GB", "one alone", [seconds], "s")
        told.row(f"{alone['bytes'] / 1e9:.2f} GB", "one alone", [alone["bytes"] / 1e6 / seconds], "MB/s")
        if told.left() < 1.5 * seconds * number:
            told.unmeasured(
                f"{number} at once", f"they may take {seconds * number:.0f} s, but {told.left():.0f} s are left"
            )
            return
        slots = told.scratch / "slots"
        slots.mkdir()
        case = f"{number} of {alone['bytes'] / 1e9:.2f} GB at once"
        orders = [{"folder": str(told.scratch / str(each)), "epochs": each} for each in range(number)]
        whole = _all(
            told, case, f"in turn, {SLOTS} at a time", crew, [{**order, "slots": str(slots)} for order in orders]
        )
        if told.left() > 1.5 * whole:
            _all(told, case, "side by side", crew, orders)
        else:
            told.unmeasured(f"{case}, side by side", "no time was left")
    grace = Resources().grace_seconds
    told.goal(Goal(f"seconds to save {case}, in turn: within the grace period", whole, grace, "most"))


def _all(told: Report, case: str, how: str, crew: Crew, orders: list[dict[str, Any]]) -> float:
    """Make all processes save, and return the seconds until the last one has finished."""
    found = crew.together(orders)
    whole = max(each["to"] for each in found) - min(each["from"] for each in found)
    told.row(case, f"{how}: until each is done", [each["to"] - each["from"] for each in found], "s")
    told.row(case, f"{how}: until the last is done", [whole], "s")
    return whole

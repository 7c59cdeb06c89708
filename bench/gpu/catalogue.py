"""The steps of the acceptance test, starting with those that are quick or whose failure is fatal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """A step.

    Attributes
    ----------
    number, name, title : names for human readers; results are stored as ``gpu-<name>.json``.
    proves : what holds if the step passes.
    module : module with a function ``check(report)``.
    limit_s : seconds after which the step is ended on a card.
    rehearsal_s : the same limit in a rehearsal on a CPU.
    needs : packages without which the step is skipped.
    least_s : the step is not started if fewer seconds are left.
    fatal : whether all later steps are skipped if this step fails because there is no usable card.
    """

    number: int
    name: str
    title: str
    proves: str
    module: str
    limit_s: float
    rehearsal_s: float = 600.0
    needs: tuple[str, ...] = ("torch", "torchvision", "pydantic")
    least_s: float = 5.0
    fatal: bool = False

    def limit(self, device: str) -> float:
        """Return the time limit in seconds."""
        return self.rehearsal_s if device == "cpu" else self.limit_s


def _step(number: int, name: str, title: str, proves: str, limit_s: float, *needs: str, fatal: bool = False) -> Step:
    module = f"bench.gpu.steps.{name}"
    return Step(
        number, name, title, proves, module, limit_s, needs=("torch", "torchvision", "pydantic", *needs), fatal=fatal
    )


STEPS: tuple[Step, ...] = (
    _step(
        1,
        "driver",
        "driver, kernels, doctor",
        "the driver is compatible with torch, torch has kernels for the card, `ablate doctor` finds no fault in a "
        "device, and Ray counts as many GPUs as torch can use",
        40,
        fatal=True,
    ),
    _step(
        2,
        "share",
        "a share of .25 holds",
        "a run that takes more than its share ends as `out_of_memory`, and the next run in the same process finishes",
        25,
        "pandas",
        "optuna",
    ),
    _step(
        3,
        "larger_share",
        "out of memory on a share of .5",
        "of two runs on one card, the one that runs out of memory continues with a larger share, and the other is "
        "not affected",
        90,
        "pandas",
        "optuna",
        "ray",
    ),
    _step(
        4,
        "device_assert",
        "a device-side assert",
        "the failing run counts as a failure of the user's code, and the next run of the session succeeds in a "
        "new process",
        90,
        "pandas",
        "optuna",
        "ray",
    ),
    _step(
        5,
        "synchronisation",
        "no step waits for the device",
        "a training step and an evaluation of every arm in every full-size study run under "
        '`torch.cuda.set_sync_debug_mode("error")`',
        75,
        "pandas",
    ),
    _step(
        6,
        "determinism",
        "every step is deterministic",
        "the same under `torch.use_deterministic_algorithms(True)`: every operation has a deterministic kernel",
        75,
        "pandas",
    ),
    _step(
        7,
        "same_bits",
        "the same seed gives the same bits",
        "two runs with the same seed, and a run that was killed in mid-epoch and resumed, have the same history, "
        "predictions, weights and optimizer state, also with dropout and with noise as memory, in every step mode",
        90,
    ),
    _step(
        8,
        "speed",
        "images per second",
        "the speed with each precision, memory format, batch size and step mode, compared with the limit of the GPU",
        110,
        "pandas",
    ),
    _step(
        9,
        "memory",
        "memory of the device",
        "a run reserves as much memory as `ablate check` states, and after a run, successful or not, a worker "
        "that continues holds at most 100 MiB",
        40,
        "pandas",
    ),
    _step(
        10,
        "agreement",
        "device and CPU agree",
        "augmented images, and the logits of the same network for the same uint8 images, agree within rounding",
        25,
    ),
    _step(
        11,
        "saving",
        "seconds to save",
        "how long a checkpoint of 1.9 GB takes, and eight at once, compared with the grace period after SIGTERM",
        70,
    ),
    _step(
        12,
        "packing",
        "runs side by side",
        "runs per hour with 1, 2, 4 and 8 runs of `controlled_small` on one card, and whether MPS was running",
        70,
        "pandas",
    ),
    _step(
        13,
        "rivals",
        "images per second against other loops",
        "the training loop compared with those of timm and torchvision and a plain loop, with the same precision "
        "and determinism",
        75,
        "timm",
    ),
    _step(
        14,
        "busy",
        "busy share of the device",
        "the share of an epoch of `controlled` in bfloat16 during which the device computes",
        30,
        "pandas",
    ),
    _step(
        15,
        "first_step",
        "first step in a warm worker",
        "seconds from the start of a run to the end of its first step",
        40,
        "pandas",
    ),
    _step(
        16,
        "integrity",
        "spot checks find wrong bits",
        "runs in which every step is repeated are bitwise identical to runs without checks, in every step mode; a "
        "flipped bit is detected; the reference step is bitwise identical every time; the cost of a check",
        60,
        "pandas",
    ),
)


class BadSteps(ValueError):  # noqa: N818 -- with a single argument
    """The value of STEPS is invalid."""


def chosen(text: str, steps: Sequence[Step] = STEPS) -> list[Step]:
    """Return the steps that a text such as ``1-5,8`` names, in their order; an empty text means all steps.

    Raises
    ------
    BadSteps: the text does not have this form, or a number does not belong to any step.
    """
    known = {step.number: step for step in steps}
    wanted: set[int] = set()
    for part in filter(None, re.split(r"[,\s]+", text.strip())):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not found:
            raise BadSteps(
                f"STEPS={text}: {part!r} is neither a number nor a range; give e.g. STEPS=1-5 or STEPS=2,4,8"
            )
        first, last = int(found[1]), int(found[2] or found[1])
        outside = [number for number in (first, last) if number not in known]
        if outside or last < first:
            raise BadSteps(
                f"STEPS={text}: {part!r}: steps are numbered from {min(known)} to {max(known)}, and a range must "
                "be ascending"
            )
        wanted |= set(range(first, last + 1))
    return [step for number, step in sorted(known.items()) if number in wanted or not text.strip()]

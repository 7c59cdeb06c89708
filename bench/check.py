"""How quickly does a check answer?

Question: How long does `ablate check --no-timing` take as a whole process: for the demo, in units of `import torch`,
    and for studies with 1,000 arms?

Rivals: `python -c "import torch"`. This is the unit, because a check builds the networks of all arms and needs torch
    for this. Two studies have 1,001 arms: a factorial design of 5 placements × 5 sizes × 40 training options, whose
    arms share 25 networks, and a design of 5 placements × 4 updates × 50 sizes, in which every arm has its own network.

Measured: 2026-11-28, AMD EPYC, 2 cores, 24 GiB, Linux 6.18.44-fc-v657, Python 3.11.7; torch 2.14.1, torchvision
    0.29.1, ray 2.60.0, optuna 5.0.0, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, scipy 1.17.1, matplotlib 3.11.2;
    medians of 5 rounds, 173 s in all.

Reached: `ablate check demo --no-timing`: seconds more than `import torch`: 1.74 (≤ 2); `ablate check --no-timing` of
    1,001 arms of 25 networks: seconds: 5.7 (≤ 20); `ablate check --no-timing` of 1,001 arms of as many networks:
    seconds: 17.6 (≤ 20).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.harness import Answer, Asked, Goal, main, ratios, rounds_of, row, wall
from bench.resume import finished_study

CODE = "import sys; from ablations.commands.app import command; sys.argv[0] = 'ablate'; command()"
ABLATE = [sys.executable, "-c", CODE]
SHARED = {
    "model.placement": "[block_entry, stage_only, every_layer, {name: layers, names: [layer2.0.conv1]}, "
    "{name: layers, names: [layer3.0.conv2]}]",
    "model.memory.channels": "[4, 8, 16, 32, 64]",
    "training.batch_size": "[10, 20, 25, 40]",
    "training.optimizer.learning_rate": "[1e-4, 2e-4, 5e-4, 1e-3, 2e-3]",
    "training.label_smoothing": "[0.0, 0.1]",
}
DISTINCT = {
    "model.placement": SHARED["model.placement"],
    "model.update": "[conv_sigmoid, none, gated, residual]",
    "model.memory.channels": "[2, 4, 8, 12, 16, 20, 24, 28, 32, 64]",
    "model.memory.rows": "[1, 2, 3, 4, 5]",
}
_STUDY = """
name: many
base:
  data: {{name: digits, size: 16, train_images: 200}}
  model:
    backbone: {{name: small_resnet, widths: [8, 16, 32]}}
    memory: {{name: conv_ones, channels: 16, rows: 4, columns: 4}}
    placement: block_entry
    update: conv_sigmoid
  training:
    epochs: 15
    batch_size: 25
    optimizer: {{name: adam, learning_rate: 2e-3}}
    selection: best_validation
    validation_fraction: 0.2
arms:
  baseline: {{model: {{memory: null, placement: null, update: null}}}}
  aim: {{}}
vary: aim
factors:
{factors}
seeds: 2
"""


def measure(asked: Asked) -> Answer:
    """Time entire processes, which take turns."""
    check, rounds = "ablate check demo --no-timing", 1 if asked.quick else 5
    with tempfile.TemporaryDirectory() as folder:
        study = str(Path(folder) / "study")
        finished_study(Path(study), 20)
        commands = {
            "import torch": [sys.executable, "-c", "import torch"],
            check: [*ABLATE, "check", "demo", "--no-timing"],
            "ablate status": [*ABLATE, "status", study],
            "ablate results": [*ABLATE, "results", study],
            "ablate plugins": [*ABLATE, "plugins"],
        }
        found = rounds_of({name: partial(wall, command) for name, command in commands.items()}, rounds)
        many = rounds_of(_of_many_arms(Path(folder), 2 if asked.quick else None), rounds, warm_up=0)
    unit = found["import torch"]
    rows = [row("whole process", name, values, "s") for name, values in found.items()]
    rows.append(row("in units of import torch", check, ratios(found[check], unit), "×"))
    more = row("more than import torch", check, [a - b for a, b in zip(found[check], unit, strict=True)], "s")
    goals = [Goal(f"`{check}`: seconds more than `import torch`", more.figure, 2.0, "most")]
    for name, values in many.items():
        rows.append(row("whole process", f"ablate check --no-timing, {name}", values, "s"))
        goals.append(Goal(f"`ablate check --no-timing` of {name}: seconds", rows[-1].figure, 20.0, "most"))
    return Answer([*rows, more], goals)


def _of_many_arms(folder: Path, most: int | None) -> dict[str, Callable[[], float]]:
    """Write both studies, with at most `most` factors, and return functions that time `ablate check` on them."""
    found: dict[str, Callable[[], float]] = {}
    for name, factors in (("1,001 arms of 25 networks", SHARED), ("1,001 arms of as many networks", DISTINCT)):
        lines = [f"  {path}: {levels}" for path, levels in list(factors.items())[:most]]
        file = folder / f"{len(found)}.yaml"
        file.write_text(_STUDY.format(factors="\n".join(lines)), encoding="utf-8")
        found[name] = partial(wall, [*ABLATE, "check", str(file), "--no-timing"])
    return found


if __name__ == "__main__":
    main(__doc__, measure)

"""How soon does a check answer?

Question: How long does `ablate check demo --no-timing` take as a whole process, in units of `import torch`?

Rivals: `python -c "import torch"`, which is the unit: a check builds the networks of all arms, and that takes torch.

Measured: 2026-11-25, Intel(R) Xeon(R) Processor, 2 cores, 24 GiB, Linux 6.18.44-fc-v657, Python 3.11.7; torch 2.14.1,
    torchvision 0.29.1, ray 2.60.0, optuna 5.0.0, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, scipy 1.17.1, matplotlib
    3.11.2; medians of 5 rounds, 58 s in all.

Reached: `ablate check demo --no-timing`: seconds more than `import torch`: 1.57 (≤ 2).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bench.harness import Answer, Asked, Goal, main, ratios, rounds_of, row, wall
from bench.resume import finished_study

CODE = "import sys; from ablations.commands.app import command; sys.argv[0] = 'ablate'; command()"


def measure(asked: Asked) -> Answer:
    """Time whole processes, in turn."""
    ablate = [sys.executable, "-c", CODE]
    check = "ablate check demo --no-timing"
    with tempfile.TemporaryDirectory() as folder:
        study = str(Path(folder) / "study")
        finished_study(Path(study), 20)
        commands = {
            "import torch": [sys.executable, "-c", "import torch"],
            check: [*ablate, "check", "demo", "--no-timing"],
            "ablate status": [*ablate, "status", study],
            "ablate results": [*ablate, "results", study],
            "ablate plugins": [*ablate, "plugins"],
        }
        found = rounds_of(
            {name: lambda command=command: wall(command) for name, command in commands.items()},
            1 if asked.quick else 5,
        )
    unit = found["import torch"]
    rows = [row("whole process", name, values, "s") for name, values in found.items()]
    rows.append(row("in units of import torch", check, ratios(found[check], unit), "×"))
    more = row("more than import torch", check, [a - b for a, b in zip(found[check], unit, strict=True)], "s")
    goal = Goal(f"`{check}`: seconds more than `import torch`", more.figure, 2.0, "most")
    return Answer([*rows, more], [goal])


if __name__ == "__main__":
    main(__doc__, measure)

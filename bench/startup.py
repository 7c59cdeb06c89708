"""How quickly does a command answer?

Question: How long do `ablate --help` and `import analysis` take, in units of `import pandas`?

Rivals: `python -c "import pandas"`. This is the unit, because pandas users already wait this long.

Measured: 2026-11-25, Intel(R) Xeon(R) Processor, 2 cores, 24 GiB, Linux 6.18.44-fc-v657, Python 3.11.7; torch 2.14.1,
    torchvision 0.29.1, ray 2.60.0, optuna 5.0.0, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, scipy 1.17.1, matplotlib
    3.11.2; medians of 15 rounds, 20 s in all.

Reached: `ablate --help` in units of `import pandas`: 0.36 (≤ 1); `import analysis` in units of `import pandas`: 1.05
    (≤ 1.3).
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.harness import Answer, Asked, Goal, main, ratios, rounds_of, row, wall

BIN = Path(sys.executable).parent


def measure(asked: Asked) -> Answer:
    """Time entire processes, which take turns."""
    commands = {
        "import pandas": [sys.executable, "-c", "import pandas"],
        "ablate --help": [str(BIN / "ablate"), "--help"],
        "import analysis": [sys.executable, "-c", "import analysis"],
        "nothing": [sys.executable, "-c", ""],
    }
    found = rounds_of(
        {name: lambda command=command: wall(command) for name, command in commands.items()}, 2 if asked.quick else 15
    )
    unit = found["import pandas"]
    rows = [row("whole process", name, [1000 * value for value in values], "ms") for name, values in found.items()]
    goals = []
    for name, limit in (("ablate --help", 1.0), ("import analysis", 1.3)):
        ratio = row("in units of import pandas", name, ratios(found[name], unit), "×")
        rows.append(ratio)
        goals.append(Goal(f"`{name}` in units of `import pandas`", ratio.figure, limit, "most"))
    return Answer(rows, goals)


if __name__ == "__main__":
    main(__doc__, measure)

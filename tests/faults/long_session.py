"""A session of many runs without training: `long_session.py RUNS FOLDER`. Prints the RAM and the files that it uses as
a line of JSON. The session computes its runs in this process, so everything that grows with the number of runs grows in
this process. Only the first run of every arm is trained; the arm's other runs get the same outcome.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "ablations")]

from tiny_study import changed, write  # noqa: E402

from ablations.execution import run_task  # noqa: E402
from ablations.sessions.launch import run  # noqa: E402
from ablations.store import ResultStore  # noqa: E402

_SAMPLES = 20


def occupied(study: Path) -> dict[str, Any]:
    """Return how much RAM this process uses, and how many files the study has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    folders = Counter(path.relative_to(study).parts[0] for path in study.rglob("*") if path.is_file())
    return {
        "seconds": round(time.monotonic() - began, 1),
        "resident_mb": round(pages * resource.getpagesize() / 2**20, 1),
        "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
        "threads": threading.active_count(),
        "temporary": sum(1 for _ in Path(tempfile.gettempdir()).rglob("*")),
        "files": dict(sorted(folders.items())),
    }


runs, folder = int(sys.argv[1]), Path(sys.argv[2])
study = write(folder, changed({"seeds": runs // 2, "base.training.epochs": 1, "base.data.size": 8}))
tempfile.tempdir = str(folder / "temporary")
Path(tempfile.tempdir).mkdir()
samples: list[dict[str, Any]] = []
settle, settled = ResultStore.settle, 0


def counted(*arguments: Any) -> str:
    global settled  # noqa: PLW0603 -- a script
    kept = settle(*arguments)
    settled += bool(kept)
    if settled % (runs // _SAMPLES) == 0:
        samples.append({"runs": settled, **occupied(folder / "out")})
    return kept


train, outcomes = run_task.train, dict[str, Any]()


def trained(config: Any, *arguments: Any, **options: Any) -> Any:
    arm = config.model.model_dump_json()
    if arm not in outcomes:
        outcomes[arm] = train(config, *arguments, **options)
    return outcomes[arm]


run_task.train = trained
ResultStore.settle = counted  # type: ignore[method-assign]
began = time.monotonic()
session = run(study, folder / "out", executor="inline")
after = occupied(folder / "out")
print(
    json.dumps(
        {"runs": runs, "open": len(session.open), "failed": len(session.failed), "samples": samples, "after": after}
    )
)

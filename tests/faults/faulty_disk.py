"""Compiles the library that simulates a failing disk (faulty_disk.c), and returns environments that load it."""

from __future__ import annotations

import errno
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
_EACH, _RARELY, _OFTEN = 4, 50, 100
"""Faults per thousand calls. Writing a row takes about a hundred calls, of which a few synchronize, link or rename."""


def _both(call: str, number: int, per_mille: int) -> str:
    return f"{call}={number}:{per_mille},{call}=late-{number}:{per_mille}"


FAULTS = {
    "disk: no space": f"write={errno.ENOSPC}:{_EACH}",
    "disk: write error": f"write={errno.EIO}:{_EACH}",
    "disk: short transfers": f"write=short:{_OFTEN},read=short:{_OFTEN}",
    "disk: synchronization error": f"fsync={errno.EIO}:{_RARELY}",
    "disk: link error": _both("link", errno.EIO, _OFTEN),
    "disk: rename error": _both("rename", errno.EIO, _OFTEN),
    "disk: removal error": _both("unlink", errno.EIO, _RARELY),
    "disk: read error": f"read={errno.EIO}:{_RARELY // 2}",
    "disk: open error": f"open={errno.EIO}:{_EACH},open={errno.ESTALE}:{_EACH}",
    "disk: slow": f"write=slow-50:{_EACH},read=slow-50:{_EACH},fsync=slow-50:{_OFTEN}",
}
"""Failing calls by kind of fault (see faulty_disk.c)."""


def compiler() -> str | None:
    """Return this machine's C compiler; None if there is none."""
    return shutil.which("cc") or shutil.which("gcc")


def compiled(folder: Path) -> Path:
    """Compile the library in a folder."""
    library = folder / "faulty_disk.so"
    command = [compiler() or "cc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return library


def environment(library: Path, root: Path, kind: str, log: Path, seed: int, times: int = 1) -> dict[str, str]:
    """Return an environment in which calls on files below `root` fail; `times` multiplies the failure rate."""
    return {
        "LD_PRELOAD": str(library),
        "FAULTY_ROOT": str(root),
        "FAULTY_CALLS": re.sub(r"[0-9]+(?=,|$)", lambda found: str(times * int(found[0])), FAULTS[kind]),
        "FAULTY_LOG": str(log),
        "FAULTY_SEED": str(seed),
    }


def injected(log: Path) -> Counter[str]:
    """Return the number of faults in a log, by call and fault, such as ``write 5``."""
    return Counter(log.read_text().splitlines()) if log.exists() else Counter()

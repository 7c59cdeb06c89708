"""Do concurrent trials share their data?

Question: How much memory does the data use if four trials train on it at the same time on one machine, compared with
one trial?

Rivals: the same number of processes with torchvision's ImageFolder and a DataLoader with one or two workers.

Measured: 2026-11-25, Intel(R) Xeon(R) Processor, 2 cores, 24 GiB, Linux 6.18.44-fc-v657, Python 3.11.7; torch 2.14.1,
    torchvision 0.29.1, ray 2.60.0, optuna 5.0.0, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, scipy 1.17.1, matplotlib
    3.11.2; medians of 2 rounds, 119 s in all.

Reached: memory of the packed pixels, 4 trials / 1 trial: 1 (≤ 1.15).
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.harness import ROOT, Answer, Asked, Goal, Row, main, ratios, row
from bench.photos import Photos, photos

TOGETHER = 4
COUNTED = (
    "The measure is proportional set size (Linux, /proc/PID/smaps): a page that several processes map counts once in "
    "total. `packed pixels`: the pages of the pack, which is a mapped file. `all that input added`: the total memory "
    "of the processes, including workers, after an epoch of augmented batches, minus their memory after importing "
    "torch. The page cache of files that are read rather than mapped, such as ImageFolder's, is not counted."
)
TRIAL = "import sys; from bench.shared_data import trial; trial(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))"


def measure(asked: Asked) -> Answer:
    """Start trials together, let each trial read the photos once, and measure the RAM that the trials use."""
    size, count = (64, 48) if asked.quick else (224, 600)
    rows: list[Row] = []
    pack: dict[int, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        given = photos(Path(folder), count)
        _packed(given, size)
        for subject in ("aim", "ImageFolder, 1 worker each", "ImageFolder, 2 workers each"):
            for trials in (1, TOGETHER):
                mapped, added = zip(
                    *[_held(given, subject, size, trials) for _ in range(1 if asked.quick else 2)], strict=True
                )
                case = f"{trials} trial{'s' if trials > 1 else ''}, {size} px, {count} photos"
                rows.append(row(f"all that input added, {case}", subject, added, "MiB"))
                if subject == "aim":
                    rows.append(row(f"packed pixels, {case}", subject, mapped, "MiB"))
                    pack[trials] = list(mapped)
    times = row("packed pixels, 4 trials / 1 trial", "aim", ratios(pack[TOGETHER], pack[1]), "×")
    goal = Goal("memory of the packed pixels, 4 trials / 1 trial", times.figure, 1.15, "most")
    return Answer([*rows, times], [goal], [f"Photos: {given.source}.", COUNTED])


def _packed(given: Photos, size: int) -> object:
    from aimlib.registry import datasets

    options = {"name": "image_folder", "root": str(given.root), "cache": str(given.root / "cache")}
    return datasets.create(datasets.parse({**options, "classes": given.classes, "size": size})).load()


def trial(root: str, subject: str, classes: int, size: int) -> None:
    """Act as a trial: import torch, report this, and wait; then read the photos, report this, and wait."""
    import torch

    from bench import input_pipeline
    from bench.rivals import loaders

    given = Photos(Path(root), "", 0, classes)
    torch.set_num_threads(1)
    print("imported", flush=True)
    sys.stdin.readline()
    device = torch.device("cpu")
    if subject == "aim":
        epochs = input_pipeline._ours(_packed(given, size), device)
    else:
        workers = int(subject.split()[1])
        epochs = input_pipeline._theirs(loaders.image_folder(given, size, False, workers), device)
    for x_BCHW in next(epochs):
        last = x_BCHW
    print("through", last.shape, flush=True)
    sys.stdin.readline()


def _held(given: Photos, subject: str, size: int, trials: int) -> tuple[float, float]:
    """Return the size of the mapped pack and the total RAM that reading added, in MiB."""
    command = [sys.executable, "-c", TRIAL, str(given.root), subject, str(given.classes), str(size)]
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(_started(command)) for _ in range(trials)]
        for process in running:
            process.stdout.readline()
        before = sum(_pss(process.pid) for process in running)
        for process in running:
            _tell(process)
        for process in running:
            if not process.stdout.readline().startswith("through"):
                raise RuntimeError(f"a trial of {subject} ended early")
        after = sum(_pss(process.pid) for process in running)
        mapped = sum(_mapped(process.pid) for process in running)
        print(f"  {subject}, {trials}: {mapped:.1f} MiB mapped, {after - before:.1f} MiB added", file=sys.stderr)
        for process in running:
            _tell(process)
    return mapped, after - before


@contextlib.contextmanager
def _started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield process
        process.wait(60)
    finally:
        process.kill()
        process.wait()


def _tell(process: subprocess.Popen[str]) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


def _pss(pid: int) -> float:
    """Return the proportional set size of a process and its children, in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    own = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own / 1024 + sum(_pss(int(child)) for child in children)


def _mapped(pid: int) -> float:
    """Return how much of a process's proportional set size belongs to packed pixels, in MiB."""
    total, inside = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            inside = bool(rest) and rest[-1].endswith(".pixels")
        elif name == "Pss:" and inside:
            total += int(rest[0])
    return total / 1024


if __name__ == "__main__":
    main(__doc__, measure)

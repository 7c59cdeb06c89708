"""What do the checks against wrong results cost?

Question: How much more processor time do runs take with checksums, the ledger, the reference step and spot checks, and
    how much longer does a verdict take if it verifies its rows?

Rivals: the same study without each of these checks and without all of them (no checksums, a ledger without entries,
    `integrity: off`), and a verdict that trusts its rows.

Measured: 2026-11-27, AMD EPYC, 2 cores, 24 GiB, Linux 6.18.44-fc-v657, Python 3.11.7; torch 2.14.1, torchvision
    0.29.1, ray 2.60.0, optuna 5.0.0, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, scipy 1.17.1, matplotlib 3.11.2;
    medians of 5 rounds, 961 s in all.

Reached: processor time of 4 arms of the demo, 6 epochs, with everything / without any: 0.979 (≤ 1.02).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

from rich.console import Console

import analysis
from ablations.execution import run_task
from ablations.sessions import launch
from ablations.store import result_store
from ablations.store.ledger import SessionLedger, Standing
from aimlib.records import checksums
from bench import large_study
from bench.harness import Answer, Asked, Goal, main, ratios, rounds_of, row
from bench.rivals.launch_own import FILE, nothing

ALL, NONE = "with everything", "without any"


def measure(asked: Asked) -> Answer:
    """Compute the same studies and verdicts with and without each check, in turn, in one process."""
    runs, epochs, stored, rounds = (8, 1, 100, 1) if asked.quick else (40, 6, 500, 5)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent)
        os.environ[FILE] = str(folder / "began")
        study = large_study.write(folder / "stored", stored)
        cases = {
            (f"one of {runs} runs that train nothing", "ms"): {
                name: _session(folder, without, runs // 4, 0, 1000 / runs)
                for name, without in ((ALL, ()), *((f"without {one}", (one,)) for one in PARTS), (NONE, tuple(PARTS)))
            },
            (f"4 arms of the demo, {epochs} epochs", "s"): {
                ALL: _session(folder, (), 1, epochs),
                NONE: _session(folder, tuple(PARTS), 1, epochs),
            },
            (f"verdict on {stored:,} runs of 50 epochs", "s"): {
                ALL: lambda: _spent(lambda: analysis.examine(analysis.load(study))),
                NONE: lambda: _spent(lambda: analysis.examine(analysis.load(study), unproven=True)),
            },
        }
        rows, reached = [], {}
        for (case, unit), subjects in cases.items():
            found = rounds_of(subjects, rounds)
            rows += [row(case, name, values, unit) for name, values in found.items()]
            rows.append(row(case, f"{ALL}, in units of {NONE}", ratios(found[ALL], found[NONE]), "×"))
            reached[case] = rows[-1].figure
    trained = next(case for case in reached if "epochs" in case and "demo" in case)
    goals = [Goal(f"processor time of {trained}, with everything / without any", reached[trained], 1.02, "most")]
    return Answer(
        rows,
        goals,
        [
            "Processor time of the whole process, under other load. For runs that train nothing, it is the time "
            "of `bench.launch`."
        ],
    )


def _spent(act: Callable[[], object]) -> float:
    """Return the processor time of a call, in seconds."""
    began = time.process_time()
    act()
    return time.process_time() - began


def _session(
    folder: Path, without: tuple[str, ...], seeds: int, epochs: int, scale: float = 1.0
) -> Callable[[], float]:
    """Return a function that computes the demo; if `epochs` is 0, nothing is trained."""
    options = [f"seeds={seeds}", *([f"base.training.epochs={epochs}"] if epochs else [])]
    options += ["integrity=off"] if "spot checks and reference step" in without else []

    def compute() -> float:
        with contextlib.ExitStack() as stack:
            for part in without:
                stack.enter_context(PARTS[part]())
            if not epochs:
                stack.enter_context(patch.object(run_task, "train", nothing))
            out = stack.enter_context(tempfile.TemporaryDirectory(dir=folder))
            quiet = Console(quiet=True)
            return scale * _spent(
                lambda: launch.run("demo", Path(out) / "study", options, executor="inline", console=quiet)
            )

    return compute


@contextlib.contextmanager
def _without_checksums() -> Iterator[None]:
    with patch.object(checksums, "_checksum", lambda *_: "0" * 16):
        yield


@contextlib.contextmanager
def _without_ledger() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(patch.object(result_store, "row_digests", lambda table: [""] * len(table)))
        for name in ("row", "flush_if_due", "flush"):
            stack.enter_context(patch.object(SessionLedger, name, lambda *_: None))
        for name in ("join", "end"):
            stack.enter_context(patch.object(SessionLedger, name, lambda *_: Standing("", 0)))
        yield


PARTS: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "checksums": _without_checksums,
    "ledger": _without_ledger,
    "spot checks and reference step": contextlib.nullcontext,
}
"""Checks that can be left out, and contexts without them; the last check is turned off by an option of the study."""


if __name__ == "__main__":
    main(__doc__, measure)

"""A launcher without training: curves from a formula, rows in a real store, pauses, pruning, failures and kills."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ablations.planning.arms import arm_document
from ablations.sessions.result import SessionResult
from ablations.spec.study import StudyFile, read_study
from ablations.store import ResultStore
from aimlib.config import RunConfig
from aimlib.records import EPOCHS, RUN_COLUMNS, SCHEMA_VERSION, RunRecord
from aimlib.registry import datasets

Curve = Callable[[str, int, int], float]
"""Function that returns a run's validation accuracy, given its id, an epoch and the number of epochs."""


class Killed(BaseException):
    """Raised when the process is killed."""


@dataclass(frozen=True)
class PausingSession(SessionResult):
    """The launcher's result when it is asked to pause runs."""

    paused: Mapping[str, float | None] = field(default_factory=dict)


def share(*names: object) -> float:
    """Return a number between 0 and 1 that depends only on the names."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def crossing_curve(run_id: str, epoch: int, epochs: int) -> float:
    """Return a curve that rises to the run's own level at its own rate, so that curves cross. With 40 images, ties are
    common.
    """
    level, pace = 0.3 + 0.6 * share(run_id, "level"), 1 + 5 * share(run_id, "pace")
    return round(40 * level * (1 - math.exp(-pace * epoch / epochs))) / 40


@dataclass
class FakeLauncher:
    """Called like `ablations.sessions.launch.run`.

    Attributes
    ----------
    life : number of epochs that are computed before the process is killed; None means that it is never killed.
    failing : runs that fail, by seed and arm, with a probability of one.
    diverging : runs that diverge after an epoch, by run id.
    stopping : runs that stop early after an epoch, by arm.
    computed : (run id, epoch) in the order of computation, including computations before a kill.
    calls : arguments `until` and `prune` of every call.
    """

    curve: Curve = crossing_curve
    life: int | None = None
    failing: Callable[[str, int], bool] = lambda arm, seed: False
    diverging: Callable[[str, int], int | None] = lambda arm, seed: None
    stopping: Callable[[str], int | None] = lambda arm: None
    computed: list[tuple[str, int]] = field(default_factory=list)
    calls: list[tuple[dict[str, int], list[str]]] = field(default_factory=list)
    reverse: bool = False

    def __call__(
        self, study: Path, out: Path, /, *, until: Mapping[str, int] | None = None, prune: Collection[str] = ()
    ) -> PausingSession:
        until = dict(until or {})
        self.calls.append((until, list(prune)))
        file, store = _read(study, study.read_bytes()), ResultStore(out)
        runs = [
            (arm, seed, _parsed(json.dumps(arm_document(file, arm))).model_copy(update={"seed": seed}))
            for seed in file.spec.seeds
            for arm in file.spec.arms
        ]
        named = {run.run_id(_fingerprint(run)): (arm, seed, run) for arm, seed, run in runs}
        store.write_plan(_plan(file.spec, named))
        before = store.settled()
        failed: dict[str, str] = {}
        paused: dict[str, float | None] = {}
        assert set(until) <= set(named), "until contains planned runs"
        assert set(prune) <= set(named), "prune contains planned runs"
        for run_id, (arm, seed, run) in sorted(named.items(), reverse=self.reverse):
            if run_id in before:
                continue
            if run_id in prune:
                assert self._epochs(store, run_id), "only a paused run is pruned"
                self._commit(store, run_id, arm, run, "pruned")
                continue
            if self.failing(arm, seed):
                failed[run_id] = "RuntimeError: out of memory"
                continue
            if self._train(store, run_id, arm, run, until.get(run_id)):
                paused[run_id] = self.curve(run_id, self._epochs(store, run_id), run.training.epochs)
        store.compact(at_least=8)  # as in a session with many files: each remaining file is read in every round
        done = store.settled() & set(named)
        left = tuple(run_id for run_id in named if run_id not in done and run_id not in failed and run_id not in paused)
        return PausingSession(
            out, len(named), len(before & set(named)), len(done - before), failed, left, paused=paused
        )

    def _train(self, store: ResultStore, run_id: str, arm: str, run: RunConfig, until: int | None) -> bool:
        """Continue training; return whether the run has paused."""
        budget = run.training.epochs
        diverges, stops = self.diverging(arm, run.seed), self.stopping(arm)
        while (epochs := self._epochs(store, run_id)) < budget:
            if until is not None and epochs >= until:
                return True
            if diverges is not None and epochs >= diverges:
                self._commit(store, run_id, arm, run, "diverged")
                return False
            if stops is not None and epochs >= stops:
                break
            if self.life is not None:
                self.life -= 1
                if self.life < 0:
                    raise Killed
            self.computed.append((run_id, epochs + 1))
            (store.checkpoint_directory(run_id) / "epochs").write_text(str(epochs + 1))
        self._commit(store, run_id, arm, run, "finished")
        return False

    def _epochs(self, store: ResultStore, run_id: str) -> int:
        path = store.directory / "checkpoints" / run_id / "epochs"
        return int(path.read_text()) if path.exists() else 0

    def _commit(self, store: ResultStore, run_id: str, arm: str, run: RunConfig, status: str) -> None:
        epochs, budget = self._epochs(store, run_id), run.training.epochs
        curve = [self.curve(run_id, epoch, budget) for epoch in range(1, epochs + 1)]
        best = max(curve, default=0.1)
        selected = curve.index(best) + 1 if curve else 0
        empty: dict[str, Any] = {column.name: None for column in RUN_COLUMNS}
        now = datetime.now(UTC)
        trial = empty | {
            "run_id": run_id,
            "study": "fake",
            "arm": arm,
            "seed": run.seed,
            "status": status,
            "epochs_planned": budget,
            "epochs_run": epochs,
            "selected_epoch": selected,
            "selection_oracle": False,
            "test_accuracy": best,
            "validation_accuracy": best,
            "classes": 10,
            "test_images": 1,
            "seconds": float(epochs),
            "attempts": 1,
            "started_at": now,
            "finished_at": now,
            "data_fingerprint": _fingerprint(run),
            "config": run.model_dump_json(),
            "schema_version": SCHEMA_VERSION,
        }
        rows = [
            {column.name: None for column in EPOCHS}
            | {"epoch": number, "validation_accuracy": value, "test_accuracy": value, "seconds": 1.0}
            for number, value in enumerate(curve, start=1)
        ]
        predictions = np.zeros((max(epochs, 1 if selected == 0 else 0), 1), dtype=np.uint8)
        assert store.commit(RunRecord(trial, rows, predictions)), "settled twice"
        store.discard_checkpoint(run_id)


@functools.lru_cache(4)
def _read(study: Path, content: bytes) -> StudyFile:
    """Return a study; it is read once, because every rung of a batch reads the same file."""
    return read_study(study)


@functools.cache
def _parsed(document: str) -> RunConfig:
    return RunConfig.parse({**json.loads(document), "seed": 0})


_fingerprints: dict[str, str] = {}


def _fingerprint(run: RunConfig) -> str:
    key = run.data.model_dump_json()
    if key not in _fingerprints:
        _fingerprints[key] = datasets.create(run.data).load().fingerprint
    return _fingerprints[key]


def _plan(spec: Any, named: Mapping[str, tuple[str, int, RunConfig]]) -> dict[str, Any]:
    fingerprint = next(_fingerprint(run) for _, _, run in named.values())
    return {
        "name": spec.name,
        "claim": None,
        "created_at": "2026-01-01T00:00:00+00:00",
        "package_version": "0",
        "scope": {
            "dataset": "digits",
            "classes": 10,
            "image_size": 16,
            "backbone": "small_resnet",
            "protocol": "custom",
            "data_fingerprint": fingerprint,
        },
        "delta_pp": spec.delta_pp,
        "alpha": 0.05,
        "looks": spec.reading.stored,
        "further_block": spec.further_block,
        "arms": [
            {"name": name, "role": arm.role or "other", "of": arm.of, "levels": {}, "config": {}}
            for name, arm in spec.arms.items()
        ],
        "seeds": list(spec.seeds),
        "runs": [{"run_id": run_id, "arm": arm, "seed": seed} for run_id, (arm, seed, _) in named.items()],
    }


def ledger(directory: Path) -> dict[str, Any]:
    """Return every record of a search, by file name, without wall times."""
    found = {}
    for path in sorted((directory / "screening" / "rounds").glob("*.json")):
        content = json.loads(path.read_text())
        for trial in content.get("trials", []):
            trial["outcome"].pop("seconds")
        found[path.name] = content
    return found

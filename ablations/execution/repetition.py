"""Computing settled runs again, in a separate folder, and comparing them with the stored results.

The runs are selected by SHA-256 of the ledger's head, which covers all rows, and of the run ids, so whoever wrote the
rows could not choose which runs are repeated.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aimlib.config import RunConfig
from aimlib.errors import StoreError, UsageError, counted
from aimlib.own_code import parts
from aimlib.paths import Place
from aimlib.records import EPOCHS, RUN_COLUMNS, predictions_from
from analysis.reading.files import read_settled_of
from analysis.statistics.distributions import t_quantile

if TYPE_CHECKING:
    from ablations.execution.task import Task

LOSS_TOLERANCE, ACCURACY_TOLERANCE, MOST_TOLERANCE = 0.1, 0.05, 0.25
"""Tolerances on a different kind of device, which rounds sums differently; training amplifies the differences. The
first value is the relative tolerance for the loss in the first epoch. The test accuracy in the selected epoch may
differ by the second value, or by as much as two seeds of the arm may differ, but never by more than the third value."""
_RARELY, _FEWEST_RUNS = 0.01, 5
"""Probability that two seeds of an arm differ by more than `allowed_accuracies` returns, and the minimum number of runs
from which their spread is estimated."""
REPEATED = ("finished", "diverged")
"""States of the runs that can be drawn: all runs that ended normally."""
_CURVE = tuple(f"epochs.{column.name}" for column in EPOCHS if column.name != "seconds")
_PREDICTIONS = ("predictions", "predictions.bits", "predictions.epochs")
_STATED = ("status", "epochs_run", "selected_epoch")
_COLUMNS = [*(column.name for column in RUN_COLUMNS), *_CURVE, *_PREDICTIONS]
_DECIDE_BITS = ("python", "torch", "numpy")


@dataclass(frozen=True)
class Repetition:
    """A run that was computed again.

    Attributes
    ----------
    where : the device that computed it now, and the stored run's device if it is different.
    same_kind : whether the device, its reference step, the threads and the versions equal those of the stored run; the
        results must then be bitwise identical.
    compared : what was compared, in words.
    differences : how the results differ; empty if they are the same, or within the tolerance for a different device.
    not_repeated : why the run could not be computed again; empty if it was computed.
    """

    run_id: str
    arm: str
    seed: int
    where: str = ""
    same_kind: bool = False
    compared: str = ""
    differences: tuple[str, ...] = ()
    not_repeated: str = ""

    @property
    def is_reproduced(self) -> bool:
        """Whether the run was computed again with the stored results."""
        return not (self.differences or self.not_repeated)

    def __str__(self) -> str:
        run = f"run {self.run_id} ({self.arm}, seed {self.seed})"
        if self.not_repeated:
            return f"{run} was not computed again: {self.not_repeated}"
        how = "bitwise identical" if self.same_kind else "equal within the tolerance"
        found = f"differs: {'; '.join(self.differences)}" if self.differences else how
        return f"{run} was computed again on {self.where}: {found} ({self.compared})"


def drawn(run_ids: Iterable[str], number: int, key: str) -> list[str]:
    """Return the first `number` runs, ordered by the SHA-256 of the key and the run id."""
    return sorted(run_ids, key=lambda run_id: hashlib.sha256(f"{key}\n{run_id}".encode()).hexdigest())[:number]


def repeated(directory: Place, run_ids: Sequence[str], named: Mapping[str, tuple[str, int]]) -> list[Repetition]:
    """Compute runs again, one after another in this process, without changing the study, and compare the results.

    A run uses as many threads as before, and a GPU if it used one before and this machine has one.

    Parameters
    ----------
    named : arm and seed of every run, as listed in the plan.
    """
    rows = {row["run_id"]: row for row in read_settled_of(directory, _COLUMNS, run_ids).to_pylist()}
    allowed = allowed_accuracies(directory, named)
    return [_repeated(rows[run_id], *named[run_id], allowed[named[run_id][0]]) for run_id in run_ids]


def allowed_accuracies(directory: Place, named: Mapping[str, tuple[str, int]]) -> dict[str, float]:
    """Return, by arm, how much a run's test accuracy may differ on a different kind of device, as a fraction.

    On such a device, a run can differ at most like a new random draw. Its accuracy may therefore differ as much as the
    accuracies of two runs of the arm, which are assumed to be normally distributed: two runs differ by more than this
    limit only with a probability of .01 (Student's t). However, the limit is always between 5 and 25 percentage points.
    If the arm has fewer than five finished runs, the limit is 5 percentage points.
    """
    finished = read_settled_of(directory, ["run_id", "status", "test_accuracy"], list(named)).to_pylist()
    by_arm: dict[str, list[float]] = {arm: [] for arm, _ in named.values()}
    for row in finished:
        if row["status"] == "finished" and row["test_accuracy"] is not None:
            by_arm[named[row["run_id"]][0]].append(row["test_accuracy"])
    return {arm: _allowed(values) for arm, values in by_arm.items()}


def _allowed(accuracies: Sequence[float]) -> float:
    if len(accuracies) < _FEWEST_RUNS:
        return ACCURACY_TOLERANCE
    far = float(t_quantile(1 - _RARELY / 2, len(accuracies) - 1)) * float(np.std(accuracies, ddof=1)) * 2**0.5
    return min(MOST_TOLERANCE, max(ACCURACY_TOLERANCE, far))


def _repeated(stored: Mapping[str, Any], arm: str, seed: int, allowed: float) -> Repetition:
    run = Repetition(stored["run_id"], arm, seed)
    try:
        with tempfile.TemporaryDirectory() as folder:
            again = _computed(stored, Path(folder))
    except (UsageError, StoreError) as error:
        return _not_repeated(run, " ".join(str(error).split()))
    return _compared(run, stored, again, allowed)


def _not_repeated(run: Repetition, why: str) -> Repetition:
    return Repetition(run.run_id, run.arm, run.seed, not_repeated=why)


def _computed(stored: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Compute a run in a folder, and return its row.

    Raises
    ------
    UsageError: the run's plugins are not installed, its id is different now, its data is missing, or it fails.
    """
    from ablations.execution import run_task  # noqa: PLC0415 -- imports torch
    from ablations.store import ResultStore  # noqa: PLC0415

    store = ResultStore(folder / "study")
    ending = run_task.execute(_task(stored, store.location, store.mark()))
    rows = read_settled_of(folder / "study", _COLUMNS, [stored["run_id"]]).to_pylist()
    if not rows:
        raise UsageError(ending.reason or f"it ended as {ending.end}")
    return dict(rows[0])


def _task(stored: Mapping[str, Any], directory: str, mark: str) -> Task:
    import torch  # noqa: PLC0415

    from ablations.execution.task import Task  # noqa: PLC0415

    document = json.loads(stored["config"])
    config = RunConfig.parse(document)
    if config.run_id(stored["data_fingerprint"]) != stored["run_id"]:
        raise UsageError(
            "its configuration has a different run id here, because a component has a different version or different "
            "code; use the version of this package and the files with which it was computed"
        )
    return Task(
        directory=directory,
        mark=mark,
        study=str(stored["study"]),
        arm=str(stored["arm"]),
        run_id=stored["run_id"],
        fingerprint=stored["data_fingerprint"],
        config=document,
        costs={},
        device="cuda" if stored["device"] == "cuda" and torch.cuda.is_available() else "cpu",
        threads=stored["threads"] or 1,
        gpus=float(stored["device"] == "cuda"),
        integrity="off" if stored["reference"] is None else "reference",
        own_code=tuple(parts.payloads(config)),
    )


def _compared(run: Repetition, stored: Mapping[str, Any], again: Mapping[str, Any], far: float) -> Repetition:
    same = _kind(stored) == _kind(again)
    where = _named(again) if same else f"{_named(again)} (stored: {_named(stored)})"
    first, second = _predicted(stored), _predicted(again)
    what = f"{counted(first.shape[1], 'prediction')} of {counted(len(first), 'epoch')} and {len(_CURVE)} columns of the"
    if same:
        return Repetition(run.run_id, run.arm, run.seed, where, same, f"{what} curve", tuple(_bits(stored, again)))
    allowed = f"{LOSS_TOLERANCE:.0%} of the loss of epoch 1 and {100 * far:.1f} pp of test accuracy"
    number = int((first != second).sum()) if first.shape == second.shape else first.size
    others = f"{number:,} of {first.size:,} predictions differ"
    compared = f"{others}; allowed on a different device or with different versions: {allowed}"
    return Repetition(run.run_id, run.arm, run.seed, where, same, compared, tuple(_beyond(stored, again, far)))


def _kind(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return everything that affects the exact results: the device, the threads and the library versions.

    The result of the reference step distinguishes devices with the same name, such as the processors of virtual
    machines.
    """
    versions = json.loads(row["versions"] or "{}")
    device = row["device"], row["device_name"], row["reference"], row["threads"]
    return *device, *(versions.get(name) for name in _DECIDE_BITS)


def _named(row: Mapping[str, Any]) -> str:
    versions = json.loads(row["versions"] or "{}")
    threads = counted(int(row["threads"]), "thread")
    return f"{row['device']}, {row['device_name']}, {threads}, torch {versions.get('torch')}"


def _predicted(row: Mapping[str, Any]) -> Any:
    return predictions_from(row["predictions"], row["predictions.bits"], row["predictions.epochs"])


def _bits(stored: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[str]:
    """Yield descriptions of all results that are not bitwise identical."""
    for name in _STATED:
        if stored[name] != again[name]:
            yield f"{name} is {again[name]} instead of {stored[name]}"
    first, second = _predicted(stored), _predicted(again)
    if first.shape != second.shape:
        yield f"predictions cover {counted(len(second), 'epoch')} instead of {len(first)}"
    elif (differing := (first != second).sum(axis=1)).any():
        at = int(np.argmax(differing > 0))
        yield f"{differing[at]} of {first.shape[1]} predictions differ in epoch {at + 1}, the first epoch that differs"
    for name in _CURVE:
        one, other = (np.array(row[name] or [], dtype=np.float64) for row in (stored, again))
        if one.shape != other.shape or not np.array_equal(one, other, equal_nan=True):
            yield _difference(name, one, other)


def _difference(name: str, one: Any, other: Any) -> str:
    if one.shape != other.shape:
        return f"{name} has {len(other)} values instead of {len(one)}"
    differs = ~((one == other) | (np.isnan(one) & np.isnan(other)))
    at = int(np.argmax(differs))
    return f"{name} of epoch {at + 1} is {other[at]:.9g} instead of {one[at]:.9g}"


def _beyond(stored: Mapping[str, Any], again: Mapping[str, Any], far: float) -> Iterator[str]:
    """Yield the differences that a different kind of device cannot explain; `far` is the limit for accuracies."""
    if stored["status"] != again["status"]:
        yield f"status is {again['status']} instead of {stored['status']}"
    one, other = (np.array((row["epochs.train_loss"] or [np.nan])[:1], dtype=np.float64)[0] for row in (stored, again))
    if abs(other - one) > LOSS_TOLERANCE * abs(one):
        yield f"the training loss of epoch 1 is {other:.4g} instead of {one:.4g}"
    accuracy, found = stored["test_accuracy"], again["test_accuracy"]
    if None not in (accuracy, found) and abs(found - accuracy) > far:
        yield f"the test accuracy is {100 * found:.2f} % instead of {100 * accuracy:.2f} %"

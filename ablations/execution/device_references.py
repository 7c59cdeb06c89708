"""Whether a device's reference step is bitwise identical to that of the study's other devices of its kind.

Every device computes the reference step before its first run in a process, and the study stores the result. This
reveals a permanent error in a device even if the device repeats the error exactly. If only two devices are compared and
they disagree, neither is trusted: both are named, and both continue. A device that disagrees with itself or with a
majority of at least three devices does not compute any runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import torch

from ablations.execution.task import Task
from ablations.store import ResultStore
from ablations.store.references import StoredReference, device_key
from aimlib.config import RunConfig
from aimlib.errors import ComputingError, counted
from aimlib.training import reference_step
from aimlib.training.devices import device_name
from aimlib.training.loop import OnNotice
from aimlib.training.reference_step import Kind
from aimlib.training.reproducibility import reproducible

Verdict = Literal["agrees", "undecided", "others", "minority", "itself"]
"""agrees: the device agrees with all other devices. undecided: devices disagree, and there is no majority to show which
of them are wrong. others: the device agrees with a majority, and other devices do not. minority: the device disagrees
with a majority. itself: the device disagrees with its own earlier result.
"""
_MAJORITY_OF = 3
"""Minimum number of devices that form a majority."""


@dataclass(frozen=True)
class Judgement:
    """How a device's result compares with the results of the other devices of its kind.

    Attributes
    ----------
    others : devices whose result differs from this device's result.
    """

    verdict: Verdict
    others: tuple[StoredReference, ...] = ()


def judge(own: StoredReference, stored: Iterable[StoredReference]) -> Judgement:
    """Compare a device's result with the stored results of its kind.

    A device with several results has disagreed with itself, and therefore has no vote.
    """
    same_kind = [each for each in stored if each.kind == own.kind]
    digests: dict[str, set[str]] = {}
    for each in same_kind:
        if each.device != own.device:
            digests.setdefault(each.device, set()).add(each.digest)
    votes = Counter(next(iter(found)) for found in digests.values() if len(found) == 1)
    votes[own.digest] += 1
    chosen = next((digest for digest, number in votes.items() if 2 * number > votes.total()), None)
    others = tuple(each for each in same_kind if each.device != own.device and each.digest != own.digest)
    if votes.total() >= _MAJORITY_OF and chosen is not None:
        if chosen != own.digest:
            return Judgement("minority", tuple(each for each in others if each.digest == chosen))
        return Judgement("others", others) if others else Judgement("agrees")
    if any(each.device == own.device and each.digest != own.digest for each in same_kind):
        return Judgement("itself")
    return Judgement("undecided", others) if others else Judgement("agrees")


_computed: dict[tuple[Any, ...], StoredReference] = {}
"""Results computed in this process, by study, device and settings."""


def confirm(
    task: Task, config: RunConfig, device: torch.device, store: ResultStore, on_notice: OnNotice
) -> StoredReference:
    """Return the result of the reference step on this device; the step is computed once per process.

    Raises
    ------
    ComputingError: the device disagrees with itself or with a majority.
    """
    precision, tf32 = config.training.precision, config.training.tf32
    key = task.directory, task.mark, str(device), task.threads, precision, tf32
    if key not in _computed:
        with reproducible(threads=task.threads, tf32=tf32):
            kind = reference_step.kind_of(device, threads=task.threads, tf32=tf32, precision=precision)
            _computed[key] = _reference(kind, device, precision, store, on_notice)
    refuse_minority(_computed[key], device, store)
    return _computed[key]


def rounds_like(row: Mapping[str, Any], device: torch.device, *, precision: str, tf32: bool) -> bool:
    """Return whether this device rounds like the device that computed a run, as far as the row shows.

    The model name alone is not sufficient, because virtual machines report the same name for processors with different
    instructions. The result of the reference step here must therefore be bitwise identical to its result on the run's
    device. If the row contains no reference step, only the name is compared.

    Parameters
    ----------
    row : the columns device, device_name, threads and reference of the run.
    """
    if (row["device"], row["device_name"]) != (device.type, device_name(device)):
        return False
    if row["reference"] is None:
        return True
    with reproducible(threads=row["threads"], tf32=tf32):
        return str(row["reference"]) == reference_step.digest_of(device, precision)


def refuse_minority(own: StoredReference, device: torch.device, store: ResultStore) -> None:
    """Raise ComputingError if a majority of devices now disagrees with this device."""
    judgement = judge(own, store.references())
    if judgement.verdict == "minority":
        raise ComputingError(_text(judgement, reference_step.described(device), store))


def _reference(
    kind: Kind, device: torch.device, precision: str, store: ResultStore, on_notice: OnNotice
) -> StoredReference:
    """Compute the reference step, twice if its result is new or disagrees, and store the result."""
    name = reference_step.described(device)

    def computed() -> StoredReference:
        digest = reference_step.digest_of(device, precision)
        return StoredReference(kind.key, device_key(reference_step.identity_of(device)), digest)

    own, stored = computed(), store.references()
    if own not in stored or judge(own, stored).verdict != "agrees":
        again = computed()
        if again != own:
            if not _is_confirmed(again, stored):
                raise ComputingError(f"the reference step gave a different result on {name} when it was repeated")
            on_notice(
                f"the reference step gave a wrong result once on {name}, and the correct result when it was repeated"
            )
            own = again
    judgement = judge(own, stored)
    if judgement.verdict in ("itself", "minority"):
        raise ComputingError(_text(judgement, name, store))
    if own not in stored:
        content = {"name": name, "digest": own.digest, "kind": kind.text, "at": datetime.now(UTC).isoformat()}
        store.keep_reference(own, content)
        if judgement.verdict != "agrees":  # only once, because later processes on this device find its file
            on_notice(_text(judgement, name, store))
    return own


def _is_confirmed(own: StoredReference, stored: Iterable[StoredReference]) -> bool:
    """Return whether the stored result is the same and no majority has a different result."""
    same = any((each.kind, each.digest) == (own.kind, own.digest) for each in stored)
    return same and judge(own, stored).verdict in ("agrees", "others")


def notices(store: ResultStore) -> list[str]:
    """Return one sentence for every kind of device whose stored results disagree."""
    kinds: dict[str, dict[str, list[StoredReference]]] = {}
    for each in store.references():
        kinds.setdefault(each.kind, {}).setdefault(each.digest, []).append(each)
    return [
        f"devices of one kind computed the reference step differently: "
        f"{'; '.join(_names(those, store) for those in digests.values())}. Results of at least one of them may be wrong"
        for digests in kinds.values()
        if len(digests) > 1
    ]


def _names(references: Iterable[StoredReference], store: ResultStore) -> str:
    return " and ".join(sorted({store.reference_device(each) for each in references}))


def _text(judgement: Judgement, name: str, store: ResultStore) -> str:
    others = _names(judgement.others, store)
    match judgement.verdict:
        case "itself":
            return (
                f"{name} computed a different result for the reference step than before; if its hardware was replaced, "
                f"remove its file in {store.place / 'references'}"
            )
        case "minority":
            return (
                f"{name} computed a different result for the reference step than "
                f"{counted(len(judgement.others), 'device')} of its kind ({others})"
            )
        case "others":
            return f"{others} computed a different result for the reference step than most devices of that kind"
        case _:
            return (
                f"{name} and {others} are of the same kind but computed different results for the reference step, so "
                "one of them computes wrong numbers; a third device would show which. Both continue, and the column "
                "reference in the rows distinguishes their results"
            )

"""Which GPUs a session's runs use, and which GPUs are occupied because they are excluded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from ablations.execution.packing import Bundle, Slot
from ablations.execution.ray.placeholders import Placeholders


class Usage:
    """Tracks the GPUs of the runs that were submitted to Ray.

    Parameters
    ----------
    placeholders : occupy the excluded GPUs.
    names : names of Ray's GPUs, as runs first reported them; new names are added.
    """

    def __init__(self, placeholders: Placeholders, names: dict[Slot, str]) -> None:
        self._placeholders, self._names = placeholders, names
        self._bundles: dict[str, Bundle] = {}
        self._slots: dict[str, tuple[Slot, ...]] = {}
        self.left_out: frozenset[Slot] = frozenset()

    def gave(self, run_id: str, bundle: Bundle) -> None:
        """Record that a run is waiting for a worker."""
        self._bundles[run_id] = bundle

    def has(self, run_id: str, slots: Iterable[Sequence[str]]) -> None:
        """Record the GPUs that a run was given."""
        self._slots[run_id] = tuple(Slot(*slot) for slot in slots)

    def named(self, run_id: str, name: str) -> str:
        """Return the name under which a run's GPU was first reported, because the GPU's driver may lose the name.

        A run reports the first GPU that it was given.
        """
        slots = self._slots.get(run_id)
        return self._names.setdefault(slots[0], name) if slots and name else name

    def forget(self, run_id: str) -> None:
        """Record that a run has ended."""
        self._bundles.pop(run_id, None)
        for slot in self._slots.pop(run_id, ()):
            self._placeholders.freed(slot)

    def running(self) -> list[tuple[Bundle, tuple[Slot, ...]]]:
        """Return the resources of every run, and its GPUs if known."""
        return [(bundle, self._slots.get(run_id, ())) for run_id, bundle in self._bundles.items()]

    def leave_out(self, names: Collection[str]) -> bool:
        """Exclude exactly the GPUs with these names; return whether this changes anything."""
        slots = frozenset(slot for slot, name in self._names.items() if name in names)
        changed, self.left_out = slots != self.left_out, slots
        return changed

    def tick(self, *, trapped: bool = False) -> None:
        """Do the periodic work.

        Parameters
        ----------
        trapped : whether a run is waiting for a worker that Ray can place only on an excluded GPU. Tune does not return
            such a run. The run is therefore allowed to start on that GPU, where it ends immediately and becomes
            available again.
        """
        self._placeholders.occupy(() if trapped else self.left_out)
        self._placeholders.tick(self._used())

    def _used(self) -> Mapping[Slot, float]:
        used: defaultdict[Slot, float] = defaultdict(float)
        for run_id, slots in self._slots.items():
            for slot in slots:
                used[slot] += min(1.0, self._bundles.get(run_id, {}).get("GPU", 0.0))
        return used

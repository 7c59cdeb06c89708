"""Which runs fit at the same time on nodes with shared GPUs, device by device."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

Bundle = Mapping[str, float]
"""Resources of a run or a node, by Ray's names."""
_LITTLE = 1e-6


@dataclass(frozen=True)
class Slot:
    """A GPU as Ray identifies it: a node, and the number of the GPU on that node."""

    node: str
    device: str


@dataclass
class _Machine:
    amounts: dict[str, float]
    """Free amounts of all resources except GPUs."""
    free: dict[str, float] = field(default_factory=dict)
    """Free share of each device; devices whose number is not yet known have provisional names."""
    left: float = 0.0
    """Sum of the free shares."""

    def has_room_for(self, bundle: Bundle) -> bool:
        """Return whether all resources in a bundle, except its GPUs, are free."""
        return all(self.amounts.get(name, 0.0) >= amount - _LITTLE for name, amount in bundle.items() if name != "GPU")

    def take(self, bundle: Bundle) -> None:
        """Allocate all resources in a bundle, except its GPUs."""
        for name, amount in bundle.items():
            if name != "GPU":
                self.amounts[name] = self.amounts.get(name, 0.0) - amount

    def named(self, device: str) -> str | None:
        """Return a device's key; if the device is new, it gets the place of a device whose number is unknown.

        The result is None if the node does not have the device.
        """
        if device not in self.free:
            nameless = next((name for name in self.free if name.startswith("?")), None)
            if nameless is None:
                return None
            self.free[device] = self.free.pop(nameless)
        return device


class Packing:
    """Free resources on nodes.

    A fraction of a GPU never spans two GPUs, and more than one GPU means whole GPUs on one node. If a run has not
    reported its GPU yet, the GPU is predicted with Ray's own rule: the GPU on which the run leaves the least free.

    Parameters
    ----------
    nodes : resources of each node, by node id.
    left_out : GPUs that are excluded.
    running : resources of each run, and its GPUs if known.
    """

    def __init__(
        self,
        nodes: Mapping[str, Bundle],
        left_out: Collection[Slot] = (),
        running: Iterable[tuple[Bundle, tuple[Slot, ...]]] = (),
    ) -> None:
        self._machines = {
            node: _Machine(dict(has), {f"?{n}": 1.0 for n in range(int(has.get("GPU", 0)))})
            for node, has in nodes.items()
        }
        given = list(running)
        for bundle, slots in given:
            if slots:
                self._take_known(bundle, slots)
        for slot in left_out:
            self._leave_out(slot)
        for machine in self._machines.values():
            machine.left = sum(machine.free.values())
        self.unplaced = sum(not slots and not self.place(bundle) for bundle, slots in given)
        """Runs that are waiting for free resources."""

    def _take_known(self, bundle: Bundle, slots: tuple[Slot, ...]) -> None:
        for number, slot in enumerate(slots):
            machine = self._machines.get(slot.node)
            if machine is None:
                continue
            if number == 0:
                machine.take(bundle)
            device = machine.named(slot.device)
            if device is not None:
                machine.free[device] -= min(1.0, bundle.get("GPU", 0.0))

    def _leave_out(self, slot: Slot) -> None:
        machine = self._machines.get(slot.node)
        device = machine.named(slot.device) if machine is not None else None
        if machine is not None and device is not None:
            del machine.free[device]

    def place(self, bundle: Bundle) -> bool:
        """Allocate a run's resources on the GPU on which it leaves the least free; return whether the run fits."""
        gpus = bundle.get("GPU", 0.0)
        machines = (
            machine
            for machine in self._machines.values()
            if machine.left >= gpus - _LITTLE and machine.has_room_for(bundle)
        )
        machine, devices = _whole(machines, round(gpus)) if gpus > 1 else _best(machines, gpus)
        if machine is None:
            return False
        machine.take(bundle)
        machine.left -= gpus
        for device in devices:
            machine.free[device] -= min(1.0, gpus)
        return True


def _whole(machines: Iterable[_Machine], number: int) -> tuple[_Machine | None, list[str]]:
    """Return the first machine with enough free GPUs, and those GPUs."""
    for machine in machines:
        free = [device for device, share in machine.free.items() if share >= 1.0 - _LITTLE]
        if len(free) >= number:
            return machine, free[:number]
    return None, []


def _best(machines: Iterable[_Machine], share: float) -> tuple[_Machine | None, list[str]]:
    """Return the machine and the GPU on which a share leaves the least free; no GPU if none is requested."""
    best: tuple[float, _Machine | None, list[str]] = (float("inf"), None, [])
    for machine in machines:
        if not share:
            return machine, []
        for device, free in machine.free.items():
            if share - _LITTLE <= free < best[0]:
                best = (free, machine, [device])
        if best[0] <= share + _LITTLE:
            break  # no GPU can be filled more completely
    return best[1], best[2]

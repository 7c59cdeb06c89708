"""Which devices failed, and which of them are excluded for the rest of a session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

NOT_REPEATABLE = "give its arm integrity: off, or draw only from torch's global generators and keep state in buffers"
"""What to do about an arm that never computes the same result from the same state."""
_TEST_HARDWARE = (
    "test its memory and processors (memtest86+, stress-ng --verify, nvidia-smi -q -d ECC); the same command "
    "continues from here, even on different hardware"
)
_SAME_FAULT_S = 5.0
"""Period in seconds within which several failures of one GPU count as one: under MPS, a fault in one client terminates
all clients of the GPU."""
_FAULTS = 2
"""Number of faults after which a device is excluded from the session."""


@dataclass
class _Fault:
    at: float
    reason: str
    never_repeats: bool = False
    runs: set[str] = field(default_factory=set)


@dataclass
class Device:
    """A device on which attempts failed.

    Attributes
    ----------
    name : its UUID, or another unique name.
    host : its machine.
    """

    name: str
    host: str
    faults: list[_Fault] = field(default_factory=list)

    @property
    def is_left_out(self) -> bool:
        """Whether the device failed so often that no more runs start on it."""
        return len(self.faults) >= _FAULTS

    def __str__(self) -> str:
        where = f" on {self.host}" if self.host and self.host not in self.name else ""
        return f"{self.name}{where}"


class DeviceFailures:
    """The devices on which attempts ended with a device error."""

    def __init__(self) -> None:
        self._devices: dict[str, Device] = {}

    @property
    def left_out(self) -> Mapping[str, Device]:
        """Devices on which no more runs start, by name."""
        return {name: device for name, device in self._devices.items() if device.is_left_out}

    def failed(
        self, name: str, host: str, run_id: str, reason: str, now: float, *, never_repeats: bool = False
    ) -> Device | None:
        """Record a failure; return the device if it is excluded from now on.

        Parameters
        ----------
        now : monotonic seconds.
        never_repeats : whether a step had a different result in every repetition.
        """
        device = self._devices.setdefault(name, Device(name, host))
        if device.faults and now - device.faults[-1].at < _SAME_FAULT_S:
            device.faults[-1].runs.add(run_id)
            return None
        device.faults.append(_Fault(now, reason, never_repeats, {run_id}))
        return device if len(device.faults) == _FAULTS else None

    def met_alone(self, run_id: str) -> list[str]:
        """Return the devices on which this run failed and no other run did."""
        return [
            name
            for name, device in self._devices.items()
            if device.faults and all(fault.runs == {run_id} for fault in device.faults)
        ]

    def forgive(self, run_id: str) -> list[Device]:
        """Forget a run's faults on devices where no other run failed; return the devices that may be used again."""
        before = self.left_out
        for device in self._devices.values():
            device.faults = [fault for fault in device.faults if fault.runs != {run_id}]
        return [device for device in before.values() if not device.is_left_out]

    def runs(self) -> Counter[str]:
        """Return the number of faults on excluded devices, by run id."""
        devices = self.left_out.values()
        return Counter(run for device in devices for fault in device.faults for run in fault.runs)

    def described(self) -> str:
        """Return the excluded devices, each with the reason for its last fault."""
        return "; ".join(f"{device} ({device.faults[-1].reason})" for device in self.left_out.values())

    def advice(self) -> str:
        """Return advice about excluded devices that computed wrong results: whether to check the devices or an arm."""
        faults = [fault for device in self.left_out.values() for fault in device.faults]
        unrepeatable = sum(fault.never_repeats for fault in faults)
        if not unrepeatable:
            return _TEST_HARDWARE
        which = "these" if unrepeatable == len(faults) else f"{unrepeatable} of these"
        where = "" if len(self.left_out) == 1 else f" on each of {len(self.left_out)} devices"
        return (
            f"{which} steps gave different results in every repetition{where}, which points to the code of their arm: "
            f"{NOT_REPEATABLE}. Otherwise {_TEST_HARDWARE}"
        )

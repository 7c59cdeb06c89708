"""The memory of the forward pass that is under way: written by source and updates, read by readers."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class MemoryView(Protocol):
    """What a layer reads its memory from."""

    def read(self) -> Tensor:
        """Return the memory [1 or batch, channels, rows, columns] as it is now."""


class CurrentMemory:
    """Holds the current memory [1 or batch, channels, rows, columns] of one network.

    Readers deep inside a network share this object with the network that drives them, so no forward
    signature between the two has to change. It holds nothing between forward passes.
    """

    def __init__(self) -> None:
        self._value: Tensor | None = None

    def read(self) -> Tensor:
        """Return the current memory.

        Raises
        ------
        RuntimeError: no forward pass of the surrounding AimNetwork is under way.
        """
        if self._value is None:
            raise RuntimeError(
                "a layer asked for the memory outside a forward pass of its AimNetwork; "
                "call the network that attach_memory returned, not the one that was given to it"
            )
        return self._value

    def write(self, memory_NCHW: Tensor) -> None:
        """Make `memory` the current one."""
        self._value = memory_NCHW

    def clear(self) -> None:
        """Forget the memory at the end of a forward pass."""
        self._value = None

"""The memory of the current forward pass, written by the source and the updates and read by the readers."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class MemoryView(Protocol):
    """Provides the memory that a layer reads."""

    def read(self) -> Tensor:
        """Return the current memory [1 or batch, channels, rows, columns]."""


class CurrentMemory:
    """Contains one network's current memory [1 or batch, channels, rows, columns].

    The surrounding network shares this object with readers deep inside it, so the forward methods in between do not
    need an additional argument. The object is empty between forward passes.
    """

    def __init__(self) -> None:
        self._value: Tensor | None = None

    def read(self) -> Tensor:
        """Return the current memory.

        Raises
        ------
        RuntimeError: no forward pass of the surrounding AimNetwork is in progress.
        """
        if self._value is None:
            raise RuntimeError(
                "a layer read the memory outside a forward pass of its AimNetwork; "
                "call the network that attach_memory returned, not the network that was passed to it"
            )
        return self._value

    def write(self, memory_NCHW: Tensor) -> None:
        """Set the current memory."""
        self._value = memory_NCHW

    def clear(self) -> None:
        """Clear the memory at the end of a forward pass."""
        self._value = None

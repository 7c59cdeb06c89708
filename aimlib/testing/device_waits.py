"""Find out, without a GPU, whether the host waits for the device in a step; tensors are on the meta device instead.

The operations alone show whether a host would wait for a GPU. The host waits when it reads a number from the GPU, when
the size of a result depends on values on the GPU (boolean indexing), and when it copies data from RAM that is not
pinned. Indices passed as lists are also copied. On a GPU, `torch.cuda.set_sync_debug_mode` reports the same operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aimlib.training.optimizers import on_device

DEVICE = torch.device("meta")
"""The device that represents a GPU; its values cannot be read."""

_aten = torch.ops.aten
WAITING = frozenset(
    {
        _aten._local_scalar_dense,
        _aten.nonzero,
        _aten.masked_select,
        _aten.equal,
        _aten.is_nonzero,
        _aten._unique2,
        _aten.unique_dim,
        _aten.unique_consecutive,
    }
)
"""Operations with a result that the host must read."""
_INDEXING = frozenset({_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_})
_CHANGING = frozenset({_aten._fused_adam_, _aten._fused_adamw_, _aten._fused_sgd_})
"""Operations that modify their arguments, do not return anything, and do not exist for the meta device."""
_COPYING = frozenset({_aten._to_copy, _aten.copy_})


class DeviceWaits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records every operation that would make the host wait for the device.

    Parameters
    ----------
    indices : tensors that are already on the device and serve as indices.

    Attributes
    ----------
    found : descriptions of these operations.
    """

    def __init__(self, *indices: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []
        self._pinned: dict[int, torch.UntypedStorage] = {}
        self._seen = {index.untyped_storage()._cdata: index.untyped_storage() for index in indices}

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: tuple[Any, ...] = (), options: dict[str, Any] | None = None
    ) -> Any:
        options = options or {}
        name = operation.overloadpacket
        if name is _aten._pin_memory:
            return self._pin(arguments[0])
        if name is _aten.is_pinned:
            return self._is_pinned(arguments[0])
        if name in _CHANGING and any(_is_there(leaf) for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)):
            return None
        reason = self._reason(name, arguments, options)
        if reason:
            self.found.append(f"{operation}: {reason}")
        returned = operation(*arguments, **options)
        storages = [leaf.untyped_storage() for leaf in tree_leaves(returned) if isinstance(leaf, Tensor)]
        self._seen |= {storage._cdata: storage for storage in storages}
        return returned

    def _reason(self, name: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> str:
        tensors = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]
        if name in WAITING:
            return "the host reads its result" if any(map(_is_there, tensors)) else ""
        if name in _INDEXING and tensors and _is_there(tensors[0]):
            indices = [leaf for leaf in tree_leaves(arguments[1]) if isinstance(leaf, Tensor)]
            if any(index.dtype in {torch.bool, torch.uint8} for index in indices):
                return "an index by truth values"
            # Torch converts a list to a tensor and copies it to the device without any visible operation.
            made = all(_is_there(index) and index.untyped_storage()._cdata in self._seen for index in indices)
            return "" if made else "an index that comes from the host"
        if name in _COPYING:
            return self._copy_waits(name, arguments, options)
        return ""

    def _copy_waits(self, name: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> str:
        """Return why a copy makes the host wait; empty if the host does not wait."""
        source = arguments[1] if name is _aten.copy_ else arguments[0]
        to = arguments[0].device if name is _aten.copy_ else torch.device(options.get("device") or source.device)
        given = arguments[2] if name is _aten.copy_ and len(arguments) > 2 else options.get("non_blocking", False)
        if _is_there(source):
            return "" if to == DEVICE else "a copy to the host"
        if to != DEVICE:
            return ""
        return "" if given and self._is_pinned(source) else "a copy from memory that is not pinned"

    def _pin(self, tensor: Tensor) -> Tensor:
        pinned = tensor.clone()
        storage = pinned.untyped_storage()
        self._pinned[storage._cdata] = storage
        return pinned

    def _is_pinned(self, tensor: Tensor) -> bool:
        return not _is_there(tensor) and tensor.untyped_storage()._cdata in self._pinned


@contextmanager
def optimizers_on(*kinds: str) -> Iterator[None]:
    """Let optimizers accept tensors for options that change if parameters are on these device types, as on a GPU."""
    import torch.optim.adam as adam  # noqa: PLC0415, PLR0402 -- the package has functions with these names
    import torch.optim.optimizer as optimizer  # noqa: PLC0415, PLR0402

    with ExitStack() as stack:
        for owner, name in (
            (adam, "_get_capturable_supported_devices"),
            (optimizer, "_get_fused_kernels_supported_devices"),
        ):
            stack.enter_context(mock.patch.object(owner, name, _extended(getattr(owner, name), kinds)))
        stack.enter_context(mock.patch.object(on_device, "DEVICES", on_device.DEVICES | set(kinds)))
        yield


def _extended(known: Callable[..., list[str]], kinds: tuple[str, ...]) -> Callable[..., list[str]]:
    return lambda *given, **named: [*known(*given, **named), *kinds]


def _is_there(tensor: Tensor) -> bool:
    return tensor.device.type == DEVICE.type

"""A CPU substitute for CUDA graphs: captures a step operation by operation, and replays it on the same tensors.

The substitute replaces the entry points to CUDA (graphs, streams, the current device), but no part of torch above them.
The context manager `torch.cuda.graph`, autograd, autocast and the optimizers run as they do on a GPU. As on a GPU, a
capture does not leave lasting results. Python code is executed only during the capture, so Python numbers keep their
values. A replay uses the storage of the captured tensors. Generators must be registered, and replays advance them.
Waiting for the device raises an error. The substitute does not show whether cuDNN and cuBLAS choose the same kernels
inside and outside a capture.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aimlib.testing.device_waits import WAITING, optimizers_on
from aimlib.training.steps import graph

_aten = torch.ops.aten


class RecordedGraph:
    """Replaces `torch.cuda.CUDAGraph`."""

    def __init__(self, keep_graph: bool = False) -> None:
        self._generators: list[torch.Generator] = [torch.default_generator]
        self._recorder: _Recorder | None = None
        self._pool: tuple[int, int] = (0, id(self))
        self.replays = 0
        self.error_mode = ""

    def register_generator_state(self, generator: torch.Generator) -> None:
        """Let captured operations draw from `generator`; as on a GPU, the default generator is already registered."""
        self._generators.append(generator)

    def capture_begin(self, pool: tuple[int, int] | None = None, capture_error_mode: str = "global", **_: Any) -> None:
        """Start recording operations; `capture_error_mode` determines what other threads may do meanwhile."""
        self.error_mode = capture_error_mode
        self._pool = pool or self._pool
        under_way.pools.add(self._pool)
        under_way.holds_generators = True
        self._recorder = _Recorder(self._generators)
        self._recorder.__enter__()  # type: ignore[no-untyped-call]

    def capture_end(self) -> None:
        """Stop recording, and undo what was computed meanwhile.

        Raises
        ------
        RuntimeError: an operation was not permitted; torch then still treats the capture as active.
        """
        assert self._recorder is not None
        self._recorder.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        self._recorder.take_back()
        if self._recorder.is_invalid:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        under_way.pools.discard(self._pool)
        under_way.holds_generators = False

    def replay(self) -> None:
        """Repeat the recorded operations on the recorded tensors."""
        assert self._recorder is not None
        self.replays += 1
        self._recorder.replay()

    def reset(self) -> None:
        """Discard the recording."""
        self._recorder = None

    def pool(self) -> tuple[int, int]:
        """Return an identifier for the capture's memory pool."""
        return self._pool


class UnderWay:
    """Captures that torch regards as active; in torch up to version 2.13, these include failed captures.

    Attributes
    ----------
    pools : device memory pools of captures; while there is one, torch does not release device memory.
    holds_generators : whether generators refuse to draw outside a capture, as in torch 2.11.
    """

    def __init__(self) -> None:
        self.pools: set[tuple[int, int]] = set()
        self.holds_generators = False

    def forget(self) -> None:
        """Reset to the state of a new process."""
        self.pools.clear()
        self.holds_generators = False

    def end(self, _: int, pool: tuple[int, int]) -> None:
        """Replace `torch._C._cuda_endAllocateToPool`."""
        if pool not in self.pools:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.pools.remove(pool)

    def empty_cache(self) -> None:
        """Replace `torch.cuda.empty_cache`."""
        if self.pools:
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")


under_way = UnderWay()


@dataclass(frozen=True)
class _Call:
    """An operation with its arguments and the tensors that it allocated, keyed by their position among the results."""

    operation: Any
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    allocated: tuple[tuple[int, Tensor], ...]


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records operations, and saves the previous contents of the storages that they modify."""

    def __init__(self, generators: list[torch.Generator]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._generators = generators
        self._calls: list[_Call] = []
        self._own: set[int] = set()
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self._drawn = torch.get_rng_state()
        self.is_invalid = False

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: tuple[Any, ...] = (), options: dict[str, Any] | None = None
    ) -> Any:
        options = options or {}
        self._refuse(operation, arguments, options)
        given = _storages((arguments, options))
        for key, storage in given.items():
            if key not in self._own and key not in self._before:
                self._before[key] = (storage, storage.clone())  # type: ignore[no-untyped-call]
        returned = operation(*arguments, **options)
        self._own |= set(_storages(returned)) - set(given)
        leaves = enumerate(tree_leaves(returned))
        allocated = tuple((at, leaf) for at, leaf in leaves if isinstance(leaf, Tensor) and _key(leaf) not in given)
        if allocated or operation._schema.is_mutable:  # an operation that only returns a view needs no replay
            self._calls.append(_Call(operation, arguments, options, allocated))
        return returned

    def _refuse(self, operation: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        name = getattr(operation, "overloadpacket", operation)
        by_truth = name is _aten.index and any(_is_truth(leaf) for leaf in tree_leaves(arguments[1:]))
        if name in WAITING or by_truth:
            self.is_invalid = True
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({operation})")
        generator = options.get("generator")
        if generator is not None and generator not in self._generators:
            raise RuntimeError("Attempt to increase offset for a CUDA generator not in capture mode.")

    def take_back(self) -> None:
        """Restore the storages and the generator to their states before the capture."""
        for storage, before in self._before.values():
            storage.copy_(before)
        self._before.clear()
        torch.set_rng_state(self._drawn)

    @torch.no_grad()
    def replay(self) -> None:
        for call in self._calls:
            again = call.operation(*call.arguments, **call.options)
            if call.allocated:
                computed = tree_leaves(again)
                for at, recorded in call.allocated:
                    _put(computed[at], recorded)


def _put(computed: Tensor, recorded: Tensor) -> None:
    """Write a computed value into the storage of a recorded tensor."""
    if computed.stride() == recorded.stride() and computed.untyped_storage().nbytes() == _bytes(recorded):
        recorded.untyped_storage().copy_(computed.untyped_storage())
    else:
        recorded.copy_(computed)


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _storages(values: Any) -> dict[int, torch.UntypedStorage]:
    """Return the storages of all tensors among the values."""
    found = [leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
    return {storage._cdata: storage for storage in found}


def _is_truth(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bool


class _Stream:
    """A stream of a device that executes all operations in order."""

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self.device, self.priority = device, priority

    def wait_stream(self, other: Any) -> None:
        """Do nothing, because there is nothing to wait for."""

    def wait_event(self, event: Any) -> None:
        """Do nothing, because there is nothing to wait for."""

    def record_event(self, event: Any = None) -> Any:
        """Return an event."""
        return event

    def synchronize(self) -> None:
        """Do nothing, because there is nothing to wait for."""


class _Current:
    """Tracks the current stream."""

    def __init__(self) -> None:
        self.stream = _Stream()

    def on(self, stream: _Stream) -> _On:
        """Replace `torch.cuda.stream`."""
        return _On(self, stream)


class _On:
    """Makes a stream current; as in torch, a capture that cannot be ended is still active after this context."""

    def __init__(self, current: _Current, stream: _Stream) -> None:
        self._current, self._stream, self._before = current, stream, current.stream

    def __enter__(self) -> None:
        self._before, self._current.stream = self._current.stream, self._stream

    def __exit__(self, *_: object) -> None:
        self._current.stream = self._before


@contextmanager
def cuda_graphs_on_cpu() -> Iterator[None]:
    """Allow steps to be captured and replayed on the CPU, and CPU optimizers to accept tensors as options."""
    current = _Current()
    under_way.forget()
    with ExitStack() as stack:

        def replace(owner: Any, name: str, by: Any, *, create: bool = False) -> None:
            stack.enter_context(mock.patch.object(owner, name, by, create=create))

        replace(torch.cuda, "CUDAGraph", RecordedGraph)
        replace(torch.cuda, "Stream", _Stream)
        replace(torch.cuda, "stream", current.on)
        replace(torch.cuda, "current_stream", lambda _=None: current.stream)
        replace(torch.cuda, "current_device", lambda: 0)
        replace(torch.cuda, "default_generators", (torch.default_generator,))
        replace(torch.cuda, "synchronize", lambda _=None: None)
        replace(torch.cuda, "empty_cache", under_way.empty_cache)
        replace(torch._C, "_cuda_endAllocateToPool", under_way.end, create=True)
        replace(torch._C, "_cuda_releasePool", lambda *_: None, create=True)
        replace(torch._C, "_host_emptyCache", lambda: None, create=True)
        replace(torch.cuda.graph, "default_capture_stream", None)
        stack.enter_context(optimizers_on("cpu"))
        replace(graph, "DEVICES", graph.DEVICES | {"cpu"})
        yield

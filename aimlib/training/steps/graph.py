"""A step captured once as a CUDA graph and replayed: one launch in place of a thousand.

A graph repeats the kernels of the step that was captured on the memory that they had then. So a batch is copied into
fixed tensors before it is replayed; numbers that change from step to step (learning rates, counts of steps) are tensors
on the device (`aimlib.training.optimizers.on_device`); generators are registered with the graph, which advances them as
the step itself does; and what the steps before the capture changed is put back. A batch of another size is trained on
without the graph, on the same state.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

import torch
from torch import Tensor

from aimlib.errors import UsageError
from aimlib.training.steps.base import Computation, Inputs, Step
from aimlib.training.steps.eager import EagerStep
from aimlib.training.steps.snapshot import Snapshot

DEVICES: set[str] = {"cuda"}
"""Types of device whose steps can be captured. A stand-in for CUDA graphs adds its own."""

_WARM_UP = 3
"""Steps before the capture, in which libraries choose their kernels and allocate their workspaces."""


class GraphStep(Step):
    """A captured step for batches of full size.

    Parameters
    ----------
    computation : its optimizer takes its learning rates from the device.

    Raises
    ------
    UsageError: the device or the optimizer cannot; see `obstacle`.
    """

    name = "graph"

    def __init__(self, computation: Computation) -> None:
        super().__init__(computation)
        reason = obstacle(computation)
        if reason:
            raise UsageError(f"training.step: graph: {reason}; set training.step to auto or eager")
        self._eager = EagerStep(computation)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: Inputs | None = None
        self._outputs: tuple[Tensor, Tensor] | None = None

    def take(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Train on a batch; return its mean loss and its number of right answers, which the next step overwrites."""
        if self._graph is None:
            if len(inputs.labels_B) != self.computation.options.batch_size:  # the first one after a pause
                return self._eager.take(inputs)
            self.capture(inputs)
        assert self._graph is not None
        assert self._inputs is not None
        assert self._outputs is not None
        if not _same_shapes(inputs, self._inputs):
            return self._eager.take(inputs)
        for fixed, given in zip(self._inputs.tensors(), inputs.tensors(), strict=True):
            fixed.copy_(given, non_blocking=True)
        self.computation.write_rates()
        self._graph.replay()
        return self._outputs

    def capture(self, inputs: Inputs) -> None:
        """Capture the step for batches like `inputs`; what the run has computed stays as it is.

        Raises
        ------
        RuntimeError: something in the step cannot be captured; what the run has computed is as it was.
        """
        computation = self.computation
        fixed = Inputs(*(None if tensor is None else tensor.clone() for tensor in vars(inputs).values()))  # type: ignore[arg-type]
        before = Snapshot(computation)
        computation.write_rates()
        try:
            with _without_autocast_cache(), _made_current(computation.device):
                stream = torch.cuda.Stream(computation.device)  # type: ignore[no-untyped-call]
                _warm_up(computation, fixed, stream)
                before.put_back()
                graph = torch.cuda.CUDAGraph()
                _register_generators(graph, computation.device)
                with _capturing(graph, stream, computation.device):
                    outputs = computation.update(fixed)
        except BaseException:
            before.put_back()
            raise
        self._graph, self._inputs, self._outputs = graph, fixed, outputs


def obstacle(computation: Computation) -> str:
    """Return why a step cannot be captured, or an empty string."""
    if computation.device.type not in DEVICES:
        return f"a {computation.device.type} device captures no CUDA graphs"
    if computation.rates is None:
        return (
            f"optimizer {computation.options.optimizer.name!r} takes its learning rate from Python, so that a graph "
            f"would keep the first one forever"
        )
    return ""


def is_capture_failure(error: BaseException) -> bool:
    """Return whether an error says that something in a step cannot be captured.

    Other errors would end eager steps, too.

    Torch's and CUDA's messages of that kind all speak of the capture, and have no type of their own.
    """
    return not is_out_of_memory(error) and "captur" in str(error).lower()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory was lacking: torch's allocator says so, or CUDA where it makes a graph of the capture."""
    return isinstance(error, torch.OutOfMemoryError) or "CUDA error: out of memory" in str(error)


def _made_current(device: torch.device) -> AbstractContextManager[None]:
    """Let torch capture on this device, whichever is current."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _warm_up(computation: Computation, inputs: Inputs, stream: torch.cuda.Stream) -> None:
    """Take steps on the stream of the capture."""
    stream.wait_stream(torch.cuda.current_stream(computation.device))
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            computation.update(inputs)
    torch.cuda.current_stream(computation.device).wait_stream(stream)


@contextmanager
def _capturing(graph: torch.cuda.CUDAGraph, stream: torch.cuda.Stream, device: torch.device) -> Iterator[None]:
    """Capture what is launched meanwhile; where that fails, leave torch as it was and raise what went wrong first.

    What other threads do is no part of the capture: one may be copying the next batch to the device.
    """
    pool, first = torch.cuda.graph_pool_handle(), None
    try:
        # Where a capture fails, torch stays on its stream: hence that context around it.
        with torch.cuda.stream(stream), torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
            try:
                yield
            except BaseException as error:
                first = error
                raise
    except BaseException:
        _forget(graph, pool, stream, device.index or 0)
        if first is not None:
            raise first from None
        raise


def _forget(graph: torch.cuda.CUDAGraph, pool: tuple[int, int], stream: torch.cuda.Stream, device: int) -> None:
    """Let torch forget a capture that failed, as 2.14 does by itself.

    To earlier versions it stays under way: their allocator gives no memory back in this process any more, and the
    generator of 2.11 refuses to draw until the end of another capture, here of nothing.
    """
    graph.reset()
    with suppress(RuntimeError):
        torch._C._cuda_endAllocateToPool(device, pool)  # raises where it is forgotten already
        torch._C._cuda_releasePool(device, pool)
        with warnings.catch_warnings(), torch.cuda.stream(stream):
            warnings.simplefilter("ignore")  # the graph is empty
            nothing = torch.cuda.CUDAGraph()
            nothing.capture_begin(capture_error_mode="thread_local")
            nothing.capture_end()


def _register_generators(graph: torch.cuda.CUDAGraph, device: torch.device) -> None:
    """Register the generator that layers draw from: every replay then continues from where it stands."""
    index: int | None = device.index
    number = torch.cuda.current_device() if index is None else index
    graph.register_generator_state(torch.cuda.default_generators[number])


@contextmanager
def _without_autocast_cache() -> Iterator[None]:
    """Let autocast cast weights anew in every step: a cast kept from before would be captured as it was then."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


def _same_shapes(given: Inputs, fixed: Inputs) -> bool:
    return [tensor.shape for tensor in given.tensors()] == [tensor.shape for tensor in fixed.tensors()]

"""A step that is captured once as a CUDA graph and replayed: one launch instead of a thousand.

A graph repeats the captured step's kernels on the same memory. Therefore, a batch is copied into fixed tensors before
the replay, and numbers that change from step to step (learning rates, step counts) are tensors on the device
(`aimlib.training.optimizers.on_device`). Generators are registered with the graph, which advances them as the step
itself does. Changes made by the steps before the capture are undone. A batch of a different size is trained without the
graph, on the same state.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

import torch
from torch import Tensor

from aimlib.errors import UsageError
from aimlib.registry import callbacks
from aimlib.training.steps.base import Computation, Inputs, Step
from aimlib.training.steps.eager import EagerStep
from aimlib.training.steps.snapshot import Snapshot

DEVICES: set[str] = {"cuda"}
"""Device types on which steps can be captured. A stand-in for CUDA graphs in tests adds its own type."""

_WARM_UP = 3
"""Number of steps before the capture, in which libraries choose their kernels and allocate their workspaces."""


class GraphStep(Step):
    """A captured step for full batches.

    Parameters
    ----------
    computation : the computation to capture; its optimizer reads the learning rates from the device.

    Raises
    ------
    UsageError: the device or the optimizer does not support graphs; see `obstacle`.
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
        """Train on a batch.

        Return its mean loss and its number of correct predictions, which the next step overwrites.
        """
        if self._graph is None:
            if len(inputs.labels_B) != self.computation.options.batch_size:  # the first step after a pause
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
        """Capture the step for batches like `inputs`; the state of the run does not change.

        Raises
        ------
        RuntimeError: something in the step cannot be captured; the state of the run has not changed.
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
        return f"a {computation.device.type} device cannot capture CUDA graphs"
    if computation.rates is None:
        return (
            f"optimizer {computation.options.optimizer.name!r} takes its learning rate from Python, so a graph "
            f"would always use the first rate"
        )
    if computation.loss is not None and not computation.loss.capturable:
        return f"loss {computation.loss.config.name!r} reads values back from the device"
    for each in computation.options.callbacks:
        if callbacks.get(each.name).reads_gradients:
            return f"callback {each.name!r} reads gradients, which are not available at the parameters after a graph"
    return ""


def is_capture_failure(error: BaseException) -> bool:
    """Return whether an error means that part of a step cannot be captured.

    Other errors would also occur in eager steps.

    Torch and CUDA have no exception type for capture failures, but all of the messages mention the capture.
    """
    return not is_out_of_memory(error) and "captur" in str(error).lower()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether torch's allocator or CUDA's graph instantiation reports insufficient memory."""
    return isinstance(error, torch.OutOfMemoryError) or "CUDA error: out of memory" in str(error)


def _made_current(device: torch.device) -> AbstractContextManager[None]:
    """Make this the current device, so that torch captures on it."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _warm_up(computation: Computation, inputs: Inputs, stream: torch.cuda.Stream) -> None:
    """Take steps on the capture's stream."""
    stream.wait_stream(torch.cuda.current_stream(computation.device))
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            computation.update(inputs)
    torch.cuda.current_stream(computation.device).wait_stream(stream)


@contextmanager
def _capturing(graph: torch.cuda.CUDAGraph, stream: torch.cuda.Stream, device: torch.device) -> Iterator[None]:
    """Capture everything launched within the block; on failure, restore torch's state and raise the first error.

    Other threads are not part of the capture, because one may be copying the next batch to the device.
    """
    pool, first = torch.cuda.graph_pool_handle(), None
    try:
        # If a capture fails, torch stays on the capture's stream; hence the surrounding context.
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
    """Make torch forget a failed capture, as torch 2.14 does on its own.

    In earlier versions, the failed capture stays active, and the allocator no longer releases memory in this process.
    In torch 2.11, the generator also refuses to draw until another capture, here an empty one, has ended.
    """
    graph.reset()
    with suppress(RuntimeError):
        torch._C._cuda_endAllocateToPool(device, pool)  # raises if the capture is already forgotten
        torch._C._cuda_releasePool(device, pool)
        with warnings.catch_warnings(), torch.cuda.stream(stream):
            warnings.simplefilter("ignore")  # the graph is empty
            nothing = torch.cuda.CUDAGraph()
            nothing.capture_begin(capture_error_mode="thread_local")
            nothing.capture_end()


def _register_generators(graph: torch.cuda.CUDAGraph, device: torch.device) -> None:
    """Register the generator from which layers draw, so that every replay continues from its current state."""
    index: int | None = device.index
    number = torch.cuda.current_device() if index is None else index
    graph.register_generator_state(torch.cuda.default_generators[number])


@contextmanager
def _without_autocast_cache() -> Iterator[None]:
    """Make autocast cast weights in every step, because a cached cast would be captured with its old values."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


def _same_shapes(given: Inputs, fixed: Inputs) -> bool:
    return [tensor.shape for tensor in given.tensors()] == [tensor.shape for tensor in fixed.tensors()]

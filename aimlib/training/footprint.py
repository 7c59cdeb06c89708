"""The peak memory use of a run, and the number of runs that fit on a device."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.profiler import profile


@dataclass(frozen=True)
class Footprint:
    """Peak memory of a run, in bytes.

    This includes torch's allocations on the device: weights, buffers, gradients, optimizer state, activations, and
    workspaces that operations request from torch. It does not include Python and the libraries (on a GPU, the CUDA
    context, a few hundred MiB per process). On the host, it does not include the images either, because processes on
    one machine share images that are mapped from a file.

    Attributes
    ----------
    allocated : memory allocated for tensors.
    reserved : memory reserved on the GPU for these tensors, including gaps; a limit on the run's memory must not be
        lower. None on the CPU, where the allocator does not report this figure.
    """

    allocated: int
    reserved: int | None


def begin_on_gpu(device: torch.device) -> None:
    """Begin to record this process's peak memory on a GPU, for `on_gpu`."""
    torch.cuda.init()  # type: ignore[no-untyped-call]  # some torch functions fail before
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)


def on_gpu(calls: list[Callable[[], None]], device: torch.device) -> Footprint:
    """Run `calls`, and return the peak since `begin_on_gpu`, including everything that this process has on the GPU.

    Work before the calls counts as well, because a run also does it: the steps before the capture of a CUDA graph
    reserve more memory than the graph's replays.
    """
    for call in calls:
        call()
    torch.cuda.synchronize(device)
    return Footprint(torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device))


def on_cpu(calls: list[Callable[[], None]], network: nn.Module, optimizer: torch.optim.Optimizer) -> Footprint | None:
    """Return the peak during `calls`: the size of the network and the optimizer, plus the calls' largest allocation.

    Torch's profiler accounts for each allocation. The resident memory of the process would be unsuitable: it includes
    the loaded libraries, and memory that was freed earlier but is kept by the C library.

    Returns
    -------
    None if this build of torch does not report allocations.
    """
    optimizer.zero_grad(set_to_none=True)  # gradients are allocated during the calls
    peaks = [_peak_on_top(call, optimizer) for call in calls]
    if not all(peaks):
        return None
    return Footprint(_held(network, optimizer) + max(peaks), reserved=None)


def _held(network: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes of weights, buffers and optimizer state; shared tensors count once."""
    states: Any = [state.values() for state in optimizer.state.values()]
    tensors = itertools.chain(network.parameters(), network.buffers(), *states)
    storages = [tensor.untyped_storage() for tensor in tensors if isinstance(tensor, Tensor)]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _peak_on_top(call: Callable[[], None], optimizer: torch.optim.Optimizer) -> int:
    """Return the maximum number of bytes that a call has allocated at any time; 0 if allocations are not reported."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # otherwise the profiler prints messages
    with profile(use_cpu=True, profile_memory=True) as profiler:
        call()
        optimizer.zero_grad(set_to_none=True)
    results: Any = profiler.kineto_results
    found = [event for event in results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(found, key=lambda event: event.start_ns())]
    return max(itertools.accumulate(changes), default=0)


def runs_per_device(peak_bytes: int, total_bytes: int, headroom: float = 0.1) -> int:
    """Return how many runs fit into a device's memory at the same time.

    A single run may also use the headroom: the result is 1 if one run fits only by using the headroom, and 0 if the run
    does not fit at all.

    Parameters
    ----------
    peak_bytes : peak memory of one run, including what its process uses on the device in addition to torch's
        allocations.
    total_bytes : memory of the device.
    headroom : share of the device's memory to leave free.
    """
    if peak_bytes <= 0 or total_bytes < 0 or not 0 <= headroom < 1:
        raise ValueError(f"not the memory of a run on a device: {peak_bytes=}, {total_bytes=}, {headroom=}")
    together = int(total_bytes * (1 - headroom) // peak_bytes)
    return max(together, int(peak_bytes <= total_bytes))

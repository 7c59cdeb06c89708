"""Updates that keep only their inputs for the backward pass, which recomputes the rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from aimlib.memory.attach import AimNetwork
from bench.rivals.concatenation import with_updates


class _Recomputed(nn.Module):
    """An update that is computed twice with bitwise identical results.

    Only the first computation changes the running statistics.
    """

    def __init__(self, update: nn.Module) -> None:
        super().__init__()
        self.update = update

    def forward(self, features: Tensor, memory_NCHW: Tensor) -> Tensor:
        return checkpoint(
            self.update,
            features,
            memory_NCHW,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=lambda: (nullcontext(), _on_copies_of_statistics(self.update)),
        )


@contextmanager
def _on_copies_of_statistics(of: nn.Module) -> Iterator[None]:
    """Make batch norms write to copies of their buffers."""
    norms = [module for module in of.modules() if isinstance(module, _BatchNorm)]
    kept = [dict(norm._buffers) for norm in norms]
    for norm, buffers in zip(norms, kept, strict=True):
        norm._buffers.update({name: None if buffer is None else buffer.clone() for name, buffer in buffers.items()})
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            norm._buffers.update(buffers)


def recomputing(network: AimNetwork) -> AimNetwork:
    """Return the network, modified in place so that its updates are recomputed in the backward pass.

    The network's outputs stay the same.
    """
    return with_updates(network, _Recomputed)

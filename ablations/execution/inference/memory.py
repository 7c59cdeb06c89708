"""The memory in a kept network: its content, the layers that read it, and their development over the epochs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from ablations.execution.inference.kept import KeptRun, kept_run
from ablations.execution.inference.predicting import batches_through
from aimlib.errors import UsageError
from aimlib.memory.attach import AimNetwork
from aimlib.memory.readers import ConvReader, Reader
from aimlib.memory.shape_rule import flatten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis import Results


@dataclass(frozen=True)
class LearnedMemory:
    """Content of a network's memory, and the layers that read it.

    Attributes
    ----------
    run_id, arm, epoch : run, arm and epoch of the network.
    content : the memory at the start of a forward pass, before any update, [channels, rows, columns].
    epochs : one row per epoch and source, with the columns epoch (0 is the start), source, and mean, sd and rms (root
        mean square) of the source's values.
    weights : one row per epoch and reading layer, with the columns epoch, layer, own and read: the Frobenius norms of
        the layer's own weights and of its weights for reading.
    contributions : one row per reading layer, with the columns layer, own and read: the root mean squares, over test
        images, of the parts of the layer's output that come from its input and from the memory.
    images : number of test images used for the contributions.
    """

    run_id: str
    arm: str
    epoch: int
    content: npt.NDArray[np.float32]
    epochs: pd.DataFrame
    weights: pd.DataFrame
    contributions: pd.DataFrame
    images: int

    def figure(self) -> Figure:
        """Return a figure that shows all these values."""
        from analysis.figures.memory import draw  # noqa: PLC0415 -- seaborn

        return draw(self.content, self.epochs, self.weights, self.contributions)

    def caption(self) -> str:
        """Return the figure's caption."""
        from analysis.figures.memory import caption  # noqa: PLC0415

        return caption(self.content, self.epochs, self.weights, self.contributions, self.images)


def memory(source: str | Path | Results, run: str, *, images: int = 256, data_root: str | None = None) -> LearnedMemory:
    """Return the content of the memory in a run's kept network, and the layers that read the memory.

    Parameters
    ----------
    source : study directory or its URL in object storage, or the `Results` that `analysis.load` returns.
    run : run id or the start of one, or ``ARM/SEED``.
    images : number of test images on which the layers' use of the memory is measured.
    data_root : folder of the data on this machine; None means the folder that the run used.

    Raises
    ------
    UsageError: there is no such run, or its network was not kept or has no memory.
    StoreError: this is not a study directory, or the network's file is missing or damaged.
    """
    kept = kept_run(source, run)
    network = kept.stored.module()
    if not isinstance(network, AimNetwork):
        raise UsageError(
            f"run {kept.run.run_id} ({kept.run.arm}): its network has no memory; specify a run of a different arm"
        )
    with torch.no_grad():
        content: npt.NDArray[np.float32] = network.source(1)[0].float().contiguous().numpy()
    seen, contributions = _contributions(kept, network, images, data_root)
    return LearnedMemory(
        kept.run.run_id, kept.run.arm, kept.stored.epoch, content, *_history(kept.stored.memory), contributions, seen
    )


def _history(measured: list[dict[str, Any]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    sources = [
        (each["epoch"], number, *values) for each in measured for number, values in enumerate(each["sources"], start=1)
    ]
    readers = [(each["epoch"], layer, *norms) for each in measured for layer, norms in each["readers"].items()]
    return (
        pd.DataFrame(sources, columns=["epoch", "source", "mean", "sd", "rms"]),
        pd.DataFrame(readers, columns=["epoch", "layer", "own", "read"]),
    )


def _contributions(kept: KeptRun, network: AimNetwork, images: int, data_root: str | None) -> tuple[int, pd.DataFrame]:
    """Return the number of images, and the root mean square of each of the two parts of every reader's output."""
    layers = [reading.layer for reading in network.attachment.readers]
    sums = {layer: np.zeros(3) for layer in layers}
    for layer, reader in zip(layers, network.readers(), strict=True):
        reader.register_forward_hook(_Measure(sums[layer]))
    test = kept.test_images(data_root)
    order = np.arange(min(images, len(test.labels)), dtype=np.int64)
    for _ in batches_through(kept, network, test, order, torch.device("cpu")):
        pass
    rows = [(layer, *np.sqrt(found[:2] / found[2])) for layer, found in sums.items()]
    return len(order), pd.DataFrame(rows, columns=["layer", "own", "read"])


class _Measure:
    """Sums of squares of the two parts of a reader's output, and the number of values."""

    def __init__(self, sums: npt.NDArray[np.float64]) -> None:
        self.sums = sums

    def __call__(self, reader: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(reader, Reader)
        read = _read(reader, given[0], output)
        self.sums += (
            float((output.double() - read).square().sum()),
            float(read.square().sum()),
            output.numel(),
        )


def _read(reader: Reader, x: Tensor, output: Tensor) -> Tensor:
    """Return the part of a reader's output that comes from the memory, in the output's shape."""
    if isinstance(reader, ConvReader):
        return reader.read(x.shape[2], x.shape[3]).double().expand_as(output)
    read = nn.functional.linear(flatten(reader.memory.read()).to(x.dtype), reader.read_weight).double()
    return read.view(read.shape[0], *[1] * (x.ndim - 2), -1).expand_as(output)

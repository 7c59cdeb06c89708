"""Outputs of one layer in a kept network, image by image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ablations.execution.inference.kept import kept_run
from ablations.execution.inference.predicting import batches_through
from aimlib.errors import UsageError, did_you_mean
from aimlib.memory.attach import AimNetwork
from aimlib.training.devices import pick_device

if TYPE_CHECKING:
    from analysis import Results

_LISTED = 30


def features(
    source: str | Path | Results,
    run: str,
    layer: str,
    *,
    images: int | None = None,
    device: str = "auto",
    data_root: str | None = None,
) -> npt.NDArray[np.float32]:
    """Return the output of one layer in a run's kept network for the run's test images, [images, ...].

    Parameters
    ----------
    source : study directory or its URL in object storage, or the `Results` that `analysis.load` returns.
    run : run id or the start of one, or ``ARM/SEED``.
    layer : name of a module in the network, such as ``layer4``; the name is the same with and without memory. If a
        module is called several times for a batch, the output of its last call is returned.
    images : number of test images, from the start of the data set; None means all.
    device : ``cpu``, ``cuda`` or ``auto``.
    data_root : folder of the data on this machine; None means the folder that the run used.

    Raises
    ------
    UsageError: there is no such run, no such layer (the message lists the layers), or the layer's output is not one
        tensor per batch.
    StoreError: this is not a study directory, or the network's file is missing or damaged.
    """
    kept, where = kept_run(source, run), pick_device(device)  # type: ignore[arg-type]
    network = kept.stored.module().to(where)
    if images is not None and images < 1:
        raise UsageError(f"images={images}: use at least 1, or None for all")
    named = dict(network.named_modules())
    inner = AimNetwork.baseline_prefix
    layer = next((each for each in (layer, f"{inner}{layer}", layer.removeprefix(inner)) if each in named), layer)
    if layer not in named or not layer:
        listed = [name for name in named if name]
        more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
        raise UsageError(
            f"layer {layer!r}: the network has no such module; {did_you_mean(layer, listed)}modules: "
            f"{', '.join(listed[:_LISTED])}{more}"
        )
    found: list[Tensor] = []
    last: list[Any] = []
    named[layer].register_forward_hook(lambda _module, _given, output: last.__setitem__(slice(None), [output]))
    test = kept.test_images(data_root)
    order = np.arange(len(test.labels) if images is None else min(images, len(test.labels)), dtype=np.int64)
    for outputs in batches_through(kept, network, test, order, where):
        if not last or not isinstance(last[0], Tensor) or len(last[0]) != len(outputs):
            raise UsageError(
                f"layer {layer!r}: its output is not a tensor with one entry per image; use a different layer"
            )
        found.append(last[0].float().cpu().contiguous())
    result: npt.NDArray[np.float32] = torch.cat(found).numpy()
    return result

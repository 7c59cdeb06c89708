"""Export of a kept network as a torch.export program, which other software can run without this package."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ablations.execution.inference.kept import kept_run
from ablations.planning import own_code
from ablations.planning.approval import Trust
from aimlib.errors import UsageError
from aimlib.training.inputs import Scaling

if TYPE_CHECKING:
    from analysis import Results

_BATCH = 2
"""Number of images in the example batch for the export; the program accepts any number of images."""


class FromPixels(nn.Module):
    """A network that scales the pixels first.

    Parameters
    ----------
    network : the network, in evaluation mode.
    scaling : how pixel values from 0 to 255 are scaled.
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, network: nn.Module, scaling: Scaling) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", scaling.mean)
        self.register_buffer("sd", scaling.sd)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return scores [images, classes] for float32 pixels from 0 to 255."""
        scores: Tensor = self.network((x_BCHW - self.mean) / self.sd)
        return scores


def export(
    source: str | Path | Results,
    run: str,
    out: str | Path,
    *,
    plugin: Iterable[str | Path] = (),
    trust: Trust = (),
) -> Path:
    """Write a run's kept network as a `torch.export` program, and return the file.

    The program takes float32 pixels from 0 to 255, [images, channels, height, width], and returns scores [images,
    classes]; it includes the scaling. ``torch.export.load(file).module()`` runs it.

    Parameters
    ----------
    source : study directory or its URL in object storage, or the `Results` that `analysis.load` returns.
    run : run id or the start of one, or ``ARM/SEED``.
    out : a file whose name ends in ``.pt2``.
    plugin : files with the user's own code that the run used; the code is approved as for `ablations.run`.
    trust : hashes of the code that the user has approved; True approves all of the code.

    Raises
    ------
    UsageError: there is no such run, its network was not kept, torch cannot export it, or the file cannot be written.
    StoreError: this is not a study directory, or the network's file is missing or damaged.
    """
    path = Path(out)
    if path.suffix != ".pt2":
        raise UsageError(f"--out {path}: use a name that ends in .pt2")
    own_code.enter_files(plugin, trust)
    kept = kept_run(source, run)
    shape = kept.stored.shape
    module = FromPixels(kept.stored.module(), kept.stored.input_scaling()).eval()
    x_BCHW = torch.rand(_BATCH, shape.channels, shape.height, shape.width) * 255
    # Without a limit, torch 2.7 cannot export networks with memory.
    images = torch.export.Dim("images", min=1, max=2**31 - 1)
    try:
        with torch.no_grad():
            program = torch.export.export(module, (x_BCHW,), dynamic_shapes=({0: images},), strict=False)
    except Exception as error:  # torch.export raises many kinds of exceptions
        reason = " ".join(str(error).split())[:300]
        raise UsageError(
            f"run {kept.run.run_id}: torch.export cannot export its network ({type(error).__name__}: {reason}); "
            f"`ablations.network` returns it as a module"
        ) from error
    try:
        with warnings.catch_warnings():  # torch.export warns about tied tensors, which the program also contains
            warnings.filterwarnings("ignore", message="No complete tensor found in the group")
            torch.export.save(program, path)
    except (OSError, RuntimeError) as error:
        raise UsageError(f"--out {path}: cannot be written ({error}); use a different file") from error
    return path

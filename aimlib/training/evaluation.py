"""Accuracy, loss and predictions of a network on a split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from aimlib.datasets.base import Images
from aimlib.training.devices import autocast
from aimlib.training.inputs import Scaling, load_batch
from aimlib.training.splits import batches


@dataclass(frozen=True)
class Evaluation:
    """Result on one split.

    Attributes
    ----------
    loss : mean cross-entropy, nats.
    accuracy : fraction.
    predictions : [images], predicted class numbers, in the order of the given indices.
    """

    loss: float
    accuracy: float
    predictions: npt.NDArray[np.int64]


@torch.inference_mode()
def evaluate(
    network: nn.Module,
    images: Images,
    indices: npt.NDArray[np.int64],
    scaling: Scaling,
    *,
    batch_size: int,
    precision: str,
    counted: int | None = None,
) -> Evaluation:
    """Return the evaluation of `network`, put into evaluation mode, on the images `indices`.

    Parameters
    ----------
    counted : only so many images, the first ones, enter loss and accuracy; None: all. All are predicted.
    """
    counted = len(indices) if counted is None else counted
    network.eval()
    device = scaling.mean.device
    loss = torch.zeros((), dtype=torch.float64, device=device)
    predicted: list[torch.Tensor] = []
    seen = 0
    for batch in batches(indices, batch_size):
        x_BCHW, labels = load_batch(images, batch, device)
        with autocast(device, precision):
            logits = network(scaling(x_BCHW))
        share = max(0, min(len(batch), counted - seen))
        loss += functional.cross_entropy(logits[:share].float(), labels[:share], reduction="sum").double()
        predicted.append(logits.argmax(dim=1))
        seen += len(batch)
    predictions = torch.cat(predicted).cpu().numpy()
    accuracy = float((predictions == images.labels[indices])[:counted].mean())
    return Evaluation(float(loss) / counted, accuracy, predictions)

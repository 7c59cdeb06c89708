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
) -> Evaluation:
    """Return the evaluation of `network`, put into evaluation mode, on the images `indices`."""
    network.eval()
    device = scaling.mean.device
    loss = torch.zeros((), dtype=torch.float64, device=device)
    predicted = []
    for batch in batches(indices, batch_size):
        x_BCHW, labels = load_batch(images, batch, device)
        with autocast(device, precision):
            logits = network(scaling(x_BCHW))
        loss += functional.cross_entropy(logits.float(), labels, reduction="sum").double()
        predicted.append(logits.argmax(dim=1))
    predictions = torch.cat(predicted).cpu().numpy()
    accuracy = float((predictions == images.labels[indices]).mean())
    return Evaluation(float(loss) / len(indices), accuracy, predictions)

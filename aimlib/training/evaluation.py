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

_TOP = 5


@dataclass(frozen=True)
class Evaluation:
    """Result on one split.

    Attributes
    ----------
    loss : mean cross-entropy, nats.
    accuracy : fraction.
    top5_accuracy : share of the images whose true class has one of the five highest scores (one that ties with the
        fifth included); None with five classes or fewer, where every image would count.
    predictions : [images], predicted class numbers, in the order of the given indices.
    """

    loss: float
    accuracy: float
    top5_accuracy: float | None
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
    near = torch.zeros((), dtype=torch.int64, device=device)
    predicted: list[torch.Tensor] = []
    seen = classes = 0
    for batch in batches(indices, batch_size):
        x_BCHW, labels = load_batch(images, batch, device)
        with autocast(device, precision):
            logits = network(scaling(x_BCHW))
        share = max(0, min(len(batch), counted - seen))
        loss += functional.cross_entropy(logits[:share].float(), labels[:share], reduction="sum").double()
        own = logits.gather(1, labels[:, None])
        near += ((logits > own).sum(dim=1) < _TOP)[:share].sum()
        predicted.append(logits.argmax(dim=1))
        classes = logits.shape[1]
        seen += len(batch)
    predictions = torch.cat(predicted).cpu().numpy()
    accuracy = float((predictions == images.labels[indices])[:counted].mean())
    top5 = int(near) / counted if classes > _TOP else None
    return Evaluation(float(loss) / counted, accuracy, top5, predictions)

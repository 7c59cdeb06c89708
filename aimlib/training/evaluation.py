"""Accuracy, loss and predictions of a network on a split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from aimlib.datasets.base import Images
from aimlib.training.devices import autocast
from aimlib.training.inputs import Scaling
from aimlib.training.loaders import HostLoader, Loader
from aimlib.training.losses.base import Loss
from aimlib.training.splits import Indices, batches
from aimlib.training.steps.base import in_format

_TOP = 5


@dataclass(frozen=True)
class Evaluation:
    """The result of evaluating a network on one split.

    Attributes
    ----------
    loss : mean cross-entropy in nats; or the mean of the run's own loss over the batches, weighted by the number of
        images per batch.
    accuracy : accuracy as a fraction.
    top5_accuracy : share of the images whose true class has one of the five highest scores (including ties with the
        fifth); None if there are five classes or fewer, because every image would count.
    predictions : [images], predicted class numbers, in the order of the given indices.
    scores : [images, classes], log-probabilities in float16, if they were requested before the first image.
    """

    loss: float
    accuracy: float
    top5_accuracy: float | None
    predictions: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float16] | None = None


class Tally:
    """An evaluation in progress: sums over the processed images, on the device, and the predictions for them.

    Attributes
    ----------
    loss : sum of the cross-entropy, in nats, or of the run's own loss, float64.
    near : number of images whose true class is among the five with the highest scores.
    predicted : predicted class numbers, batch by batch.
    seen, classes : number of processed images, and number of classes if known.
    scores : log-probabilities in float16, batch by batch; None if they are not kept.
    """

    def __init__(self, device: torch.device) -> None:
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.near = torch.zeros((), dtype=torch.int64, device=device)
        self.predicted: list[Tensor] = []
        self.seen = self.classes = 0
        self.scores: list[Tensor] | None = None

    def state(self) -> dict[str, Any]:
        """Return everything as tensors and plain numbers; scores are included only if they are kept."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def resume(self, state: dict[str, Any]) -> None:
        """Continue from a value that `state` returned."""
        device = self.loss.device
        self.loss, self.near = state["loss"].to(device), state["near"].to(device)
        self.predicted = [part.to(device) for part in state["predicted"]]
        self.seen, self.classes = state["seen"], state["classes"]
        scores = state.get("scores")
        self.scores = None if scores is None else [part.to(device) for part in scores]

    def add(self, logits: Tensor, labels: Tensor, counted: int, loss: Loss | None = None) -> None:
        """Add a batch; only its first `counted` images count toward the loss and the accuracy."""
        own = logits.gather(1, labels[:, None])
        if loss is None:
            self.loss += functional.cross_entropy(logits[:counted].float(), labels[:counted], reduction="sum").double()
        elif counted:
            self.loss += loss(logits[:counted].float(), labels[:counted]).double() * counted
        self.near += ((logits > own).sum(dim=1) < _TOP)[:counted].sum()
        self.predicted.append(logits.argmax(dim=1))
        if self.scores is not None:
            self.scores.append(functional.log_softmax(logits.float(), dim=1).half())
        self.classes = logits.shape[1]
        self.seen += len(labels)


def evaluate(
    network: nn.Module,
    images: Images,
    indices: Indices,
    scaling: Scaling,
    *,
    batch_size: int,
    precision: str,
    counted: int | None = None,
    tally: Tally | None = None,
    between: Callable[[], None] | None = None,
    loader: Loader | None = None,
    memory_format: str = "channels_last",
    scores: bool = False,
    loss: Loss | None = None,
) -> Evaluation:
    """Put `network` into evaluation mode, and return its evaluation on the images `indices`.

    Parameters
    ----------
    counted : number of images, starting with the first, that count toward the loss and the accuracy; None: all images.
        Predictions are made for all images.
    tally : an interrupted evaluation of the same images, which is continued.
    between : called between two batches; if it raises an exception, the evaluation is interrupted with `tally` up to
        date.
    loader : loader for `images`; None: every batch is gathered on the host.
    memory_format : the network's memory format; see `training.memory_format`.
    scores : whether to keep the log-probabilities; ignored if `tally` was begun without them.
    loss : the run's loss; None: the cross-entropy without label smoothing.
    """
    counted = len(indices) if counted is None else counted
    tally = tally or Tally(scaling.mean.device)
    if scores and not tally.seen:
        tally.scores = []
    loader = loader or HostLoader(images, scaling.mean.device)
    network.eval()
    end = 0
    plan = list(batches(indices, batch_size))
    for number, batch in enumerate(plan, 1):
        end += len(batch)
        if end <= tally.seen:
            continue
        x_BCHW, labels = loader.batch(batch, plan[number] if number < len(plan) else None)
        _evaluate_batch(network, x_BCHW, labels, scaling, precision, tally, counted, memory_format, loss)
        if between is not None and end < len(indices):
            between()
    predictions = torch.cat(tally.predicted).cpu().numpy()
    accuracy = float((predictions == images.labels[indices])[:counted].mean())
    top5 = int(tally.near) / counted if tally.classes > _TOP else None
    kept = torch.cat(tally.scores).cpu().numpy() if tally.scores else None
    return Evaluation(float(tally.loss) / counted, accuracy, top5, predictions, kept)


@torch.inference_mode()
def _evaluate_batch(
    network: nn.Module,
    x_BCHW: Tensor,
    labels: Tensor,
    scaling: Scaling,
    precision: str,
    tally: Tally,
    counted: int,
    memory_format: str,
    loss: Loss | None,
) -> None:
    with autocast(scaling.mean.device, precision):
        logits = network(in_format(scaling(x_BCHW), memory_format))
    tally.add(logits, labels, max(0, min(len(labels), counted - tally.seen)), loss)

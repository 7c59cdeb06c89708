"""The networks whose steps are measured: a baseline, AiM without and with an update, and both with concatenation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape
from aimlib.models import build, summarize
from aimlib.registry import optimizers
from aimlib.training.devices import autocast
from aimlib.training.optimizers.groups import build_optimizer
from bench.rivals.concatenation import concatenating
from bench.rivals.recomputation import recomputing

BASELINE = "baseline"
ARMS = ("every_layer", "every_layer, conv_sigmoid")
"""The measured arms: one with a memory that no update rewrites, and the arm `aim` from the shipped studies."""

_CONCATENATED, _RECOMPUTED = ", concatenated", ", recomputed"
RECOMPUTED = ARMS[1] + _RECOMPUTED
"""The shipped arm with updates that are recomputed in the backward pass."""


def by_concatenation(arm: str) -> str:
    """Return the name of the arm's rival, which uses concatenation."""
    return arm + _CONCATENATED


@dataclass(frozen=True)
class Case:
    """A backbone with an image size, and the memory, batch size and classes that studies use with this backbone.

    ResNet50 has the batch size of the protocols `as_run` and `as_described`; with the batch size of `controlled`, 64, a
    round takes minutes on a CPU. The small ResNet is the one in `controlled_small`.
    """

    name: str
    size: int
    batch: int
    classes: int
    backbone: dict[str, Any]
    memory: dict[str, Any]
    precision: str

    def __str__(self) -> str:
        return f"{self.name}, {self.size} px, {self.precision}, batch {self.batch}"

    @property
    def shape(self) -> ImageShape:
        return ImageShape(3, self.size, self.size, self.classes)

    def model(self, subject: str) -> ModelConfig:
        """Return the configuration of the baseline or an arm."""
        document: dict[str, Any] = {"backbone": self.backbone}
        if subject != BASELINE:
            document |= {"memory": self.memory, "placement": "every_layer"}
        if subject == ARMS[1]:
            document["update"] = "conv_sigmoid"
        return ModelConfig.parse(document)

    def multiply_adds(self, subject: str) -> int:
        """Return the multiply-adds per image for a batch, as printed by `ablate check`."""
        return summarize(self.model(subject), self.shape, self.batch).multiply_adds


def cases(quick: bool) -> list[Case]:
    """Return all cases; with `quick`, the cases have few images and a small memory."""
    return [
        Case(name, size, 2 if quick else batch, classes, backbone, memory, precision)
        for name, size, batch, classes, backbone, memory in (
            ("resnet50", 128, 16, 120, {"name": "resnet50"}, {"name": "conv_ones", "channels": 64 if quick else 1024}),
            (
                "small_resnet",
                64,
                32,
                20,
                {"name": "small_resnet", "widths": [8, 16, 32, 64], "blocks": [1, 1, 1, 1], "stem_stride": 2},
                {"name": "conv_ones", "channels": 64, "rows": 4, "columns": 4},
            ),
        )
        for precision in ("float32", "bfloat16")
    ]


@dataclass(frozen=True)
class Step:
    """A network, its optimizer (AdamW in fused steps, as in the protocol `controlled`), and one training step.

    Attributes
    ----------
    loss : computes the loss of the batch (the forward pass).
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    loss: Callable[[], Tensor]

    def take(self) -> tuple[float, float, float]:
        """Perform the step; return the seconds for the forward pass, the backward pass and the optimizer."""
        began = time.perf_counter()
        loss = self.loss()
        forward = self._now()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        backward = self._now()
        self.optimizer.step()
        return forward - began, backward - forward, self._now() - backward

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def step(case: Case, subject: str, device: torch.device) -> Step:
    """Return the step for the baseline, an arm or its rival, on images that are already on the device."""
    arm = subject.removesuffix(_CONCATENATED).removesuffix(_RECOMPUTED)
    network = build(case.model(arm), case.shape, seed=0)
    if subject != arm:
        network = (concatenating if subject.endswith(_CONCATENATED) else recomputing)(network)
    network = network.to(device, memory_format=torch.channels_last).train()
    optimizer = build_optimizer(optimizers.parse({"name": "adamw", "weight_decay": 0.05, "fused": True}), network)
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(case.batch, 3, case.size, case.size, generator=draw)
    labels = torch.randint(0, case.classes, (case.batch,), generator=draw).to(device)
    x_BCHW = images.to(device, memory_format=torch.channels_last)

    def loss() -> Tensor:
        with autocast(device, case.precision):
            logits = network(x_BCHW)
        return functional.cross_entropy(logits.float(), labels)

    return Step(network, optimizer, device, loss)

"""The depth of each parameter in a network, counted in blocks, for layer-wise learning rate decay."""

from __future__ import annotations

from typing import cast

import torch

from aimlib.backbones.base import Backbone
from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError
from aimlib.memory.structure import Block, trace
from aimlib.models import skeleton
from aimlib.registry import backbones


def blocks_above(model: ModelConfig, shape: ImageShape) -> dict[str, int]:
    """Return how many blocks, including the head, are above each parameter of a backbone; 0 in the head itself.

    Raises
    ------
    UsageError: the backbone has no blocks.
    """
    plain = ModelConfig(backbone=model.backbone)
    network = skeleton(plain, shape)
    backbone = cast("Backbone", backbones.create(model.backbone))
    with torch.device("meta"):
        layout = backbone.layout(backbone.build(shape))  # some layouts need `build` first
    blocks = [block for stage in layout.stages for block in stage]
    if not blocks:
        raise UsageError(
            f"training.fine_tuning.layer_decay: backbone {model.backbone.name!r} does not define blocks; use "
            f"learning_rates"
        )
    order = {call.name: call.order for call in trace(network, (shape.channels, shape.height, shape.width))}
    spans = [_span(block, order) for block in blocks]
    return {
        f"{name}.{own}" if name else own: _above(order.get(name), spans)
        for name, module in network.named_modules()
        for own, _ in module.named_parameters(recurse=False)
    }


def _span(block: Block, order: dict[str, int]) -> tuple[int, int]:
    """Return the positions of a block's first and last modules in the order of the forward pass."""
    inside = [
        place
        for name, place in order.items()
        if name == block.end or name.startswith(f"{block.end}.") or name in block.layers
    ]
    return min(inside), max(inside)


def _above(place: int | None, spans: list[tuple[int, int]]) -> int:
    """Return the number of blocks above a place, plus one for the head; modules that are never called belong to it."""
    if place is None:
        return 0
    if place < spans[0][0]:
        return len(spans) + 1
    within = next((number for number, (_, last) in enumerate(spans) if place <= last), None)
    return 0 if within is None else len(spans) - within

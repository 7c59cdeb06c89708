"""A control without memory that performs as much computation as the AiM model."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from aimlib.config import ModelConfig
from aimlib.controls.matching import Matching
from aimlib.datasets.base import ImageShape
from aimlib.memory.structure import trace
from aimlib.models import skeleton, summarize
from aimlib.registry import controls


@controls.register("matched_multiply_adds")
class MatchedMultiplyAdds(Matching):
    """The baseline without memory, widened until it needs as many multiply-adds per image as the AiM model.

    The count covers the convolutions and dense layers of the forward pass. The multiply-adds that the AiM model
    performs once per batch are divided by `batch_size`. Widened layers do not share their initial values with the other
    arms.
    """

    source = "control for: is it the memory, or the arithmetic that comes with it?"
    role: ClassVar[str] = "other"
    unit = "multiply-adds per image"

    class Config(Matching.Config):
        """How closely the costs must match, and how many images share computations performed once per batch."""

        batch_size: Annotated[int, Field(ge=1)] = 64
        """Number of images that share the computations performed once per batch."""

    config: Config

    def target(self, model: ModelConfig, shape: ImageShape) -> int:
        """Return the multiply-adds of the AiM model."""
        return summarize(model, shape, self.config.batch_size).multiply_adds

    def cost(self, model: ModelConfig, shape: ImageShape) -> int:
        """Return the multiply-adds of a baseline, counted from the tensor shapes in one forward pass."""
        network = skeleton(model, shape)
        modules = dict(network.named_modules())
        total = 0
        for call in trace(network, (shape.channels, shape.height, shape.width)):
            module = modules[call.name]
            if isinstance(module, nn.Conv2d):
                per_output = module.in_channels // module.groups * math.prod(module.kernel_size)
                total += math.prod(call.output_shape) * per_output
            elif isinstance(module, nn.Linear):
                total += math.prod(call.output_shape) * module.in_features
        return total

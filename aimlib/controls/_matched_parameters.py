"""A control without memory that has as many parameters as the AiM model."""

from __future__ import annotations

from typing import ClassVar

from aimlib.config import ModelConfig
from aimlib.controls.matching import Matching
from aimlib.datasets.base import ImageShape
from aimlib.models import count_parameters, skeleton
from aimlib.registry import controls


@controls.register("matched_parameters")
class MatchedParameters(Matching):
    """The baseline without memory, widened until it has as many parameters as the AiM model.

    First, all stages are widened by the same factor; then individual stages are widened unit by unit, as long as this
    reduces the difference. The layers of the widened network differ, so it does not share its initial values with the
    other arms.
    """

    source = "control for: is it the memory, or the parameters that come with it?"
    role: ClassVar[str] = "matched"
    unit = "parameters"

    def target(self, model: ModelConfig, shape: ImageShape) -> int:
        """Return the number of parameters of the AiM model."""
        return self.cost(model, shape)

    def cost(self, model: ModelConfig, shape: ImageShape) -> int:
        """Return the number of parameters of a model."""
        return count_parameters(skeleton(model, shape))

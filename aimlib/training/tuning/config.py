"""Options of fine-tuning: what is frozen, learning rates of parts, and the average of the weights.

Importing this module imports no torch.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from aimlib.component import Dimension, Frozen, Names, Real


def _several(value: Any) -> Any:
    """Read one mapping as a list of one."""
    if isinstance(value, dict):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _names(value: Any) -> Any:
    """Read one name as a list of one."""
    return (value,) if isinstance(value, str) else value


Layers = Annotated[Names, BeforeValidator(_names, json_schema_input_type=str | tuple[str, ...]), Field(min_length=1)]
"""Names or patterns of parameters or of modules with all that is in them (``layer1``, ``layer*.0.conv?``), as in the
network without memory. What a memory adds is matched by its own names only: ``source``, ``updates``,
``*.read_weight``; ``*`` is the whole network without it."""


class FreezeConfig(Frozen):
    """Layers that are not trained, for a number of epochs.

    Their batch norms stay in evaluation mode, so their running statistics do not change either.
    """

    layers: Layers
    """Names or patterns (``layer1``, ``layer*.0.conv?``) of modules or parameters, as in the network without memory;
    one, or a list. ``*`` is that whole network."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Number of epochs, from the first one; None: all."""


class GroupRateConfig(Frozen):
    """A factor on the learning rate of some layers; of several that match a parameter, the last one counts."""

    layers: Layers
    """Names or patterns of modules or parameters, as in `freeze`."""
    scale: Annotated[float, Field(gt=0)]
    """Factor on the learning rate of these layers."""


class AverageConfig(Frozen):
    """An exponential moving average of the weights over training steps (Polyak and Juditsky, 1992).

    It is the network that is evaluated, selected and kept. Floating-point buffers, such as running statistics of batch
    norm, are averaged likewise; others are copied.
    """

    search_space: ClassVar[dict[str, Dimension]] = {"decay": Real(0.9, 0.9999)}

    decay: Annotated[float, Field(gt=0, lt=1)]
    """Weight of the past per step."""
    warmup: bool = True
    """Use at most (1 + n) / (10 + n) as decay in step n, so that the start is soon forgotten."""


class FineTuningConfig(Frozen):
    """How training continues from a network's weights. Without an option it has no effect, and is refused."""

    search_space: ClassVar[dict[str, Dimension]] = {"layer_decay": Real(0.5, 0.95)}

    freeze: Annotated[
        tuple[FreezeConfig, ...],
        BeforeValidator(_several, json_schema_input_type=FreezeConfig | tuple[FreezeConfig, ...]),
    ] = ()
    """Layers that are not trained; of several entries that match a parameter, the last one counts. Steps are eager."""
    learning_rates: Annotated[
        tuple[GroupRateConfig, ...],
        BeforeValidator(_several, json_schema_input_type=GroupRateConfig | tuple[GroupRateConfig, ...]),
    ] = ()
    """Factors on the learning rate."""
    layer_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Layer-wise decay of the learning rate: the rate of each block is this times the rate of the block after it. The
    stem has the rate of the first block; the head and what a memory adds have the full rate. The factor multiplies
    `learning_rates`.
    """
    ema: AverageConfig | None = None
    """An average of the weights, which is evaluated, selected and kept instead of them. None: there is none."""

    @model_validator(mode="after")
    def _some_effect(self) -> Self:
        if not (self.freeze or self.learning_rates or self.layer_decay or self.ema):
            raise ValueError("no effect; give freeze, learning_rates, layer_decay or ema, or remove it")
        return self

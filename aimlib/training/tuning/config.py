"""Fine-tuning options: frozen layers, separate learning rates, and the weight average.

Importing this module does not import torch.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from aimlib.component import Dimension, Frozen, Names, Real


def _several(value: Any) -> Any:
    """Convert a single mapping to a list with one element."""
    if isinstance(value, dict):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _names(value: Any) -> Any:
    """Convert a single name to a list with one element."""
    return (value,) if isinstance(value, str) else value


Layers = Annotated[Names, BeforeValidator(_names, json_schema_input_type=str | tuple[str, ...]), Field(min_length=1)]
"""Names or patterns of parameters, or of modules including everything in them (``layer1``, ``layer*.0.conv?``), as they
are named in the network without memory. The parts that a memory adds are matched only by their own names: ``source``,
``updates``, ``*.read_weight``; ``*`` is the entire network without these parts."""


class FreezeConfig(Frozen):
    """Layers that are not trained for a number of epochs.

    Their batch norms stay in evaluation mode, so the running statistics do not change either.
    """

    layers: Layers
    """Names or patterns (``layer1``, ``layer*.0.conv?``) of modules or parameters, as they are named in the network
    without memory; a single one or a list. ``*`` is the entire network without memory."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Number of epochs, starting from the first; None: all epochs."""


class GroupRateConfig(Frozen):
    """A learning rate factor for some layers. If several entries match a parameter, the last one applies."""

    layers: Layers
    """Names or patterns of modules or parameters, as in `freeze`."""
    scale: Annotated[float, Field(gt=0)]
    """Factor by which these layers' learning rate is multiplied."""


class AverageConfig(Frozen):
    """An exponential moving average of the weights over training steps (Polyak and Juditsky, 1992).

    The network with averaged weights is evaluated, selected and kept. Floating-point buffers, such as batch norm's
    running statistics, are averaged as well; other buffers are copied.
    """

    search_space: ClassVar[dict[str, Dimension]] = {"decay": Real(0.9, 0.9999)}

    decay: Annotated[float, Field(gt=0, lt=1)]
    """Decay rate per step: the weight of the previous average."""
    warmup: bool = True
    """Limit the decay to (1 + n) / (10 + n) in step n, so that the initial weights soon lose their influence."""


class FineTuningConfig(Frozen):
    """How training continues from a network's weights. At least one option is required."""

    search_space: ClassVar[dict[str, Dimension]] = {"layer_decay": Real(0.5, 0.95)}

    freeze: Annotated[
        tuple[FreezeConfig, ...],
        BeforeValidator(_several, json_schema_input_type=FreezeConfig | tuple[FreezeConfig, ...]),
    ] = ()
    """Layers that are not trained. If several entries match a parameter, the last one applies. Steps run eagerly."""
    learning_rates: Annotated[
        tuple[GroupRateConfig, ...],
        BeforeValidator(_several, json_schema_input_type=GroupRateConfig | tuple[GroupRateConfig, ...]),
    ] = ()
    """Learning rate factors for some layers."""
    layer_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Layer-wise learning rate decay: the rate of each block is this factor times the rate of the next block. The stem
    has the rate of the first block; the head and the parts that a memory adds have the full rate. The result is
    multiplied by the factors in `learning_rates`.
    """
    ema: AverageConfig | None = None
    """A weight average, which is evaluated, selected and kept in place of the weights. None: no average."""

    @model_validator(mode="after")
    def _some_effect(self) -> Self:
        if not (self.freeze or self.learning_rates or self.layer_decay or self.ema):
            raise ValueError("no effect; set freeze, learning_rates, layer_decay or ema, or remove it")
        return self

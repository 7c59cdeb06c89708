"""Which parameters are frozen, and the learning rate factor of each parameter."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError, counted, did_you_mean
from aimlib.memory.attach import AimNetwork
from aimlib.training.tuning.config import FineTuningConfig
from aimlib.training.tuning.depths import blocks_above
from aimlib.weights.fitting import few, of_memory

_WHERE = "training.fine_tuning"
_OF_MEMORY = ("source", "static_source", "updates", "carry")
"""Beginnings of patterns for the parts that a memory adds; the other patterns for them contain ``read_weight``."""
FOREVER = 2**31
"""Number of epochs that stands for "never trained"."""


@dataclass(frozen=True)
class Tuning:
    """What fine-tuning does with a network.

    Attributes
    ----------
    scales : learning rate factor of each parameter, by its name; 1 if there is no entry.
    frozen : number of epochs in which a parameter is not trained, by the parameter's name.
    still : number of epochs in which a batch norm keeps its running statistics, by the module's name.
    untrained, untrained_bytes : number and size of the parameters that are never trained.
    unscaled : whether some trained parameter has the study's learning rate.
    """

    scales: Mapping[str, float]
    frozen: Mapping[str, int]
    still: Mapping[str, int]
    untrained: int
    untrained_bytes: int
    unscaled: bool = True

    def sentences(self) -> list[str]:
        """Return sentences for the user that say what is frozen and how learning rates differ."""
        found = []
        for epochs in sorted(set(self.frozen.values())):
            names = [_plain(name) for name, number in self.frozen.items() if number == epochs]
            norms = sum(number == epochs for number in self.still.values())
            when = "throughout" if epochs == FOREVER else f"in the first {counted(epochs, 'epoch')}"
            statistics = f", and the running statistics of {counted(norms, 'batch norm')}" if norms else ""
            found.append(f"frozen {when}: {counted(len(names), 'parameter')} ({few(names)}){statistics}")
        groups = set(self.scales.values()) | ({1.0} if self.unscaled else set())
        if groups - {1.0}:
            span = f"{min(groups):.3g}" if len(groups) == 1 else f"from {min(groups):.3g} to {max(groups):.3g}"
            found.append(f"learning rates: {counted(len(groups), 'group')}, {span} times the study's")
        return found


def tuning_of(network: nn.Module, options: FineTuningConfig, model: ModelConfig, shape: ImageShape) -> Tuning:
    """Return what fine-tuning does with a network.

    Parameters
    ----------
    network : the network of `model` after its control was applied; on any device.
    shape : shape of the images.

    Raises
    ------
    UsageError: a pattern matches nothing, nothing is left to train, or the backbone does not define blocks.
    """
    parameters = [name for name, part in network.named_parameters() if part.requires_grad]
    norms = [
        name
        for name, part in network.named_modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.track_running_stats
    ]
    added = of_memory(network, [*parameters, *norms])
    frozen: dict[str, int] = {}
    still: dict[str, int] = {}
    for number, entry in enumerate(options.freeze):
        _refuse_idle(entry.layers, parameters, added, f"{_WHERE}.freeze.{number}")
        epochs = FOREVER if entry.epochs is None else entry.epochs
        frozen |= dict.fromkeys(_matching(parameters, entry.layers, added), epochs)
        still |= dict.fromkeys(_matching(norms, entry.layers, added), epochs)
    if parameters and all(frozen.get(name) == FOREVER for name in parameters):
        raise UsageError(f"{_WHERE}.freeze: every parameter is frozen throughout; leave the head out, or set epochs")
    scales: dict[str, float] = {}
    for number, rate in enumerate(options.learning_rates):
        _refuse_idle(rate.layers, parameters, added, f"{_WHERE}.learning_rates.{number}")
        scales |= dict.fromkeys(_matching(parameters, rate.layers, added), rate.scale)
    for name, factor in _decayed(parameters, options, model, shape).items():
        scales[name] = scales.get(name, 1.0) * factor
    never = [part for name, part in network.named_parameters() if frozen.get(name) == FOREVER]
    sizes = sum(part.numel() for part in never), sum(part.nbytes for part in never)
    return Tuning(scales, frozen, still, *sizes, unscaled=any(scales.get(name, 1.0) == 1.0 for name in parameters))


def _decayed(
    parameters: Iterable[str], options: FineTuningConfig, model: ModelConfig, shape: ImageShape
) -> dict[str, float]:
    """Return the factors for layer-wise decay; there are none for the parts that a memory adds."""
    if options.layer_decay is None:
        return {}
    above = blocks_above(model, shape)
    return {name: options.layer_decay ** above[own] for name in parameters if (own := _plain(name)) in above}


def _matching(names: Iterable[str], patterns: Sequence[str], added: Collection[str]) -> list[str]:
    """Return the names of parameters or modules that a pattern matches, or that are inside a matching module.

    The parts that a memory adds are matched only by patterns with their own names.
    """
    of_added = [
        pattern
        for pattern in patterns
        if pattern.split(".")[0] in _OF_MEMORY or "read_weight" in pattern.split(".")[-1]
    ]
    return [name for name in names if _matches(_plain(name), of_added if name in added else patterns)]


def _matches(name: str, patterns: Iterable[str]) -> bool:
    parts = name.split(".")
    wholes = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
    return any(fnmatchcase(whole, pattern) for pattern in patterns for whole in wholes)


def _refuse_idle(patterns: Iterable[str], parameters: Sequence[str], added: Collection[str], where: str) -> None:
    for pattern in patterns:
        if not _matching(parameters, [pattern], added):
            names = [_plain(name) for name in parameters]
            modules = [name.rpartition(".")[0] for name in names if "." in name]
            near = did_you_mean(pattern, dict.fromkeys([*_tops(names), *modules, *names]))
            raise UsageError(
                f"{where}.layers: {pattern!r} matches no trained parameter of this network; {near}it consists of "
                f"{few(_tops(names))}"
            )


def _tops(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name.partition(".")[0] for name in names))


def _plain(name: str) -> str:
    return name.removeprefix(AimNetwork.baseline_prefix)

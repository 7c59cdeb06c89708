"""Check whether a state dict fits a network, name by name, and find out which of its values are loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import nn

from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError, counted, did_you_mean
from aimlib.memory.attach import AimNetwork
from aimlib.memory.readers import ConvReader, LinearReader
from aimlib.memory.structure import trace
from aimlib.weights.config import WeightsConfig
from aimlib.weights.reading import StoredState

_SHOWN = 6
"""Maximum number of names of each kind that a message lists."""
_COUNTER = ".num_batches_tracked"
"""Suffix of a buffer that state dicts from torch versions before 0.4.1 lack; its value has no effect in this
package."""


@dataclass(frozen=True)
class Fit:
    """What a network loads from a file.

    Attributes
    ----------
    loaded : for each parameter and buffer that is loaded, its name in the file, keyed by its name in the network.
    summed : the weight of the first convolution, if it has three input channels in the file and one in the network. The
        network uses the sum over the channels, which gives the same output as a gray image repeated in all three
        channels.
    head : parameters of the last layer if its number of outputs differs in the file; these parameters are not loaded.
    left_out : names in the network that `WeightsConfig.leave_out` excludes.
    memory : names that exist only because of the memory; their values are not loaded.
    """

    loaded: Mapping[str, str]
    summed: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()

    def sentence(self, source: str) -> str:
        """Return a sentence for the user about what is loaded and what is not."""
        parts = [f"{counted(len(self.loaded), 'parameter or buffer', 'parameters and buffers')} from {source}"]
        if self.head:
            parts.append(
                f"the head ({few(plain(self.head))}) has a different size in the file and is initialized by the "
                f"study's rules"
            )
        if self.summed:
            parts.append(f"{few(plain(self.summed))} is summed over the three colors, because the images are gray")
        if self.left_out:
            parts.append(f"left out and initialized as they would be without a file: {few(plain(self.left_out))}")
        if self.memory:
            parts.append(f"not in the file, because the memory adds them: {few(plain(self.memory))}")
        return f"weights: {'; '.join(parts)}"

    def record(self) -> dict[str, object]:
        """Return what rows store: how many names are loaded, and for each reason, the names that are not loaded."""
        named = {"summed": self.summed, "head": self.head, "left_out": self.left_out, "memory": self.memory}
        return {"loaded": len(self.loaded), **{reason: plain(names) for reason, names in named.items() if names}}


def plain(names: Iterable[str]) -> list[str]:
    """Return names in the form that they have in the network without memory."""
    return [name.removeprefix(AimNetwork.baseline_prefix) for name in names]


def fit(network: nn.Module, stored: StoredState, config: WeightsConfig, shape: ImageShape) -> Fit:
    """Return what a network loads from a file.

    Parameters
    ----------
    network : the network, with or without memory, before its control is applied; on any device.
    shape : shape of the network's images.

    Raises
    ------
    UsageError: names are missing or unexpected, or shapes differ in a layer other than the last.
    """
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    memory = of_memory(network, wanted)
    given = {_name_in(network, name, stored.has_memory): name for name in stored.tensors}
    if not memory & given.keys():
        wanted = {name: size for name, size in wanted.items() if name not in memory}
    excluded = _excluded(config, [*wanted, *given])
    missing = [name for name in wanted if name not in given and name not in excluded and not name.endswith(_COUNTER)]
    unexpected = [given[name] for name in given if name not in wanted and name not in excluded]
    loaded = {name: given[name] for name in wanted if name in given and name not in excluded}
    other = {
        name: (tuple(stored.tensors[own].shape), wanted[name])
        for name, own in loaded.items()
        if tuple(stored.tensors[own].shape) != wanted[name]
    }
    first, last = _ends(network, shape) if other else ("", "")
    head = {name for name, sizes in other.items() if name.rpartition(".")[0] == last and _differs_in_outputs(*sizes)}
    summed = {name for name, sizes in other.items() if name == f"{first}.weight" and _is_grey(*sizes)}
    wrong = {name: sizes for name, sizes in other.items() if name not in head | summed}
    if missing or unexpected or wrong:
        raise UsageError(_message(config, missing, unexpected, wrong, list(stored.tensors)))
    return Fit(
        {name: own for name, own in loaded.items() if name not in head},
        tuple(sorted(summed)),
        tuple(name for name in wanted if name in head),
        tuple(name for name in wanted if name in excluded),
        tuple(name for name in network.state_dict() if name in memory and name not in wanted),
    )


def load(network: nn.Module, stored: StoredState, fitting: Fit) -> None:
    """Set the parameters and buffers that are loaded to their values in the file, in place."""
    targets = network.state_dict()
    with torch.no_grad():
        for name, own in fitting.loaded.items():
            value = stored.tensors[own]
            targets[name].copy_(value.sum(1, keepdim=True) if name in fitting.summed else value)


def of_memory(network: nn.Module, names: Iterable[str]) -> set[str]:
    """Return the names that exist in the network only because of its memory."""
    if not isinstance(network, AimNetwork):
        return set()
    readers = {
        f"{name}.read_weight" for name, part in network.named_modules() if isinstance(part, (ConvReader, LinearReader))
    }
    return {name for name in names if name in readers or not name.startswith(network.baseline_prefix)}


def _name_in(network: nn.Module, name: str, has_memory: bool) -> str:
    """Return the name that a parameter from a file has in the network."""
    prefix = AimNetwork.baseline_prefix
    if isinstance(network, AimNetwork):
        return name if has_memory else prefix + name
    return name.removeprefix(prefix) if has_memory else name


def _excluded(config: WeightsConfig, names: Sequence[str]) -> set[str]:
    """Return the names to leave out; `names` must be written as in the network without memory."""
    known = dict(zip(names, plain(names), strict=True))
    for pattern in config.leave_out:
        if not any(fnmatchcase(each, pattern) for each in known.values()):
            inside = [each for each in known.values() if each.startswith(f"{pattern}.")]
            near = f"did you mean '{pattern}.*'? " if inside else did_you_mean(pattern, known.values())
            raise UsageError(
                f"model.weights.leave_out: {pattern!r} does not match any name in the network or the file; "
                f"{near}correct it"
            )
    return {name for name, each in known.items() if any(fnmatchcase(each, pattern) for pattern in config.leave_out)}


def _ends(network: nn.Module, shape: ImageShape) -> tuple[str, str]:
    """Return the first and the last convolution or dense layer in a forward pass, excluding layers of a memory."""
    kinds, inside = (nn.Conv2d, nn.Linear), network.baseline_prefix if isinstance(network, AimNetwork) else ""
    calls = trace(network, (shape.channels, shape.height, shape.width))
    names = [call.name for call in calls if call.name.startswith(inside)]
    called = [name for name in names if isinstance(network.get_submodule(name), kinds)]
    return (called[0], called[-1]) if called else ("", "")


def _differs_in_outputs(theirs: tuple[int, ...], ours: tuple[int, ...]) -> bool:
    return len(theirs) == len(ours) and theirs[0] != ours[0] and theirs[1:] == ours[1:]


def _is_grey(theirs: tuple[int, ...], ours: tuple[int, ...]) -> bool:
    return len(theirs) == 4 and theirs[1] == 3 and ours == (theirs[0], 1, *theirs[2:])


def _message(
    config: WeightsConfig,
    missing: Sequence[str],
    unexpected: Sequence[str],
    wrong: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]],
    given: Sequence[str],
) -> str:
    absent = plain(missing)
    parts = []
    if missing:
        parts.append(f"{counted(len(missing), 'name')} in the network but missing in the file: {few(absent)}")
    if unexpected:
        parts.append(f"{counted(len(unexpected), 'name')} in the file but unknown to the network: {few(unexpected)}")
    if wrong:
        sizes = [
            f"{name} {list(theirs)} instead of {list(ours)}"
            for name, (theirs, ours) in zip(plain(wrong), wrong.values(), strict=True)
        ]
        parts.append(f"{counted(len(wrong), 'different shape')}: {few(sizes)}")
    return f"{config.source} does not fit this network: {'; '.join(parts)}; {_remedy(absent, given)}"


def few(names: Sequence[str]) -> str:
    """Return names as one string; if there are many, the first names and the number of the others."""
    more = f", … and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _remedy(missing: Sequence[str], given: Sequence[str]) -> str:
    """Return what to do: set a prefix if the file's names would then fit; otherwise other remedies."""
    for name in missing[:1]:
        longer = next((each for each in given if each.endswith(f".{name}")), None)
        if longer is not None:
            return f"the names in the file begin with {longer.removesuffix(name)!r}: set model.weights.prefix"
    return (
        "set the backbone to which these weights belong, or list the names that must not be loaded from the file in "
        "model.weights.leave_out"
    )

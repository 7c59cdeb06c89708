"""Keep the initial values that a class sets itself, with each random draw from a stream named after what it fills.

Constants stay unchanged. Normally, all draws come one after another from one stream, so an additional layer would
change all later draws. Here, a class is constructed twice. The first construction shows which parameter each draw
fills, or, if that cannot be determined, which module. In the second construction, each draw comes from the stream with
that name. Layers that two arms share therefore start identically, even if one of the arms has additional layers.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from aimlib.component import ComponentConfig
from aimlib.errors import PluginError
from aimlib.seeding import seed_for

_KEPT = "_keeps_own_start"
_INIT = "torch.nn.init"
Made = TypeVar("Made", bound=nn.Module)


def constructed(config: ComponentConfig, make: Callable[[], Made], seed: int | None, prefix: str) -> Made:
    """Return what `make` constructs; keep the initial values that it sets itself if its class requests this.

    Parameters
    ----------
    config : configuration of the plugin that constructs the module.
    make : constructs the module; called twice.
    seed : the run's seed; None: the values do not matter, so the module is constructed only once.
    prefix : prefix of the parameters' names in the names of random streams.

    Raises
    ------
    PluginError: the two constructions draw different numbers of values.
    """
    if type(config).initial_values != "own":
        return make()
    made = make() if seed is None else _paired(make, seed, prefix, config.name)
    for module in made.modules():
        setattr(module, _KEPT, True)
    return made


def keeps_own_start(module: nn.Module) -> bool:
    """Return whether the parameters of a module keep the values that its class set."""
    return bool(getattr(module, _KEPT, False))


def take_over(module: nn.Module, replaced: nn.Module) -> None:
    """Make a module keep the values of the parameters that it takes over from the module that it replaces."""
    if keeps_own_start(replaced):
        setattr(module, _KEPT, True)


@dataclass(frozen=True)
class _Draw:
    """One random draw during a construction.

    Attributes
    ----------
    operator, shape : the operator that drew, and the shape of the draw.
    tensor : the tensor that was filled.
    target : the tensor that was passed to a function in ``torch.nn.init``; None if no such function made the draw.
    modules : the modules whose methods were executing, innermost first.
    """

    operator: str
    shape: tuple[int, ...]
    tensor: Tensor
    target: Tensor | None
    modules: tuple[nn.Module, ...]


def _paired(make: Callable[[], Made], seed: int, prefix: str, plugin: str) -> Made:
    with _global_generators():
        seen = _Recorder()
        _seed_all(seed, prefix)
        with seen:
            first = make()
        keys = _keys(first, seen.draws)
        seeded = _Seeder([seed_for(seed, "init", "own", prefix, *key) for key in keys], seen.draws, plugin)
        _seed_all(seed, prefix)
        with seeded:
            made = make()
        if seeded.number != len(seen.draws):
            raise seeded.different()
        return made


def _keys(network: nn.Module, draws: list[_Draw]) -> list[tuple[str | int, ...]]:
    """Return the name of each draw's stream: what the draw fills, and how many earlier draws filled the same thing."""
    tensors: dict[int, str] = {}
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        tensors.setdefault(_storage(tensor), name)
    modules = {id(module): name for name, module in network.named_modules()}
    counts: Counter[tuple[str, str]] = Counter()
    keys: list[tuple[str | int, ...]] = []
    for draw in draws:
        filled = next((tensors[_storage(t)] for t in (draw.tensor, draw.target) if _storage(t) in tensors), None)
        where = next((modules[id(module)] for module in draw.modules if id(module) in modules), "")
        key = ("module", where) if filled is None else ("tensor", filled)
        keys.append((*key, counts[key]))
        counts[key] += 1
    return keys


def _storage(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.untyped_storage()._cdata


class _Recorder(TorchDispatchMode):
    """Records every draw from torch's global generator, and keeps the drawn tensors, so that no storage is reused."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.draws: list[_Draw] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if _is_draw(func, kwargs) and isinstance(output, Tensor):
            target, modules = _callers(sys._getframe(1))
            self.draws.append(_Draw(str(func), tuple(output.shape), output, target, modules))
        return output


class _Seeder(TorchDispatchMode):
    """Seeds torch's global generator before every draw."""

    def __init__(self, seeds: list[int], draws: list[_Draw], plugin: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seeds, self._draws, self._plugin, self.number = seeds, draws, plugin, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not _is_draw(func, kwargs):
            return func(*args, **(kwargs or {}))
        if self.number < len(self._seeds):
            torch.default_generator.manual_seed(self._seeds[self.number])
        output = func(*args, **(kwargs or {}))
        if isinstance(output, Tensor):
            known = self._draws[self.number] if self.number < len(self._draws) else None
            if known is None or (known.operator, known.shape) != (str(func), tuple(output.shape)):
                raise self.different()
            self.number += 1
        return output

    def different(self) -> PluginError:
        """Return the error for a class whose two constructions differ."""
        return PluginError(
            f"{self._plugin}: two constructions of it draw different initial values; make them depend only on the "
            f"options and torch's generator, or set initial_values = 'rules' in the class"
        )


def _is_draw(func: Any, kwargs: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in func.tags and (kwargs or {}).get("generator") is None


def _callers(frame: FrameType | None) -> tuple[Tensor | None, tuple[nn.Module, ...]]:
    """Return the tensor passed to a function in ``torch.nn.init``, and the modules whose methods are executing."""
    target, modules = None, []
    while frame is not None:
        if target is None and frame.f_globals.get("__name__") == _INIT:
            found = frame.f_locals.get("tensor")
            target = found if isinstance(found, Tensor) else None
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and owner not in modules:
            modules.append(owner)
        frame = frame.f_back
    return target, tuple(modules)


def _seed_all(seed: int, prefix: str) -> None:
    """Seed torch's generator and the other generators from which a class may draw."""
    torch.default_generator.manual_seed(seed_for(seed, "init", "own", prefix))
    np.random.seed(seed_for(seed, "init", "own", prefix, "numpy") % 2**32)
    random.seed(seed_for(seed, "init", "own", prefix, "python"))


@contextmanager
def _global_generators() -> Iterator[None]:
    """Restore the state of all global generators when the context ends."""
    numpy, python = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        np.random.set_state(numpy)
        random.setstate(python)

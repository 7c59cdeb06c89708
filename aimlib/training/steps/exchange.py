"""Everything that a training step changes, copied on the device, so that the step can be repeated from that state.

`aimlib.training.steps.snapshot.Snapshot` keeps its copy on the host; here, the states before and after a step are
exchanged on the device, one tensor at a time. In addition to the run's own tensors, there is therefore only one copy,
plus one tensor at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aimlib.training import rng_state
from aimlib.training.steps.base import Computation

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class _Place:
    """A tensor of the network or the optimizer, and where it is stored.

    Attributes
    ----------
    kind : ``parameter``, ``buffer`` or ``optimizer``.
    owner : the module, or the key in the optimizer's state, to which the tensor belongs.
    key : the tensor's name in its owner.
    """

    kind: str
    owner: Any
    key: Any
    tensor: Tensor


class State:
    """The current parameters, buffers, optimizer state and options, and generators.

    Parameters
    ----------
    computation : the computation whose tensors are copied.
    """

    def __init__(self, computation: Computation) -> None:
        self._of = computation
        self._places = dict(_places(computation))
        self._copies = {name: place.tensor.detach().clone() for name, place in self._places.items()}
        self._read_the_rest()

    def _read_the_rest(self) -> None:
        optimizer = self._of.optimizer
        self._others = {
            key: {name: copy.deepcopy(value) for name, value in state.items() if not isinstance(value, Tensor)}
            for key, state in optimizer.state.items()
        }
        self._options = [
            {name: copy.deepcopy(value) for name, value in group.items() if name != "params"}
            for group in optimizer.param_groups
        ]
        self._generators = rng_state.state(self._of.device)

    def exchange(self) -> State:
        """Restore this state and return the current one. This object must not be used afterwards.

        Tensors are overwritten in place, because a captured graph reads and writes their memory.
        """
        return self._restore(keep=True)

    def put_back(self) -> None:
        """Restore this state without using additional memory."""
        self._restore(keep=False)

    @torch.no_grad()
    def _restore(self, *, keep: bool) -> State:
        """Restore this state; return the current one, with copies of its tensors if `keep` is set."""
        present = object.__new__(State)
        present._of, present._places, present._copies = self._of, dict(_places(self._of)), {}
        present._read_the_rest()
        for names in _by_storage(present._places):
            for name in names if keep else ():  # copy all tensors in a storage before any is overwritten
                present._copies[name] = present._places[name].tensor.detach().clone()
            for name in names:
                self._put_back(name, present._places[name])
        for name in self._places.keys() - present._places.keys():
            self._put_back(name, None)
        self._put_back_the_rest()
        return present

    def _put_back(self, name: str, now: _Place | None) -> None:
        before = self._places.get(name)
        if before is None:
            assert now is not None
            self._remove(now)
            return
        tensor, content = before.tensor, self._copies.pop(name)
        if tensor.is_inference() or tensor.shape != content.shape or tensor.dtype != content.dtype:
            tensor = content
        else:
            tensor.copy_(content)
        if now is None or now.tensor is not tensor:
            self._holder(before)[before.key] = tensor

    def _remove(self, place: _Place) -> None:
        """Remove a tensor that did not exist before; a buffer stays registered without a value."""
        if place.kind == "optimizer":
            del self._holder(place)[place.key]
        else:
            self._holder(place)[place.key] = None

    def _holder(self, place: _Place) -> Any:
        """Return the mapping that contains a tensor."""
        if place.kind == "optimizer":
            return self._of.optimizer.state[place.owner]
        return place.owner._parameters if place.kind == "parameter" else place.owner._buffers

    def _put_back_the_rest(self) -> None:
        optimizer = self._of.optimizer
        for key in [key for key in optimizer.state if key not in self._others]:
            del optimizer.state[key]
        for key, values in self._others.items():
            state = optimizer.state[key]
            for name in [name for name, value in state.items() if not isinstance(value, Tensor) and name not in values]:
                del state[name]
            state.update(values)
        for group, options in zip(optimizer.param_groups, self._options, strict=True):
            for name in group.keys() - options.keys() - {"params"}:
                del group[name]
            for name, value in options.items():
                if isinstance(value, Tensor) and isinstance(group.get(name), Tensor):
                    group[name].copy_(value)  # a captured graph may read it
                else:
                    group[name] = value
        rng_state.restore(self._generators, self._of.device)

    @torch.no_grad()
    def differences(self) -> list[str]:
        """Return the names of all values that differ in any bit from the current state; waits once for the device."""
        now = dict(_places(self._of))
        shared = [name for name in self._copies if name in now]
        found = set(self._copies) ^ set(now)
        found |= differing({name: (self._copies[name], now[name].tensor.detach()) for name in shared})
        present = object.__new__(State)
        present._of = self._of
        present._read_the_rest()
        if not equal((self._others, self._options), (present._others, present._options)):
            found.add("options of the optimizer")
        if not equal(self._generators, present._generators):
            found.add("generators")
        return sorted(found)


def state_bytes(computation: Computation) -> int:
    """Return the number of bytes that a copy of the tensors needs, plus those of the largest tensor."""
    sizes = [place.tensor.numel() * place.tensor.element_size() for _, place in _places(computation)]
    return sum(sizes) + max(sizes, default=0)


def _places(computation: Computation) -> Iterator[tuple[str, _Place]]:
    """Yield all tensors that a step may change, each only once, with a unique name."""
    seen: set[int] = set()
    names: dict[int, str] = {}
    for prefix, module in computation.network.named_modules():
        for kind, holder in (("parameter", module._parameters), ("buffer", module._buffers)):
            for key, tensor in holder.items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    name = f"{prefix}.{key}" if prefix else key
                    names[id(tensor)] = name
                    yield f"{kind} {name}", _Place(kind, module, key, tensor)
    for number, (owner, state) in enumerate(computation.optimizer.state.items()):
        of = names.get(id(owner), str(number))
        for key, value in state.items():
            if isinstance(value, Tensor):
                yield f"optimizer's {key} of {of}", _Place("optimizer", owner, key, value)


def _by_storage(places: dict[str, _Place]) -> Iterator[list[str]]:
    """Yield groups of names whose tensors share memory."""
    groups: dict[Any, list[str]] = {}
    for name, place in places.items():
        groups.setdefault((place.tensor.device, place.tensor.untyped_storage().data_ptr() or name), []).append(name)
    yield from groups.values()


def differing(pairs: dict[str, tuple[Tensor, Tensor]]) -> set[str]:
    """Return the names of the pairs that differ in any bit; the payload of a NaN does not count.

    The comparisons run on the device, and the host waits only once for all of them.
    """
    found = {name for name, (one, other) in pairs.items() if one.shape != other.shape or one.dtype != other.dtype}
    flags: dict[torch.device, dict[str, Tensor]] = {}
    for name, (one, other) in pairs.items():
        if name not in found:
            flags.setdefault(one.device, {})[name] = _differs(one, other.to(one.device))
    for of_device in flags.values():
        results = torch.stack(list(of_device.values())).tolist()
        found |= {name for name, differs in zip(of_device, results, strict=True) if differs}
    return {name for name in found if not _differ_in_nan_alone(*pairs[name])}


def _differs(one: Tensor, other: Tensor) -> Tensor:
    return (bits(one) != bits(other)).any()


def bits(tensor: Tensor) -> Tensor:
    """Return the bits of a tensor as integers."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor.view(_INTEGERS[tensor.element_size()]) if tensor.is_floating_point() else tensor


def _differ_in_nan_alone(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype or not one.is_floating_point():
        return False
    other = other.to(one.device)
    return bool(((bits(one) == bits(other)) | (one.isnan() & other.isnan())).all())


def equal(one: Any, other: Any) -> bool:
    """Return whether nested plain values and tensors are equal; tensors are compared bit by bit."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return not differing({"": (one, other)})
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(type(one) is type(other) and (one == other or one is other or repr(one) == repr(other)))

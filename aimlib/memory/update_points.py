"""The modules after which updates run, and the layers that read the static memory."""

from __future__ import annotations

from aimlib.config import UpdatePlaces
from aimlib.errors import UsageError
from aimlib.memory.structure import Call, Layer, Layout, matching


def static_readers(chosen: list[Layer]) -> set[str]:
    """Return which of the reading layers read the static memory: all except those in the first block of a stage."""
    static = {layer.name for layer in chosen if layer.block != 0}
    if not static or len(static) == len(chosen):
        which = "no layer outside" if not static else "no layer inside"
        raise UsageError(
            f"routing 'as_run' has no effect: {which} the first block of a stage reads the memory "
            f"(layers that read: {', '.join(layer.name for layer in chosen)}); choose another placement or "
            f"routing: current"
        )
    return static


def wanted_points(layout: Layout, where: UpdatePlaces | tuple[str, ...], calls: list[Call]) -> list[str]:
    """Return the modules after which the memory is to be updated, in the order of the forward pass."""
    order = {call.name: call.order for call in calls}
    if isinstance(where, str):
        points = layout.update_points(where)
    else:
        points = matching(where, [call.name for call in calls if call.name], "modules of this network")
    for name in points:
        if name not in order:
            raise UsageError(f"no update can run after {name!r}, because the forward pass does not call it")
        if sum(call.name == name for call in calls) > 1:
            raise UsageError(f"no update can run after {name!r}, because the forward pass calls it more than once")
    if not points:
        raise UsageError(
            f"the update has no place: update_after: {where} requires stages and blocks, which are not known for this "
            f"network; list the modules instead, e.g. update_after: "
            f"[{calls[1].name if len(calls) > 1 else 'layer1'}]"
        )
    return sorted(points, key=lambda name: _end(name, order))


def read_points(
    points: list[str], order: dict[str, int], readers: list[Layer], *, carried: bool
) -> tuple[list[str], list[str]]:
    """Split the update points into those whose result is read later (if `carried`, all of them) and the others."""
    if carried:
        return points, []
    last_read = max(order[layer.name] for layer in readers)
    read = [name for name in points if _end(name, order) <= last_read]
    if not read:
        raise UsageError(
            f"the update has no effect: no layer reads the memory after {', '.join(points)} "
            f"(layers that read: {', '.join(layer.name for layer in readers)}); choose another placement or "
            f"update: none"
        )
    return read, [name for name in points if name not in read]


def _end(name: str, order: dict[str, int]) -> int:
    """Return the order of the first module that starts once `name` has ended.

    A reader inside a module starts after the module starts, but before it ends.
    """
    inside = [number for other, number in order.items() if other == name or other.startswith(f"{name}.")]
    return max(inside) + 1

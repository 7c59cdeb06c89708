"""A study as displayed in a notebook: its arms and their changes, its factors, and its size. No network is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ablations.spec.levels import RUN_KEYS, labels_of
from ablations.spec.study import ArmSpec, StudySpec
from aimlib.errors import counted
from aimlib.records.html_tables import paragraph, table

_NEXT = "ablations.check(study) validates every network and estimates the cost; ablations.run(study) runs the study."


def html(spec: StudySpec) -> str:
    """Return a study as HTML."""
    arms = [(name, _origin(arm), ", ".join(_changes(arm)) or "–") for name, arm in spec.arms.items()]
    seeds = counted(len(spec.seeds), "seed")
    parts = [
        paragraph(f"Study {spec.name}: {counted(len(spec.arms), 'named arm')}, {seeds}", bold=True),
        paragraph(spec.description) if spec.description else "",
        paragraph(f"All arms: {', '.join(_flat(spec.base))}"),
        table(("arm", "from", "changes"), arms),
    ]
    if spec.factors:
        levels = [(name, ", ".join(labels_of(levels))) for name, levels in spec.factors.items()]
        parts += [
            paragraph(f"Factors of {spec.vary}, {spec.design or 'full_factorial'}; their combinations become arms"),
            table(("factor", "levels"), levels),
        ]
    if spec.search is not None:
        arms_searched = ", ".join(spec.search.arms)
        parts.append(paragraph(f"Search of {arms_searched}: {counted(spec.search.trials, 'trial')} per arm"))
    return "".join([*parts, paragraph(_NEXT)])


def _origin(arm: ArmSpec) -> str:
    return "base" if arm.of is None else arm.of


def _changes(arm: ArmSpec) -> Iterator[str]:
    if arm.control is not None:
        yield f"control {_text(arm.control)}"
    yield from _flat({key: value for key in RUN_KEYS if (value := getattr(arm, key, None))})
    yield from (f"{factor} = {label}" for factor, label in (arm.levels or {}).items())


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield ``key.path = value`` for every value; a component with its options counts as one value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and "name" not in value and value:
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key} = {_text(value)}"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        options = ", ".join(f"{key}={_text(item)}" for key, item in value.items() if key != "name")
        return f"{value['name']}({options})" if options else str(value.get("name", "{}"))
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)

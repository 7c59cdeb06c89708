"""The arms on the page: options, differences from the baseline, and the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.browse.disclosure import public_options, public_text
from analysis.plan import Arm, Plan
from analysis.reading.frames import parsed_json
from analysis.results import Results

_NETWORK = (
    "parameters",
    "trainable_parameters",
    "multiply_adds",
    "activation_bytes",
    "memory_values",
    "memory_degrees_of_freedom",
)


def arm_entries(results: Mapping[str, Results], labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the options that all arms share, and each arm's own options, differences and network.

    Parameters
    ----------
    labels : every study's name, by directory.
    """
    options = {
        (labels[directory], arm.name): public_options(arm.config)
        for directory, each in results.items()
        for arm in each.plan.arms
    }
    common = _common(list(options.values()))
    entries = []
    for directory, each in results.items():
        networks = _networks(each.models)
        for arm in each.plan.arms:
            own = options[labels[directory], arm.name]
            base = _baseline(each.plan, arm)
            entries.append(
                {
                    "study": labels[directory],
                    "arm": arm.name,
                    "role": arm.role,
                    "of": arm.of,
                    "baseline": None if base is None else base.name,
                    "options": {key: value for key, value in own.items() if key not in common},
                    "differences": [] if base is None else _differences(options[labels[directory], base.name], own),
                    "network": networks.get(arm.name, {}),
                }
            )
    return {"common": common, "entries": entries}


def _common(options: list[dict[str, Any]]) -> dict[str, Any]:
    if not options:
        return {}
    first, *others = options
    return {
        key: value for key, value in first.items() if all(key in other and _same(other[key], value) for other in others)
    }


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are equal; True and 1 are not equal."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _baseline(plan: Plan, arm: Arm) -> Arm | None:
    """Return the arm with which an arm is compared: the study's baseline, or otherwise the arm that it varies."""
    found = next((each for each in plan.arms if each.role == "baseline"), None)
    found = found or next((each for each in plan.arms if each.name == arm.of), None)
    return None if found is None or found.name == arm.name else found


def _differences(base: dict[str, Any], own: dict[str, Any]) -> list[list[Any]]:
    """Return each option with its values in the baseline and in the arm; None if an arm lacks the option."""
    names = sorted({*base, *own})  # sorted, so that an option's parts follow the option
    return [[name, base.get(name), own.get(name)] for name in names if not _same(base.get(name), own.get(name))]


def _networks(models: pd.DataFrame) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in models.to_dict("records"):
        network: dict[str, Any] = {name: int(row[name]) for name in _NETWORK if not pd.isna(row[name])}
        readers, updates = parsed_json(row["readers"], []), parsed_json(row["updates"], [])
        if isinstance(readers, list):
            network["readers"] = [
                public_text(str(reader.get("layer", reader.get("name"))))
                for reader in readers
                if isinstance(reader, dict)
            ]
        if isinstance(updates, list):
            network["updates"] = [public_text(str(update)) for update in updates]
        found[row["arm"]] = network
    return found

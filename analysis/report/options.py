"""Options of a run as people write them: ``conv_ones(channels=16, rows=4)`` for a component, ``none`` for null."""

from __future__ import annotations


def written(value: object) -> str:
    """Return an option's value for people; a component with its options in parentheses."""
    if value is None:
        return "none"
    if isinstance(value, dict) and "name" in value:
        options = ", ".join(f"{key}={written(item)}" for key, item in value.items() if key != "name")
        return f"{value['name']}({options})" if options else str(value["name"])
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)

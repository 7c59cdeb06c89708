"""Reading the values of a study file: equivalent spellings, and error messages with an example."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from ablations.spec.written import as_any_of
from aimlib.component import Frozen
from aimlib.errors import ConfigError, did_you_mean, unknown_name
from aimlib.records import ROLES

FUNCTION = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_]\w*)")
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
_LONGEST_TEXT = 120


def _looks(value: Any) -> Any:
    """Read a single number of pairs as one look; also accept the word ``any``."""
    numbers = (value,) if isinstance(value, int) else tuple(value) if isinstance(value, (list, tuple)) else ()
    if value == "any" or (numbers and all(type(number) is int for number in numbers)):
        return numbers or "any"
    raise ValueError(
        f"must be numbers of pairs, e.g. [5, 8, 12], one number for a single look, or any if the verdict may be "
        f"read after any number of pairs; got {value!r}"
    )


def spending_of(value: Any) -> Any:
    """Read the name of the design that spends the error rate across the looks."""
    from analysis import looks  # noqa: PLC0415 -- pandas comes with the package

    return looks.spending_of(value)


def directories_of(value: Any) -> Any:
    """Read a single directory as a list of one."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (list, tuple)) and all(isinstance(each, str) and each.strip() for each in value):
        return tuple(value)
    raise ValueError(
        f"must be study directories, e.g. [results/placement], or s3://bucket/folder, also gs:// or az://; "
        f"got {value!r}"
    )


def files_of(value: Any) -> Any:
    """Read a single file as a list of one."""
    if isinstance(value, str):
        value = (value,)
    if isinstance(value, (list, tuple)) and all(isinstance(each, str) and each.endswith(".py") for each in value):
        return tuple(value)
    raise ValueError(f"must be files with Python code, e.g. [my_net.py]; got {value!r}")


def train_of(value: Any) -> Any:
    """Read a function in a file, or the name of registered training code."""
    if value is None:
        return None
    if isinstance(value, str) and (FUNCTION.fullmatch(value) or NAME.fullmatch(value)) and not value.endswith(".py"):
        return value
    raise ValueError(f"must be a function in a file that takes (config, run), such as my_code.py:train; got {value!r}")


def arm_of(value: Any) -> Any:
    """Read an arm, whose changes may be empty."""
    if not isinstance(value, (dict, Frozen)):
        raise ValueError(  # noqa: TRY004 -- pydantic turns ValueErrors into messages
            f"must be a mapping with the arm's changes to the base, or {{}} if there are none; got {value!r}"
        )
    return value


def control_of(value: Any) -> Any:
    """Read a control by its name, or with options."""
    if value is not None and not isinstance(value, (str, dict)):
        raise ValueError(f"must be the name of a control, or a mapping with its name and options; got {value!r}")
    return value


def generators_of(value: Any) -> Any:
    """Read a single generator as a list of one."""
    if isinstance(value, (list, tuple)) and all(isinstance(text, str) for text in value):
        return tuple(value)
    if isinstance(value, str):
        return (value,)
    raise ValueError(f"must be a list such as [update = placement * channels]; got {value!r}")


def _integrity(value: Any) -> Any:
    """Read false as off, because other YAML readers read off as false."""
    return "off" if value is False else value


def keep_of(value: Any) -> Any:
    """Read null and false as none."""
    return "none" if value is None or value is False else value


Checks = Literal["spot", "reference", "off"]
"""How to detect wrong numbers that a device computes in a run. spot: the device computes the reference step, and some
training steps are repeated. reference: only the reference step is computed. off: neither is done."""
Integrity = Annotated[Literal["spot", "off"], BeforeValidator(_integrity)]
LookNumbers = Annotated[
    Any,
    BeforeValidator(_looks),
    as_any_of(
        {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1},
        {"type": "integer", "minimum": 1},
        {"const": "any"},
    ),
]
"""A tuple of numbers of pairs, or ``any``."""
Mapped = dict[str, Any]


def _text(value: Any) -> Any:
    """Read a single-line text, and remove surrounding spaces."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > _LONGEST_TEXT:
        raise ValueError(f"must be a single line of text with at most {_LONGEST_TEXT} characters; got {value!r}")
    return value.strip()


Text = Annotated[str, BeforeValidator(_text)]


def measure_of(value: Any) -> Any:
    """Read the name of a measure, or the mapping that describes a scalar."""
    from analysis.primary_measure import KNOWN, primary_measure  # noqa: PLC0415 -- pandas comes with the package

    try:
        primary_measure(value)
    except ValueError as error:
        if isinstance(value, Mapping) and "scalar" in value and value.get("better") not in ("higher", "lower"):
            given = f"got {value['better']!r}" if "better" in value else "it is missing"
            said = f"better: set whether higher or lower is better, e.g. {{scalar: perplexity, better: lower}}; {given}"
            raise ConfigError([said]) from None
        near = _near_measure(value, KNOWN) if isinstance(value, str) else ""
        said = str(error).removeprefix("measure ")
        raise ValueError(f"{near}{said}, e.g. {{scalar: perplexity, better: lower}}; got {value!r}") from None
    return value


def _near_measure(word: str, known: Sequence[str]) -> str:
    """Return advice on the measure that is meant by a name, or by part of a name, such as ``f1``."""
    parts = [name for name in known if len(word) > 1 and word.lower() in name.split("_")]
    near = did_you_mean(word, known) or (did_you_mean(parts[0], parts) if parts else "")
    return near and f"unknown measure {word!r}; {near}"


def stored_role(role: Any) -> Any:
    """Return how plans store a role: ``treatment`` is stored as ``aim``, as in the first version."""
    if role is not None and role not in (*ROLES, "aim"):
        raise ValueError(f"{unknown_name('role', str(role), ROLES)}; choose one of them")
    return "aim" if role == "treatment" else role

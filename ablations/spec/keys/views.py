"""The keys of a study as text with 80 columns and as a Markdown page."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from ablations.spec.keys.records import OWN_CODE, REQUIRED, Key

_WIDTH = 80
_INDENT = "    "
_HEADINGS = ("key", "what may be written", "default", "run id", "meaning")
_INTRODUCTION = """\
# Keys of a study

<!-- Written by `ablate keys --format markdown > docs/study-keys.md` from the code: do not edit. -->

Every key with its possible values, its default and its meaning. In a terminal, `ablate keys PREFIX` shows those below a
prefix (`ablate keys training.schedule.cosine`); in Python, `ablations.keys(prefix)` returns them. Both include the
components of other installed packages. [study.md](study.md) explains how a study is written.

`model`, `data`, `training` and `options` are given in `base`, in an arm or by a factor. These only give changes,
because required values may come from the protocol or the base. A component is given by its name, or by a mapping with
its `name` and options, such as `{name: cosine, warmup_epochs: 2}`. The column "run id" says whether the key is part of
a run's id, so that another value means another run. "As run" is what the author's notebooks did.
"""
_TITLES = {"": "The study", "arms.NAME": "An arm", "search": "A search", "resources": "Resources of a run"} | {
    "model": "The network",
    "data": "The data set",
    "training": "The training",
    OWN_CODE: "With own training code",
}
"""Headings of the top-level sections of the page."""
_BELOW_TITLES = {
    OWN_CODE: "In a study with `train`, these keys replace all keys of `training`, and `model` may be left out.",
}
_CODE = re.compile(r"(`[^`]*`)")


def text(keys: Sequence[Key], prefix: str = "") -> str:
    """Return keys as text; the options of components only if the prefix leads to a component or its family."""
    at = len(prefix.split(".")) if prefix else 0
    shown = [key for key in keys if not key.component or len(key.section.split(".")) <= at]
    folded = dict.fromkeys(key.section for key in keys if key not in shown)
    blocks = ["\n".join(_block(key)) for key in shown]
    if folded:
        said = f"Components and their options: give one of {', '.join(folded)}."
        blocks.append(textwrap.fill(said, _WIDTH, break_on_hyphens=False, break_long_words=False))
    return "\n".join(blocks)


def _block(key: Key) -> Iterator[str]:
    yield f"{key.address}, with own training code" if key.section == OWN_CODE else key.address
    yield from _wrapped("; ".join(_facts(key)))
    yield from _wrapped(_as_studies_write(key.meaning))
    if key.source:
        yield from _wrapped(f"Source: {key.source}")


def _facts(key: Key) -> Iterator[str]:
    yield key.type
    if key.default:
        yield key.default if key.default == REQUIRED else f"default {key.default}"
    if not key.in_run_id and not key.is_component:
        yield "not in the run id"


def _wrapped(said: str) -> list[str]:
    return textwrap.wrap(
        said,
        _WIDTH,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _as_studies_write(said: str) -> str:
    """Return a docstring in which Python's None is written as in a study."""
    return re.sub(r"\bNone\b", "null", said).replace("``", "`")


def markdown(keys: Iterable[Key], introduction: bool = True) -> str:
    """Return keys as a page with one table per section, in which every component precedes its options."""
    blocks = [_INTRODUCTION.rstrip()] if introduction else []
    for section, group in itertools.groupby(keys, key=lambda key: key.section):
        blocks.append(f"## {_TITLES[section]}" if section in _TITLES else f"### `{section}`")
        blocks += [_BELOW_TITLES[section]] if section in _BELOW_TITLES else []
        rows = [_HEADINGS, ("---",) * len(_HEADINGS), *map(_row, group)]
        blocks.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    return "\n\n".join(blocks) + "\n"


def _row(key: Key) -> tuple[str, ...]:
    if key.is_component:
        source = f" Source: {key.source.rstrip('.')}." if key.source else ""
        return (f"**`{key.component}`**", "", "", "", _cell(key.meaning + source))
    name = key.path if key.section == OWN_CODE else key.path.removeprefix(f"{key.section}.")
    default = key.default if key.default in ("", REQUIRED) else f"`{key.default}`"
    return (f"`{name}`", _cell(key.type), default, "yes" if key.in_run_id else "no", _cell(key.meaning))


def _cell(said: str) -> str:
    """Return a text as a cell of a table; in code, only the bar needs an escape."""
    parts = _CODE.split(_as_studies_write(said).replace("|", "\\|"))
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;").replace("*", "\\*") for part in parts)

"""The keys of a study as 80-column text and as a Markdown page."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from ablations.spec.keys.records import OWN_CODE, REQUIRED, Key

_WIDTH = 80
_INDENT = "    "
_HEADINGS = ("key", "possible values", "default", "run id", "meaning")
_INTRODUCTION = """\
# Keys of a study

<!-- Generated from the code by `ablate keys --format markdown > docs/study-keys.md`; do not edit. -->

This page lists every key with its possible values, its default and its meaning. In a terminal, `ablate keys PREFIX`
shows the keys below a prefix (`ablate keys training.schedule.cosine`); in Python, `ablations.keys(prefix)` returns
them. Both include the components from other installed packages. [study.md](study.md) explains how to write a study.

`model`, `data`, `training` and `options` are set in `base`, in an arm or by a factor. Only changes need to be set,
because required values may come from the protocol or the base. A component is written as its name, or as a mapping with
its `name` and options, such as `{name: cosine, warmup_epochs: 2}`. The column "run id" shows whether the key is part of
a run's id; if so, a different value means a different run. "As run" refers to what the author's notebooks did.
"""
_TITLES = {"": "The study", "arms.NAME": "An arm", "search": "A search", "resources": "Resources for a run"} | {
    "model": "The network",
    "data": "The data set",
    "training": "The training",
    OWN_CODE: "With your own training code",
}
"""Headings of the top-level sections of the page."""
_BELOW_TITLES = {
    OWN_CODE: "In a study with `train`, these keys replace all keys of `training`, and `model` may be omitted.",
}
_CODE = re.compile(r"(`[^`]*`)")


def text(keys: Sequence[Key], prefix: str = "") -> str:
    """Return keys as text; options of components are included only if the prefix leads to a component or its family."""
    at = len(prefix.split(".")) if prefix else 0
    shown = [key for key in keys if not key.component or len(key.section.split(".")) <= at]
    folded = dict.fromkeys(key.section for key in keys if key not in shown)
    blocks = ["\n".join(_block(key)) for key in shown]
    if folded:
        said = f"To list components and their options, use one of these prefixes: {', '.join(folded)}."
        blocks.append(textwrap.fill(said, _WIDTH, break_on_hyphens=False, break_long_words=False))
    return "\n".join(blocks)


def _block(key: Key) -> Iterator[str]:
    yield f"{key.address}, with your own training code" if key.section == OWN_CODE else key.address
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
    """Return a docstring with Python's None written as in a study."""
    return re.sub(r"\bNone\b", "null", said).replace("``", "`")


def markdown(keys: Iterable[Key], introduction: bool = True) -> str:
    """Return keys as a page with one table per section; in it, every component precedes its options."""
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
    """Return a text as a table cell; in code, only the vertical bar needs escaping."""
    parts = _CODE.split(_as_studies_write(said).replace("|", "\\|"))
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;").replace("*", "\\*") for part in parts)

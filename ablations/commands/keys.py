"""`ablate keys`: every key of a study, with its type, default and meaning. In Python: `ablations.keys`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from aimlib.errors import UsageError

if TYPE_CHECKING:
    from ablations.spec.keys.records import Key as _Key
else:
    _Key = Any

Format = Literal["text", "markdown", "json-schema"]
_HEADINGS = ("key", "possible values", "default", "meaning")


class Keys(tuple[_Key, ...]):
    """The keys of a study (see `ablations.spec.keys.records.Key`), printed as text in 80 columns.

    The printed text omits the options of components unless the prefix leads to a component. The tuple itself always
    contains these options.
    """

    prefix: str = ""

    def __new__(cls, keys: Iterable[_Key], prefix: str = "") -> Keys:
        """Return the keys that match `prefix`."""
        found = super().__new__(cls, keys)
        found.prefix = prefix
        return found

    def __repr__(self) -> str:
        """Return the keys in the form that the command prints."""
        from ablations.spec.keys.views import text

        return text(self, self.prefix)

    def _repr_html_(self) -> str:
        from aimlib.records.html_tables import table

        return table(_HEADINGS, [(key.address, key.type, key.default, key.meaning) for key in self])


def command(
    prefix: Annotated[
        str, typer.Argument(help="Beginning of a key path, such as training or training.schedule.cosine.")
    ] = "",
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="text; markdown: tables; json-schema: a JSON Schema for studies, for editors that complete YAML.",
        ),
    ] = "text",
) -> None:
    """Show the keys of a study: their possible values, defaults and meanings."""
    if form == "json-schema":
        import json

        from ablations.spec.keys.study_schema import study_schema

        if prefix:
            raise UsageError(f"keys: a JSON Schema always describes a whole study; omit {prefix!r}")
        typer.echo(json.dumps(study_schema(), indent=1))
        return
    found = keys(prefix)
    if form == "markdown":
        from ablations.spec.keys.views import markdown

        typer.echo(markdown(found, introduction=not prefix), nl=False)
    else:
        typer.echo(repr(found))


def keys(prefix: str = "") -> Keys:
    """Return the keys of a study below a prefix, in the order of the classes that parse the study.

    Parameters
    ----------
    prefix : beginning of a key path, such as ``training``, ``model.memory`` or ``training.schedule.cosine``, or a path
        as it appears in a study, in `base` or in an arm. If empty, all keys are returned.

    Raises
    ------
    UsageError: there is no such key; the message lists similar ones.
    """
    from ablations.spec.keys.lookup import below
    from ablations.spec.keys.records import records

    return Keys(below(records(), prefix), prefix)

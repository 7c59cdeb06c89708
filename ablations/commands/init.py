"""`ablate init`: write a first study. In Python: `ablations.init`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from aimlib.errors import UsageError, unknown_name
from aimlib.paths import make_folder

Template = Literal["idea", "claim", "sweep", "finetune"]
_FOLDER = Path(__file__).parents[1] / "studies" / "templates"
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")


def command(
    name: Annotated[
        str, typer.Argument(help="Name of the study, and of the folder for its files.", show_default=False)
    ],
    template: Annotated[
        Template,
        typer.Option(
            help="idea: your own part against a baseline and a matched control; claim: a reported gain; sweep: how a "
            "gain depends on two options; finetune: the effect of pretrained weights, and of a memory on top of "
            "them."
        ),
    ] = "idea",
) -> None:
    """Write a commented study that runs in under three minutes, for you to edit."""
    study = init(name, template=template)
    for path in sorted(study.parent.iterdir()):
        typer.echo(f"wrote {path}")
    typer.echo(f"next: ablate check {study}, then ablate run {study}")


def init(name: str | Path, *, template: Template = "idea") -> Path:
    """Write a commented study and the files that it needs into a new folder; return the study's file.

    Parameters
    ----------
    name : the folder; its last part is the name of the study.
    template : idea (your own part against a baseline and a matched control), claim (a reported gain), sweep (how a
        gain depends on two options) or finetune (the effect of pretrained weights, and of a memory on top of them).

    Raises
    ------
    UsageError: the template is unknown, no study can have this name, or the folder exists or cannot be written.
    """
    folder = Path(name)
    if template not in get_args(Template):
        raise UsageError(f"--template {unknown_name('template', str(template), get_args(Template))}")
    if not _NAME.fullmatch(folder.name):
        raise UsageError(
            f"init: {folder.name!r} cannot be the name of a study; use at most 64 letters, digits, '.', '_' and '-', "
            f"a letter or digit first (letters are a-z and A-Z)"
        )
    contents = {source.name: _content(source, folder) for source in sorted((_FOLDER / template).glob("*.*"))}
    if folder.exists():
        raise UsageError(
            f"init: {folder} already exists, and nothing is overwritten; give another name, or edit what is there"
        )
    try:
        make_folder(folder.parent)
        folder.mkdir()
        for file, content in contents.items():
            with (folder / file).open("xb") as written:
                written.write(content)
    except OSError as error:
        raise UsageError(f"init: {folder} cannot be written ({error.strerror}); give another folder") from None
    for path in (folder / file for file in contents if file.endswith(".py")):
        from ablations.planning.approval import approve_file

        approve_file(path)  # the user owns it now, so its changes need no approval
    return folder / "study.yaml"


def _content(source: Path, folder: Path) -> bytes:
    """Return the content of a template's file, with the name of the study in its text."""
    content = source.read_bytes()
    if source.suffix not in (".py", ".yaml"):
        return content
    return content.decode().replace("NAME/", f"{folder}/").replace("NAME", folder.name).encode()

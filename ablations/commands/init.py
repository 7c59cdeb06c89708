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
            "gain depends on two options; finetune: the effects of pretrained weights and of adding a memory to them."
        ),
    ] = "idea",
) -> None:
    """Write a commented study that runs in under three minutes, as a starting point for your own study."""
    study = init(name, template=template)
    for path in sorted(study.parent.iterdir()):
        typer.echo(f"wrote {path}")
    typer.echo(f"next: ablate check {study}, then ablate run {study}")


def init(name: str | Path, *, template: Template = "idea") -> Path:
    """Write a commented study and the files that it needs to a new folder, and return the study file's path.

    Parameters
    ----------
    name : path of the folder; its last part is the name of the study.
    template : idea (your own part against a baseline and a matched control), claim (a reported gain), sweep (how a gain
        depends on two options) or finetune (the effects of pretrained weights and of adding a memory to them).

    Raises
    ------
    UsageError: the template is unknown, the name is not valid for a study, or the folder exists or cannot be written.
    """
    folder = Path(name)
    if template not in get_args(Template):
        raise UsageError(f"--template {unknown_name('template', str(template), get_args(Template))}")
    if not _NAME.fullmatch(folder.name):
        raise UsageError(
            f"init: {folder.name!r} cannot be the name of a study; use at most 64 letters (a-z and A-Z), digits, "
            "'.', '_' and '-', and start with a letter or a digit"
        )
    contents = {source.name: _content(source, folder) for source in sorted((_FOLDER / template).glob("*.*"))}
    if folder.exists():
        raise UsageError(
            f"init: {folder} already exists, and nothing is overwritten; choose a different name, or edit the "
            "files in that folder"
        )
    try:
        make_folder(folder.parent)
        folder.mkdir()
        for file, content in contents.items():
            with (folder / file).open("xb") as written:
                written.write(content)
    except OSError as error:
        raise UsageError(f"init: {folder} cannot be written ({error.strerror}); choose a different folder") from None
    for path in (folder / file for file in contents if file.endswith(".py")):
        from ablations.planning.approval import approve_file

        approve_file(path)  # the user owns the file now, so changes to it need no approval
    return folder / "study.yaml"


def _content(source: Path, folder: Path) -> bytes:
    """Return the content of a template file, with the name of the study inserted into the text."""
    content = source.read_bytes()
    if source.suffix not in (".py", ".yaml"):
        return content
    return content.decode().replace("NAME/", f"{folder}/").replace("NAME", folder.name).encode()

"""`ablate predict`: classify images with a trained network that a study kept. In Python: `ablations.predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.commands.options import Directory, PluginFiles, TrustedCode, console
from aimlib.errors import UsageError, counted

if TYPE_CHECKING:
    from ablations.execution.inference.predicting import Predicted


def command(
    directory: Directory,
    run: Annotated[
        str,
        typer.Option(metavar="RUN", help="A run id or its beginning, or ARM/SEED.", show_default=False),
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(help="A folder of photos; default: the run's test images.", show_default=False),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write CSV to this file.", show_default=False)] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write Parquet to this file.", show_default=False)] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    data_root: Annotated[
        str | None,
        typer.Option(
            help="Folder of the data on this machine; default: the folder that the run used.", show_default=False
        ),
    ] = None,
    plugin: PluginFiles = None,
    trust: TrustedCode = None,
) -> None:
    """Predict with a network that a study kept (`keep: best`); the exit code is 1 if stored predictions differ."""
    from ablations.execution.inference.predicting import predict

    found = predict(directory, run, folder, device=device, data_root=data_root, plugin=plugin or (), trust=trust or ())
    _write(found, csv, parquet)
    for line in lines(found, shown=folder is not None or _verdict_is_due(directory)):
        console().print(line, soft_wrap=True, markup=False, highlight=False)
    if found.compared is not None and not found.compared.reproduced:
        raise typer.Exit(1)


def lines(found: Predicted, shown: bool = True) -> list[str]:
    """Return the lines to print.

    Parameters
    ----------
    shown : whether the accuracy on the test images may be shown.
    """
    images, classes = counted(len(found.names), "image"), counted(len(found.classes), "class", "classes")
    text = [f"run {found.run_id}, network of epoch {found.epoch}: {images}, {classes}"]
    if found.labels is not None and found.compared is not None and not shown:
        text.append("The accuracy on the test images will be shown once the verdict is due.")
    elif found.labels is not None:
        right = int((found.predicted == found.labels).sum())
        text.append(f"accuracy: {100 * right / len(found.names):.2f} % ({right:,} of {len(found.names):,})")
    return [*text, f"{found.compared}"] if found.compared is not None else text


def _verdict_is_due(directory: str) -> bool:
    """Return whether results on test images may be shown, according to the same rule as in all other commands."""
    import analysis
    from analysis.statistics.blinding import is_screening, verdict_is_due

    results = analysis.load(directory, epochs=False)
    return not is_screening(results.directory) and verdict_is_due(results.plan, results.runs)


def _write(found: Predicted, csv: Path | None, parquet: Path | None) -> None:
    from analysis.reading.spreadsheets import for_spreadsheets

    for option, path in (("--csv", csv), ("--parquet", parquet)):
        if path is None:
            continue
        try:
            if option == "--csv":
                for_spreadsheets(found.frame()).to_csv(path, index=False)
            else:
                found.frame().to_parquet(path, index=False)
        except OSError as error:
            raise UsageError(f"{option} {path}: cannot be written ({error}); give a different file") from error

"""`ablate data`: fetch, check, pack and describe data sets, and fetch weights.

Each command calls a Python function of this module with the same name and arguments, and prints its result.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aimlib.errors import UsageError, counted

if TYPE_CHECKING:
    from aimlib.datasets.base import DatasetPlugin
    from aimlib.datasets.packing import Progress
    from aimlib.datasets.summary import DataSummary
    from aimlib.datasets.verify import Finding

app = typer.Typer(help="Fetch, check, pack and describe data sets.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the data set, e.g. digits or stanford_dogs.", show_default=False)]
Root = Annotated[str | None, typer.Option(help="Folder of the data; default: $AIM_DATA_ROOT/<name>.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="An option of the data set; repeatable."),
]
Size = Annotated[int | None, typer.Option(help="Height and width in pixels.")]
BaseUrl = Annotated[str | None, typer.Option(help="URL of the archives, if not the official one.")]


def download(
    name: str,
    root: str | None = None,
    base_url: str | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Fetch the data set `name` into its folder and return that folder.

    Raises
    ------
    UsageError: this program cannot download the data set, or the download failed.
    """
    plugin = create(name, settings, root=root)
    fetch = getattr(plugin, "download", None)
    if fetch is None:
        source = getattr(plugin, "source", "")
        raise UsageError(
            f"{name}: cannot be downloaded by this program"
            + (f"; its source is {source}" if source else "")
            + f"; `ablate data info {name}` describes the local data"
        )
    folder: Path = fetch(base_url, progress)
    return folder


def verify(
    name: str,
    root: str | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> list[Finding]:
    """Return everything found wrong with the data set `name`; see `aimlib.datasets.verify.verify`."""
    from aimlib.datasets import verify as verification

    return verification.verify(create(name, settings, root=root), progress)


def prepare(
    name: str,
    root: str | None = None,
    size: int | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> DataSummary:
    """Pack the photos of the data set `name` unless they are already packed, and return its summary.

    Raises
    ------
    DataError: the data is missing or unusable.
    """
    from aimlib.datasets.photos import PhotoPlugin
    from aimlib.datasets.summary import summarise

    plugin = create(name, settings, root=root, size=size)
    if isinstance(plugin, PhotoPlugin):
        plugin.pack(progress)
    return summarise(plugin)


def info(
    name: str, root: str | None = None, size: int | None = None, settings: Mapping[str, Any] | None = None
) -> DataSummary:
    """Return the summary of the data set `name` without packing it.

    Raises
    ------
    DataError: the data is missing or unusable.
    """
    from aimlib.datasets.summary import summarise

    return summarise(create(name, settings, root=root, size=size))


def index(
    name: str,
    out: str | Path,
    root: str | None = None,
    validation_fraction: float | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> list[tuple[str, int]]:
    """Write the split of a data set of photos as a table for `image_index`; return the number of photos of each split.

    Parameters
    ----------
    out : the table to write: Parquet if its suffix is .parquet, else CSV; it must not exist.
    validation_fraction : share of each class of the training photos that become validation photos; None: none.
    seed : of the choice of validation photos; see `aimlib.datasets.splitting`.

    Raises
    ------
    UsageError: the data set has no photo files, or the table cannot be written.
    """
    from aimlib.datasets.index_files import write_index

    return write_index(create(name, settings, root=root), Path(out), validation_fraction, seed)


def weights(name: str, base_url: str | None = None) -> Path:
    """Fetch weights of torchvision's into its cache, where studies find them, and return the file.

    Parameters
    ----------
    name : torchvision's exact name, e.g. ``ResNet18_Weights.IMAGENET1K_V1``.
    base_url : folder that has torchvision's files; None: torchvision's own.

    Raises
    ------
    UsageError: torchvision has none of this name.
    DataError: the download failed.
    """
    from aimlib.weights import files

    return files.download(name, base_url)


def create(name: str, settings: Mapping[str, Any] | None = None, **options: Any) -> DatasetPlugin:
    """Return the data set `name` with these options; an option that is None keeps its default.

    Raises
    ------
    ConfigError: unknown name or options.
    """
    from aimlib.registry import datasets

    given = {key: value for key, value in options.items() if value is not None}
    plugin: DatasetPlugin = datasets.create(datasets.parse({**(settings or {}), **given, "name": plugin_name(name)}))
    return plugin


def plugin_name(name: str) -> str:
    """Return the registry's name for a data set: ``stanford_dogs`` for ``stanford-dogs``."""
    return name.replace("-", "_")


def parse_settings(pairs: list[str] | None) -> dict[str, Any]:
    """Turn ``["size=64", ...]`` into ``{"size": 64, ...}``; values are YAML.

    Raises
    ------
    UsageError: a pair has no ``=``, a key is given twice, or a value is not valid YAML.
    """
    from ablations.spec import yaml_documents

    settings: dict[str, Any] = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise UsageError(f"--set {pair}: no key with a value; give KEY=VALUE, e.g. --set size=64")
        if key in settings:
            raise UsageError(f"--set {pair}: {key} is given twice; give it once")
        settings[key] = yaml_documents.parse(value, f"--set {key}")
    return settings


def _print(text: str) -> None:
    from aimlib.records.escaping import printable

    typer.echo(printable(text))  # file names and class names may be anything


@app.command("download")
def _download(name: Name, root: Root = None, base_url: BaseUrl = None, settings: Settings = None) -> None:
    """Fetch a data set into its folder; an interrupted download resumes where it stopped."""
    with _bars() as progress:
        folder = download(name, root, base_url, parse_settings(settings), progress)
    _print(f"{name} is in {folder}; check it with `ablate data verify {name} --root {folder}`")


@app.command("index")
def _index(
    name: Name,
    out: Annotated[str, typer.Option(help="The table to write, as .csv or .parquet.", show_default=False)],
    root: Root = None,
    validation_fraction: Annotated[
        float | None, typer.Option(help="Share of each class of the training photos to make validation photos.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of validation photos.")] = 0,
    settings: Settings = None,
) -> None:
    """Write the split of a data set of photos as a table: path, label and split, for `image_index`."""
    written = index(name, out, root, validation_fraction, seed, parse_settings(settings))
    _print(f"{out}: {', '.join(f'{photos:,} {split}' for split, photos in written)}")


@app.command("weights")
def _weights(
    name: Annotated[
        str, typer.Argument(help="Torchvision's name, e.g. ResNet18_Weights.IMAGENET1K_V1.", show_default=False)
    ],
    base_url: Annotated[str | None, typer.Option(help="Folder of the files, if not torchvision's own.")] = None,
) -> None:
    """Fetch weights of torchvision's networks, for model.weights in a study; a study itself downloads nothing."""
    _print(f"{name} is {weights(name, base_url)}")


@app.command("verify")
def _verify(name: Name, root: Root = None, settings: Settings = None) -> None:
    """Check every file of a data set; the exit code is 1 if anything is wrong."""
    with _bars() as progress:
        findings = verify(name, root, parse_settings(settings), progress)
    for finding in findings:
        _print(f"{finding.kind}: {finding.file}: {finding.message}")
    _print(f"{name}: {counted(len(findings), 'problem')}" if findings else f"{name}: no problems")
    if findings:
        raise typer.Exit(1)


@app.command("prepare")
def _prepare(name: Name, root: Root = None, size: Size = None, settings: Settings = None) -> None:
    """Decode and resize all photos once, so that training can start without delay."""
    with _bars() as progress:
        summary = prepare(name, root, size, parse_settings(settings), progress)
    _print_head(summary)


@app.command("info")
def _info(name: Name, root: Root = None, size: Size = None, settings: Settings = None) -> None:
    """Show shape, splits, images per class, fingerprint and the location of the packed data."""
    summary = info(name, root, size, parse_settings(settings))
    _print_head(summary)
    width = max(len(row.name) for row in summary.classes)
    own = summary.validation is not None
    _print(f"\n{'class':{width}}  train  {'validation  ' if own else ''} test")
    for row in summary.classes:
        _print(f"{row.name:{width}}  {row.train:5}  {f'{row.validation:10}  ' if own else ''}{row.test:5}")


def _print_head(summary: DataSummary) -> None:
    shape = summary.shape
    _print(f"{summary.name}: {summary.images}")
    _print(f"shape        {shape.height} x {shape.width} x {shape.channels}, {shape.classes} classes")
    _print(f"fingerprint  {summary.fingerprint or f'none yet: ablate data prepare {summary.name}'}")
    if summary.cache is not None:
        _print(f"cache        {summary.cache}")
    if summary.by_pillow:
        _print(f"\nPillow decoded {counted(len(summary.by_pillow), 'photo')} that the fast decoder does not decode:")
        for path, reason in sorted(summary.by_pillow.items()):
            _print(f"  {path}: {reason}")


@contextmanager
def _bars() -> Iterator[Progress | None]:
    """Yield a callback that draws progress bars on the terminal, or None if there is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from ablations.commands.safe_console import SafeConsole

    tasks: dict[str, TaskID] = {}
    with Bars(console=SafeConsole(emoji=False, stderr=True)) as bars:

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield progress

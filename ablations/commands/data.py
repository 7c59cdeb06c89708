"""`ablate data`: fetch, check, pack and describe data sets, and fetch weights.

Each command calls a Python function of this module with the same name and arguments, and prints its result.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, overload

import typer

from aimlib.errors import UsageError, counted, unknown_name

if TYPE_CHECKING:
    from aimlib.datasets.base import DatasetPlugin
    from aimlib.datasets.pack_plan import PackPlan
    from aimlib.datasets.pixel_files import Progress
    from aimlib.datasets.summary import DataSummary
    from aimlib.datasets.verify import Finding

Order = Literal["tfds", "sha256"]
"""The fixed orders of `aimlib.training.image_order`, repeated here because importing that module would import numpy."""
FixedOrder = dict[str, tuple[list[str], list[str]]]
"""For each split, the names of the images in the first batch and in an incomplete last batch."""

app = typer.Typer(help="Fetch, check, pack and describe data sets.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the data set, e.g. digits or stanford_dogs.", show_default=False)]
Root = Annotated[str | None, typer.Option(help="Folder of the data; the default is $AIM_DATA_ROOT/<name>.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="An option of the data set, as KEY=VALUE; repeatable."),
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
            f"{name}: this program cannot download the data set"
            + (f"; its source is {source}" if source else "")
            + f"; `ablate data info {name}` describes the local copy"
        )
    folder: Path = fetch(base_url, progress)
    return folder


def verify(
    name: str,
    root: str | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    *,
    near_duplicates: bool = False,
    fix: str | Path | None = None,
    sheet: str | Path | None = None,
) -> list[Finding]:
    """Return all problems found in the data set `name`, errors first; see `aimlib.datasets.verify.verify`.

    Parameters
    ----------
    near_duplicates : also find photos that are nearly identical; requires the extra ``near-duplicates``.
    fix : path of a file to write that lists the photos to leave out; a study refers to the file with ``data.exclude``.
        The file must not exist. Nothing is written if there is nothing to leave out.
    sheet : path of an HTML page to write, with small copies of the photos that were found; it must not exist.

    Raises
    ------
    UsageError: a file cannot be written, or an option requires photo files and the data set has none.
    """
    from aimlib.datasets.photos import PhotoPlugin
    from aimlib.datasets.verification.contact_sheet import write_sheet
    from aimlib.datasets.verification.fixing import write_fix
    from aimlib.datasets.verify import verify as findings_of

    plugin = create(name, settings, root=root)
    for option, file in (("fix", fix), ("sheet", sheet)):
        if file is not None:
            _refuse_unwritable(f"--{option} {file}", Path(file))
    if not isinstance(plugin, PhotoPlugin):
        if fix is not None or sheet is not None:
            raise UsageError(
                f"{name}: the data set has no photo files, which --fix and --sheet require; omit these options"
            )
        return findings_of(plugin, progress, near_duplicates=near_duplicates)
    found = findings_of(plugin, progress, near_duplicates=near_duplicates)
    if fix is not None:
        found = [*write_fix(Path(fix), plugin, found), *found]
    if sheet is not None and any(finding.files for finding in found):
        write_sheet(Path(sheet), plugin.survey().listing.root, found, name)
    return found


def _refuse_unwritable(option: str, file: Path) -> None:
    """Before a long check, raise an error if the file could not be written afterwards."""
    if file.exists() or file.is_symlink():
        raise UsageError(f"{option}: the file already exists; remove it, or choose a different name")
    if not file.absolute().parent.is_dir():
        raise UsageError(
            f"{option}: the folder {file.absolute().parent} does not exist; create it, or choose a different path"
        )


@overload
def prepare(
    name: str,
    root: str | None = None,
    size: int | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    *,
    plan: Literal[False] = False,
) -> DataSummary: ...
@overload
def prepare(
    name: str,
    root: str | None = None,
    size: int | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    *,
    plan: Literal[True],
) -> PackPlan: ...
def prepare(
    name: str,
    root: str | None = None,
    size: int | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    *,
    plan: bool = False,
) -> DataSummary | PackPlan:
    """Pack the photos of the data set `name` unless they are already packed, and return the data set's summary.

    Parameters
    ----------
    plan : pack nothing, but return the space and time that packing will take, estimated from a sample of the photos.

    Raises
    ------
    DataError: the data is missing or unusable.
    UsageError: `plan` was given for data that is not packed.
    """
    from aimlib.datasets.pack_plan import plan_pack
    from aimlib.datasets.photos import PhotoPlugin
    from aimlib.datasets.summary import summarise

    plugin = create(name, settings, root=root, size=size)
    if plan:
        if not isinstance(plugin, PhotoPlugin):
            raise UsageError(f"{name}: the data set has no photo files, so nothing needs to be packed; omit --plan")
        return plan_pack(plugin)
    packed = plugin.pack(progress) if isinstance(plugin, PhotoPlugin) else None
    return summarise(plugin, packed)


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
    """Write the split of a photo data set as a table for `image_index`, and return the number of photos in each split.

    Parameters
    ----------
    out : path of the table: Parquet if the suffix is .parquet, CSV otherwise; the file must not exist.
    validation_fraction : share of each class's training photos that become validation photos; None uses none.
    seed : seed for choosing the validation photos; see `aimlib.datasets.splitting`.

    Raises
    ------
    UsageError: the data set has no photo files, or the table cannot be written.
    """
    from aimlib.datasets.index_files import write_index

    return write_index(create(name, settings, root=root), Path(out), validation_fraction, seed)


def weights(name: str, base_url: str | None = None) -> Path:
    """Fetch torchvision weights into torchvision's cache, where studies find them, and return the file.

    Parameters
    ----------
    name : torchvision's exact name, e.g. ``ResNet18_Weights.IMAGENET1K_V1``.
    base_url : URL of a folder with torchvision's files; None means torchvision's default.

    Raises
    ------
    UsageError: torchvision has no weights with this name.
    DataError: the download failed.
    """
    from aimlib.weights import files

    return files.download(name, base_url)


def order(
    name: str,
    root: str | None = None,
    rule: Order = "tfds",
    batch_size: int = 16,
    settings: Mapping[str, Any] | None = None,
) -> FixedOrder:
    """Return the first batch of each split in a fixed order, and the images in an incomplete last batch.

    The photos are listed, but not opened.

    Parameters
    ----------
    rule : as in a study's `training.order`; see `aimlib.training.image_order`.
    batch_size : number of images in a batch.

    Raises
    ------
    DataError: the data is missing or unusable.
    """
    from aimlib.datasets.photos import PhotoPlugin
    from aimlib.training.image_order import first_and_last

    if rule not in get_args(Order):
        raise UsageError(f"--rule {unknown_name('rule', str(rule), get_args(Order))}")
    if batch_size < 1:
        raise UsageError(f"batch_size: must be at least 1; got {batch_size}")
    plugin = create(name, settings, root=root)
    if isinstance(plugin, PhotoPlugin):
        names = {split: found.paths for split, found in plugin.listing().splits.items()}
    else:
        names = {split: images.names for split, images in plugin.load().splits().items()}
    return {split: first_and_last(found, rule, split, plugin.config.name, batch_size) for split, found in names.items()}


def create(name: str, settings: Mapping[str, Any] | None = None, **options: Any) -> DatasetPlugin:
    """Return the data set `name` with these options; options that are None have their default values.

    Raises
    ------
    ConfigError: the name or an option is unknown.
    """
    from aimlib.registry import datasets

    given = {key: value for key, value in options.items() if value is not None}
    plugin: DatasetPlugin = datasets.create(datasets.parse({**(settings or {}), **given, "name": plugin_name(name)}))
    return plugin


def plugin_name(name: str) -> str:
    """Return a data set's name in the registry: ``stanford_dogs`` for ``stanford-dogs``."""
    return name.replace("-", "_")


def parse_settings(pairs: list[str] | None) -> dict[str, Any]:
    """Turn ``["size=64", "split.seed=1"]`` into ``{"size": 64, "split": {"seed": 1}}``; values are YAML.

    Raises
    ------
    UsageError: a pair has no ``=``, a key is given twice, or a value is not valid YAML.
    """
    from ablations.spec import yaml_documents

    settings: dict[str, Any] = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise UsageError(f"--set {pair}: this is not a key with a value; use KEY=VALUE, e.g. --set size=64")
        *above, last = key.split(".")
        inner: Any = settings
        for each in above:
            inner = inner.setdefault(each, {}) if isinstance(inner, dict) else inner
        if not isinstance(inner, dict) or last in inner:
            raise UsageError(f"--set {pair}: {key} is given twice; give it only once")
        inner[last] = yaml_documents.parse(value, f"--set {key}")
    return settings


def _print(text: str) -> None:
    from aimlib.records.escaping import printable

    typer.echo(printable(text))  # file names and class names may contain any characters


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
        float | None, typer.Option(help="Share of each class's training photos to use for validation.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed for choosing the validation photos.")] = 0,
    settings: Settings = None,
) -> None:
    """Write the split of a photo data set as a table for `image_index`, with the columns path, label and split."""
    written = index(name, out, root, validation_fraction, seed, parse_settings(settings))
    _print(f"{out}: {', '.join(f'{photos:,} {split}' for split, photos in written)}")


@app.command("order")
def _order(
    name: Name,
    root: Root = None,
    rule: Annotated[Order, typer.Option(help="Order of the images, as in training.order of a study.")] = "tfds",
    batch_size: Annotated[int, typer.Option(help="Number of images in a batch.")] = 16,
    settings: Settings = None,
) -> None:
    """Show the first batch of each split in a fixed order, and the images of an incomplete last batch."""
    for split, (first, last) in order(name, root, rule, batch_size, parse_settings(settings)).items():
        _print(f"{split}: first batch of {batch_size} in the order {rule}")
        for place, image in enumerate(first, 1):
            _print(f"{place:4}  {image}")
        _print(f"{split}: images in an incomplete last batch: {', '.join(last) or 'none'}")


@app.command("weights")
def _weights(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of the weights in torchvision, e.g. ResNet18_Weights.IMAGENET1K_V1.", show_default=False
        ),
    ],
    base_url: Annotated[str | None, typer.Option(help="Folder with torchvision's files, if not the default.")] = None,
) -> None:
    """Fetch a torchvision network's weights for model.weights in a study; a study itself downloads nothing."""
    _print(f"{name} is {weights(name, base_url)}")


@app.command("verify")
def _verify(
    name: Name,
    root: Root = None,
    settings: Settings = None,
    near_duplicates: Annotated[
        bool, typer.Option("--near-duplicates", help="Also look for photos that look alike.")
    ] = False,
    fix: Annotated[
        str | None, typer.Option(help="Write a list of the photos to leave out, for use as data.exclude in a study.")
    ] = None,
    sheet: Annotated[str | None, typer.Option(help="Write an HTML page that shows the photos that were found.")] = None,
) -> None:
    """Check every file of a data set; the exit code is 1 if anything is wrong, and 0 if there are only remarks."""
    with _bars() as progress:
        findings = verify(
            name,
            root,
            parse_settings(settings),
            progress,
            near_duplicates=near_duplicates,
            fix=fix,
            sheet=sheet,
        )
    from aimlib.records.escaping import on_one_line

    for finding in findings:
        mark = "" if finding.is_error else "remark: "
        text = " ".join(finding.message.split())
        place = "" if text.startswith(f"{finding.file}:") else f"{on_one_line(finding.file)}: "
        _print(f"{mark}{finding.kind}: {place}{text}")
    for file, nothing in ((fix, "there is nothing to leave out"), (sheet, "there are no photos to show")):
        if file is not None and not Path(file).exists():
            _print(f"{file} was not written: {nothing}")
    if fix is not None and Path(fix).exists():
        from aimlib.datasets.exclusions import read_exclusions

        _print(f"{read_exclusions(fix)}; to leave them out, set data.exclude in the study")
    errors = sum(finding.is_error for finding in findings)
    remarks = len(findings) - errors
    problems = counted(errors, "problem") if errors else "no problems"
    _print(f"{name}: {problems}" + (f", {counted(remarks, 'remark')}" if remarks else ""))
    if errors:
        raise typer.Exit(1)


@app.command("prepare")
def _prepare(
    name: Name,
    root: Root = None,
    size: Size = None,
    settings: Settings = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Pack nothing, but print the space and time that packing will take.")
    ] = False,
) -> None:
    """Decode and resize all photos once, so that training can start without delay; resume if interrupted."""
    if plan:
        from ablations.commands.pack_plan_lines import lines

        for line in lines(prepare(name, root, size, parse_settings(settings), plan=True)):
            _print(line)
        return
    with _bars() as progress:
        summary = prepare(name, root, size, parse_settings(settings), progress)
    _print_head(summary)


@app.command("info")
def _info(name: Name, root: Root = None, size: Size = None, settings: Settings = None) -> None:
    """Show the shape, splits, images per class, fingerprint and location of the packed data."""
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
    _print(f"fingerprint  {summary.fingerprint or f'none yet; run ablate data prepare {summary.name}'}")
    if summary.cache is not None:
        _print(f"cache        {summary.cache}")
    if summary.excluded is not None:
        _print(f"excluded     {summary.excluded}")
    if summary.by_pillow:
        _print(f"\nPillow decoded {counted(len(summary.by_pillow), 'photo')} that the fast decoder cannot decode:")
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

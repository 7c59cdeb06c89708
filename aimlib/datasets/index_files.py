"""Write the splits of a photo data set as a table, which `image_index` can read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aimlib.datasets.base import DatasetPlugin
from aimlib.datasets.listing import PhotoListing, PhotoSplit, check_listing
from aimlib.datasets.photos import PhotoPlugin
from aimlib.datasets.splitting import SplitConfig, is_test
from aimlib.errors import ConfigError, DataError, UsageError
from aimlib.records.escaping import csv_line

_WORDS = {"train": "train", "validation": "val", "test": "test"}


def write_index(
    plugin: DatasetPlugin, out: Path, validation_fraction: float | None = None, seed: int = 0
) -> list[tuple[str, int]]:
    """Write every photo's path, label and split; return each split's name in the table and number of photos.

    Parameters
    ----------
    out : path of the table, which must not exist; Parquet if the suffix is .parquet or .pq, else CSV in UTF-8.
    validation_fraction : share of each class's training photos that become validation photos; None: none of them.
    seed : seed for choosing validation photos, which are chosen as `aimlib.datasets.splitting` chooses test photos.

    Raises
    ------
    UsageError: the data has no photo files, the fraction is invalid, or the table cannot be written.
    DataError: the data is missing or does not match the configuration.
    """
    if not isinstance(plugin, PhotoPlugin):
        raise UsageError(
            f"{plugin.config.name}: has no photo files that a table can list; choose a data set with photo files"
        )
    listing = plugin.listing()
    check_listing(listing, plugin.config.classes)
    splits = dict(listing.splits)
    if validation_fraction is not None:
        splits = {**_with_validation(listing, validation_fraction, seed), "test": splits["test"]}
    rows = [
        (path, listing.classes[label], _WORDS[name])
        for name, split in splits.items()
        for path, label in zip(split.paths, split.labels.tolist(), strict=True)
    ]
    try:
        _write(out, rows)
    except FileExistsError as error:
        raise UsageError(f"{out}: already exists; remove it, or choose a different name") from error
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror or error}; choose a different path") from error
    return [(_WORDS[name], len(split.paths)) for name, split in splits.items()]


def _with_validation(listing: PhotoListing, fraction: float, seed: int) -> dict[str, PhotoSplit]:
    if "validation" in listing.splits:
        raise UsageError(f"{listing.name}: has validation photos of its own; omit --validation-fraction")
    try:
        split = SplitConfig.parse({"test_fraction": fraction, "seed": seed})
    except ConfigError as error:
        raise UsageError(
            str(error).replace("test_fraction", "--validation-fraction").replace("seed", "--seed")
        ) from None
    train = listing.splits["train"]
    try:
        held = is_test(split, train.paths, train.labels, listing.classes)
    except DataError as error:
        raise DataError(str(error).replace("data.split", "--validation-fraction")) from error
    assert not np.all(held), "every class keeps a training photo"
    return {"train": train.chosen(~held), "validation": train.chosen(held)}


def _write(out: Path, rows: list[tuple[str, str, str]]) -> None:
    names = ("path", "label", "split")
    if out.suffix.lower() in (".parquet", ".pq"):
        import pyarrow as pa  # noqa: PLC0415 -- only for this format
        import pyarrow.parquet as pq  # noqa: PLC0415

        table = pa.table({name: pa.array(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)})
        with out.open("xb") as file:
            pq.write_table(table, file)
        return
    with out.open("x", encoding="utf-8", newline="") as text:
        text.writelines(map(csv_line, (names, *rows)))

"""The results of one study as frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import pandas as pd
import pyarrow as pa

from aimlib import records
from aimlib.errors import StoreError, UsageError, warn_renamed
from aimlib.paths import Place
from aimlib.records import role
from analysis.plan import Plan
from analysis.reading import frames, predictions
from analysis.reading.files import listed, read_plain

if TYPE_CHECKING:
    from analysis.analysis_plan import Frozen


@dataclass(frozen=True)
class Results:
    """What was found in a study directory; `analysis.load` makes it, `analysis.columns` explains the columns.

    Attributes
    ----------
    directory : where it was read from.
    plan : what the study set out to run.
    runs : one row per planned run that has a row; a run that only ever failed has its last failure.
    epochs : one row per such run and epoch.
    stale : rows whose run id is not in the plan (the study was changed since), as they were written.
    missing : planned runs without any row: run_id, arm, seed.
    """

    directory: Place
    plan: Plan
    runs: pd.DataFrame
    epochs: pd.DataFrame
    stale: pd.DataFrame
    missing: pd.DataFrame

    @property
    def trials(self) -> pd.DataFrame:
        """The frame `runs` by its earlier name."""
        warn_renamed("results.trials", "results.runs, where the role 'aim' is 'treatment'")
        return self.runs

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Predictions of every run's selected epoch: run_id, epoch, image, predicted, label, correct."""
        return self.predictions_at("selected")

    def predictions_at(self, epoch: int | Literal["selected", "all"]) -> pd.DataFrame:
        """Return the predictions of every settled run after one epoch, the selected one, or all.

        Parameters
        ----------
        epoch : number of the epoch from 1 (0: the start); runs that did not reach it have no rows.

        Raises
        ------
        StoreError: the table of test images is missing, or a file is broken.
        UsageError: `epoch` is neither a number nor one of the two words.
        """
        if not (epoch in ("selected", "all") or (isinstance(epoch, int) and epoch >= 0)):
            raise UsageError(f"epoch must be a number from 0, 'selected' or 'all'; got {epoch!r}")
        return predictions.read(self.directory, self.plan.runs["run_id"], self.images, epoch)

    @cached_property
    def frozen(self) -> Frozen | None:
        """The analysis plan as it was frozen before the first run; None if none was.

        StoreError where the file is broken or was changed.
        """
        from analysis import analysis_plan  # noqa: PLC0415 -- scipy only where the plan is asked for

        return analysis_plan.read(self.directory)

    @cached_property
    def models(self) -> pd.DataFrame:
        """One row per arm: layers, parameters, multiply-adds; empty if `models.parquet` is not there."""
        try:
            table = read_plain(self.directory / records.MODELS_FILE, records.MODELS)
        except FileNotFoundError:
            return frames.empty(frames.MODELS)
        found = frames.from_arrow(table, frames.MODELS)
        return found.assign(role=found["role"].map(lambda stored: role(stored) or stored).astype(found["role"].dtype))

    @cached_property
    def images(self) -> pd.DataFrame:
        """Test images of every data fingerprint found: number, name, label and class name."""
        parts = [_images(path) for path in listed(self.directory / records.IMAGES)]
        return pd.concat([frames.empty(frames.TABLES["images"]), *parts], ignore_index=True)

    def compare(self, treatment: str, control: str, by: str = "seed") -> pd.DataFrame:
        """Return the paired differences in test accuracy of two arms; see `analysis.compare`."""
        from analysis.query import compare  # noqa: PLC0415 -- scipy only where intervals are asked for

        return compare(self.runs, treatment, control, by=by)


@dataclass(frozen=True)
class Studies:
    """Several studies together: the frames of `Results`, each with the column `directory` in front.

    Attributes
    ----------
    results : by directory, in the order given.
    """

    results: Mapping[str, Results]

    @classmethod
    def of(cls, results: Iterable[Results]) -> Studies:
        """Return these results together."""
        return cls({str(each.directory): each for each in results})

    @cached_property
    def runs(self) -> pd.DataFrame:
        """All runs."""
        return self._together("runs")

    @property
    def trials(self) -> pd.DataFrame:
        """The frame `runs` by its earlier name."""
        warn_renamed("studies.trials", "studies.runs, where the role 'aim' is 'treatment'")
        return self.runs

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """All epochs."""
        return self._together("epochs")

    @cached_property
    def models(self) -> pd.DataFrame:
        """All arms' networks."""
        return self._together("models")

    def _together(self, name: str) -> pd.DataFrame:
        parts = [getattr(each, name).assign(directory=directory) for directory, each in self.results.items()]
        frame = pd.concat(parts, ignore_index=True).astype({"directory": "str"})
        ordered: pd.DataFrame = frame[["directory", *(column for column in frame if column != "directory")]]
        return ordered


def _images(path: Place) -> pd.DataFrame:
    try:
        table = read_plain(path, records.TEST_IMAGES)
    except FileNotFoundError:
        raise StoreError(f"{path}: disappeared while it was read; load the study again") from None
    fingerprint = pa.array([path.stem] * table.num_rows, type=pa.string())
    return frames.from_arrow(table.append_column("data_fingerprint", fingerprint), frames.TABLES["images"])

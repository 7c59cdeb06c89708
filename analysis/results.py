"""A study's results as frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeVar

import pandas as pd
import pyarrow as pa

from aimlib import records
from aimlib.errors import StoreError, UsageError, counted, warn_renamed
from aimlib.paths import Place
from aimlib.records import role
from analysis.plan import Plan
from analysis.reading import factors, frames, ledger, predictions, unblinding
from analysis.reading.factors import Factor
from analysis.reading.files import listed, read_plain
from analysis.reading.frames import TABLES
from analysis.reading.unblinding import Unblinding

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from analysis.analysis_plan import Frozen
    from analysis.reading.query import Statistic


class _Queries:
    """Queries on the runs of one or several studies."""

    if TYPE_CHECKING:

        @property
        def runs(self) -> pd.DataFrame: ...

    def where(self, condition: str | Sequence[str]) -> pd.DataFrame:
        """Return the runs that meet a condition, such as ``batch_size >= 50 and placement == 'stage_only'``.

        See `analysis.select`, which accepts any of the frames.
        """
        from analysis.reading.query import select  # noqa: PLC0415

        return select(self.runs, condition)

    def pivot(
        self,
        index: str | Sequence[str],
        columns: str | Sequence[str] = (),
        value: str = "test_accuracy",
        statistic: Statistic = "mean",
    ) -> pd.DataFrame:
        """Return a table of one statistic over the runs, by the levels of factors; see `analysis.pivot`."""
        from analysis.reading.query import pivot  # noqa: PLC0415

        return pivot(self.runs, index, columns, value, statistic)


@dataclass(frozen=True, repr=False)
class Results(_Queries):
    """The content of a study directory; `analysis.load` returns it, and `analysis.columns` explains the columns.

    Attributes
    ----------
    directory : where the results were read from.
    plan : the study's plan.
    runs : one row per planned run that has a row; for a run that always failed, this is its last failure. The stored
        columns are followed by one column per option in which the arms differ, as listed in `factors`.
    epochs : one row per epoch of these runs, with the same option columns.
    stale : stored rows whose run id is no longer in the plan because the study was changed.
    missing : planned runs that do not have a row: run_id, arm, seed.
    """

    directory: Place
    plan: Plan
    runs: pd.DataFrame
    epochs: pd.DataFrame
    stale: pd.DataFrame
    missing: pd.DataFrame

    @property
    def trials(self) -> pd.DataFrame:
        """The frame `runs` under its earlier name."""
        warn_renamed("results.trials", "results.runs, where the role 'aim' is 'treatment'")
        return self.runs

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """The predictions in every run's selected epoch: run_id, epoch, image, predicted, label, correct."""
        return self.predictions_at("selected")

    def predictions_at(self, epoch: int | Literal["selected", "all"]) -> pd.DataFrame:
        """Return the predictions of every settled run after a given epoch, the selected epoch, or all epochs.

        Parameters
        ----------
        epoch : number of the epoch, from 1 (0: before training); runs that did not reach it do not have rows.

        Raises
        ------
        StoreError: the table of test images is missing, or a file is broken.
        UsageError: `epoch` is neither a number nor "selected" or "all".
        """
        if not (epoch in ("selected", "all") or (isinstance(epoch, int) and epoch >= 0)):
            raise UsageError(f"epoch must be a number from 0, 'selected' or 'all'; got {epoch!r}")
        return predictions.read(self.directory, self.plan.runs["run_id"], self.images, epoch)

    def scores(self, run_id: str) -> npt.NDArray[np.float16]:
        """Return the log-probabilities in a run's selected epoch, [test images, classes], if they were kept.

        The images are in the order of `images`, and the columns are class numbers. ``numpy.exp`` returns probabilities.

        Raises
        ------
        UsageError: the study does not contain the run, or the run's scores were not kept.
        StoreError: the scores are not readable, or contradict the stored predictions.
        """
        from analysis.reading.scores import read_scores  # noqa: PLC0415

        return read_scores(self, run_id)

    def metrics(self, top: Sequence[int] = (), bins: int = 15) -> pd.DataFrame:
        """Return run_id, arm, seed, balanced_accuracy, macro_f1 and, if scores were kept, more metrics for every run.

        All metrics are fractions for the test images in the selected epoch, computed from the stored predictions and
        scores when this is called. With scores, the further metrics are ``top{k}_accuracy`` for every k in `top`, and
        calibration_error. The calibration error is the mean difference between confidence and accuracy over `bins`
        equally wide bins of confidence (Guo et al., 2017). These metrics are NaN for runs without scores.

        Parameters
        ----------
        top : numbers of classes, such as (3, 10).

        Raises
        ------
        UsageError: a number in `top` is not from 1 to the number of classes, or `bins` is below 1.
        StoreError: the table of test images is missing, or a file is broken.
        """
        from analysis.reading.scores import metrics_of  # noqa: PLC0415

        return metrics_of(self, top, bins)

    @cached_property
    def frozen(self) -> Frozen | None:
        """The analysis plan that was frozen before the first run; None if no plan was frozen.

        StoreError if the file is broken or was changed.
        """
        from analysis import analysis_plan  # noqa: PLC0415 -- imports scipy only if the plan is needed

        return analysis_plan.read(self.directory)

    @cached_property
    def unblinded(self) -> tuple[Unblinding, ...]:
        """Records of when test measures were shown before the verdict, oldest first; StoreError if one is broken."""
        return unblinding.read(self.directory)

    @cached_property
    def models(self) -> pd.DataFrame:
        """One row per arm with layers, parameters and multiply-adds; empty if `models.parquet` is missing."""
        try:
            table = read_plain(self.directory / records.MODELS_FILE, records.MODELS)
        except FileNotFoundError:
            return frames.empty(frames.MODELS)
        found = frames.from_arrow(table, frames.MODELS)
        return found.assign(role=found["role"].map(lambda stored: role(stored) or stored).astype(found["role"].dtype))

    @cached_property
    def ledger_head(self) -> tuple[str, int]:
        """The hash that covers the settled runs, and the number of planned runs that it covers.

        Without a ledger, these are empty and 0.
        See `aimlib.records.ledger`: if you keep the hash elsewhere, you can check later that the results have not
        changed.
        """
        return ledger.head(self.directory, set(self.plan.runs["run_id"]))

    @cached_property
    def images(self) -> pd.DataFrame:
        """The test images for every data fingerprint found: number, name, label and class name."""
        parts = [_images(path) for path in listed(self.directory / records.IMAGES)]
        return pd.concat([frames.empty(TABLES["images"]), *parts], ignore_index=True)

    @cached_property
    def factors(self) -> pd.DataFrame:
        """The options in which the arms differ: column, option (key path), type and levels (number of values)."""
        return factors.table(factors.of_plan(self.plan))

    @cached_property
    def importances(self) -> pd.DataFrame:
        """How much the accuracy of a search's trials varied with each parameter, as estimated by Optuna.

        One row per searched arm, method and parameter; `analysis.reading.importances` explains the columns. Importances
        describe the trials that the sampler chose; they are not effects and do not have intervals. The frame is empty
        without a search.
        """
        from analysis.reading.importances import read_importances  # noqa: PLC0415

        return read_importances(self.directory)

    def effects(self, value: str | None = None, alpha: float = 0.05) -> pd.DataFrame:
        """Return the main effects and two-way interactions of the study's factors, blocked by seed.

        There is one row per contrast, with its interval; see `analysis.statistics.effects.effects` for the columns.
        Effects on accuracies are in percentage points. The column `value` contains the name of the measure.

        Parameters
        ----------
        value : column of `runs`. None means the test accuracy once the pairs for the verdict are settled and, before
            that, the validation accuracy, so that no test results are revealed. For the trials of a search, None always
            means the validation accuracy.
        alpha : joint error rate of all intervals.

        Raises
        ------
        UsageError: the study has no factors, or `value` is not a column of numbers.
        """
        from analysis.reading.layout import layout_of  # noqa: PLC0415
        from analysis.reading.query import refuse_text, refuse_unknown  # noqa: PLC0415 -- imports scipy only if needed
        from analysis.statistics.blinding import is_screening, verdict_is_due  # noqa: PLC0415
        from analysis.statistics.effects import effects  # noqa: PLC0415

        if value is None:
            due = not is_screening(self.directory) and verdict_is_due(self.plan, self.runs)
            value = "test_accuracy" if due else "validation_accuracy"
        refuse_unknown(self.runs, [value])
        refuse_text(self.runs, value)
        layout = layout_of(self.plan)
        runs = self.runs[self.runs["arm"].isin(layout.settings) & ~self.runs["status"].isin(("pruned", "failed"))]
        scale = 100 if value.endswith(("accuracy", "f1")) else 1
        table = scale * runs.pivot(index="seed", columns="arm", values=value).astype("float64")
        found = effects(table.reindex(index=list(self.plan.seeds), columns=list(layout.settings)), layout, alpha)
        return found.assign(value=value).astype({"value": "str"})

    def compare(self, treatment: str, control: str, by: str = "seed") -> pd.DataFrame:
        """Return the paired differences in test accuracy between two arms; see `analysis.compare`."""
        from analysis.reading.query import compare  # noqa: PLC0415 -- imports scipy only if needed

        return compare(self.runs, treatment, control, by=by)

    def __repr__(self) -> str:
        """Return the study directory and its numbers of runs."""
        done = len(self.plan.runs) - len(self.missing)
        return f"<Results {self.directory}: {done} of {counted(len(self.plan.runs), 'run')} have a result>"

    def _repr_html_(self) -> str:
        from analysis.reading.results_html import of_results  # noqa: PLC0415

        return of_results(self)


@dataclass(frozen=True, repr=False)
class Studies(_Queries):
    """Several studies together: the frames of `Results`, each with `directory` as the first column.

    A run that several studies contain, with the same run id, appears only once, with the first directory that settled
    it. The column `also_in` names the other directories. Options in which arms of any study differ are columns, which
    are named as if all arms belonged to one study.

    Attributes
    ----------
    results : results by directory, in the given order.
    """

    results: Mapping[str, Results]

    @classmethod
    def of(cls, results: Iterable[Results]) -> Studies:
        """Return the given results as one object."""
        return cls({str(each.directory): each for each in results})

    @cached_property
    def runs(self) -> pd.DataFrame:
        """Every run, without duplicates."""
        together = self._together("runs", TABLES["runs"])
        settled = together["status"].isin(records.SETTLED)
        first = together.assign(open=~settled).sort_values("open", kind="stable").drop_duplicates("run_id").index
        places = together.groupby("run_id", sort=False)["directory"].agg(tuple)
        kept = together.loc[sorted(first)]
        others = [
            ", ".join(each for each in places[run_id] if each != directory) or None
            for run_id, directory in zip(kept["run_id"], kept["directory"], strict=True)
        ]
        kept.insert(1, "also_in", pd.Series(others, index=kept.index, dtype="str"))
        return self._with_factors(kept.reset_index(drop=True))

    @property
    def trials(self) -> pd.DataFrame:
        """The frame `runs` under its earlier name."""
        warn_renamed("studies.trials", "studies.runs, where the role 'aim' is 'treatment'")
        return self.runs

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """The epochs of every run in `runs`."""
        together = self._together("epochs", TABLES["epochs"])
        own = together.merge(self.runs[["directory", "run_id"]], on=["directory", "run_id"])
        return self._with_factors(own)

    @cached_property
    def models(self) -> pd.DataFrame:
        """The networks of all arms."""
        return self._together("models", frames.MODELS)

    @cached_property
    def factors(self) -> pd.DataFrame:
        """The options in which any two arms in the studies differ; see `Results.factors`."""
        return factors.table(self._factors)

    @cached_property
    def _factors(self) -> tuple[Factor, ...]:
        return factors.of_arms(
            {_key(directory, arm.name): arm for directory, each in self.results.items() for arm in each.plan.arms}
        )

    def __repr__(self) -> str:
        """Return the directories."""
        return f"<Studies {', '.join(self.results)}>"

    def _repr_html_(self) -> str:
        from analysis.reading.results_html import of_studies  # noqa: PLC0415

        return of_studies(self)

    def _with_factors(self, frame: pd.DataFrame) -> pd.DataFrame:
        return factors.attach(frame, self._factors, _key(frame["directory"], frame["arm"]))

    def _together(self, name: str, listed: Iterable[records.Column]) -> pd.DataFrame:
        stored = [column.name for column in listed]
        parts = [getattr(each, name)[stored].assign(directory=directory) for directory, each in self.results.items()]
        frame = pd.concat(parts, ignore_index=True).astype({"directory": "str"})
        ordered: pd.DataFrame = frame[["directory", *stored]]
        return ordered


_Texts = TypeVar("_Texts", str, pd.Series)


def _key(directory: _Texts, arm: _Texts) -> _Texts:
    """Return a unique key for the arms of several studies."""
    return directory + "\n" + arm


def _images(path: Place) -> pd.DataFrame:
    try:
        table = read_plain(path, records.TEST_IMAGES)
    except FileNotFoundError:
        raise StoreError(f"{path}: disappeared while it was being read; load the study again") from None
    fingerprint = pa.array([path.stem] * table.num_rows, type=pa.string())
    return frames.from_arrow(table.append_column("data_fingerprint", fingerprint), TABLES["images"])

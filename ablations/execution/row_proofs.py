"""Proofs of stored rows: their accuracies, run ids and selected epochs are computed again.

`analysis.reading.proofs` proves everything that does not need a plugin. With a run's plugins, this module compares the
run's configuration, including defaults, with the text that is hashed into its run id, and repeats the selection of the
epoch.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from ablations.execution.row_verification import selection_problem
from aimlib.config import RunConfig
from aimlib.errors import StoreError, UsageError
from aimlib.paths import Place
from aimlib.records import EPOCHS, SETTLED, scores
from analysis.plan import Plan
from analysis.reading.consistency import Consistency, sessions_alone
from analysis.reading.proofs import OF_SELECTED, TestImages, proofs, test_images
from analysis.reading.study_proofs import against_plan

_COLUMNS = ("run_id", "status", "seed", "data_fingerprint", "selected_epoch", "config", "identity")
_AT_ONCE = 16
"""Number of rows whose scores are converted to plain values at a time, which limits memory use."""
_CURVE = tuple(f"epochs.{column.name}" for column in EPOCHS)


class RowProofs:
    """Collects the proofs of rows that an inspection reads; `add` may be called by several threads.

    Parameters
    ----------
    where : the study.
    plan : its plan; None if it cannot be read.

    Attributes
    ----------
    problems : one sentence for each contradiction within a row, with run id and file.
    proven : number of rows whose accuracies were compared with their predictions.
    unproven : number of rows for each reason why they could not be proven.
    """

    def __init__(self, where: Place, plan: Plan | None = None) -> None:
        self.problems: list[str] = []
        self.proven = 0
        self.unproven: Counter[str] = Counter()
        self._plan = plan
        self._images = _readable(test_images(where))
        self._where = where
        self._consistency = Consistency(selections=False)  # the plugins repeat the selection below
        self._files: dict[str, str] = {}
        self._parsed: dict[str, RunConfig | str] = {}
        self._one_at_a_time = threading.Lock()

    def add(self, name: str, rows: pa.Table) -> None:
        """Prove the rows in a file."""
        self._consistency.add(rows)
        with self._one_at_a_time:
            self._files |= dict.fromkeys(rows.column("run_id").to_pylist(), name)
            for proof in proofs(rows, self._images, OF_SELECTED):
                self.proven += not (proof.problem or proof.unproven)
                self._note(name, proof.run_id, proof.problem, proof.unproven)
            for run_id, problem in _scores(rows):
                self._note(name, run_id, problem, "")
            for run_id, problem in against_plan(rows, self._plan) if self._plan is not None else ():
                self._note(name, run_id, problem, "")
            for row in _plain(rows):
                if row["status"] in SETTLED:
                    self._prove_configuration(name, row)

    def found(self) -> list[str]:
        """Return all contradictions, including those between rows."""
        known = "\n".join(self.problems)
        together = [
            f"run {each.run_ids[0]} in {self._files[each.run_ids[0]]}: {each.text}"
            for each in self._consistency.contradictions(sessions_alone(self._where))
        ]
        return sorted({*self.problems, *(text for text in together if text not in known)})

    def _note(self, name: str, run_id: str, problem: str, unproven: str) -> None:
        if problem:
            self.problems.append(f"run {run_id} in {name}: {problem}")
        if unproven:
            self.unproven[unproven] += 1

    def _prove_configuration(self, name: str, row: Mapping[str, Any]) -> None:
        config = self._config(row["config"], row["seed"])
        if isinstance(config, str):
            self._note(name, row["run_id"], "", config)
            return
        self._note(name, row["run_id"], *_identity(row, config))
        if row["status"] != "pruned":
            curve = _curve(row)
            self._note(name, row["run_id"], selection_problem(config.training, curve, row["selected_epoch"]), "")

    def _config(self, text: Any, seed: Any) -> RunConfig | str:
        """Return the configuration in a row, or why it cannot be read; it is parsed once for all seeds of an arm."""
        try:
            document = json.loads(text)
            stored_seed = document.pop("seed")
        except (TypeError, ValueError, RecursionError, KeyError, AttributeError):
            return "its configuration is not readable as JSON"
        key = json.dumps(document, sort_keys=True)
        if key not in self._parsed:
            self._parsed[key] = _parsed({**document, "seed": stored_seed})
        found = self._parsed[key]
        return found if isinstance(found, str) else found.model_copy(update={"seed": stored_seed})


def _parsed(document: dict[str, Any]) -> RunConfig | str:
    try:
        return RunConfig.parse(document)
    except UsageError as error:
        told = "; ".join(line.partition("; ")[0] for line in str(error).splitlines())
        return f"its plugins or options are unknown here ({told}); specify the file with its code: --plugin FILE"


def _identity(row: Mapping[str, Any], config: RunConfig) -> tuple[str, str]:
    """Return how a configuration contradicts the run id, or why this is unknown; both are empty if the id matches."""
    text = config.identity_text(str(row["data_fingerprint"]))
    if config.run_id(str(row["data_fingerprint"])) == row["run_id"]:
        return "", ""
    if row["identity"] is None:
        return "", (
            "its configuration results in a different run id: it was changed, or a component has a different "
            "version now"
        )
    if _without_versions(json.loads(text)) == _without_versions(json.loads(row["identity"])):
        return "", "its run id was computed with different versions or different code of its components"
    return "its run id is not the hash of its configuration", ""


def _without_versions(content: Any) -> Any:
    if isinstance(content, dict):
        left_out = {"version", "code"} if "name" in content else {"version"}
        return {key: _without_versions(value) for key, value in content.items() if key not in left_out}
    return [_without_versions(each) for each in content] if isinstance(content, list) else content


def _curve(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    names, columns = [column.name for column in EPOCHS], [row[name] or [] for name in _CURVE]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=False)]


def _scores(rows: pa.Table) -> Iterator[tuple[str, str]]:
    """Yield every run whose stored scores contradict its predictions: its id and the contradiction."""
    if scores.COLUMN not in rows.column_names:
        return
    kept = rows.filter(rows[scores.COLUMN].is_valid()).select(["run_id", *scores.COLUMNS])
    for batch in kept.to_batches(_AT_ONCE):
        for row in batch.to_pylist():
            if problem := scores.problem_of(row):
                yield row["run_id"], problem


def _plain(rows: pa.Table) -> list[dict[str, Any]]:
    names = [name for name in (*_COLUMNS, *_CURVE) if name in rows.column_names]
    return [{"identity": None, **row} for row in rows.select(names).to_pylist()]


def _readable(find: Callable[[str], TestImages | None]) -> Callable[[str], TestImages | None]:
    """Return a function that treats a damaged image table as missing; the inspection reports the damage."""

    def found(fingerprint: str) -> TestImages | None:
        try:
            return find(fingerprint)
        except StoreError:
            return None

    return found

"""Screening: a search over the options of arms, followed by the confirmation of the best trials on fresh seeds.

The screening and the confirmation are separate studies below the study directory. No trial is trained twice: an
interrupted search proposes the same trials again, finds their results in its journal and its store, and continues.
Trials are judged by validation accuracy; test images do not influence the choice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from ablations.execution.signals import Stop
from ablations.search import importances, ranking
from ablations.search.brackets import Brackets
from ablations.search.candidates import Candidates, screening_document
from ablations.search.checks import budgets_of, check, spaces_of, spec_of
from ablations.search.confirmation import confirmation
from ablations.search.dashboard import DashboardCopy
from ablations.search.journal import ROUNDS_FOLDER, Journal
from ablations.search.outcomes import rows
from ablations.search.rounds import ArmSearch, Batch
from ablations.search.trials import Outcome, Trial
from ablations.sessions import launch
from ablations.sessions.result import SessionResult
from ablations.spec.study import StudyFile, StudySource, read_study
from ablations.store import ResultStore, files
from aimlib.datasets.photos import listed_once
from aimlib.errors import UsageError, warn_renamed
from aimlib.paths import make_folder, place

SCREENING, CONFIRMATION = "screening", "confirmation"
_OF_CONFIRMATION = frozenset({"until_verdict"})
"""Launcher options that do not apply to a screening, because it has no verdict."""


class Runner(Protocol):
    """Function that runs a study file and writes to a directory, like `ablations.sessions.launch.run`."""

    def __call__(self, study: Path, out: Path, /, **options: Any) -> SessionResult:
        """Run a study.

        `until` and `prune` are passed only if trials are stopped early: `until` contains the number of epochs after
        which runs pause, by run id, and `prune` contains the ids of paused runs that are settled unchanged.
        """


@dataclass(frozen=True)
class Screening:
    """The result of a screening.

    Attributes
    ----------
    trials : all trials that were tried and reported, arm by arm in order.
    session : the session that confirmed the best trials, or the screening session if it was interrupted.
    confirmed : whether the best trials were confirmed.
    """

    trials: tuple[Trial, ...]
    session: SessionResult
    confirmed: bool


def search_and_confirm(
    study: StudySource,
    out: str | Path | None = None,
    overrides: Iterable[str] = (),
    *,
    console: Console | None = None,
    **options: Any,
) -> SessionResult:
    """Read a study with a search, screen its trials, and confirm the best trials on the study's own seeds.

    Parameters
    ----------
    study, out, overrides, console, options : as in `ablations.sessions.launch.run`; options that concern a verdict
        apply only to the confirmation.

    Returns
    -------
    The session that confirmed the best trials, or the screening session if it was interrupted, with `trials` and
    `confirmed`.

    Raises
    ------
    UsageError: the study, its data or its directory cannot be used, or no trial has a result.
    """
    with listed_once():  # otherwise, every session of the search lists the photos
        found = _run(study, out, overrides, console=console, **options)
    return replace(found.session, trials=found.trials, confirmed=found.confirmed)


def run(
    study: StudySource,
    out: str | Path | None = None,
    overrides: Iterable[str] = (),
    *,
    console: Console | None = None,
    **options: Any,
) -> Screening:
    """Run a study that has a search; this is an earlier name for `ablations.run`."""
    warn_renamed("ablations.sessions.screening.run", "ablations.run, whose result contains the trials")
    return _run(study, out, overrides, console=console, **options)


def _run(
    study: StudySource, out: str | Path | None, overrides: Iterable[str], *, console: Console | None, **options: Any
) -> Screening:
    if options.get("reuse"):
        raise UsageError("--reuse: a search computes all its trials itself; run this study without this option")
    if options.get("until") or options.get("prune"):
        raise UsageError("until, prune: a search itself decides which runs pause and stop; omit both")
    if options.get("budget"):
        raise UsageError("--budget: a search is limited by the number of its trials; set search.trials instead")
    file = read_study(study, overrides)
    launch.enter(file, options.get("trust", ()), console or Console(quiet=True))
    directory = place(out if out is not None else Path("results") / file.spec.name)
    if not isinstance(directory, Path):
        raise UsageError(
            f"--out {out}: a search keeps its records in a directory; specify a directory on shared storage"
        )
    if not (directory / SCREENING / ROUNDS_FOLDER).exists():  # a resumed search does not build the corners again
        check(file)
    budgets_of(file)
    common = {key: value for key, value in options.items() if key not in _OF_CONFIRMATION}

    def screening(path: Path, folder: Path, /, **more: Any) -> SessionResult:
        return launch.run(path, folder, console=console, **common, **more)

    def confirming(path: Path, folder: Path, /, **more: Any) -> SessionResult:
        return launch.run(path, folder, console=console, **options, **more)

    return screen(file, directory, screening, confirming, console=console)


def screen(
    study: StudyFile,
    directory: Path,
    run: Runner,
    confirm: Runner | None = None,
    *,
    console: Console | None = None,
) -> Screening:
    """Search, and then confirm the best trials.

    Parameters
    ----------
    directory : study directory, in which `screening` and `confirmation` are created.
    run, confirm : functions that run the screening and the confirmation; if `confirm` is None, `run` runs both.
    """
    searching = _Search(study, directory / SCREENING, run, console or Console(quiet=True))
    interrupted = searching.run()
    if interrupted is not None:
        return Screening(searching.trials, interrupted, confirmed=False)
    found = confirmation(study, searching.spec, searching.trials)
    ranking.write_ranking(directory / SCREENING, searching.trials, found.places)
    ranking.write_cost(directory / SCREENING, searching.trials)
    importances.write(directory / SCREENING, searching.spec, searching.spaces, searching.trials)
    folder = directory / CONFIRMATION
    return Screening(searching.trials, (confirm or run)(_write(folder, found.document), folder), confirmed=True)


class _Search:
    """The searches of all arms, batch by batch and in parallel, so that runs of all arms are computed together."""

    def __init__(self, study: StudyFile, directory: Path, run: Runner, console: Console) -> None:
        self.study, self.spec, self.directory = study, spec_of(study), directory
        self._run, self._console = run, console
        self._outages = launch.waits_of(study, Stop(), console)
        self._store = ResultStore(directory, outages=self._outages)
        self._journal = Journal(directory)
        candidates, budgets = Candidates(study, self.spec), budgets_of(study)
        self.spaces = spaces_of(study)
        self._searches = {
            arm: ArmSearch(study, self.spec, arm, space, budgets[arm], candidates=candidates, journal=self._journal)
            for arm, space in self.spaces.items()
        }
        self._watched = DashboardCopy(self.spec.storage, directory, self._store.mark(), self._say)

    @property
    def trials(self) -> tuple[Trial, ...]:
        return tuple(trial for each in self._searches.values() for trial in each.trials)

    def run(self) -> SessionResult | None:
        """Complete the search; return the session in which it was interrupted, or None."""
        self._watch()
        while batches := [batch for each in self._searches.values() if (batch := each.ask()) is not None]:
            waiting = [batch for batch in batches if batch.recorded is None]
            if waiting:
                self._watch()
                interrupted = self._answer(waiting)
                if interrupted is not None:
                    return interrupted
            for batch in batches:
                self._searches[batch.arm].replay(batch)
                self._searches[batch.arm].tell(batch, self._recorded(batch))
            if waiting:
                self._report(waiting)
                self._watch()
        self._watch(final=True)
        return None

    def _answer(self, batches: list[Batch]) -> SessionResult | None:
        """Compute batches and record their outcomes; return the session if it was interrupted."""
        brackets = Brackets(self.spec, batches)
        for number in range(brackets.rungs):
            interrupted = self._rung(brackets, number)
            if interrupted is not None:
                return interrupted
        failed: dict[str, str] = {}
        wanted = {run_id for trial in brackets.planned for run_id in trial.run_ids}
        if not self._store.settled().issuperset(wanted):
            session = self._session(brackets, {})
            if session.cut_off:
                return session
            failed = session.given_up
        self._record(brackets, failed)
        return None

    def _rung(self, brackets: Brackets, number: int) -> SessionResult | None:
        """Train all trials up to a rung, unless the journal contains its decisions; stop the trials that end there."""
        taking = [b for b in brackets.batches if brackets.epochs(b, number) < b.budget]
        missing = [b for b in taking if self._journal.rung(b.arm, b.number, number) is None]
        if any(brackets.going(batch.arm) for batch in missing):
            # Paused runs in batches whose rung is recorded are listed as well; otherwise they would continue to their
            # end.
            session = self._session(brackets, brackets.until(number))
            if session.cut_off:
                return session
            found, paused = self._outages.wait_out(lambda: rows(self.directory)), session.paused
            for batch in missing:
                decided = brackets.decided(batch, number, found, paused, session.given_up)
                decided = replace(decided, stopped=self._searches[batch.arm].decide(decided))
                self._written(partial(self._journal.write_rung, batch.arm, batch.number, number, decided))
        for batch in taking:
            recorded = self._journal.rung(batch.arm, batch.number, number)
            if recorded is not None:
                brackets.apply(batch, recorded)
                self._searches[batch.arm].decide(recorded)
        self._watch()
        return None

    def _session(self, brackets: Brackets, until: Mapping[str, int]) -> SessionResult:
        """Compute the missing runs in the study that contains all trials so far."""
        told = [trial for trial in self.trials if trial.outcome.state in ("complete", "pruned") and not trial.repeats]
        arms = {trial.name: trial.document for trial in (*told, *brackets.planned)}
        path = _write(self.directory, screening_document(self.study, self.spec, arms))
        settled = self._store.settled()
        options: dict[str, Any] = {
            "until": {run_id: epochs for run_id, epochs in until.items() if run_id not in settled},
            "prune": [run_id for run_id in brackets.stopped() if run_id not in settled],
        }
        return self._run(path, self.directory, **{name: value for name, value in options.items() if value})

    def _record(self, brackets: Brackets, failed: Mapping[str, str]) -> None:
        fresh = [trial for batch in brackets.batches for trial in batch.fresh]
        outcomes: dict[str, Outcome] = {}
        if fresh:
            found = self._outages.wait_out(lambda: rows(self.directory))
            outcomes = {trial.name: brackets.outcome(trial, found, failed) for trial in fresh}
        self._refuse_nothing_but_failures(outcomes)
        for batch in brackets.batches:
            told = [replace(trial, outcome=outcomes.get(trial.name, trial.outcome)) for trial in batch.trials]
            self._written(partial(self._journal.write_round, batch.arm, batch.number, told))
        for trial in fresh:
            if outcomes[trial.name].state == "failed":  # other paused seeds will not be continued
                for run_id in trial.run_ids:
                    self._store.discard_checkpoint(run_id)

    def _written(self, write: Callable[[], object]) -> None:
        """Write to the journal. The first writer wins, so repeating the write after an outage is harmless."""
        self._outages.wait_out(write, writes=True)

    def _refuse_nothing_but_failures(self, outcomes: Mapping[str, Outcome]) -> None:
        """Stop a search if every trial fails, so that the same trials can be tried again after a repair."""
        if not outcomes or any(outcome.state != "failed" for outcome in outcomes.values()):
            return
        if len(outcomes) > 1 or not any(trial.value is not None for trial in self.trials):
            name, first = next(iter(outcomes.items()))
            raise UsageError(
                f"{self.directory}: every trial in a batch failed, {name}: {first.reason}; none of them is recorded: "
                f"see `ablate results {self.directory} --where status=failed --columns arm,seed,reason`, fix the "
                "cause, and run the study again"
            )

    def _recorded(self, batch: Batch) -> Mapping[int, Outcome]:
        """Return the record of a batch.

        If two processes search at the same time, the record of the first one counts.
        """
        if batch.recorded is not None:
            return batch.recorded
        told = self._journal.round(batch.arm, batch.number)
        assert told is not None, "a batch that was just written"
        return {each.number: each.outcome for each in told}

    def _watch(self, *, final: bool = False) -> None:
        for arm, search in self._searches.items():
            self._watched.update(f"{self.study.spec.name}/{arm}", search.proposals.trials, final=final)

    def _report(self, batches: list[Batch]) -> None:
        for batch in batches:
            best = max(
                (trial.value for trial in self.trials if trial.arm == batch.arm and trial.value is not None),
                default=None,
            )
            known = f", best validation accuracy {100 * best:.2f} %" if best is not None else ""
            skipped = sum(trial.arm == batch.arm and trial.outcome.state == "infeasible" for trial in self.trials)
            outside = f", {skipped} infeasible and not trained" if skipped else ""
            done = self._searches[batch.arm].done
            self._say(f"search: arm {batch.arm}: {done} of {self.spec.trials} trials{outside}{known}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _write(folder: Path, document: Mapping[str, Any]) -> Path:
    """Write a study file; JSON is valid YAML."""
    make_folder(folder)
    path = folder / "study.yaml"
    content = {key: value for key, value in document.items() if value is not None}
    files.replace(path, lambda temporary: temporary.write_text(json.dumps(content, indent=1), encoding="utf-8"))
    return path


__all__ = ["Screening", "Trial", "check", "run", "screen", "search_and_confirm"]

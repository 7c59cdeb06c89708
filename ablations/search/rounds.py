"""The search of one arm, batch by batch.

Trials are proposed. Their outcomes come from the journal or from new runs, and are reported to the sampler.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ablations.planning.arms import arm_document
from ablations.search.arm_spaces import Space
from ablations.search.candidates import Candidate, Candidates
from ablations.search.journal import Journal, Rung, Told
from ablations.search.sampling import Proposals, Question
from ablations.search.space import merged
from ablations.search.trials import SKIPPED, Outcome, Trial, trial_name
from ablations.spec.search import SearchSpec
from ablations.spec.study import StudyFile
from aimlib.errors import StoreError, UsageError

_MOST_DRAWS = 20
"""Number of draws per requested configuration after which the search assumes that the space cannot be built."""


@dataclass(frozen=True)
class Batch:
    """Trials of an arm that are proposed together.

    Attributes
    ----------
    number : number within the arm, starting from 0.
    trials : trials in the order in which they were drawn; trials that cannot be built already have an outcome.
    recorded : outcomes that were already reported, by trial number; None if there are none.
    budget : number of epochs per run.
    """

    arm: str
    number: int
    trials: tuple[Trial, ...]
    recorded: Mapping[int, Outcome] | None
    budget: int

    @property
    def fresh(self) -> list[Trial]:
        """The trials that have their own runs."""
        return [trial for trial in self.trials if trial.run_ids and not trial.repeats]


def _before(found: Candidate) -> Outcome:
    """Return the initial outcome of a trial, before training."""
    if found.problem:
        return Outcome("unbuildable", None, found.problem)
    if found.infeasible:
        return Outcome("infeasible", None, found.infeasible)
    return Outcome("failed", None, "not computed")


class ArmSearch:
    """The search of one arm.

    Attributes
    ----------
    trials : trials with reported outcomes, in order.
    """

    def __init__(
        self,
        study: StudyFile,
        spec: SearchSpec,
        arm: str,
        space: Space,
        budget: int,
        *,
        candidates: Candidates,
        journal: Journal,
    ) -> None:
        self.arm, self.trials = arm, list[Trial]()
        self.proposals = Proposals(space, spec, f"{study.spec.name}/{arm}", budget)
        self._study, self._spec, self._candidates, self._journal = study, spec, candidates, journal
        self._document = arm_document(study, arm)
        self._firsts: dict[str, Trial] = {}
        self._rounds = 0
        self._draws = 0

    @property
    def done(self) -> int:
        """Number of buildable trials with reported outcomes."""
        return sum(trial.buildable for trial in self.trials)

    def ask(self) -> Batch | None:
        """Return the next batch; None if all outcomes have been reported.

        Raises
        ------
        StoreError: the journal contains outcomes of different trials.
        UsageError: almost no configuration in the space can be built.
        """
        left = self._spec.trials - self.done
        told = self._journal.round(self.arm, self._rounds) if left > 0 else None
        wanted = min(self._spec.batch, left)
        if told is not None:
            wanted = min(sum(each.outcome.state not in SKIPPED for each in told), left)
        given = self._given(told) if wanted else None
        trials: list[Trial] = []
        budget = 0
        while sum(bool(trial.run_ids) for trial in trials) < wanted:
            if given is not None and len(trials) == len(given):
                break  # fewer trials were requested at that time; the next batch proposes and records the rest
            question = self.proposals.ask(None if given is None else given[len(trials)])
            if question is None:
                break
            trial, epochs = self._examined(question)
            budget = epochs or budget
            trials.append(trial)
        if not trials:
            return None
        if not self.proposals.replays and given is None:
            drawn = [trial.drawn for trial in trials]
            self._journal.write_proposed(self.arm, self._rounds, self.proposals.search, drawn)
        recorded = self._compared(trials, told) if told is not None else None
        return Batch(self.arm, self._rounds, tuple(trials), recorded, budget)

    def _given(self, told: tuple[Told, ...] | None) -> tuple[Mapping[str, Any], ...] | None:
        """Return the recorded proposals for the batch if the sampler cannot repeat them; otherwise return None.

        Raises
        ------
        StoreError: the batch was proposed by a different sampler.
        """
        if self.proposals.replays:
            return None
        given = self._journal.proposed(self.arm, self._rounds, self.proposals.search)
        if given is None and told is not None:
            raise self._another(told[0].number)
        return given

    def _examined(self, question: Question) -> tuple[Trial, int]:
        """Return the trial for a proposal, and the number of epochs per run."""
        self._draws += 1
        document = merged(self._document, question.document)
        found = self._candidates.examine(self.arm, document)
        first = self._firsts.get(found.identity) if found.run_ids else None
        trial = Trial(
            self.arm,
            question.number,
            question.drawn,
            document,
            found.identity,
            found.run_ids,
            first.name if first else "",
            _before(found),
            found.violations,
        )
        self.proposals.note(trial.number, {"arm": self.arm, "trial": trial.name, "run ids": list(trial.run_ids)})
        self.proposals.constrain(trial.number, found.violations)
        if not trial.buildable:
            self._settle(trial)
            if self._draws > _MOST_DRAWS * self._spec.trials:
                raise UsageError(
                    f"{self._study.where}: search: of {self._draws} configurations that were drawn for arm "
                    f"{self.arm!r}, {len(self._firsts)} can be built and meet the constraints, e.g. {trial.reason}; "
                    "narrow search.over or search.ranges, or relax search.constraints"
                )
        else:
            self._firsts.setdefault(found.identity, trial)
        return trial, found.budget

    def _compared(self, trials: list[Trial], told: tuple[Told, ...]) -> dict[int, Outcome]:
        recorded = {each.number: each for each in told}
        for trial in trials:
            was = recorded.get(trial.number)
            if was is None or dict(was.drawn) != dict(trial.drawn) or was.run_ids != trial.run_ids:
                raise self._another(trial.number)
        return {number: each.outcome for number, each in recorded.items()}

    def _another(self, number: int) -> StoreError:
        return StoreError(
            f"{self._journal.folder}: contains the outcomes of a different search: {trial_name(self.arm, number)} is a "
            f"different configuration now. search.over, the sampler, seeds, training, constraints or arm {self.arm!r} "
            "were changed, or the version of Optuna or of this package; change them back, or set a different --out"
        )

    def tell(self, batch: Batch, outcomes: Mapping[int, Outcome]) -> None:
        """Report a batch's outcomes. A repeated configuration gets its earlier outcome at no cost."""
        for trial in batch.trials:
            if not trial.buildable:
                self.trials.append(trial)
                continue
            if trial.repeats:
                first = self._firsts[trial.identity].outcome
                settled = replace(trial, outcome=replace(first, epochs=0, seconds=0.0))
            else:
                settled = replace(trial, outcome=outcomes[trial.number])
                self._firsts[trial.identity] = settled
            self._settle(settled)
            self.trials.append(settled)
        self._rounds += 1

    def decide(self, rung: Rung) -> tuple[int, ...] | None:
        """Report a rung; return the trials that a pruner stops, or None if halving decides from the values alone."""
        if self._spec.pruner is not None:
            return self.proposals.stopped(rung)
        for number, value in rung.values.items():
            self.proposals.reached(number, rung.epochs, value)
        return None

    def replay(self, batch: Batch) -> None:
        """Report a batch's recorded rungs, because some pruners store what they were asked before."""
        if self._spec.pruner is None or batch.recorded is None:
            return
        for number in range(len(self._spec.rungs(batch.budget)) - 1):
            rung = self._journal.rung(batch.arm, batch.number, number)
            if rung is not None:
                self.decide(rung)

    def _settle(self, trial: Trial) -> None:
        outcome = trial.outcome
        said = {"epochs": outcome.epochs, "censored": trial.censored, "repeats": trial.repeats, "why": outcome.reason}
        self.proposals.note(trial.number, {key: value for key, value in said.items() if value not in ("", None)})
        self.proposals.tell(trial.number, outcome)

"""The batches that are computed together, rung by rung: which trials continue, to which epoch, and which are stopped.

Every batch is a separate bracket. In every arm, the same share of trials is therefore stopped after the same fractions
of the arm's own epochs, and arms are never compared with each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ablations.search import halving
from ablations.search.journal import Rung
from ablations.search.outcomes import NO_ACCURACY, Rows, mean, outcome
from ablations.search.rounds import Batch
from ablations.search.trials import Outcome, Trial
from ablations.spec.search import SearchSpec
from aimlib.errors import UsageError, counted


class Brackets:
    """The batches of one round, at most one per arm.

    Attributes
    ----------
    rungs : maximum number of rungs after which trials may be stopped; 0 without halving or a pruner.
    failed : reasons why trials were given up, by trial name.
    """

    def __init__(self, spec: SearchSpec, batches: Sequence[Batch]) -> None:
        self._spec, self.batches = spec, batches
        # Arms with different budgets may have fewer rungs under a pruner.
        self.rungs = max((len(spec.rungs(batch.budget)) - 1 for batch in batches), default=0)
        self.failed: dict[str, str] = {}
        self._alive = {batch.arm: batch.fresh for batch in batches}
        self._stopped: list[Trial] = []
        self._reached: dict[str, list[tuple[int, float]]] = {}

    @property
    def planned(self) -> list[Trial]:
        """Trials whose runs are part of the next session."""
        return [trial for batch in self.batches for trial in batch.fresh if trial.name not in self.failed]

    def until(self, rung: int) -> dict[str, int]:
        """Return the number of epochs after which a rung's runs pause, by run id."""
        return {
            run_id: self.epochs(batch, rung)
            for batch in self.batches
            if self.epochs(batch, rung) < batch.budget
            for trial in self._alive[batch.arm]
            for run_id in trial.run_ids
        }

    def stopped(self) -> list[str]:
        """Return the ids of the runs whose trials were stopped."""
        return [run_id for trial in self._stopped for run_id in trial.run_ids]

    def going(self, arm: str) -> list[Trial]:
        """Return an arm's trials that have neither been stopped nor failed."""
        return list(self._alive[arm])

    def decided(
        self, batch: Batch, rung: int, found: Rows, paused: Mapping[str, float | None], failed: Mapping[str, str]
    ) -> Rung:
        """Return the value at a rung for every trial in a batch that reached the rung.

        Parameters
        ----------
        paused : validation accuracy after the last epoch of paused runs, by run id.
        failed : reasons why runs failed, by run id.
        """
        epochs = self.epochs(batch, rung)
        values: dict[int, float] = {}
        given_up: dict[int, str] = {}
        for trial in self._alive[batch.arm]:
            lost = [failed[run_id] for run_id in trial.run_ids if run_id in failed and run_id not in found.trials]
            if lost:
                given_up[trial.number] = f"a run failed: {lost[0]}"
                continue
            value = mean([self._at(run_id, epochs, found, paused) for run_id in trial.run_ids])
            if value is None:
                given_up[trial.number] = NO_ACCURACY
            else:
                values[trial.number] = value
        return Rung(epochs, values, given_up)

    def apply(self, batch: Batch, rung: Rung) -> None:
        """Stop the trials in a batch that do not continue after a rung."""
        if rung.stopped is not None:
            kept = frozenset(rung.values) - frozenset(rung.stopped)
        else:
            assert self._spec.halving is not None
            kept = halving.kept(rung.values, self._spec.halving.reduction_factor)
        alive = self._alive[batch.arm]
        for trial in alive:
            if trial.number in rung.values:
                self._reached.setdefault(trial.name, []).append((rung.epochs, rung.values[trial.number]))
            else:
                self.failed[trial.name] = rung.failed.get(trial.number, "did not take part in the recorded rung")
        self._stopped += [trial for trial in alive if trial.number in rung.values and trial.number not in kept]
        self._alive[batch.arm] = [trial for trial in alive if trial.number in kept]

    def reached(self, trial: Trial) -> tuple[tuple[int, float], ...]:
        """Return the rungs that a trial reached: the numbers of epochs, and its mean validation accuracies."""
        return tuple(self._reached.get(trial.name, ()))

    def outcome(self, trial: Trial, found: Rows, failed: Mapping[str, str]) -> Outcome:
        """Return the outcome of a trial after the last session."""
        if reason := self.failed.get(trial.name):
            return Outcome("failed", None, reason, self.reached(trial))
        return outcome(trial.run_ids, found, failed, self.reached(trial))

    def epochs(self, batch: Batch, rung: int) -> int:
        """Return the number of epochs after which a batch's rung ends; the budget if the batch lacks this rung."""
        ends = self._spec.rungs(batch.budget)
        return ends[rung] if rung < len(ends) else batch.budget

    def _at(self, run_id: str, epochs: int, found: Rows, paused: Mapping[str, float | None]) -> float | None:
        """Return a run's validation accuracy after a rung's epochs."""
        if run_id in found.trials:
            return found.reached(run_id, epochs)
        if run_id not in paused:
            key = "search.halving" if self._spec.halving is not None else "search.pruner"
            raise UsageError(
                f"{key}: run {run_id} was neither settled nor paused after {counted(epochs, 'epoch')}: the launcher "
                f"cannot pause runs; omit {key}"
            )
        return paused[run_id]

"""A budget of device hours: looks are started one by one, as long as the next look fits into the budget.

The budget covers the hours that led to the study's stored results in all sessions: the duration of each run times the
number of CPUs, the number of GPUs, or the GPU share that its arm takes. Results copied from other studies cost nothing.
Time lost to interruptions and failed attempts is not stored and therefore not counted.

A look is started only if all of its missing runs fit into the rest of the budget, so that no hours are spent on pairs
that cannot contribute to a verdict. The estimated duration of a run is the median over its arm's finished runs; until
one of them has finished, the estimate is scaled from the other arms by multiply-adds and epochs. If no run has finished
yet, the first seed is computed in order to measure its runs. A look that was started is completed, even if its runs
take longer than estimated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ablations.execution.task import Task
from aimlib.errors import UsageError, counted
from analysis.wording.number_format import significant

if TYPE_CHECKING:
    import pandas as pd

    from ablations.planning.plan import Plan
    from ablations.store import ResultStore

_AMOUNT = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(gpu|cpu)[\s-]*(h|hours?|min|minutes?)\s*", re.ASCII | re.I)
_SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Budget:
    """An amount of device hours.

    Attributes
    ----------
    hours : greater than 0.
    device : device to which the hours refer: a GPU, or a single CPU.
    """

    hours: float
    device: Literal["gpu", "cpu"]

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Parse an amount such as ``20gpuh``, ``90 gpumin`` or ``1.5 cpu-hours``.

        Raises
        ------
        UsageError: the text is not an amount of device hours, or the amount is 0.
        """
        found = _AMOUNT.fullmatch(text)
        if found is None:
            raise UsageError(
                f"--budget {text}: use a number with gpuh or cpuh, such as 20gpuh, or with minutes, such as 90gpumin "
                "or 90cpumin"
            )
        hours = float(found[1]) / (1 if found[3].lower().startswith("h") else 60)
        if not 0 < hours < math.inf:
            raise UsageError(f"--budget {text}: must be greater than 0")
        return cls(hours, "gpu" if found[2].lower() == "gpu" else "cpu")

    def devices_of(self, task: Task) -> float:
        """Return the number of devices that a run occupies."""
        return task.gpus if self.device == "gpu" else float(task.threads)

    def text(self, hours: float) -> str:
        """Return a number of device hours as text with the unit."""
        return f"{significant(hours)} {self.device.upper()}-hours"


def refuse_useless(budget: Budget | None, plan: Plan) -> None:
    """Raise an error for a budget of GPU-hours if a study uses no GPUs, because it would not limit the study.

    Raises
    ------
    UsageError: no arm uses a GPU.
    """
    if budget is not None and budget.device == "gpu" and not any(arm.resources.gpus for arm in plan.arms):
        raise UsageError(
            "--budget: no run in this study uses a GPU; use CPU-hours, such as 20cpuh, or set resources.gpus"
        )


@dataclass(frozen=True)
class Spent:
    """How much of its budget a study has used, and how much it needs to continue.

    Attributes
    ----------
    hours : hours used by the study so far.
    open : ids of the runs that were not started because of the budget.
    text : sentences about the hours and the open runs; empty if no run was omitted.
    """

    hours: float
    open: frozenset[str] = frozenset()
    text: str = ""


@dataclass
class AffordableRuns:
    """A session's runs, look by look.

    Parameters
    ----------
    budget : the budget; None starts all runs together.
    plan : the study's plan.
    waiting : the session's tasks, seed by seed.
    store : store for the results.

    Attributes
    ----------
    spent : set when `next` finds that the budget does not allow any more runs; None until then.
    """

    budget: Budget | None
    plan: Plan
    waiting: list[Task]
    store: ResultStore
    spent: Spent | None = field(default=None, init=False)

    def next(self) -> list[Task]:
        """Return the tasks to start now; empty if none are left or the next look exceeds the budget."""
        if not self.waiting or self.spent is not None:
            return []
        if self.budget is None:
            return self._take(self.waiting)
        frame = _rows(self.store)
        used, seconds = self._hours_used(self.budget, frame), self._seconds(frame)
        if seconds is None and used < self.budget.hours:
            seed = self.waiting[0].config["seed"]
            return self._take([task for task in self.waiting if task.config["seed"] == seed])
        block, pairs = self._next_block()
        needed = self._hours(self.budget, block, seconds or {})
        if seconds is not None and used + needed <= self.budget.hours:
            return self._take(block)
        self.spent = self._stopped(self.budget, used, needed if seconds is not None else None, block, pairs, seconds)
        return []

    def _take(self, tasks: Iterable[Task]) -> list[Task]:
        tasks = list(tasks)
        taken = {task.run_id for task in tasks}
        self.waiting = [task for task in self.waiting if task.run_id not in taken]
        return tasks

    def _next_block(self) -> tuple[list[Task], int]:
        """Return the waiting tasks up to the next look, and the number of pairs at that look.

        Before the first look, where no verdict is possible, and after the last look, a block consists of one seed.
        """
        spec = self.plan.study.spec
        seeds = list(spec.seeds)
        first = min(seeds.index(task.config["seed"]) for task in self.waiting)
        looks = spec.reading.reached(len(seeds))
        end = next((look for look in looks if look > first), first + 1)
        included = set(seeds[:end])
        return [task for task in self.waiting if task.config["seed"] in included], end

    def _hours_used(self, budget: Budget, frame: pd.DataFrame) -> float:
        resources = {arm.name: arm.resources for arm in self.plan.arms}
        shares = {name: each.gpus if budget.device == "gpu" else float(each.cpus) for name, each in resources.items()}
        own = frame[frame["reused_from"].isna() & frame["seconds"].notna()]
        devices = own["arm"].map(shares).astype(float).fillna(0.0)
        return float((own["seconds"].astype(float) * devices).sum()) / _SECONDS_PER_HOUR

    def _seconds(self, frame: pd.DataFrame) -> dict[str, float] | None:
        """Return the estimated seconds per run, by arm; None if this study has not finished any run itself."""
        own = frame[(frame["status"] == "finished") & frame["reused_from"].isna()]
        measured = {
            str(arm): float(value) for arm, value in own.groupby("arm", observed=True)["seconds"].median().items()
        }
        work = {
            arm.name: float(self.plan.summaries[arm.name].multiply_adds) * arm.config.training.epochs
            for arm in self.plan.arms
        }
        known = [measured[name] / work[name] for name in work if name in measured and work[name] > 0]
        if not known:
            return measured if measured.keys() >= work.keys() else None
        pace = sum(known) / len(known)
        return {name: measured.get(name, pace * work[name]) for name in work}

    def _hours(self, budget: Budget, tasks: Iterable[Task], seconds: Mapping[str, float]) -> float:
        return sum(budget.devices_of(task) * seconds.get(task.arm, 0.0) for task in tasks) / _SECONDS_PER_HOUR

    def _stopped(
        self,
        budget: Budget,
        used: float,
        needed: float | None,
        block: list[Task],
        pairs: int,
        seconds: Mapping[str, float] | None,
    ) -> Spent:
        sentences = [f"budget: {budget.text(used)} of {significant(budget.hours)} are used."]
        runs = counted(len(block), "more run")
        if needed is None or seconds is None:
            sentences.append(f"{runs} up to {counted(pairs, 'pair')} were not started; no run has been measured.")
        else:
            rest = self._hours(budget, self.waiting, seconds)
            text = f"The next step, to {counted(pairs, 'pair')}, needs {runs}, about {budget.text(needed)}"
            others = len(self.waiting) - len(block)
            text += f"; all {len(self.waiting)} open runs need about {budget.text(rest)}." if others else "."
            sentences.append(text)
            enough = _rounded_up(used + needed)
            sentences.append(f"The same command with --budget {enough}{budget.device}h or more continues.")
        return Spent(used, frozenset(task.run_id for task in self.waiting), " ".join(sentences))


def _rows(store: ResultStore) -> pd.DataFrame:
    import analysis  # noqa: PLC0415 -- pandas, once per look

    return analysis.load(store.place, epochs=False).runs


def _rounded_up(hours: float) -> str:
    """Return hours rounded up to two significant digits, as text that can be parsed."""
    step = 10.0 ** (math.floor(math.log10(hours)) - 1)
    return f"{math.ceil(round(hours / step, 6)) * step:.10g}"

"""Screening: a search over the options of one arm, then confirmation of the best on fresh seeds.

The screening and the confirmation are studies of their own, below the study directory. So what has been trained is
never trained again: an interrupted search asks the same questions again, finds the answers in its store, and goes on.
Trials are judged by validation accuracy; test images have no part in what is chosen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from ablations import documents, launch, search
from ablations.arms import arm_document, buildable
from ablations.launch import Session
from ablations.search import Parameter
from ablations.study import SearchSpec, StudyFile, StudySpec, read_study
from aimlib.config import RunConfig
from aimlib.errors import ConfigError, UsageError

_MOST_DRAWS = 20
"""So many configurations are drawn for one that is wanted before a space is given up as one that cannot be built."""

Runner = Callable[[Path, Path], Session]
"""Runs a study file into a directory."""


@dataclass(frozen=True)
class Trial:
    """One configuration that was tried.

    Attributes
    ----------
    number : from 0.
    document : what it says of the arm: keys model and training.
    value : mean validation accuracy over its seeds; None where a run of it failed, or where it cannot be built.
    reason : why there is no value.
    drawn : what the search chose, by the parameters' names.
    buildable : whether such a network exists; what cannot be built is passed over and does not count as a trial.
    """

    number: int
    document: Mapping[str, Any]
    value: float | None
    reason: str = ""

    drawn: Mapping[str, Any] = field(default_factory=dict)
    buildable: bool = True

    @property
    def name(self) -> str:
        """Name of its arm."""
        return f"trial_{self.number:04d}"


@dataclass(frozen=True)
class Screening:
    """What came of a screening.

    Attributes
    ----------
    trials : all that were tried, in order.
    session : the session that confirmed the best; where the screening was interrupted, that one.
    confirmed : whether it came to that.
    """

    trials: tuple[Trial, ...]
    session: Session
    confirmed: bool


def check(study: StudyFile) -> list[str]:
    """Return notes on the search of a study, every corner of its space built on the meta device.

    Raises
    ------
    ConfigError: the space cannot be laid out, or none of its corners can be built.
    """
    spec = _spec(study)
    parameters = parameters_of(study)
    arm, problems, corners = arm_document(study, spec.vary), [], 0
    for name, drawn in search.corners(parameters):
        corners += 1
        if problem := buildable(study, search.merged(arm, drawn)):
            problems.append(f"search: corner {name} cannot be built and is passed over where it is drawn: {problem}")
    if len(problems) == corners:
        raise ConfigError(f"{study.path}: {problem}" for problem in problems)
    runs = spec.trials * len(spec.seeds)
    notes = [
        f"search: {len(parameters)} parameters over {', '.join(spec.over)}; {spec.trials} trials x {len(spec.seeds)} "
        f"seeds = {runs} runs of arm {spec.vary!r}, not among those above; the best {spec.top} are confirmed beside "
        f"the study's arms",
        f"search: {corners} corners of the space checked, {corners - len(problems)} can be built",
    ]
    return [*notes, *(f"search: {search.described(parameter)}" for parameter in parameters), *problems]


def parameters_of(study: StudyFile) -> list[Parameter]:
    """Return the parameters of a study's search.

    Raises
    ------
    ConfigError: a path that cannot be searched over.
    """
    spec = _spec(study)
    try:
        return search.space(spec.over, arm_document(study, spec.vary))
    except ConfigError as error:
        raise ConfigError(f"{study.path}: {problem}" for problem in error.problems) from None


def screen(study: StudyFile, directory: Path, run: Runner) -> Screening:
    """Search, then confirm.

    Parameters
    ----------
    directory : of the whole; `screening` and `confirmation` are made in it.
    run : runs a study file, e.g. `ablations.launch.run`.
    """
    spec = _spec(study)
    folder = directory / "screening"
    trials: list[Trial] = []
    asked = _Proposals(study, spec, parameters_of(study))
    while (left := spec.trials - sum(trial.buildable for trial in trials)) > 0:
        if len(trials) > _MOST_DRAWS * spec.trials:
            raise UsageError(
                f"{study.path}: search: of {len(trials)} configurations that were drawn {spec.trials - left} can be "
                f"built, e.g. {trials[-1].reason}; narrow search.over"
            )
        batch = asked.next(min(spec.batch, left))
        fresh = [trial for trial in batch if trial.buildable and asked.first_with_its_configuration(trial)]
        if fresh:
            path = _write(folder, _screening_document(study, spec, [*asked.trained, *fresh]))
            session = run(path, folder)
            if session.open:
                return Screening(tuple(trials), session, confirmed=False)
        trials += asked.tell(batch, _values(folder, fresh))
    best = _best(trials, spec.top)
    path = _write(directory / "confirmation", _confirmation_document(study, best))
    return Screening(tuple(trials), run(path, directory / "confirmation"), confirmed=True)


def run(
    study: str | Path,
    out: str | Path | None = None,
    overrides: Iterable[str] = (),
    *,
    address: str | None = None,
    executor: Literal["ray", "inline"] = "ray",
    console: Console | None = None,
    track: Iterable[str] = (),
) -> Screening:
    """Read a study with a search, screen and confirm. Arguments and errors as in `ablations.launch.run`."""
    file = read_study(study, overrides)
    check(file)
    directory = Path(out) if out is not None else Path("results") / file.spec.name

    def runner(path: Path, folder: Path) -> Session:
        return launch.run(path, folder, address=address, executor=executor, console=console, track=track)

    return screen(file, directory, runner)


def _spec(study: StudyFile) -> SearchSpec:
    if study.spec.search is None:
        raise UsageError(f"{study.path}: this study has no search")
    return study.spec.search


class _Proposals:
    """Asks Optuna for configurations and tells it what became of them. Deterministic, so a new process goes on."""

    def __init__(self, study: StudyFile, spec: SearchSpec, parameters: list[Parameter]) -> None:
        import optuna  # noqa: PLC0415 -- takes a second, and only a search needs it

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler if spec.sampler == "tpe" else optuna.samplers.RandomSampler
        self._optuna = optuna.create_study(direction="maximize", sampler=sampler(seed=spec.seeds[0]))
        self._failed = optuna.trial.TrialState.FAIL
        self._study, self._parameters = study, parameters
        self._arm = arm_document(study, spec.vary)
        self._open: dict[int, Any] = {}
        self._keys: dict[int, str] = {}
        self._values: dict[str, float | None] = {}
        self.trained: list[Trial] = []

    def next(self, count: int) -> list[Trial]:
        """Return so many new trials; one that cannot be built has its reason."""
        batch = []
        for _ in range(count):
            asked = self._optuna.ask()
            document = search.merged(self._arm, search.suggest(asked, self._parameters))
            problem = buildable(self._study, document)
            trial = Trial(asked.number, document, None, problem, dict(asked.params), buildable=not problem)
            self._open[trial.number] = asked
            self._keys[trial.number] = _identity(self._study, document) if not trial.reason else ""
            batch.append(trial)
        return batch

    def first_with_its_configuration(self, trial: Trial) -> bool:
        """Tell whether no trial before has the same configuration."""
        key = self._keys[trial.number]
        return key not in (self._keys[number] for number in range(trial.number))

    def tell(self, batch: Iterable[Trial], values: Mapping[str, float | None]) -> list[Trial]:
        """Tell what became of a batch; return it with values. A configuration that came before has its value."""
        told = []
        for trial in batch:
            key = self._keys[trial.number]
            if trial.name in values:
                self._values[key] = values[trial.name]
                self.trained.append(trial)
            value = self._values.get(key)
            reason = trial.reason or ("" if value is not None else "a run failed")
            asked = self._open.pop(trial.number)
            if value is None:
                self._optuna.tell(asked, state=self._failed)
            else:
                self._optuna.tell(asked, value)
            told.append(replace(trial, value=value, reason=reason))
        return told


def _identity(study: StudyFile, document: Mapping[str, Any]) -> str:
    config = RunConfig.parse({**documents.merge(document), "seed": study.spec.seeds[0]})
    return json.dumps(config.identity(), sort_keys=True)


def _values(folder: Path, trials: list[Trial]) -> dict[str, float | None]:
    """Return the mean validation accuracy of each trial; None where not all of its runs are there."""
    if not trials:
        return {}
    import analysis  # noqa: PLC0415 -- pandas

    results = analysis.load(folder)
    rows = results.trials
    settled = rows[rows["status"].isin(["finished", "diverged"])]
    accuracies = settled.groupby("arm", observed=True)["validation_accuracy"]
    means, counts = accuracies.mean(), accuracies.count()
    seeds = len(results.plan.seeds)
    return {t.name: float(means[t.name]) if counts.get(t.name, 0) == seeds else None for t in trials}


def _best(trials: Iterable[Trial], top: int) -> list[Trial]:
    """Return the trials of highest value, the first of equals, each configuration once."""
    valued = sorted((trial for trial in trials if trial.value is not None), key=lambda t: (-(t.value or 0), t.number))
    if not valued:
        raise UsageError("the screening has no trial with a result: see its directory for why its runs failed")
    kept: list[Trial] = []
    for trial in valued:
        if all(trial.document != other.document for other in kept):
            kept.append(trial)
    return kept[:top]


def _screening_document(study: StudyFile, spec: SearchSpec, trials: list[Trial]) -> dict[str, Any]:
    arms = {
        trial.name: {
            **{key: trial.document[key] for key in ("model", "data", "training") if key in trial.document},
            "role": "other",
        }
        for trial in trials
    }
    for arm in arms.values():
        arm["training"] = documents.merge(arm.get("training", {}), spec.training)
    return {**_common(study), "name": f"{study.spec.name}-screening", "arms": arms, "seeds": list(spec.seeds)}


def _confirmation_document(study: StudyFile, best: list[Trial]) -> dict[str, Any]:
    own = {name: arm.model_dump(mode="json", exclude_defaults=True) for name, arm in study.spec.arms.items()}
    found = {trial.name: {key: trial.document[key] for key in ("model", "data", "training")} for trial in best}
    return {
        **_common(study),
        "name": study.spec.name,
        "claim": study.spec.claim,
        "delta_pp": study.spec.delta_pp,
        "arms": {**own, **found},
        "seeds": list(study.spec.seeds),
    }


def _common(study: StudyFile) -> dict[str, Any]:
    spec: StudySpec = study.spec
    content = {"base": spec.base, "resources": spec.resources.model_dump(mode="json")}
    return {**content, **({"protocol": spec.protocol} if spec.protocol else {})}


def _write(folder: Path, document: dict[str, Any]) -> Path:
    """Write a study file; JSON is YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "study.yaml"
    content = {key: value for key, value in document.items() if value is not None}
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return path

"""How much the parameters of a search affected its trials' results, as estimated by Optuna: ``importances.csv``."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.search.arm_spaces import Space
from ablations.search.space import Parameter
from ablations.search.trials import Trial
from ablations.spec.search import SearchSpec
from ablations.store import files
from aimlib.component import Categorical, Integer
from aimlib.records.escaping import spreadsheet_cell
from analysis.reading.importances import IMPORTANCE_COLUMNS, IMPORTANCES, LEAST_TRIALS

if TYPE_CHECKING:
    import optuna

METHODS = ("ped_anova", "fanova", "mean_decrease_impurity")
_TREES_SEED_LIMIT = 2**31


def write(directory: Path, spec: SearchSpec, spaces: Mapping[str, Space], trials: Sequence[Trial]) -> None:
    """Write the importances of every arm's parameters; equal searches write identical bytes."""
    text = io.StringIO()
    writer = csv.DictWriter(text, IMPORTANCE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for arm, space in spaces.items():
        own = [trial for trial in trials if trial.arm == arm]
        for row in importances(spec, arm, space.parameters, own):
            writer.writerow({name: spreadsheet_cell(value) for name, value in row.items()})
    files.replace(directory / IMPORTANCES, lambda path: path.write_text(text.getvalue(), encoding="utf-8"))


def importances(
    spec: SearchSpec, arm: str, parameters: Sequence[Parameter], trials: Iterable[Trial]
) -> list[dict[str, Any]]:
    """Return one row per method and parameter, as in `analysis.reading.importances.IMPORTANCE_COLUMNS`.

    Only complete trials count, and each configuration counts once. The result has no rows if there are fewer trials
    than `LEAST_TRIALS`, or if all trials have the same accuracy.
    """
    complete = [trial for trial in trials if trial.value is not None and not trial.repeats]
    if len(complete) < LEAST_TRIALS or len({trial.value for trial in complete}) < 2:
        return []
    study = _study(complete, parameters)
    drawn = {each.name: sum(each.name in trial.drawn for trial in complete) for each in parameters}
    rows = []
    for method in METHODS:
        found = _evaluated(study, method, spec.seed_of_sampler)
        for name in sorted(drawn, key=lambda name: (-found.get(name, -1.0), list(drawn).index(name))):
            if drawn[name]:
                importance = repr(float(found[name])) if name in found else None
                values = (arm, name, method, importance, len(complete), drawn[name], spec.sampler.name)
                rows.append(dict(zip(IMPORTANCE_COLUMNS, values, strict=True)))
    return rows


def _study(trials: Iterable[Trial], parameters: Iterable[Parameter]) -> optuna.Study:
    import optuna  # noqa: PLC0415

    distributions = {parameter.name: _distribution(parameter) for parameter in parameters}
    study = optuna.create_study(direction="maximize")
    for trial in trials:
        own = {name: distributions[name] for name in trial.drawn}
        study.add_trial(optuna.create_trial(params=dict(trial.drawn), distributions=own, value=trial.value))
    return study


def _distribution(parameter: Parameter) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: PLC0415

    dimension = parameter.dimension
    if isinstance(dimension, Categorical):
        return CategoricalDistribution(dimension.choices)
    kind = IntDistribution if isinstance(dimension, Integer) else FloatDistribution
    return kind(dimension.low, dimension.high, log=dimension.log)


def _evaluated(study: optuna.Study, method: str, seed: int) -> dict[str, float]:
    """Return the importances computed by one method, without the parameters that this method cannot assess."""
    from optuna import importance  # noqa: PLC0415

    seed %= _TREES_SEED_LIMIT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental features, and parameters with few trials
        evaluator = {
            "ped_anova": importance.PedAnovaImportanceEvaluator,
            "fanova": lambda: importance.FanovaImportanceEvaluator(seed=seed),
            "mean_decrease_impurity": lambda: importance.MeanDecreaseImpurityImportanceEvaluator(seed=seed),
        }[method]()
        try:
            found: dict[str, float] = importance.get_param_importances(study, evaluator=evaluator)
        except (RuntimeError, ValueError):  # no parameter is common to all trials, or the trees never split
            return {}
    return found

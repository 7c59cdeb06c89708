"""`search.over` in other tools' notations: the message shows how to write it in a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_study import changed, write

from ablations import check
from ablations.spec.study import read_study
from aimlib.component import Categorical
from aimlib.errors import ConfigError

RATE = "training.optimizer.learning_rate"


def over(folder: Path, value: Any) -> Any:
    document = changed({"search": {"vary": "aim", "trials": 2, "over": value}})
    return read_study(write(folder, document)).spec.search.over  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "value",
    [
        {RATE: [0.1, 0.2]},
        {RATE: {"values": [0.1, 0.2]}},
        {RATE: {"type": "choice", "choices": [0.1, 0.2]}},
        [{RATE: [0.1, 0.2]}],
        [{"name": RATE, "type": "choice", "values": [0.1, 0.2]}],
        [{"name": RATE, "values": [0.1, 0.2]}],
        {"aim": {RATE: [0.1, 0.2]}},
    ],
)
def test_values_are_shown_in_the_notation_of_ranges_and_factors(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        over(tmp_path, value)
    (message,) = caught.value.problems
    assert "search.over: " in message
    assert f"over: [{RATE}]" in message
    assert f"ranges: {{{RATE}: [0.1, 0.2]}}" in message
    assert "sampler: grid" in message
    assert f"factors: {{{RATE}: [0.1, 0.2]}}" in message


LOG = "{low: 0.0001, high: 0.1, log: true}"
PLAIN = "{low: 0.0001, high: 0.1}"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({RATE: {"min": 1e-4, "max": 1e-1}}, PLAIN),  # W&B
        ({RATE: {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1}}, LOG),
        ({RATE: {"distribution": "log_uniform", "min": -9, "max": -2}}, "{low: 0.000123, high: 0.135, log: true}"),
        ({RATE: {"distribution": "int_uniform", "min": 1, "max": 8}}, "{low: 1, high: 8}"),
        ({"parameters": {RATE: {"distribution": "uniform", "min": 1e-4, "max": 1e-1}}}, PLAIN),
        ({RATE: {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}}, LOG),  # Optuna
        ({RATE: "trial.suggest_float('lr', 1e-4, 1e-1, log=True)"}, LOG),
        ({RATE: "IntDistribution(1, 8)"}, "{low: 1, high: 8}"),
        ({RATE: "suggest_categorical('x', [0.1, 0.2])"}, "[0.1, 0.2]"),
        ({RATE: "loguniform(1e-4, 1e-1)"}, LOG),  # Ray Tune
        ({RATE: "tune.uniform(1e-4, 1e-1)"}, PLAIN),
        ({RATE: "tune.choice([16, 32])"}, "[16, 32]"),
        ({RATE: {"grid_search": [16, 32]}}, "[16, 32]"),
        ({RATE: "tune.randint(1, 8)"}, "{low: 1, high: 7}"),
        ({RATE: "choice(adam,sgd)"}, "[adam, sgd]"),  # Hydra
        ({RATE: "interval(1e-4, 1e-1)"}, PLAIN),
        ({RATE: "tag(log, interval(1e-4, 1e-1))"}, LOG),
        ({RATE: "range(1, 8)"}, "{low: 1, high: 7}"),
        ({RATE: "16,32"}, "[16, 32]"),
        ([f"{RATE}=choice(16,32)"], "[16, 32]"),
        ([{"name": RATE, "type": "range", "bounds": [1e-4, 1e-1]}], PLAIN),  # Ax
        ({RATE: {"type": "range", "bounds": [1e-4, 1e-1], "log_scale": True}}, LOG),
        ({RATE: {"_type": "loguniform", "_value": [1e-4, 1e-1]}}, LOG),  # NNI
        ({RATE: {"_type": "choice", "_value": [16, 32]}}, "[16, 32]"),
        ({RATE: "1e-4..1e-1"}, PLAIN),
        ({RATE: {"lower": 1e-4, "upper": 1e-1}}, PLAIN),
        ({"training": {"optimizer": {"learning_rate": {"min": 1e-4, "max": 1e-1}}}}, PLAIN),
        ({RATE: "tune.lograndint(1, 100)"}, "{low: 1, high: 99, log: true}"),
        ({RATE: "tune.qrandint(8, 32, 8)"}, "[8, 16, 24, 32]"),
        ({RATE: "tune.quniform(0, 1, 0.25)"}, "[0.0, 0.25, 0.5, 0.75, 1.0]"),
        ({RATE: "range(1, 8, 2)"}, "[1, 3, 5, 7]"),
        ({RATE: "int(interval(1, 8))"}, "{low: 1, high: 8}"),
        ({RATE: "shuffle(1, 2, 3)"}, "[1, 2, 3]"),
        ({RATE: "trial.suggest_int('x', 1, 8, step=2)"}, "[1, 3, 5, 7]"),
        ({RATE: "trial.suggest_loguniform('x', 1e-4, 1e-1)"}, LOG),
        ({RATE: "FloatDistribution(high=0.1, low=0.0001, log=True)"}, LOG),
        ({RATE: {"low": 1, "high": 8, "step": 2}}, "[1, 3, 5, 7]"),
        ({RATE: {"low": 1, "high": 800, "step": 2}}, "{low: 1, high: 800}"),
        ({RATE: {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.5}}, "[0.0, 0.5, 1.0]"),
        ({RATE: "hp.choice('x', [1, 2])"}, "[1, 2]"),  # Hyperopt
        ({RATE: "hp.quniform('x', 8, 16, 4)"}, "[8, 12, 16]"),
        ({RATE: "Real(1e-4, 1e-1, prior='log-uniform')"}, LOG),  # scikit-optimize
        ({RATE: "Integer(1, 8)"}, "{low: 1, high: 8}"),
        ({RATE: "Float((1e-4, 1e-1), log=True)"}, LOG),  # ConfigSpace
        ({RATE: "np.logspace(-4, -1, 4)"}, "[0.0001, 0.001, 0.01, 0.1]"),  # NumPy
        ({RATE: "np.linspace(0, 1, 5)"}, "[0.0, 0.25, 0.5, 0.75, 1.0]"),
        ({RATE: "np.arange(0, 1, 0.25)"}, "[0.0, 0.25, 0.5, 0.75]"),
        ({RATE: "np.geomspace(1e-4, 1e-1, 50)"}, LOG),
        ({RATE: "(1e-4, 1e-1)"}, "[0.0001, 0.1]"),
        ({RATE: "[1e-4, 1e-1]"}, "[0.0001, 0.1]"),
        ({RATE: {"options": [1, 2]}}, "[1, 2]"),
        ({RATE: {"loguniform": [1e-4, 1e-1]}}, LOG),
        ([f"{RATE}: [0.1, 0.2]"], "[0.1, 0.2]"),
        ({"aim": {RATE: {"min": 1e-4, "max": 1e-1}}}, PLAIN),
    ],
)
def test_the_shown_notation_is_accepted(tmp_path: Path, value: Any, written: str) -> None:
    """The message shows a notation, and a study with this notation can be read."""
    with pytest.raises(ConfigError) as caught:
        over(tmp_path, value)
    (message,) = caught.value.problems
    assert f"over: [{RATE}], ranges: {{{RATE}: {written}}}" in message
    search = {"vary": "aim", "trials": 2, **yaml.safe_load(f"{{over: [{RATE}], ranges: {{{RATE}: {written}}}}}")}
    (dimension,) = read_study(write(tmp_path, changed({"search": search}))).spec.search.ranges.values()  # type: ignore[union-attr]
    ends = dimension.choices if isinstance(dimension, Categorical) else (dimension.low, dimension.high)
    meant = yaml.safe_load(written)
    assert list(ends) == (meant if isinstance(meant, list) else [meant["low"], meant["high"]])
    assert getattr(dimension, "log", False) is ("log: true" in written)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({RATE: 0.1}, "ranges come from the components' search spaces"),
        ({RATE: None}, "your own values as ranges"),
        ({RATE: {"value": 0.1}}, "has only one value, so it cannot be searched; set it in the arm or in base"),
        (
            {"learning_rate": [0.1, 0.2]},
            "learning_rate is not a key path; an example is training.optimizer.learning_rate",
        ),
        ({"lr": {"min": 1, "max": 2}}, "lr is not a key path"),
        ([RATE, RATE], f"[1]: {RATE} is listed twice"),
        ({RATE: "tune.sample_from(lambda s: 1)"}, "your own values as ranges"),
        ({RATE: [0.1, 0.2]}, "for all values in between, write {low: 0.1, high: 0.2}"),
        ("loguniform(1e-4, 1e-1)", "{low: 0.0001, high: 0.1, log: true}"),
    ],
)
def test_the_message_about_a_value_that_cannot_be_a_range_explains_why(
    tmp_path: Path, value: Any, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        over(tmp_path, value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({RATE: {"min": 1e-4, "max": 0.1}}, f"search.ranges: {RATE}: write {PLAIN}"),
        ({RATE: "loguniform(1e-4, 0.1)"}, f"write {LOG}"),
        ({RATE: {"low": 2, "high": 1}}, "a range needs low < high; got 2 and 1"),
        ({RATE: {"low": 1, "high": 1e400}}, "both ends of a range must be finite; got 1.0 and inf"),
        ({RATE: {"low": 0, "high": 1, "log": True}}, "a logarithmic range needs low > 0"),
        ({RATE: [0.1]}, "needs two different choices"),
        ({RATE: 3}, "write a list, or {low: ..., high: ..., log: true}; got 3"),
        ([RATE], "must be a mapping from parameters to lists or ranges"),
    ],
)
def test_a_range_in_the_wrong_form_is_shown_in_the_right_form(tmp_path: Path, value: Any, message: str) -> None:
    document = changed({"search": {"vary": "aim", "trials": 2, "over": [RATE], "ranges": value}})
    with pytest.raises(ConfigError) as caught:
        read_study(write(tmp_path, document))
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [3, {}, [3], [None], {"aim": 3}, {"aim": "model.update"}, [[RATE]]])
def test_anything_except_a_list_of_key_paths_is_refused_with_an_example(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"search.over: .*must be a .*key path.*e.g. \[model.update"):
        over(tmp_path, value)


def test_a_single_path_is_read_as_a_list_of_one(tmp_path: Path) -> None:
    assert over(tmp_path, RATE) == (RATE,)


def search_problem(folder: Path, **keys: Any) -> str:
    search = {"vary": "aim", "trials": 2, "over": [RATE], "seeds": [1000], **keys}
    with pytest.raises(ConfigError) as caught:
        check(changed({"search": search}), timing=False)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "given", "meant"),
    [
        ("sampler", "TPESampler", "tpe"),
        ("sampler", "optuna.samplers.CmaEsSampler()", "cmaes"),
        ("sampler", {"name": "NSGAIISampler"}, "nsgaii"),
        ("sampler", "BruteForceSampler", "brute_force"),
        ("sampler", "sobol", "qmc"),
        ("sampler", "grid_search", "grid"),
        ("sampler", "hyperopt", "tpe"),
        ("pruner", "MedianPruner", "median"),
        ("pruner", "optuna.pruners.SuccessiveHalvingPruner", "successive_halving"),
        ("pruner", "ASHA", "successive_halving"),
        ("pruner", {"name": "patient", "wrapped": "PercentilePruner"}, "percentile"),
    ],
)
def test_the_message_about_another_tools_name_suggests_the_sampler_or_pruner(
    tmp_path: Path, key: str, given: Any, meant: str
) -> None:
    assert f"; did you mean {meant!r}? known: " in search_problem(tmp_path, **{key: given})


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("num_samples", "did you mean 'trials'?"),
        ("run_cap", "did you mean 'trials'?"),
        ("parameters", "did you mean 'ranges'?"),
        ("param_grid", "did you mean 'ranges'?"),
        ("method", "did you mean 'sampler'?"),
        ("early_terminate", "did you mean 'pruner'?"),
        ("scheduler", "did you mean 'pruner'?"),
        ("n_jobs", "did you mean 'batch'?"),
        ("direction", "a search always looks for the highest validation accuracy, so remove it"),
        ("study_name", "a search continues in the study's directory, so remove it"),
        ("refit", "the best trials are confirmed on the study's seeds, so remove it"),
    ],
)
def test_the_message_about_another_tools_key_suggests_the_key_of_a_search(tmp_path: Path, key: str, said: str) -> None:
    assert f"search.{key}: unknown key; {said}" in search_problem(tmp_path, **{key: "x"})


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("learning_rate", f"did you mean {RATE!r}?"),
        ("optimizer/lr", f"did you mean {RATE!r}?"),
        (f"base.{RATE}", f"did you mean {RATE!r}?"),
        ("arms.aim.model.update", "did you mean 'model.update'?"),
        ("training.batch_size", "has no range of its own; add a range: ranges: {training.batch_size: [first, second]}"),
        (
            "training.epochs",
            ("cannot be searched, because trials that differ in it cannot be compared; set it in the arm"),
        ),
        ("training.batch_sizes", "did you mean 'training.batch_size'?"),
    ],
)
def test_the_message_about_a_path_that_cannot_be_searched_explains_why(tmp_path: Path, path: str, said: str) -> None:
    problem = search_problem(tmp_path, over=[path])
    assert f"search.over: {path!r} " in problem
    assert said in problem


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("2M >= parameters", "write [parameters <= 2M]"),
        ("1k <= parameters <= 2M", "write [parameters >= 1k, parameters <= 2M]"),
        ("parameters <= 2M and multiply_adds <= 1M", "write [parameters <= 2M, multiply_adds <= 1M]"),
        ("parameters <= 1,000,000", "write [parameters <= 1000000]"),
        ("parameters <= 2MB", "write [parameters <= 2M]"),
        ("parameters <= 1e400", "the bound must be a finite number greater than 0"),
        ("parameters like 3", "write a measure, <= or >=, and a number"),
        (
            ["parameters <= 1k", "parameters >= 2k"],
            "no network can meet both parameters <= 1_000 and parameters >= 2_000",
        ),
    ],
)
def test_constraints_in_a_different_form_are_shown_in_the_right_form(tmp_path: Path, given: Any, said: str) -> None:
    assert said in search_problem(tmp_path, constraints=given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("postgres://u@h/db", "write postgresql://u@h/db"),
        ("file:///x.db", "Optuna does not support file; use journal, none, or e.g. sqlite:///search.db"),
        ("redis://h/0", "Optuna does not support redis"),
    ],
)
def test_an_unsupported_database_for_a_search_is_refused(tmp_path: Path, given: str, said: str) -> None:
    assert said in search_problem(tmp_path, storage=given)

"""In every study, arms that were computed differently are listed before the verdict; similar arms raise no caution."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from synthetic_study import ARMS, FakeArm

import analysis
from ablations.commands.options import print_verdict
from analysis.findings.standing import standing
from analysis.findings.unlike_arms import unlike_arms
from analysis.report.cautions import cautions
from analysis.report.content import compose
from analysis.statistics import separation

SEEDS = 5
START = datetime(2026, 5, 1, 9, tzinfo=UTC)
CONFIG = {
    "training": {
        "epochs": 6,
        "batch_size": 16,
        "early_stopping": None,
        "optimizer": {"name": "adam", "learning_rate": 0.001},
        "schedule": None,
        "precision": "float32",
        "tf32": False,
    }
}
IDENTITY = {"run": {"model": {"backbone": {"name": "my_net", "version": 1, "code": "a" * 64}}, "seed": 0}}


@pytest.fixture
def alike(make_study):
    """Return the results of four arms with stored configurations, interleaved in time on one machine."""
    results = analysis.load(make_study([replace(arm, config=CONFIG) for arm in ARMS], seeds=SEEDS, claim=None))
    number = results.runs["seed"] * 4 + results.runs["arm"].map({arm.name: at for at, arm in enumerate(ARMS)})
    started = START + pd.to_timedelta(number * 3600, unit="s")
    runs = results.runs.assign(
        config=json.dumps(CONFIG),
        identity=json.dumps(IDENTITY),
        step="eager",
        reference="feedfeedfeedfeed",
        started_at=started,
        finished_at=started + timedelta(minutes=55),
    )
    return replace(results, runs=runs)


def changed(runs, arm="aim", **columns):
    """Return runs with changed values in the rows of one arm."""
    runs = runs.copy()
    of = runs["arm"] == arm
    for name, value in columns.items():
        runs.loc[of, name] = value(runs.loc[of, name]) if callable(value) else value
    return runs


def option(path, value):
    *parents, last = path.split(".")

    def change(texts):
        document = json.loads(texts.iloc[0])
        inner = document
        for key in parents:
            inner = inner[key]
        inner[last] = value
        return json.dumps(document)

    return change


def test_similar_arms_raise_no_caution(alike):
    assert unlike_arms(alike.runs, alike.plan) == []
    assert analysis.examine(replace(alike), unproven=True).cautions == ()


def test_a_seed_among_the_options_of_an_arm_is_treated_like_any_other_option(alike):
    seeded = {"name": "my_schedule", "seed": 3}
    runs = changed(alike.runs, config=option("training.schedule", seeded))
    runs["config"] = [
        json.dumps({**json.loads(text), "seed": seed}) for text, seed in zip(runs["config"], runs["seed"], strict=True)
    ]
    (sentence,) = unlike_arms(runs, alike.plan)
    assert sentence.startswith("Arms differ in the learning-rate schedule: ")
    assert "seed=3" in sentence


KINDS = {
    "data": ({"data_fingerprint": "1" * 20}, "Arms differ in the data: "),
    "training images": ({"train_images": 99}, "Arms differ in the number of training images: "),
    "test images": ({"test_images": 99}, "Arms differ in the number of test images: "),
    "epochs": ({"epochs_planned": 50}, "Arms differ in the number of epochs: "),
    "early stopping": (
        {"config": option("training.early_stopping", {"patience": 7, "min_delta": 0.0})},
        "Arms differ in early stopping: ",
    ),
    "selection": ({"selection": "best_test"}, "Arms differ in the rule that chooses the epoch: "),
    "optimizer": (
        {"config": option("training.optimizer.learning_rate", 0.002)},
        "Arms differ in the optimizer: ",
    ),
    "schedule": ({"config": option("training.schedule", {"name": "cosine"})}, "Arms differ in the learning-rate sched"),
    "batch size": ({"config": option("training.batch_size", 32)}, "Arms differ in the batch size: "),
    "precision": ({"config": option("training.precision", "bfloat16")}, "Arms differ in the precision: "),
    "tf32": ({"config": option("training.tf32", True)}, "Arms differ in the precision: "),
    "steps": ({"step": "graph"}, "Arms differ in how training steps run: "),
    "library": (
        {"versions": json.dumps({"python": "3.11.9", "torch": "2.8.0"})},
        "Arms differ in the version of torch: baseline: 2.7.0; matched: 2.7.0; frozen: 2.7.0; aim: 2.8.0.",
    ),
    "commit": (
        {"git_commit": "f" * 40},
        "Arms differ in the commit that computed them, so in more than their configuration: baseline: 0123456789;",
    ),
    "uncommitted changes": ({"git_dirty": "e" * 20}, "0123456789 with uncommitted changes eeeeeeeeee"),
    "device": ({"device_name": "NVIDIA H100"}, "Arms differ in the device: baseline: cuda, NVIDIA A100;"),
    "rounding": (
        {"reference": lambda own: ["0123456789abcdef"] * len(own)},
        "Arms differ in how the device rounds (its reference step): baseline: feedfeedfe;",
    ),
    "threads": ({"threads": 4}, "Arms differ in the number of CPU threads: "),
    "package of a plugin": (
        {"plugins": json.dumps({"backbone:resnet50": "someone-elses 1.0"})},
        "Arms differ in the origin of backbone:resnet50: ",
    ),
    "version of a plugin": (
        {"identity": option("run.model.backbone.version", 2)},
        "Arms differ in the version of backbone my_net: ",
    ),
    "content of a plugin": (
        {"identity": option("run.model.backbone.code", "b" * 64)},
        "Arms differ in the code of backbone my_net: baseline: aaaaaaaaaa; ",
    ),
    "failures": ({"status": "failed"}, "Arms differ in how many runs failed: "),
    "interruptions": ({"attempts": 3}, "Arms differ in how many runs were interrupted and continued: 0 of 5 runs of"),
    "machine": ({"host": "node2"}, "Arms differ in the machine that computed them: "),
    "time": (
        {"started_at": START + timedelta(days=9), "finished_at": START + timedelta(days=9, hours=1)},
        "Arms differ in when they were computed: all runs of baseline, matched and frozen ended before any run of aim",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_difference_that_the_study_does_not_vary_is_reported(kind, alike):
    changes, expected = KINDS[kind]
    said = unlike_arms(changed(alike.runs, **changes), alike.plan)
    assert len(said) == 1
    assert expected in said[0]
    assert "which this study varies" not in said[0]
    assert "f" * 11 not in said[0]


DECLARED = {
    "epochs": ("training.epochs", 50, "epochs_planned", 50),
    "early stopping": ("training.early_stopping", {"patience": 7}, None, None),
    "optimizer": ("training.optimizer", {"name": "sgd"}, None, None),
    "schedule": ("training.schedule", {"name": "cosine"}, None, None),
    "batch size": ("training.batch_size", 32, None, None),
    "precision": ("training.precision", "bfloat16", None, None),
}


@pytest.mark.parametrize("kind", DECLARED)
def test_a_difference_that_the_study_varies_is_described_as_such(kind, alike):
    path, value, column, stored = DECLARED[kind]
    columns = {} if column is None else {column: stored}
    runs = changed(alike.runs, config=option(path, value), **columns)
    config = json.loads(runs.loc[runs["arm"] == "aim", "config"].iloc[0])
    arms = tuple(replace(arm, config=config) if arm.name == "aim" else arm for arm in alike.plan.arms)
    (said,) = unlike_arms(runs, replace(alike.plan, arms=arms))
    assert ", which this study varies: " in said
    other = changed(runs, "matched", config=option(path, value), **columns)
    (said,) = unlike_arms(other, replace(alike.plan, arms=arms))
    assert "which this study varies" not in said, "the plan does not declare it for that arm"


def test_a_difference_that_can_be_explained_by_chance_is_not_reported(alike):
    runs = alike.runs
    two = runs["arm"].isin(["baseline", "aim"]) & (runs["seed"] < 3)
    few = changed(runs[two], host="node2", attempts=2)
    assert unlike_arms(few, alike.plan) == [], "three pairs are separated by chance in 1 of 10 cases"
    own = runs.assign(host=[f"pod{number}" for number in range(len(runs))])
    assert unlike_arms(own, alike.plan) == [], "every run has a machine of its own"
    assert unlike_arms(runs.assign(attempts=[2] + [1] * (len(runs) - 1)), alike.plan) == []


def test_the_time_of_day_is_reported_if_arms_alternate_over_days(alike):
    runs = alike.runs[alike.runs["arm"].isin(["baseline", "aim"])]
    runs = pd.concat([runs, runs.assign(seed=runs["seed"] + SEEDS)], ignore_index=True)
    hours = runs["seed"] * 24 + runs["arm"].map({"baseline": 0, "aim": 12})
    started = START + pd.to_timedelta(hours * 3600, unit="s")
    (said,) = unlike_arms(runs.assign(started_at=started, finished_at=started + timedelta(hours=1)), alike.plan)
    assert said.startswith("Arms differ in the time of day at which they were computed: all runs of ")


@pytest.mark.parametrize("ways", [[5, 5], [5, 5, 5], [8, 8, 8, 8], [12, 12]])
def test_the_probability_of_a_separation_is_exact(ways):
    """Compare the uncorrected probability with all assignments of the runs, or with many random ones."""
    runs = pd.DataFrame({"arm": np.repeat([f"arm{i}" for i in range(len(ways))], ways)})
    first = runs["arm"] == "arm0"
    late = pd.Timestamp(START) + pd.to_timedelta(np.where(first, 0, 10), unit="h")
    runs = runs.assign(started_at=late, finished_at=late + timedelta(hours=1), host=np.where(first, "x", "y"))
    from math import comb

    number, size = len(runs), ways[0]
    divisions = 1 if len(ways) == 2 else len(ways) * (len(ways) // 2)
    in_time, machine = separation.in_time(runs), separation.on_machines(runs)
    assert in_time.p == pytest.approx(2 / comb(number, size) * divisions)
    assert (in_time.first, in_time.second[0]) == (("arm0",), "arm1")
    both = 2 if number == 2 * size else 1
    assert machine.p == pytest.approx(both / comb(number, size) * divisions)


def test_two_groups_of_arms_on_two_machines_are_detected():
    runs = pd.DataFrame({"arm": np.tile(["a", "b", "c", "d"], 5)})
    runs["host"] = runs["arm"].map({"a": "x", "b": "x", "c": "y", "d": "y"})
    found = separation.on_machines(runs)
    assert (found.first, found.second) == (("a", "b"), ("c", "d"))
    assert found.p < 1e-4


def honest(rng: np.random.Generator) -> pd.DataFrame:
    """Return runs as sessions compute them: seed by seed, on machines chosen by a cluster, with pauses in between."""
    arms = [f"arm{i}" for i in range(rng.integers(2, 9))]
    seeds = int(rng.integers(3, 13))
    hosts = [f"node{i}" for i in range(rng.integers(1, 9))]
    lengths = dict(zip(arms, rng.lognormal(1, 0.4, len(arms)), strict=True))
    free = dict.fromkeys(hosts, 0.0)
    rows = []
    for seed in range(seeds):
        pause = rng.choice([0, 0, 0, 14, 60])  # hours until a user continues the study
        free = {host: max(free.values()) + pause for host in hosts} if pause else free
        for arm in arms:
            host = rng.choice(hosts)
            begin, length = free[host], lengths[arm] * rng.lognormal(0, 0.05)
            free[host] = begin + length
            rows.append((arm, seed, host, begin, begin + length))
    frame = pd.DataFrame(rows, columns=["arm", "seed", "host", "started_at", "finished_at"])
    for name in ("started_at", "finished_at"):
        frame[name] = pd.Timestamp(START) + pd.to_timedelta(frame[name] * 3600, unit="s")
    return frame


def alarms(seed: int) -> list[separation.Separation]:
    runs = honest(np.random.default_rng(seed))
    rules = separation.in_time, separation.at_times_of_day, separation.on_machines
    return [found for rule in rules if (found := rule(runs)) is not None]


def test_200_honest_studies_do_not_raise_an_alarm_about_time_and_machines():
    for seed in range(100, 300):
        assert alarms(seed) == [], f"study {seed}"


@pytest.mark.slow
def test_honest_studies_raise_alarms_less_often_than_the_level_allows():
    assert sum(bool(alarms(seed)) for seed in range(1000)) <= 1000 * separation.LEVEL


def test_arms_that_alternated_between_two_machines_are_reported():
    """This was not intended, but all runs of an arm were on the same machine, which the other arm did not use."""
    runs = pd.DataFrame({"arm": ["a", "b"] * 5, "host": ["x", "y"] * 5})
    found = separation.on_machines(runs)
    assert (found.first, found.second, round(found.p, 4)) == (("a",), ("b",), 0.0079)


@pytest.mark.slow  # 1,000 studies; the test of honest studies has 200
def test_randomly_mixed_runs_raise_an_alarm_as_rarely_as_stated():
    """Assign 6 + 6 runs at random; complete separation, in time or by machine, has a probability of .0022."""
    rng, raised = np.random.default_rng(0), np.zeros(2)
    started = pd.Timestamp(START) + pd.to_timedelta(np.arange(12), unit="h")
    for _ in range(1000):
        arm = rng.permutation(["a", "b"] * 6)
        runs = pd.DataFrame({"arm": arm, "started_at": started, "host": ["x", "y"] * 6})
        runs["finished_at"] = runs["started_at"] + timedelta(minutes=59)
        raised += [separation.in_time(runs) is not None, separation.on_machines(runs) is not None]
    assert (raised / 1000 < separation.LEVEL).all()


def test_unlike_arms_come_first_in_the_report_on_the_console_and_in_the_findings(make_study, tmp_path, undrawn):
    pair = [FakeArm("baseline", "baseline", 0.15), FakeArm("aim", "aim", 0.2)]
    directory = make_study(pair, claim=None)
    import pyarrow as pa
    import pyarrow.parquet as pq

    from aimlib import records

    for path in (directory / records.SEGMENTS).iterdir():
        table = pq.read_table(path)
        rows = [{**row, "git_commit": "f" * 40} if row["arm"] == "aim" else row for row in table.to_pylist()]
        records.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    findings = analysis.examine(analysis.load(directory))
    (said,) = findings.cautions
    assert said.startswith("Arms differ in the commit that computed them")
    assert cautions(findings)[0].text == said
    document = compose(findings)
    assert (document.first, document.cautions[0]) == ((said,), said)
    assert said not in [limit.text for limit in document.limits]
    page = analysis.report(directory, tmp_path / "report").read_text(encoding="utf-8")
    assert page.count(said) == 1
    assert page.index(said) < page.index(findings.headline.split(":")[0])
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert text.index("Arms differ in the commit") < text.index("> **")
    console = Console(record=True, width=1000)
    print_verdict(directory, console)
    shown = console.export_text()
    assert shown.index(said) < shown.index(findings.headline)
    assert standing(findings.results) == f"{said} {findings.headline}"
    assert findings._repr_html_().index("Arms differ") < findings._repr_html_().index("aim − baseline")


def test_differences_due_to_factors_are_stated_in_one_short_sentence(alike):
    rates = {arm.name: 0.001 * place for place, arm in enumerate(alike.plan.arms, start=1)}

    def config(arm, **more):
        return {"training": {"optimizer": {"name": "adam", "learning_rate": rates[arm]}, **more}}

    def plan(without=()):
        arms = tuple(
            replace(
                arm,
                config=config(arm.name),
                levels={} if arm.name in without else {"training.optimizer.learning_rate": str(rates[arm.name])},
            )
            for arm in alike.plan.arms
        )
        return replace(alike.plan, arms=arms)

    runs = alike.runs.assign(config=[json.dumps(config(arm)) for arm in alike.runs["arm"]])
    short = "Arms differ in the learning rate, which this study varies."
    assert unlike_arms(runs, plan()) == [short]
    (beside,) = unlike_arms(runs, plan(without=["aim"]))
    assert "; aim: adam(" in beside, "an arm outside the factors has a value that no arm with factors has"
    smaller = [json.dumps(config(arm, batch_size=10 if arm == "aim" else 25)) for arm in runs["arm"]]
    first, second = unlike_arms(runs.assign(config=smaller), plan())
    assert first == short
    assert second.startswith("Arms differ in the batch size: ")

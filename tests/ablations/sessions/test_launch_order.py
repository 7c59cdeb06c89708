"""A launch does not trust a worker on a different disk, replace a plan without running it, or mislabel a design."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny_study import changed, failures, write

import ablations.sessions.session
import analysis
from ablations.execution.inline import InlineExecutor
from ablations.execution.ray.executor import RayExecutor
from ablations.execution.run_task import execute
from ablations.execution.scheduler import Scheduler
from ablations.execution.task import Task
from ablations.planning import plan as planning
from ablations.planning.arms import expand
from ablations.sessions import gpu_assignment
from ablations.sessions.launch import run
from ablations.sessions.tasks import tasks
from ablations.spec.study import read_study
from ablations.store import ResultStore, read_mark
from aimlib.errors import UsageError


def test_a_worker_on_a_different_disk_is_reported_at_the_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere(InlineExecutor):
        def execute(self, scheduler: Scheduler, coordinator: Any, stop: Any) -> None:
            given = scheduler.next

            def elsewhere() -> Task | None:
                task = given()
                return task and replace(task, directory=str(tmp_path / "own disk"))

            scheduler.next = elsewhere  # type: ignore[method-assign]
            super().execute(scheduler, coordinator, stop)

    monkeypatch.setattr(ablations.sessions.session, "InlineExecutor", Elsewhere)
    path = write(tmp_path, changed({"seeds": 3}))
    session = run(path, tmp_path / "out", executor="inline")
    assert len(session.failed) == 4, "two runs of each arm; after that, no more runs of the arm are started"
    assert len(session.withheld) == session.planned - 4 == 2
    assert set(session.open) == set(session.withheld)
    assert all("on storage that all nodes share" in row["reason"] for row in failures(tmp_path / "out"))
    assert not (tmp_path / "own disk").exists()


def test_the_mark_of_a_directory_does_not_change(tmp_path: Path) -> None:
    assert read_mark(tmp_path / "none") == ""
    mark = ResultStore(tmp_path / "one").mark()
    assert mark == ResultStore(tmp_path / "one").mark() == read_mark(tmp_path / "one")
    assert mark != ResultStore(tmp_path / "other").mark()


def test_a_worker_with_a_different_mark_does_not_compute_any_runs(tmp_path: Path) -> None:
    plan = planning.plan(read_study(write(tmp_path, changed({}))))
    store = ResultStore(tmp_path / "out")
    task = tasks(plan, store, list(plan.runs[:1]))[0]
    assert execute(replace(task, mark="another")).end == "unshared"
    assert store.settled() == set()


def test_a_refused_launch_leaves_the_plan_unchanged(tmp_path: Path) -> None:
    path = write(tmp_path, changed({}))
    run(path, tmp_path / "out", executor="inline")
    before = (tmp_path / "out" / "study.json").read_bytes()
    with pytest.raises(UsageError, match="no server answers there"):
        run(path, tmp_path / "out", ["training.epochs=1"], address="127.0.0.1:1")
    with pytest.raises(UsageError, match="this process sees none"):
        run(path, tmp_path / "out", ["training.epochs=1", "resources.gpus=1"], executor="inline")
    assert (tmp_path / "out" / "study.json").read_bytes() == before


def test_in_a_controlled_study_the_memory_is_the_only_difference(tmp_path: Path) -> None:
    def protocol(changes: dict[str, Any]) -> str:
        return planning.protocol(tuple(expand(read_study(write(tmp_path, changed(changes))))))

    assert protocol({}) == "controlled"
    aim = json.loads(json.dumps(changed({})["arms"]["aim"]))
    aim["model"]["conv_init"] = "glorot_uniform"
    assert protocol({"arms.aim": aim}) == "custom"


def test_all_runs_of_a_seed_use_the_same_gpu_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = changed({"seeds": 4, "resources": {"gpus": 1}, "arms.baseline": {"resources": {"gpus": 0}}})
    plan = planning.plan(read_study(write(tmp_path, document)))
    store = ResultStore(tmp_path / "out")
    executor = RayExecutor([arm.resources for arm in plan.arms])
    executor.nodes = [{"CPU": 2.0, "GPU": 1.0, f"accelerator_type:{kind}": 1.0} for kind in ("A100", "A10")]
    given = gpu_assignment.with_one_type_per_seed(tasks(plan, store, list(plan.runs)), executor, store)
    assert {task.accelerator for task in given if task.arm == "baseline"} == {""}, (
        "a run on a CPU does not need a GPU type"
    )
    types = [task.accelerator for task in given if task.arm == "aim"]
    assert sorted(types) == ["A10", "A10", "A100", "A100"], "assigned in proportion"
    monkeypatch.setattr(gpu_assignment, "_devices_before", lambda *_: {0: "A10", 1: "A10", 2: "A10"})
    given = gpu_assignment.with_one_type_per_seed(tasks(plan, store, list(plan.runs)), executor, store)
    assert [task.accelerator for task in given if task.arm == "aim"][:3] == ["A10"] * 3, (
        "seeds that were started there keep their type"
    )


def test_a_stored_study_keeps_arm_names_from_an_earlier_naming_rule(tmp_path: Path) -> None:
    """Arms with two switches were named after the last label, even if the switch was off."""
    switch = {"on": {}, "off": {"training": {"label_smoothing": 0.1}}}
    path = write(tmp_path, changed({"vary": "aim", "factors": {"sharp": switch}, "seeds": 1}))
    out = tmp_path / "out"
    first = run(path, out, executor="inline")
    stored = json.loads((out / "study.json").read_text(encoding="utf-8"))
    assert [arm["name"] for arm in stored["arms"]] == ["baseline", "aim", "aim[sharp=off]"]
    text = (out / "study.json").read_text(encoding="utf-8").replace("aim[sharp=off]", "aim+sharp")
    earlier = {key: value for key, value in json.loads(text).items() if key != "checksum"} | {"schema_version": 2}
    (out / "study.json").write_text(json.dumps(earlier), encoding="utf-8")
    said = io.StringIO()
    again = run(path, out, executor="inline", console=Console(file=said, width=200))
    assert (again.computed, again.settled_before) == (0, first.computed)
    now = json.loads((out / "study.json").read_text(encoding="utf-8"))
    assert now.pop("checksum")
    assert now == earlier | {"schema_version": 3}
    assert "arm 'aim+sharp' keeps its stored name; it stands for sharp=off" in said.getvalue()
    assert set(analysis.load(out).runs["arm"]) == {"baseline", "aim", "aim+sharp"}

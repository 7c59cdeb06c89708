"""Machines whose CPUs computed wrong results are excluded by name, and runs are placed without them."""

from __future__ import annotations

import pytest

from ablations.execution.capacity import Room
from ablations.execution.packing import Slot
from ablations.execution.ray.excluded_nodes import excluded, name_of_cpus
from ablations.spec.resources import Resources

FIRST, SECOND = "ab12cd34" + "0" * 48, "ff00ff00" + "1" * 48
NODES = {FIRST: {"CPU": 4.0}, SECOND: {"CPU": 2.0}}


def test_a_name_identifies_one_node() -> None:
    name = name_of_cpus("node7", FIRST)
    assert name == "CPU of node7 (node ab12cd34)"
    assert excluded([name], NODES) == {FIRST}
    assert excluded([name, name_of_cpus("node8", SECOND)], NODES) == {FIRST, SECOND}


@pytest.mark.parametrize("name", ["GPU-1 (node ab12cd34)", "CPU of node7", "CPU of node7 (node 00000000)"])
def test_unknown_names_do_not_identify_any_node(name: str) -> None:
    assert excluded([name], NODES) == frozenset()


def test_runs_fit_on_the_other_nodes() -> None:
    room = Room([Resources(cpus=2)], NODES)
    assert room.runs == 3
    room.leave_out((), [FIRST])
    assert room.runs == 1
    assert room.fit({"CPU": 2.0}, ()) == "now"
    assert room.fit({"CPU": 2.0}, [({"CPU": 2.0}, ())]) == "later"
    assert room.fit({"CPU": 4.0}, ()) == "never", "it fits only on the excluded node"
    assert room.fit({"CPU": 8.0}, ()) == "later", "it never fit"
    room.leave_out((), NODES)
    assert room.fit({"CPU": 2.0}, ()) == "never"
    room.leave_out(())
    assert room.fit({"CPU": 4.0}, ()) == "now"


def test_excluded_gpus_and_nodes_do_not_conflict() -> None:
    nodes = {FIRST: {"CPU": 4.0, "GPU": 2.0}, SECOND: {"CPU": 2.0, "GPU": 1.0}}
    room = Room([Resources(gpus=1.0)], nodes)
    room.leave_out([Slot(FIRST, "0")], [SECOND])
    assert room.runs == 1
    assert room.fit({"CPU": 1.0, "GPU": 1.0}, ()) == "now"
    assert room.fit({"CPU": 1.0, "GPU": 2.0}, ()) == "never"

"""The number of runs that fit on a cluster, refused runs, and the GPU type that computes each seed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.execution.capacity import Room, accelerators, fitting, holds, refuse_unfit, types_of_seeds
from ablations.spec.resources import Resources
from aimlib.errors import UsageError

Node = dict[str, float]


@pytest.mark.parametrize(
    ("nodes", "resources", "parallel"),
    [
        ([{"CPU": 8}], {}, 8),
        ([{"CPU": 8}], {"cpus": 3}, 2),
        ([{"CPU": 2}, {"CPU": 5}], {"cpus": 2}, 3),
        ([{"CPU": 8, "GPU": 2}], {"gpus": 1}, 2),
        ([{"CPU": 1, "GPU": 2}], {"gpus": 1}, 1),
        ([{"CPU": 8, "GPU": 2}], {"gpus": 0.5}, 4),
        ([{"CPU": 8, "GPU": 1}], {"gpus": 0.1}, 8),
        ([{"CPU": 80, "GPU": 1}], {"gpus": 0.1}, 10),
        ([{"CPU": 8, "GPU": 2}], {"gpus": 0.4}, 4),
        ([{"CPU": 4}, {"CPU": 8, "GPU": 4}], {"gpus": 2}, 2),
        ([{"CPU": 64, "GPU": 8}, {"CPU": 64, "GPU": 8}], {"cpus": 8, "gpus": 1}, 16),
        ([{"CPU": 64, "memory": 10 * 2**30}], {"memory": 4 * 2**30}, 2),
        ([{"CPU": 64, "memory": 2**30}, {"CPU": 2, "memory": 2**40}], {"memory": 2**30}, 3),
        ([{"CPU": 8, "slice": 2}], {"custom": {"slice": 0.4}}, 5),
        ([{"CPU": 8, "slice": 4}, {"CPU": 8}], {"custom": {"slice": 2.0}}, 2),
        ([{"CPU": 8, "accelerator_type:T4": 1}, {"CPU": 8}], {"accelerator_type": "T4"}, 8),
    ],
)
def test_the_number_of_runs_that_fit_is_counted(nodes: list[Node], resources: dict[str, Any], parallel: int) -> None:
    assert fitting(Resources(**resources), nodes) == parallel
    refuse_unfit([Resources(**resources)], nodes)


@pytest.mark.parametrize(
    ("nodes", "resources", "message"),
    [
        ([{"CPU": 2}], {"gpus": 1}, r"resources.gpus: a run asks for 1 GPUs, .* more than 0; .*--set resources.gpus="),
        ([{"CPU": 2}], {"cpus": 999}, r"resources.cpus: a run asks for 999 CPUs, .* more than 2; lower it"),
        ([{"CPU": 2}, {"CPU": 2}], {"cpus": 3}, r"resources.cpus: a run asks for 3 CPUs, .* more than 2;"),
        (
            [{"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 1}],
            {"gpus": 2},
            r"resources.gpus: a run asks for 2 GPUs, .* more than 1;",
        ),
        ([{"CPU": 8}, {"CPU": 1, "GPU": 1}], {"cpus": 4, "gpus": 1}, r"resources: no node has 4 CPUs and 1 GPUs"),
        ([], {}, r"resources.cpus: .* more than 0;"),
        (
            [{"CPU": 8, "memory": 2**33}, {"CPU": 8, "memory": 2**32}],
            {"memory": 2**34},
            r"resources.memory: a run asks for 16GiB, and no node has more than 8GiB for runs; .*resources.memory=",
        ),
        (
            [{"CPU": 8, "accelerator_type:T4": 1}, {"CPU": 8, "accelerator_type:A100": 1}],
            {"accelerator_type": "H100"},
            r"resources.accelerator_type: no node has the type H100; types in the cluster: A100, T4; set one",
        ),
        ([{"CPU": 8}], {"accelerator_type": "H100"}, r"types in the cluster: none"),
        (
            [{"CPU": 8, "node:10.0.0.1": 1, "slice": 1, "object_store_memory": 9}],
            {"custom": {"tpu_slice": 1.0}},
            r"resources.custom.tpu_slice: a run asks for 1, and no node has more than 0; custom resources .*: slice; ",
        ),
        (
            [{"CPU": 8, "memory": 2**30}, {"CPU": 1, "memory": 2**33}] * 2,
            {"cpus": 4, "memory": 2**32},
            r"resources: no node has 4 CPUs and 4GiB of memory at once; lower .*: 2 x \(8 CPUs, 1GiB of memory\); 2 x",
        ),
    ],
)
def test_a_request_that_does_not_fit_on_any_node_is_refused(
    nodes: list[Node], resources: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        refuse_unfit([Resources(), Resources(**resources)], nodes)


def test_a_request_that_an_autoscaler_can_satisfy_is_not_refused() -> None:
    head, large = {"CPU": 2.0, "memory": 2.0**33}, {"CPU": 64.0, "memory": 2.0**38, "accelerator_type:A100": 1.0}
    wanted = Resources(cpus=32, memory=2**36, accelerator_type="A100")
    with pytest.raises(UsageError, match="no node has more than 2"):
        refuse_unfit([wanted], [head])
    refuse_unfit([wanted], [head], [large])
    with pytest.raises(UsageError, match=r"no node, present or added by the autoscaler, has more than 64"):
        refuse_unfit([Resources(cpus=65)], [head], [large])


def test_gpus_are_counted_by_type() -> None:
    nodes = [
        {"CPU": 8.0, "GPU": 4.0, "accelerator_type:A100": 1.0},
        {"CPU": 8.0, "GPU": 2.0, "accelerator_type:A100": 1.0},
        {"CPU": 8.0, "GPU": 1.0, "accelerator_type:T4": 1.0},
        {"CPU": 8.0},
    ]
    assert accelerators(nodes) == {"A100": 6.0, "T4": 1.0}
    assert accelerators(nodes, [Resources(gpus=2)]) == {"A100": 6.0}, "no T4 node can hold such a run"
    assert holds(nodes[2], {"CPU": 8.0, "GPU": 1.0, "accelerator_type:T4": 0.001})
    assert not holds(nodes[2], {"CPU": 1.0, "accelerator_type:A100": 0.001})


def test_with_one_gpu_type_no_types_are_assigned_to_seeds() -> None:
    assert types_of_seeds([0, 1], {"A100": 4.0}) == {}
    assert types_of_seeds([0, 1], {}) == {}


@given(
    seeds=st.lists(st.integers(0, 1000), min_size=1, max_size=60, unique=True),
    counts=st.lists(st.integers(1, 16), min_size=2, max_size=4),
    known=st.data(),
)
def test_seeds_are_distributed_in_proportion_to_gpus_and_started_seeds_keep_their_type(
    seeds: list[int], counts: list[int], known: st.DataObject
) -> None:
    types = {f"T{number}": float(count) for number, count in enumerate(counts)}
    before = known.draw(st.dictionaries(st.sampled_from(seeds), st.sampled_from([*types, "gone"]), max_size=3))
    chosen = types_of_seeds(seeds, types, before)
    assert set(chosen) == set(seeds)
    assert all(chosen[seed] == kind for seed, kind in before.items() if kind in types)
    if not before:
        for kind, count in types.items():
            share = len(seeds) * count / sum(types.values())
            assert abs(sum(other == kind for other in chosen.values()) - share) < len(types)


def test_room_counts_runs_that_fit_at_the_same_time() -> None:
    gpus, cpus = Resources(gpus=1), Resources(cpus=4)
    node = {"CPU": 8.0, "GPU": 4.0}
    assert Room([gpus, gpus], {"n": node}).runs == 4, "arms with equal resources share the room"
    assert Room([gpus, cpus], {"n": node}).runs == 4 + 2, (
        "four runs on GPUs and one run on the remaining CPUs fit at once"
    )
    room = Room([gpus], {"n": node}, spare="one")
    assert room.runs == 5, "one more run, which makes a cluster grow"
    room.update({})
    assert room.runs == 1


def test_a_cluster_that_grows_on_demand_is_asked_to_double() -> None:
    room = Room([Resources(gpus=1)], {}, spare="double")
    assert room.runs == 1
    for nodes, runs in ((1, 8), (2, 16), (5, 40)):
        room.update({str(number): {"CPU": 8.0, "GPU": 4.0} for number in range(nodes)})
        assert (room.runs, room.parallel, room.node_count) == (runs, runs // 2, nodes)
        assert room.totals == {"CPU": 8.0 * nodes, "GPU": 4.0 * nodes}

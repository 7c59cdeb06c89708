"""Host memory and custom resources with real Ray: nodes are not overfilled, and impossible requests are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from concurrency import most_at_once
from tiny_study import changed, write

_DRIVER = """
import json, sys
import ray._private.services as services
from ray.cluster_utils import Cluster

services.resolve_ip_for_localhost = lambda host: host  # Ray would leave the loopback interface
here = {"node_ip_address": "127.0.0.1"}
cluster = Cluster(
    initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "memory": 2**30, **here}
)
cluster.add_node(num_cpus=4, memory=5 * 2**30, resources={"slice": 2}, **here)
try:
    from aimlib.errors import UsageError
    from ablations.sessions.launch import run

    answers = []
    for number, overrides in enumerate(json.loads(sys.argv[3])):
        try:
            session = run(sys.argv[1], f"{sys.argv[2]}/{number}", overrides, address=cluster.address)
            answers.append([session.planned, session.computed])
        except UsageError as error:
            answers.append(str(error))
    print(json.dumps(answers))
finally:
    cluster.shutdown()
"""


@pytest.mark.slow  # three sessions on a cluster of two nodes take half a minute, or minutes on a busy machine
@pytest.mark.xdist_group("ray")
def test_a_node_with_many_cores_and_little_memory_is_not_overfilled(tmp_path: Path) -> None:
    study = write(tmp_path, changed({"seeds": 2, "base.training.epochs": 20}))
    requests = [
        ["resources.memory=4GiB"],
        ["resources.custom.slice=1", "resources.memory=1GiB"],
        ["resources.memory=6GiB"],
        ["resources.custom.tpu_slice=1"],
        ["resources.accelerator_type=H100"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER, str(study), str(tmp_path), json.dumps(requests)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two, memory, custom, kind = json.loads(done.stdout.splitlines()[-1])
    assert one == [4, 4]
    assert most_at_once(tmp_path / "0") == 1, "the node has 4 CPUs, and memory for one run"
    assert two == [4, 4]
    assert most_at_once(tmp_path / "1") == 2, "the node has 4 CPUs, memory for 5 runs, and 2 slices"
    assert memory.startswith("resources.memory: a run asks for 6GiB, and no node has more than 5GiB for runs;")
    assert custom.startswith("resources.custom.tpu_slice: a run asks for 1,")
    assert "custom resources in the cluster: slice;" in custom
    assert kind.startswith("resources.accelerator_type: no node has the type H100;")

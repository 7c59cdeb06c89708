"""A study on a Ray cluster that is already running: two nodes on the loopback interface."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest

from ablations.execution.ray import connection
from ablations.execution.ray.executor import RayExecutor
from ablations.spec.study import Resources
from aimlib.errors import UsageError

_DRIVER = """
import json, sys
import ray._private.services as services
from ray.cluster_utils import Cluster

services.resolve_ip_for_localhost = lambda host: host  # Ray would leave the loopback interface
cluster = Cluster(
    initialize_head=True, head_node_args={"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False}
)
cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
try:
    from ablations.sessions.launch import run

    overrides = ["seeds=1", "training.epochs=1", "data.train_images=60"]
    session = run("demo", sys.argv[1], overrides, address=cluster.address)
    print(json.dumps([session.planned, session.computed, list(session.failed), list(session.open)]))
finally:
    cluster.shutdown()
"""


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_running_cluster_computes_the_study(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER, str(tmp_path / "study")], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [4, 4, [], []]


def test_an_address_at_which_nobody_listens_is_refused_at_once():
    with (
        pytest.raises(UsageError, match=r"--address 127\.0\.0\.1:1: nobody answers there .*ray start --head"),
        RayExecutor([Resources()], "127.0.0.1:1") as executor,
    ):
        executor.check()


def test_nobody_can_import_a_ray_that_listens_to_other_machines(monkeypatch):
    switch = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    monkeypatch.delenv(switch, raising=False)
    monkeypatch.setattr(connection, "prepare_token", lambda: None)
    going = threading.Event()
    monkeypatch.setattr(connection.Connection, "_connect", lambda _: going.wait(10))
    found = connection.Connection()
    found.begin()
    assert os.environ[switch] == "0", "from the moment on at which it may be imported"
    going.set()
    found.end()
    assert switch not in os.environ

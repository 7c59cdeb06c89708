"""A study on a Ray cluster that is already running: two nodes on the loopback interface."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest
from concurrency import most_at_once

import analysis
from ablations.execution.ray import connection
from ablations.execution.ray.executor import RayExecutor
from ablations.sessions.launch import run
from ablations.spec.study import Resources
from ablations.store import ResultStore
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


_ONE_OF_TWO = """
import sys
import ray._private.services as services

services.resolve_ip_for_localhost = lambda host: host  # Ray would leave the loopback interface
from ablations.sessions.launch import run

folder, name, address = sys.argv[1:]
overrides = [f"name={name}", "training.epochs=1", "data.train_images=60", "seeds=2"]
session = run("demo", f"{folder}/{name}", overrides, address=address)
sys.exit(session.computed != session.planned)
"""
_TWO_DRIVERS = (
    _DRIVER.partition("    from ablations")[0]
    + """
    import subprocess

    drivers = [
        subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1], name, cluster.address])
        for name in ("first", "second")
    ]
    print(json.dumps([driver.wait() for driver in drivers]))
finally:
    cluster.shutdown()
"""
)


@pytest.mark.slow  # a cluster and two drivers
@pytest.mark.xdist_group("ray")
def test_two_studies_share_a_running_cluster(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _TWO_DRIVERS, str(tmp_path), _ONE_OF_TWO], capture_output=True, text=True, timeout=280
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [0, 0], done.stderr[-3000:]
    directories = [tmp_path / name for name in ("first", "second")]
    assert [len(analysis.load(directory).runs) for directory in directories] == [8, 8]
    assert most_at_once(*directories) <= 2, "the cluster has two CPUs for both"


_WAITING = """
import json, sys, threading, time
import ray
import ray._private.services as services
from rich.console import Console

from ablations.sessions.launch import run
from aimlib.errors import UsageError

services.resolve_ip_for_localhost = lambda host: host  # Ray would leave the loopback interface
folder, address = sys.argv[1:]
requested = []

def find() -> None:
    from ray.util.placement_group import placement_group_table

    while not requested:
        time.sleep(0.5)
        if ray.is_initialized():
            groups = placement_group_table().values()
            requested.extend(each["bundles"] for each in groups if each["state"] == "PENDING")

overrides = ["seeds=1", "training.epochs=1", "data.train_images=60"]
common = {"address": address, "console": Console(file=sys.stderr, width=200)}
try:
    run("demo", folder + "/never", overrides, wait_for_nodes="3s", **common)
    never = ""
except UsageError as error:
    never = str(error)
print("refused", flush=True)
threading.Thread(target=find, daemon=True).start()
session = run("demo", folder + "/study", overrides, wait_for_nodes="3min", **common)
print(json.dumps([never, session.planned, session.computed, requested]))
"""
_GROWING = """
import subprocess, sys, time
import ray._private.services as services
from ray.cluster_utils import Cluster

services.resolve_ip_for_localhost = lambda host: host  # Ray would leave the loopback interface
here = {"node_ip_address": "127.0.0.1"}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **here})
try:
    driver = subprocess.Popen([sys.executable, "-c", *sys.argv[1:], cluster.address], stdout=subprocess.PIPE, text=True)
    print(driver.stdout.readline(), end="", flush=True)
    time.sleep(15)
    cluster.add_node(num_cpus=2, **here)
    print(driver.communicate()[0], end="")
finally:
    cluster.shutdown()
"""


@pytest.mark.slow  # a cluster to which one node is added later
@pytest.mark.xdist_group("ray")
def test_a_study_waits_for_nodes_that_an_autoscaler_adds(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _GROWING, _WAITING, str(tmp_path)], capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr[-3000:]
    never, planned, computed, requested = json.loads(done.stdout.splitlines()[-1])
    assert never.startswith("--wait-for-nodes: no such node within 3 s. resources.cpus: a run asks for 1 CPUs")
    assert not (tmp_path / "never" / "study.json").exists(), "nothing of a refused study is stored"
    assert (planned, computed) == (4, 4)
    assert requested == [{"0": {"CPU": 1.0}}], "what is missing is requested from the cluster"
    assert "waiting up to 3 min for nodes: resources.cpus: a run asks for 1 CPUs, and no node has more" in done.stderr
    assert "2 nodes found: continuing" in done.stderr
    assert sum(ResultStore(tmp_path / "study").node_time().values()) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wait_for_nodes": "5min"}, "set --address to a Ray cluster as well"),
        ({"wait_for_nodes": "5", "address": "auto"}, "--wait-for-nodes: '5': no unit"),
    ],
)
def test_an_invalid_waiting_time_is_refused(options, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        run("demo", tmp_path / "study", **options)
    assert not (tmp_path / "study").exists()


def test_an_address_where_nothing_is_listening_is_refused_immediately():
    with (
        pytest.raises(UsageError, match=r"--address 127\.0\.0\.1:1: no server answers there .*ray start --head"),
        RayExecutor([Resources()], "127.0.0.1:1") as executor,
    ):
        executor.check()


def test_ray_cannot_be_imported_in_a_way_that_makes_it_listen_to_other_machines(monkeypatch):
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

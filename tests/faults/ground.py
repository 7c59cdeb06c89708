"""A Ray cluster of three nodes on the loopback interface, in its own process; each input line is a JSON list.

["nodes"]             return the process ids of the nodes' raylets, the head's first
["lose", number]      end a node as a power cut would, and add a new node
["replace", raylet]   add a new node in place of a node whose raylet has ended
["block"]             add a node with `ray start --block`, as KubeRay does; return that process's id
["restart"]           end the head and everything that depends on it, and start a new cluster at the same address
["behead"]            end only the head, as a power cut would
["address"]           return the address to which the driver connects
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ray._private.services as services
from ray.cluster_utils import Cluster

services.resolve_ip_for_localhost = lambda host: host  # Ray would leave the loopback interface
NODE: dict[str, Any] = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20}


class Commands:
    """The functions that carry out requests, by the name of the request."""

    def __init__(self) -> None:
        self.cluster = build()
        self.blocking: list[subprocess.Popen[bytes]] = []

    def address(self) -> str:
        return str(self.cluster.address)

    def nodes(self) -> list[int]:
        return [raylet(self.cluster.head_node), *map(raylet, self._others())]

    def lose(self, number: int) -> None:
        self.cluster.remove_node(self._others()[number], allow_graceful=False)
        self.cluster.add_node(**NODE)

    def replace(self, gone: int) -> None:
        self.lose([raylet(node) for node in self._others()].index(gone))

    def block(self) -> int:
        command = ["start", "--address", self.address(), "--node-ip-address=127.0.0.1", "--num-cpus=1", "--block"]
        script = str(Path(__file__).with_name("ray_cli.py"))
        memory = f"--object-store-memory={NODE['object_store_memory']}"
        self.blocking.append(subprocess.Popen([sys.executable, script, *command, memory]))
        return self.blocking[-1].pid

    def restart(self) -> None:
        port = int(self.address().rpartition(":")[2])
        self.cluster.shutdown()
        self.cluster = build(port)

    def behead(self) -> None:
        self.cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)

    def end(self) -> None:
        for process in self.blocking:
            process.terminate()
        for process in self.blocking:
            process.wait(60)
        self.cluster.shutdown()

    def _others(self) -> list[Any]:
        return sorted(self.cluster.worker_nodes, key=raylet)


def build(port: int | None = None) -> Cluster:
    address = {} if port is None else {"gcs_server_port": port}
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False, **address})
    for _ in range(2):
        cluster.add_node(**NODE)
    return cluster


def raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    commands = Commands()
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        print(json.dumps(getattr(commands, command)(*arguments)), file=answers, flush=True)
    commands.end()


main()

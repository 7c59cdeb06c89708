"""A Ray cluster of three nodes on the loopback interface, in a process of its own; one JSON list per line of input.

["nodes"]             process numbers of the nodes' raylets, the head's first
["lose", number]      end a node as a power cut would, and give the cluster a new one
["restart"]           end the head and everything that hangs on it, and start a new cluster
["address"]           where the driver connects to
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import ray._private.services as services
from ray.cluster_utils import Cluster

services.resolve_ip_for_localhost = lambda host: host  # Ray would leave the loopback interface


def build() -> Cluster:
    common = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**common, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(**common)
    return cluster


def raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    cluster = build()

    def answer(value: object) -> None:
        print(json.dumps(value), file=answers, flush=True)

    answer("ready")
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        nodes = sorted(cluster.worker_nodes, key=raylet)
        if command == "address":
            answer(cluster.address)
        elif command == "nodes":
            answer([raylet(cluster.head_node), *map(raylet, nodes)])
        elif command == "lose":
            cluster.remove_node(nodes[arguments[0]], allow_graceful=False)
            cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1", object_store_memory=100 * 2**20)
            answer("lost")
        elif command == "restart":
            cluster.shutdown()
            cluster = build()
            answer("restarted")
    cluster.shutdown()


main()

"""Whether torch can use the GPUs that Ray counts.

Ray counts GPUs through NVML. It even counts a GPU whose driver is too old for this torch, or whose card is lost, and
every run placed there would fail. Torch is queried in a separate process, so that its CUDA context ends with that
process.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from ablations.execution.packing import Bundle
from aimlib.errors import UsageError

_LIMIT_S = 120.0
"""Timeout in seconds for a node's answer; torch may be imported from a network file system."""
_SLACK_S = 30.0


def refuse_unusable(nodes: Mapping[str, Bundle], *, here: bool) -> None:
    """Raise an error if torch can use fewer GPUs on a node than Ray counts.

    Parameters
    ----------
    nodes : resources of each node, by node id.
    here : whether the only node is this machine; this process then asks torch itself.

    Raises
    ------
    UsageError: torch can use fewer GPUs on a node, or a node does not answer.
    """
    counted = {node: int(has["GPU"]) for node, has in nodes.items() if has.get("GPU", 0) >= 1}
    answers = {node: usable_here() for node in counted} if here else _asked(list(counted))
    wrong = [
        f"{host}: Ray counts {counted[node]}, and torch can use {number}" + (f" ({reason})" if reason else "")
        for node, (host, number, reason) in answers.items()
        if number < counted[node]
    ]
    if wrong:
        raise UsageError(
            f"GPUs that torch cannot use: {'; '.join(wrong)}. Update the driver on that machine, install a torch that "
            "supports its driver and GPUs (run `ablate doctor` there for details), or start Ray there with "
            f"--num-gpus={min(number for _, number, _ in answers.values())}"
        )


def _asked(nodes: list[str]) -> dict[str, tuple[str, int, str]]:
    """Query the cluster's nodes with one task on each node, which does not use any of the node's resources."""
    import ray  # noqa: PLC0415 -- here alone
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    asked = ray.remote(num_cpus=0, max_retries=0)(usable_here)
    answers = {
        node: asked.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node, soft=False)).remote()
        for node in nodes
    }
    silent = ray.wait(list(answers.values()), num_returns=len(answers), timeout=_LIMIT_S + _SLACK_S)[1]
    names = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes()}
    found = {}
    for node, answer in answers.items():
        if answer in silent:
            raise UsageError(
                f"{names.get(node, node)}: did not report within {_LIMIT_S + _SLACK_S:.0f} s how many GPUs torch can "
                "use; check that machine, or remove it from the cluster"
            )
        try:
            found[node] = ray.get(answer)
        except ray.exceptions.RayError as error:
            raise UsageError(
                f"{names.get(node, node)}: could not report how many GPUs torch can use: {_gist(str(error))}"
            ) from error
    return found


def usable_here() -> tuple[str, int, str]:
    """Return this machine's name, the number of GPUs that torch can use, and torch's reason if it cannot use more."""
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(  # noqa: S603 -- fixed arguments
            command,
            env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        number, reason = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        number, reason = 0, f"torch did not answer within {_LIMIT_S:.0f} s"
    except (ValueError, IndexError):
        number, reason = 0, _gist(done.stderr) or f"its process ended with code {done.returncode}"
    return socket.gethostname(), int(number), str(reason)


def _gist(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def usable_in_this_process() -> tuple[int, str]:
    """Return the number of GPUs that torch can use, and torch's reason if it cannot use more."""
    import torch  # noqa: PLC0415 -- runs in a separate process

    from aimlib.training.devices import usable_gpus, why_unusable  # noqa: PLC0415 -- imports torch

    number, reason = usable_gpus(), why_unusable()
    if not number and not reason:
        driver: Any = torch.cuda
        try:
            driver.init()
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().partition(". ")[0].splitlines()[0]
    return number, reason


if __name__ == "__main__":
    print(json.dumps(usable_in_this_process()))

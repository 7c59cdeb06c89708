"""Processes that wait for orders, so that several can act at the same moment and one of them can be killed."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from bench.harness import ROOT


class Died(RuntimeError):  # noqa: N818 -- some processes die on purpose
    """A process in the crew ended before it answered."""


class Crew:
    """A number of processes, each of which has called a module's ``member(options)`` and waits for orders.

    Parameters
    ----------
    module : module with a function ``member(options)``, which returns the function that carries out an order.
    options : plain values, the same for all processes.
    """

    def __init__(
        self, number: int, module: str, options: Mapping[str, Any], env: Mapping[str, str] | None = None
    ) -> None:
        command = [sys.executable, "-m", "bench.gpu.crew", module, json.dumps(dict(options))]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
        self.members = [subprocess.Popen(command, env=os.environ | dict(env or {}), **pipes) for _ in range(number)]

    def __enter__(self) -> Crew:
        for member in range(len(self.members)):
            self.answer(member)  # the process is ready
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.members:
            process.kill()
        for process in self.members:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def together(self, orders: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Send one order to each of the first members, wait until all have answered, and return their answers."""
        for member, order in enumerate(orders):
            self.order(member, order)
        return [self.answer(member) for member in range(len(orders))]

    def order(self, member: int, order: Mapping[str, Any]) -> None:
        """Send an order to one member."""
        pipe = self.members[member].stdin
        assert pipe is not None
        pipe.write(json.dumps(dict(order)) + "\n")
        pipe.flush()

    def answer(self, member: int) -> dict[str, Any]:
        """Wait for the answer of one member.

        Raises
        ------
        Died: the member ended before it answered.
        """
        pipe = self.members[member].stdout
        assert pipe is not None
        line = pipe.readline()
        if not line:
            raise Died(f"a process exited with code {self.members[member].wait()} before it answered")
        found: dict[str, Any] = json.loads(line)
        return found


def _serve(module: str, options: str) -> None:
    """Carry out orders until there are no more; print output to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(content: Mapping[str, Any]) -> None:
        answers.write(json.dumps(dict(content)) + "\n")
        answers.flush()

    carry_out = importlib.import_module(module).member(json.loads(options))
    tell({"ready": os.getpid()})
    for line in sys.stdin:
        tell(carry_out(json.loads(line)))


if __name__ == "__main__":
    _serve(*sys.argv[1:])

"""Imports torch once, then forks a driver for every request, so that killed drivers do not cost an import.

Requests, one JSON list per line of standard input, and their answers:

["run", study, directory]  process number of a driver that computes the study inline, beginning with its search
["wait", process]          its exit code: 0 done, 1 failed or open runs, 2 an exception, -9 killed
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import sklearn.datasets
import torch
import torchvision  # noqa: F401 -- imported for the children

import ablations.sessions.launch
import aimlib.backbones
import aimlib.datasets
import analysis.claims  # noqa: F401
from ablations.sessions import screening
from ablations.spec.study import read_study
from aimlib.training import optimizers, schedules, selections  # noqa: F401

assert sklearn.datasets
assert aimlib.backbones
assert aimlib.datasets


def drive(study: str, directory: str) -> int:
    torch.set_num_threads(1)
    try:
        if read_study(study).spec.search is not None:
            session = screening.run(study, directory, executor="inline").session
        else:
            session = ablations.sessions.launch.run(Path(study), Path(directory), executor="inline")
    except BaseException:
        traceback.print_exc()
        return 2
    return 1 if session.failed or session.open else 0


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # answers only; drivers print to standard error
    children: set[int] = set()

    def answer(value: object) -> None:
        print(json.dumps(value), file=answers, flush=True)

    answer("ready")
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        if command == "run":
            child = os.fork()
            if child == 0:
                answers.close()
                os._exit(drive(*arguments))
            children.add(child)
            answer(child)
        else:
            _, status = os.waitpid(arguments[0], 0)
            children.discard(arguments[0])
            answer(os.waitstatus_to_exitcode(status))
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


main()

"""Processes that save large states to one slow storage at the same time. Prints a line of JSON for each of them.

It imports torch once, then serves requests, each a line of JSON: `where`, the place of the study; `environment`;
`runs`, a list of [run id, epochs, step]; `size` of a state, in bytes; `rate` of the storage, in bytes per second, which
simultaneous writers share; `within`, seconds in which all saves must finish after all runs are in the queue, or null;
`die`, run ids that are killed once they have begun to save.

It prints "ready" when all runs wait, continues after the next line, prints for every run whether it was granted a slot,
and when it began and ended, and then "end".
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from ablations.store import ResultStore
from ablations.store.save_slots import SLOTS, SaveSlots
from aimlib.training import checkpointing

CHUNK = 2**16
plan = json.loads(sys.stdin.readline())
synchronise = os.fsync
torch.set_num_threads(1)  # a forked process has no other
while os.fork():  # one process for each request: its parent serves the next one
    os.wait()
    print("end", flush=True)
    if not (request := sys.stdin.readline()):
        sys.exit()
    plan = json.loads(request)
os.environ.clear()
os.environ.update(plan["environment"])
tempfile.tempdir = None
where = plan["where"]
folder = Path(tempfile.mkdtemp())
line = folder / "line"  # the way to the storage, one at a time
started = folder / "started"  # contains the time at which the first was admitted, by the clock of the machine


def slowly(handle: int) -> None:
    """Write to the disk at the rate of the storage."""
    if Path(f"/proc/self/fd/{handle}").readlink().name.startswith(".checkpoint"):
        with line.open("w") as way:
            for _ in range(0, os.fstat(handle).st_size, CHUNK):
                fcntl.flock(way, fcntl.LOCK_EX)
                time.sleep(CHUNK / plan["rate"])
                fcntl.flock(way, fcntl.LOCK_UN)
    synchronise(handle)


def state(run_id: str, epochs: int) -> checkpointing.Checkpoint:
    weights = torch.full((plan["size"] // 4,), float(epochs))
    return checkpointing.Checkpoint(run_id, [], torch.zeros(0), {"weights": weights}, {}, 1.0, 1, "")


def save(store: ResultStore, run_id: str, epochs: int) -> None:
    checkpointing.save(state(run_id, epochs), store.checkpoint_directory(run_id))
    store.keep_checkpoint(run_id)


def deadline() -> float | None:
    """Return the time at which all must have finished; the time that busy machines need to start processes does not
    count.
    """
    if plan["within"] is None or not started.exists():
        return None
    return float(started.read_text()) + float(plan["within"])


def child(store: ResultStore, go: int, run_id: str, epochs: int, step: int) -> dict[str, Any]:
    os.read(go, 1)
    with store.saving((epochs, step), plan["size"] / plan["rate"], deadline) as granted:
        found = {"run": run_id, "granted": granted, "began": time.time(), "ended": time.time()}
        if granted:
            if run_id in plan["die"]:
                signal.setitimer(signal.ITIMER_REAL, plan["size"] / plan["rate"] / 2)
                signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            save(store, run_id, epochs)
            found["ended"] = time.time()
    return found


def main() -> None:
    for run_id, _, _ in plan["runs"]:
        save(ResultStore(where), run_id, 1)
    os.fsync = slowly
    queue = ResultStore(where)._folder.save_slots()
    ready, go = os.pipe()
    children = []
    for run in plan["runs"]:
        if (pid := os.fork()) == 0:
            os.close(go)
            said = json.dumps(child(ResultStore(where), ready, *run))
            os.write(1, f"{said}\n".encode())  # in one piece, because others print at the same time
            os._exit(0)
        children.append(pid)
    slots = SaveSlots(queue)
    held = [slots.taken((10**5, number), 0.0, lambda: None) for number in range(SLOTS)]
    for each in held:
        each.__enter__()
    print("ready", flush=True)
    sys.stdin.readline()
    os.close(go)
    while len(list(Path(queue).glob("*.ticket"))) < len(plan["runs"]):
        time.sleep(0.01)
    (folder / "written").write_text(str(time.monotonic()))
    (folder / "written").rename(started)
    for each in held:
        each.__exit__(None, None, None)
    for pid in children:
        os.waitpid(pid, 0)


main()

"""Processes that save large states to one slow storage at the same time, with a line of JSON printed for each process.

This script imports torch once, then serves requests. Each request is a line of JSON with these keys: `where`, the
study's location; `environment`; `runs`, a list of [run id, epochs, step]; `size`, the size of a state in bytes; `rate`,
the storage's speed in bytes per second, which simultaneous writers share; `within`, the number of seconds after all
runs are in the queue in which all saves must finish, or null; `die`, the ids of runs that are killed once they have
begun to save.

The script prints "ready" when all runs are waiting, and continues after the next input line. For every run, it prints
whether the run was granted a slot, and when the run began and ended. Finally, it prints "end".
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
torch.set_num_threads(1)  # a forked process has no other threads
while os.fork():  # one process for each request: the parent serves the next request
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
line = folder / "line"  # lock on the connection to the storage
started = folder / "started"  # contains the time at which the first run was admitted, by the machine's clock


def slowly(handle: int) -> None:
    """Write to the disk at the storage's rate."""
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
    """Return the time by which all saves must finish, not counting the time that a busy machine takes to start
    processes."""
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
            os.write(1, f"{said}\n".encode())  # in a single write, because other processes print at the same time
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

"""Processes that save large states to one slow storage when they are told to. Prints a line of JSON for each.

Arguments: where the study is kept, and JSON: `runs`, a list of [run id, epochs, step]; `size` of a state, in bytes;
`rate` of the storage, in bytes per second, which those who write at once share; `within`, seconds from the word go in
which all must be over, or null; `die`, run ids that are killed once they have begun to save.

Says "ready" when all wait, goes on at the end of its input, and says whether each was granted to save, and when it
began and ended.
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
where, plan = sys.argv[1], json.loads(sys.argv[2])
line = Path(tempfile.mkdtemp()) / "line"  # the way to the storage, one at a time
synchronise = os.fsync
torch.set_num_threads(1)  # a forked process has no other


def slowly(handle: int) -> None:
    """Reach the disk at the rate of the storage."""
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


def child(store: ResultStore, go: int, run_id: str, epochs: int, step: int) -> dict[str, Any]:
    os.read(go, 1)
    began = time.monotonic()
    until = began + plan["within"] if plan["within"] is not None else None
    with store.saving((epochs, step), plan["size"] / plan["rate"], lambda: until) as granted:
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
    folder = ResultStore(where)._folder.save_slots()
    ready, go = os.pipe()
    children = []
    for run in plan["runs"]:
        if (pid := os.fork()) == 0:
            os.close(go)
            said = json.dumps(child(ResultStore(where), ready, *run))
            os.write(1, f"{said}\n".encode())  # in one piece, as others say theirs
            os._exit(0)
        children.append(pid)
    slots = SaveSlots(folder)
    held = [slots.taken((10**5, number), 0.0, lambda: None) for number in range(SLOTS)]
    for each in held:
        each.__enter__()
    print("ready", flush=True)
    sys.stdin.read()
    os.close(go)
    while len(list(Path(folder).glob("*.ticket"))) < len(plan["runs"]):
        time.sleep(0.01)
    for each in held:
        each.__exit__(None, None, None)
    for pid in children:
        os.waitpid(pid, 0)


main()

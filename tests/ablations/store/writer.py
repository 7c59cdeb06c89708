"""A writer process that settles every run in a shared list: `writer.py PLACE LOG RUNS MODE SEED [TERM]`.

With MODE `locks`, it locks each run first; with `fences`, it commits without a lock, so only the commit ensures that
one row counts. Every row that `commit` reports as kept is logged as one line with the run id and the row's mark.
"""

import os
import random
import sys
import time
from contextlib import suppress

from sample import identity, make_record

from ablations.store import Fenced, ResultStore, RunLock, Terms

directory, log, runs, mode, seed, *term = sys.argv[1:]
chance = random.Random(int(seed))
store = ResultStore(directory, Terms(*map(float, term)))
record_line = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def settle(run_id: str, lock: RunLock | None = None) -> None:
    time.sleep(chance.uniform(0, 0.004))  # simulates work
    mark = f"{os.getpid()}-{chance.getrandbits(64):x}"
    if store.commit(make_record(run_id, host=mark), lock):
        os.write(record_line, f"{run_id} {mark}\n".encode())
    if chance.random() < 0.1:
        store.compact(at_least=5)


print("ready", flush=True)
ids = [identity(number) for number in range(int(runs))]
while remaining := [run_id for run_id in ids if run_id not in store.settled()]:
    chance.shuffle(remaining)
    for run_id in remaining:
        if mode == "fences":
            settle(run_id)
        elif lock := store.lock_run(run_id):
            with lock:
                if not store.is_settled(run_id):
                    with suppress(Fenced):  # another process took the lock
                        settle(run_id, lock)
store.compact(at_least=5)  # as a session does at its end
print("done", flush=True)

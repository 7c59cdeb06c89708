"""A process that locks runs and holds the locks: `lock_holder.py DIRECTORY CHILD RUN_ID...`.

With CHILD `fork`, it leaves a sleeping forked child behind; with `alone`, it does not. It prints how many runs it
locked (or the child's process id), and ends when its input ends.
"""

import os
import sys
import time

from ablations.store import ResultStore

directory, child, *run_ids = sys.argv[1:]
store = ResultStore(directory)
locks = [lock for run_id in run_ids if (lock := store.lock_run(run_id))]
if child == "fork":
    process = os.fork()
    if process == 0:
        os.close(0)
        os.close(1)
        time.sleep(20)
        os._exit(0)
    print("ready", flush=True)
    print(process, flush=True)
else:
    print("ready", flush=True)
    print(len(locks), flush=True)
sys.stdin.read()

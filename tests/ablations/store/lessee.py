"""A process that holds a run on object storage: `lessee.py URL RUN_ID TERM`.

Prints `ready` once it has locked the run. For every line that it reads, it prints whether its lock is lost, then `kept`
or `fenced` for a checkpoint and for a commit under the lock.
"""

import sys

from sample import make_record

from ablations.store import Fenced, ResultStore, Terms

url, run_id, term = sys.argv[1:]
store = ResultStore(url, Terms(float(term)))
lock = store.lock_run(run_id)
assert lock is not None
print("ready", flush=True)
for mark in sys.stdin:
    lost = lock.lost
    folder = store.checkpoint_directory(run_id)
    (folder / "checkpoint.pt").write_text(mark.strip())
    ends = []
    for act in (
        lambda: store.keep_checkpoint(run_id, lock),
        lambda mark=mark: store.commit(make_record(run_id, host=mark.strip()), lock),
    ):
        try:
            act()
            ends.append("kept")
        except Fenced:
            ends.append("fenced")
    print(lost, *ends, flush=True)

"""A process that holds a run on object storage: `lessee.py URL RUN_ID TERM`.

Says `ready` once it claims the run. For every line it reads it says what became of its claim, of a checkpoint and of a
commit under it: `lost`, then `kept` or `fenced` twice.
"""

import sys

from sample import make_record

from ablations.store import Fenced, ResultStore, Terms

url, run_id, term = sys.argv[1:]
store = ResultStore(url, Terms(float(term)))
claim = store.claim(run_id)
assert claim is not None
print("ready", flush=True)
for mark in sys.stdin:
    lost = claim.lost
    folder = store.checkpoint_directory(run_id)
    (folder / "checkpoint.pt").write_text(mark.strip())
    ends = []
    for act in (
        lambda: store.keep_checkpoint(run_id, claim),
        lambda mark=mark: store.commit(make_record(run_id, host=mark.strip()), claim),
    ):
        try:
            act()
            ends.append("kept")
        except Fenced:
            ends.append("fenced")
    print(lost, *ends, flush=True)

"""A process that waits for an input line, commits one run and prints the result: `racer.py DIRECTORY RUN_ID MARK`."""

import sys

from sample import make_record

from ablations.store import ResultStore

directory, run_id, mark = sys.argv[1:]
store = ResultStore(directory)
record = make_record(run_id, host=mark)
print("ready", flush=True)
sys.stdin.readline()
print(store.commit(record), flush=True)

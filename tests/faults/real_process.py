"""A process in a real history: `real_process.py ROLE NAME PLACE HISTORY RUNS SEED [TERM]`.

ROLE is worker, driver, reader or last. Workers, drivers and readers end when all runs are settled; the process with the
role last computes the open runs and reads everything. Each process appends its calls to the store, and the answers, to
HISTORY, which all processes share.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1]), str(HERE.parent / "ablations")]

from histories.actors import Actor  # noqa: E402
from histories.events import recorder_of  # noqa: E402
from histories.records import record  # noqa: E402
from store.sample import identity  # noqa: E402

from ablations.store import Terms  # noqa: E402

_PAUSE_S = 0.02
role, name, where, history, runs, seed, *term = sys.argv[1:]
with recorder_of(Path(history)) as recorder:
    identities = [identity(number) for number in range(int(runs))]
    chance = random.Random(int(seed))
    actor = Actor(name, where, identities, recorder, chance, record, time.sleep, Terms(*map(float, term)))
    print("ready", flush=True)
    if role == "last":
        actor.finish(pause=0.2)
    else:
        acts = {"worker": actor.work, "driver": actor.drive, "reader": actor.watch}
        acts[role](lambda: len(actor.seen) < int(runs), _PAUSE_S)

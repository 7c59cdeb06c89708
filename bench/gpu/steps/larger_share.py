"""If one of two runs on a card runs out of memory, does it resume with a larger share?"""

from __future__ import annotations

from bench.gpu import sessions
from bench.gpu.report import Report


def check(told: Report) -> None:
    """Compute two runs with a share of 0.5, of which one allocates 0.6 of the card."""
    path = sessions.study(told, {"greedy": {"does": "takes_memory", "takes": 0.6}, "modest": {}}, gpus=0.5)
    session = sessions.run(told, path)
    ended = sessions.statuses(told)
    tries = [each["does"] for each in sessions.attempts(told)]
    told.expect(ended.get("modest") == "finished", "the modest run finishes", f"{ended}")
    # A CPU has no larger share, so the run is expected to fail on a CPU.
    if told.rehearsal:
        told.expect(len(session.failed) == 1, "in a rehearsal, the greedy run fails", f"{session.failed}")
    else:
        told.expect(
            ended.get("greedy") == "finished", "the greedy run finishes with a larger share", f"{session.failed}"
        )
        told.expect(tries.count("takes_memory") == 2, "at its second attempt", f"{tries}")
    told.expect(tries.count("nothing") == 1, "the modest run is started only once", f"{tries}")

"""After a device-side assert, does the next run of a session succeed in a new process?"""

from __future__ import annotations

from bench.gpu import sessions
from bench.gpu.report import Report


def check(told: Report) -> None:
    """Run an arm that triggers a device-side assert, and then a working arm on the same card."""
    path = sessions.study(told, {"asserting": {"does": "asserts"}, "well": {}}, gpus=1)
    session = sessions.run(told, path)
    ended, tries = sessions.statuses(told), sessions.attempts(told)
    told.expect(ended.get("well") == "finished", "the next run finishes", f"{ended}; {session.failed}")
    told.expect(len(session.failed) == 1, "the run with the assertion fails", f"{session.failed}")
    reason = next(iter(session.failed.values()), "")
    told.expect("assert" in reason, "the row states that the failure was an assertion", reason)
    spent = {each["pid"] for each in tries if each["does"] == "asserts"}
    fresh = {each["pid"] for each in tries if each["does"] == "nothing"}
    if told.rehearsal:
        told.note(f"processes: {len(spent | fresh)}; no context dies on a CPU")
    else:
        told.expect(bool(fresh) and not spent & fresh, "the next run has a new process", f"{tries}")

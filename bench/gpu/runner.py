"""Runs a step in its own process, with a time limit, so that a hang or a crash ends only that step."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.gpu import report
from bench.gpu.catalogue import Step
from bench.gpu.report import Outcome
from bench.harness import ROOT

_DUMP_S = 1.0
"""Number of seconds that a step has after its time limit to print where it is."""
_LOG_LINES = 40


def run(step: Step, device: str, most_s: float = float("inf")) -> Outcome:
    """Run a step and return its outcome.

    Parameters
    ----------
    most_s : remaining time for all steps, in seconds.
    """
    missing = [name for name in step.needs if importlib.util.find_spec(name) is None]
    if missing:
        return _ended(step, device, "SKIPPED", f"not installed: {', '.join(missing)}")
    limit = min(step.limit(device), most_s)
    if limit < step.least_s:
        return _ended(step, device, "SKIPPED", f"{max(0.0, most_s):.0f} s are left of the time for all steps")
    with tempfile.TemporaryDirectory(prefix=f"gpu-{step.name}.", ignore_cleanup_errors=True) as folder:
        said, log = Path(folder) / "said.jsonl", Path(folder) / "log"
        began = time.monotonic()
        code = _child(step, device, limit, said, log)
        # Results are published, so they must not contain paths on this machine.
        lines = log.read_text(encoding="utf-8", errors="replace").replace(f"{ROOT}/", "").splitlines()
        return _outcome(step, device, code, limit, time.monotonic() - began, report.read(said), lines)


def _child(step: Step, device: str, limit: float, said: Path, log: Path) -> int | None:
    """Return the exit code of the step's process, or None if the process was killed after its time limit."""
    command = [sys.executable, "-m", "bench.gpu.child", step.module, device, str(limit), str(said), str(said.parent)]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        child = subprocess.Popen(command, stdout=output, stderr=output, env=env, cwd=ROOT, start_new_session=True)
        try:
            return child.wait(limit)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGUSR1)  # the process prints the stacks of all its threads
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_DUMP_S)
            return None
        finally:
            with contextlib.suppress(ProcessLookupError):  # including all processes of its session
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _outcome(
    step: Step, device: str, code: int | None, limit: float, seconds: float, said: list[dict[str, Any]], log: list[str]
) -> Outcome:
    def of(kind: str) -> list[dict[str, Any]]:
        return [
            {name: value for name, value in each.items() if name != "kind"} for each in said if each["kind"] == kind
        ]

    if code is None and (given_up := [each["what"] for each in said if each["kind"] == "last_part"]):
        said = [*said, {"kind": "note", "text": f"not measured: {given_up[-1]}: not finished when the time was over"}]
        said, code = [*said, {"kind": "done"}], 0
    status, reason = _verdict(code, limit, said)
    about = of("about")[-1] if of("about") else {}
    return Outcome(
        number=step.number,
        name=step.name,
        title=step.title,
        status=status,
        reason=reason,
        seconds=round(seconds, 1),
        device=device,
        card=about.get("card", {}),
        versions=about.get("versions", {}),
        rows=of("row"),
        goals=of("goal"),
        expected=of("expected"),
        notes=[note["text"] for note in of("note")],
        log="\n".join(log[-_LOG_LINES:]) if status == "FAIL" else "",
    )


def _verdict(code: int | None, limit: float, said: list[dict[str, Any]]) -> tuple[str, str]:
    kinds = [each["kind"] for each in said]
    skipped = next((each["why"] for each in said if each["kind"] == "skipped"), None)
    if skipped is not None:
        return "SKIPPED", skipped
    broken = [_broken(each) for each in said if each["kind"] == "expected" and not each["holds"]]
    error = next((each["text"] for each in said if each["kind"] == "error"), None)
    if code is None:
        broken.append(f"not finished after {limit:.0f} s")
    elif error is not None:
        broken.append(error)
    elif code < 0:
        broken.append(f"its process was ended by {_signal(-code)}")
    elif code or "done" not in kinds:
        broken.append(f"its process exited with code {code} before it was done")
    return ("FAIL", "; ".join(broken)) if broken else ("PASS", "")


def _broken(said: dict[str, Any]) -> str:
    return f"does not hold: {said['text']}" + (f" ({said['found']})" if said["found"] else "")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _ended(step: Step, device: str, status: str, reason: str) -> Outcome:
    return Outcome(step.number, step.name, step.title, status, reason, device=device)

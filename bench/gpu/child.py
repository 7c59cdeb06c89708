"""One step of the acceptance test, run in this process.

Usage: ``python -m bench.gpu.child MODULE DEVICE LIMIT SAID SCRATCH``.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import signal
import sys
import traceback
from pathlib import Path

from bench.gpu import about
from bench.gpu.report import Report, Skipped


def main(module: str, device: str, limit: str, said: str, scratch: str) -> int:
    """Run the step; return the exit code."""
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    folder = Path(scratch) / "scratch"
    folder.mkdir()
    os.environ.setdefault("AIM_CACHE_DIR", str(Path(scratch) / "cache"))
    told = Report(Path(said), device, float(limit), folder)
    try:
        about.refuse_unusable(told)
        told.say("about", card=about.card(told), versions=about.versions())
        importlib.import_module(module).check(told)
    except Skipped as why:
        told.say("skipped", why=str(why))
    except BaseException as error:  # noqa: BLE001 -- every error is reported
        traceback.print_exc()
        last = str(error).strip().splitlines() or [""]
        told.say("error", text=f"{type(error).__name__}: {last[0]}")
        return 1
    told.say("done")
    return 0


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a dead context or a hanging thread must not prevent a finished step from exiting

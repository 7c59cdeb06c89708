"""Simulates slow storage and a wrong clock in every Python process whose module path contains this folder.

FAULT_SLOW : additional seconds for every synchronization and link.
FAULT_CLOCK : seconds by which the clock is ahead, starting FAULT_AFTER seconds after the start of the process.
"""

from __future__ import annotations

import os
import time
from typing import Any

_slow = float(os.environ.get("FAULT_SLOW", "0"))
if _slow:

    def _slowed(call: Any) -> Any:
        def slowly(*arguments: Any, **options: Any) -> Any:
            time.sleep(_slow)
            return call(*arguments, **options)

        return slowly

    os.fsync, os.link = _slowed(os.fsync), _slowed(os.link)

_ahead = float(os.environ.get("FAULT_CLOCK", "0"))
if _ahead:
    _true, _after = time.time, time.monotonic() + float(os.environ.get("FAULT_AFTER", "0"))
    time.time = lambda: _true() + (_ahead if time.monotonic() > _after else 0.0)

"""A notebook kernel in a separate process, and a cell's output."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jupyter_client.manager import KernelManager

_LONGEST_S = 200.0


@dataclass
class Shown:
    """A cell's output.

    Attributes
    ----------
    displays : HTML pages by display id, in the order in which they replaced each other.
    result : the cell's value, by MIME type.
    streams : text of standard output and error.
    error : text shown for an exception.
    """

    displays: dict[str, list[str]] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    streams: str = ""
    error: str = ""

    @property
    def latest(self) -> str:
        """The latest page of the latest display."""
        return next(reversed(self.displays.values()))[-1] if self.displays else ""


class Kernel:
    """A running kernel."""

    def __init__(self, folder: str, env: dict[str, str]) -> None:
        self._manager = KernelManager(kernel_name="python3")
        self._manager.start_kernel(cwd=folder, env=env)
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    def end(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def interrupt(self) -> None:
        """Interrupt the kernel as a notebook's stop button does."""
        self._manager.interrupt_kernel()

    def run(self, code: str, watch: Callable[[Shown], None] | None = None) -> Shown:
        """Execute a cell, and return its output; `watch` is called after each change."""
        request, shown, deadline = self._client.execute(code), Shown(), time.monotonic() + _LONGEST_S
        while True:
            try:
                message = self._client.get_iopub_msg(timeout=deadline - time.monotonic())
            except queue.Empty:
                raise TimeoutError(f"the cell did not end; its output so far: {shown}") from None
            if message["parent_header"].get("msg_id") != request:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return shown
            _take(message, shown)
            if watch is not None:
                watch(shown)


def _take(message: dict[str, Any], shown: Shown) -> None:
    content = message["content"]
    match message["msg_type"]:
        case "display_data" | "update_display_data":
            shown.displays.setdefault(content["transient"]["display_id"], []).append(content["data"]["text/html"])
        case "execute_result":
            shown.result = content["data"]
        case "stream":
            shown.streams += content["text"]
        case "error":
            shown.error = "\n".join(content["traceback"])

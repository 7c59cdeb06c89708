"""A headless Chromium for tests of pages, driven by the DevTools protocol over a pipe, so that no port is opened."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-pipe",
)
_KEYS = {"Enter": 13, "Escape": 27, "Tab": 9, "ArrowDown": 40, "ArrowUp": 38}
PATIENCE_S = 60.0
_SPOT = """async (selector) => {
  const frame = () => new Promise((done) => setTimeout(done, 20));
  let before = "";
  for (let attempt = 0; attempt < 200; attempt += 1, await frame()) {
    const found = document.querySelector(selector);
    found.scrollIntoView({block: "center"});
    const box = found.getBoundingClientRect(), spot = [box.x + box.width / 2, box.y + box.height / 2];
    const still = before === String(spot) && found.contains(document.elementFromPoint(...spot));
    if (still) return spot;
    before = String(spot);
  }
  return null;
}"""
"""Returns the center of an element once the element has stopped moving and a click on the center hits it."""


def program() -> str | None:
    """Return the path of an installed Chromium, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """A page in a running Chromium.

    Attributes
    ----------
    problems : console errors, exceptions and blocked requests since the page was opened.
    requests : URLs that the page requested.
    """

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._buffer, self._number = write, read, b"", 0
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self._call("Target.createTarget", {"url": "about:blank"}, session=None)["targetId"]
        attached = self._call("Target.attachToTarget", {"targetId": target, "flatten": True}, session=None)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, url: str, ready: str = "document.readyState === 'complete'") -> None:
        """Open an address and wait until the expression `ready` is true on the page."""
        self._call("Page.navigate", {"url": "about:blank"})
        self.wait("location.href === 'about:blank'")  # late reports from the previous page do not belong to this page
        self.problems.clear()
        self.requests.clear()
        self._call("Page.navigate", {"url": url})
        self.wait(ready)

    def size(self, width: int, height: int, dark: bool = False) -> None:
        """Set the window size in pixels, and the color scheme."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", {"features": [scheme]})

    def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; a promise is awaited."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        found = self._call("Runtime.evaluate", asked)
        if "exceptionDetails" in found:
            raise AssertionError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float = PATIENCE_S) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.value(f"Boolean({expression})"):
            assert time.monotonic() < end, f"{expression} did not become true; problems: {self.problems}"
            time.sleep(0.02)

    def press(self, *keys: str) -> None:
        """Press keys by name, or type text."""
        for key in keys:
            if key in _KEYS:
                event = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
                text = {"text": "\r"} if key == "Enter" else {}
                self._call("Input.dispatchKeyEvent", {"type": "keyDown", **event, **text})
                self._call("Input.dispatchKeyEvent", {"type": "keyUp", **event})
            else:
                self._call("Input.insertText", {"text": key})

    def click(self, selector: str) -> None:
        """Scroll to an element, wait until it has stopped moving and nothing covers it, and click it with the mouse."""
        spot = self.value(f"({_SPOT})({json.dumps(selector)})")
        assert spot is not None, f"{selector} cannot be clicked: it moves, or something covers it"
        for kind in ("mousePressed", "mouseReleased"):
            at = {"type": kind, "x": spot[0], "y": spot[1], "button": "left", "clickCount": 1}
            self._call("Input.dispatchMouseEvent", at)

    def point(self, x: float, y: float) -> None:
        """Move the mouse to a point in the window, wait until the page has received the event, and click."""
        self._call("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x - 2, "y": y})
        self._call("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})
        time.sleep(0.3)
        for kind in ("mousePressed", "mouseReleased"):
            at = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
            self._call("Input.dispatchMouseEvent", at)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag with the left mouse button between two points in the window."""
        for kind, (x, y) in (("mousePressed", start), ("mouseMoved", end), ("mouseMoved", end), ("mouseReleased", end)):
            at = {"type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
            self._call("Input.dispatchMouseEvent", at)

    def screenshot(self, whole: bool = True) -> bytes:
        """Return a screenshot of the page as a PNG."""
        import base64

        asked = {"format": "png", "captureBeyondViewport": whole}
        if whole:
            box = self._call("Page.getLayoutMetrics")["cssContentSize"]
            asked["clip"] = {"x": 0, "y": 0, "width": box["width"], "height": box["height"], "scale": 1}
        return base64.b64decode(self._call("Page.captureScreenshot", asked)["data"])

    def _call(self, method: str, parameters: dict[str, Any] | None = None, session: str | None = "own") -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters or {}}
        if session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], PATIENCE_S)
            assert ready, "Chromium does not answer"
            chunk = os.read(self._read, 2**20)
            assert chunk, "Chromium has exited"
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        method, content = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(str(content["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and content["type"] in ("error", "warning", "assert"):
            self.problems.append(str([each.get("value", each.get("description")) for each in content["args"]]))
        elif method == "Log.entryAdded" and content["entry"]["level"] in ("error", "warning"):
            self.problems.append(content["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(content["request"]["url"])


@contextmanager
def page() -> Iterator[Page]:
    """Start Chromium and yield a blank page; end the process afterwards."""
    found = program()
    assert found is not None, "no Chromium"
    to_browser, write = _pipe()
    read, from_browser = _pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        quiet = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)
        # Chromium reads commands from file descriptor 3 and answers on 4.
        actions = [quiet, (os.POSIX_SPAWN_DUP2, to_browser, 3), (os.POSIX_SPAWN_DUP2, from_browser, 4)]
        command = [found, *_FLAGS, f"--user-data-dir={profile}"]
        process = os.posix_spawn(found, command, os.environ, file_actions=actions)
        os.close(to_browser)
        os.close(from_browser)
        try:
            yield Page(write, read)
        finally:
            os.close(write)
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            os.close(read)


def _pipe() -> tuple[int, int]:
    """Return a pipe whose file descriptors are greater than those that the browser expects."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]

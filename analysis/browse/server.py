"""The page at a local address, with data that are reloaded while a study is running.

Only this machine can connect. The address contains a random token; requests without the token, with a different Host
header or with a method other than GET are refused. There are two responses, the page and its data: no part of a request
names a file or is evaluated.
"""

from __future__ import annotations

import gzip
import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aimlib.errors import UsageError
from analysis.browse.page import packed, policy, render_packed

LOOPBACK = "127.0.0.1"
_TOKEN_BYTES = 24
_REQUEST_S = 30.0
_RESTS = 5
"""Reading a large study takes up at most 1 / (1 + this number) of the time."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Feed:
    """The packed content, which is reloaded at most every `interval` seconds and only on request.

    Parameters
    ----------
    read : returns the page's content.
    interval : minimum number of seconds between two reloads.
    """

    def __init__(self, read: Callable[[], Any], interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._read, self._interval, self._clock = read, interval, clock
        self._lock = threading.Lock()
        self._data, self._title, self._at, self._pause = b"", "", float("-inf"), interval
        self.current()

    def current(self) -> tuple[bytes, str]:
        """Return the packed content and the page's title.

        If the study temporarily cannot be read, the previous content is returned; if there is none, the error is
        raised.
        """
        with self._lock:
            if self._clock() - self._at >= self._pause:
                self._refresh()
            return self._data, self._title

    def _refresh(self) -> None:
        began = self._clock()
        try:
            shown = self._read()
        except UsageError:
            if not self._data:
                raise
        else:
            self._data, self._title = packed(shown), shown["title"]
        self._at = self._clock()
        self._pause = max(self._interval, _RESTS * (self._at - began))


class Server(ThreadingHTTPServer):
    """A server for a single page on the loopback interface.

    Parameters
    ----------
    port : port to use; 0 uses a free port.
    interval : seconds between two requests for new data by the page.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, feed: Feed, port: int = 0, interval: float = 5.0) -> None:
        self.feed, self.interval = feed, interval
        self.token = secrets.token_urlsafe(_TOKEN_BYTES)
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            raise UsageError(f"--port {port}: cannot be opened ({error}); omit --port to use a free port") from error
        self.hosts = {f"{name}:{self.server_port}" for name in (LOOPBACK, "localhost")}

    @property
    def address(self) -> str:
        """The page's URL, with the token."""
        return f"http://{LOOPBACK}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore broken connections; a browser may close connections at any time."""


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    server_version = "ablate"
    sys_version = ""
    timeout = _REQUEST_S

    def do_GET(self) -> None:
        """Respond with the page or its data."""
        if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST)
        elif self._asks_for(f"/{self.server.token}/"):
            self._page()
        elif self._asks_for(f"/{self.server.token}/data"):
            self._data()
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def _asks_for(self, path: str) -> bool:
        """Compare in constant time, so that responses do not reveal how much of a token is correct."""
        return secrets.compare_digest(self.path.encode("utf-8", "replace"), path.encode())

    def _page(self) -> None:
        data, title = self.server.feed.current()
        text = render_packed(data, title, live=self.server.interval).encode()
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy(live=True)}
        self._answer(HTTPStatus.OK, text, headers)

    def _data(self) -> None:
        data, _ = self.server.feed.current()
        tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
        headers = {"Content-Type": "application/json", "ETag": tag}
        if self.headers.get("If-None-Match") == tag:
            self._answer(HTTPStatus.NOT_MODIFIED, b"", headers)
        elif "gzip" in self.headers.get("Accept-Encoding", ""):
            self._answer(HTTPStatus.OK, data, headers | {"Content-Encoding": "gzip"})
        else:
            self._answer(HTTPStatus.OK, gzip.decompress(data), headers)

    def _refuse(self, status: HTTPStatus) -> None:
        self.close_connection = True
        self._answer(status, f"{status.value} {status.phrase}\n".encode(), {"Content-Type": "text/plain"})

    def _answer(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, **headers}.items():
            self.send_header(name, value)
        if status is not HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse other methods and malformed requests without repeating any part of them."""
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        self._refuse(status)

    def log_message(self, *arguments: Any) -> None:
        """Do not write a log, because request lines contain the token."""

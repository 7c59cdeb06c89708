"""The served page, and the requests that the server accepts."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse

import pytest

from aimlib.errors import StoreError, UsageError
from analysis.browse.page import packed
from analysis.browse.server import Feed, Server

CONTENT = {"title": "a study", "runs": [1]}


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(Feed(lambda: CONTENT, 0.0)) as started:
        thread = threading.Thread(target=started.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield started
        started.shutdown()
        thread.join()


def ask(server: Server, path: str, method: str = "GET", host: str | None = None, **headers: str) -> HTTPResponse:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    if host != "":
        connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    return connection.getresponse()


def test_the_page_and_its_data_are_served_at_the_address_with_the_token(server):
    page = ask(server, f"/{server.token}/")
    assert page.status == 200
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src 'self'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert b"<title>a study</title>" in page.read()
    data = ask(server, f"/{server.token}/data", Accept_Encoding="gzip")
    assert json.loads(gzip.decompress(data.read())) == CONTENT
    assert json.loads(ask(server, f"/{server.token}/data").read()) == CONTENT


def test_unchanged_data_are_not_sent_again(server):
    first = ask(server, f"/{server.token}/data")
    again = ask(server, f"/{server.token}/data", If_None_Match=first.headers["ETag"])
    assert (again.status, again.read()) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/data",
        "/{token}",
        "/{token}/../{token}/",
        "/{token}x/",
        "/{token}/etc/passwd",
        "/{token}/%2e%2e/x",
        "/{token}/data?x",
    ],
)
def test_other_paths_are_not_served(server, path):
    answer = ask(server, path.format(token=server.token))
    assert answer.status == 404
    assert answer.read() == b"404 Not Found\n"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}", ""]
)
def test_a_different_host_header_is_refused_even_with_the_token(server, host):
    answer = ask(server, f"/{server.token}/", host=host.format(port=server.server_port))
    assert answer.status == 421
    assert b"study" not in answer.read()


def test_two_host_headers_are_refused(server):
    assert ask(server, f"/{server.token}/", Host=f"127.0.0.1:{server.server_port}").status == 421


def test_localhost_is_accepted(server):
    assert ask(server, f"/{server.token}/", host=f"localhost:{server.server_port}").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "X<script>"])
def test_only_get_requests_are_accepted(server, method):
    answer = ask(server, f"/{server.token}/", method)
    assert answer.status == 405
    assert b"script" not in answer.read()


def test_every_server_has_a_new_token_and_uses_only_the_loopback_interface(server):
    with Server(Feed(lambda: CONTENT, 0.0)) as other:
        assert other.token != server.token
    assert len(server.token) >= 32
    assert server.server_address[0] == "127.0.0.1"


def test_a_port_in_use_is_reported_with_a_remedy():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match=r"--port \d+: cannot be opened .* omit --port"):
            Server(Feed(lambda: CONTENT, 0.0), taken.getsockname()[1])


def test_if_a_study_is_temporarily_unreadable_its_last_content_is_served():
    answers = iter([CONTENT, StoreError("locked"), {**CONTENT, "runs": [1, 2]}])

    def read():
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    feed = Feed(read, 0.0, clock=lambda: 0.0)
    assert [feed.current()[0] for _ in range(2)] == [packed(CONTENT), packed({**CONTENT, "runs": [1, 2]})]

    def broken():
        raise StoreError("no study")

    with pytest.raises(StoreError, match="no study"):
        Feed(broken, 0.0)


def test_a_study_is_reread_only_after_the_interval_and_less_often_if_reading_is_slow():
    now, reads = [0.0], []

    def read():
        reads.append(now[0])
        now[0] += 2.0
        return CONTENT

    feed = Feed(read, 5.0, clock=lambda: now[0])
    for second in range(3, 30):
        now[0] = max(now[0], float(second))
        feed.current()
    assert reads == [0.0, 12.0, 24.0]


def test_clients_that_send_nothing_or_disconnect_do_not_stop_the_server(server):
    silent = socket.create_connection(("127.0.0.1", server.server_port))
    with socket.create_connection(("127.0.0.1", server.server_port)) as broken:
        broken.sendall(b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n")
    assert ask(server, f"/{server.token}/data").status == 200
    silent.close()

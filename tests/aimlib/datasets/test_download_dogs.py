from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from aimlib.datasets import download as downloads
from aimlib.datasets.download import Archive, download_stanford_dogs, stanford_dogs_archives
from aimlib.datasets.transfer import RemoteFile, RetryPolicy
from aimlib.errors import DataError

QUICK = RetryPolicy(timeout=5, attempts=3, pause=0, sleep=lambda _seconds: None)


class Server(ThreadingHTTPServer):
    """A loopback server that serves `files` and misbehaves as instructed."""

    files: dict[str, bytes]
    cuts: list[int]
    """For each response, the number of bytes after which the connection closes."""
    ranges = True
    status: dict[str, int]
    asked: list[tuple[str, str | None]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        name, wanted = self.path.lstrip("/"), self.headers.get("Range")
        self.server.asked.append((name, wanted))
        if name in self.server.status:
            if self.server.status[name] == 302:
                self.send_response(302)
                self.send_header("Location", "file:///etc/passwd")
            else:
                self.send_response(self.server.status[name])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content, start = self.server.files[name], 0
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else len(body)
        self.wfile.write(body[:cut])
        self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.files, made.cuts, made.status, made.asked = {}, [], {}, []
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def tar_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def serve(server: Server, dogs: Any) -> tuple[Archive, ...]:
    """Serve the three archives of a tree, and return their descriptions."""
    images = {
        path.relative_to(dogs.root).as_posix(): path.read_bytes()
        for path in sorted((dogs.root / "Images").rglob("*.jpg"))
    }
    lists = {path.name: path.read_bytes() for path in sorted((dogs.root / "lists").iterdir())}
    contents = {
        "lists.tar": tar_of(lists),
        "annotation.tar": tar_of({"Annotation/n1-B/n1_1": b"<annotation/>"}),
        "images.tar": tar_of(images),
    }
    server.files.update(contents)
    return tuple(
        Archive(remote(name, content, server.url), archive.folder, archive.inside, archive.extra)
        for archive, (name, content) in zip(stanford_dogs_archives(), contents.items(), strict=True)
    )


def remote(name: str, content: bytes, url: str) -> RemoteFile:
    return RemoteFile(name, len(content), hashlib.sha256(content).hexdigest(), url + name)


def get(root: Path, archives: tuple[Archive, ...], **options: Any) -> Path:
    return download_stanford_dogs(root, archives=archives, retry_policy=QUICK, **options)


def test_the_official_archives_have_the_published_addresses_sizes_and_hashes() -> None:
    archives = {archive.file.name: archive for archive in stanford_dogs_archives("https://mirror.example/dogs")}
    assert archives["images.tar"].file.url == "https://mirror.example/dogs/images.tar"
    assert archives["images.tar"].file.size == 793_579_520
    assert archives["lists.tar"].file.sha256.startswith("34b47cac")
    assert archives["annotation.tar"].file.sha256.endswith("f198def30fd")


def test_a_download_creates_a_usable_tree_and_can_be_repeated(server: Server, dogs: Any, tmp_path: Path) -> None:
    archives, calls = serve(server, dogs), []
    root = get(tmp_path / "new" / "root", archives, progress=lambda *call: calls.append(call))
    names = {path.name for path in root.iterdir() if not path.name.startswith(".")}
    assert names == {"Images", "lists", "Annotation"}
    assert dogs.plugin(root=str(root)).load().fingerprint == dogs.plugin().load().fingerprint
    assert {what for what, _, _ in calls} == {
        f"{verb} {archive.file.name}" for verb in ("downloading", "unpacking") for archive in archives
    }
    asked = len(server.asked)
    assert get(root, archives) == root
    assert len(server.asked) == asked


def test_an_interrupted_download_continues_where_it_stopped(server: Server, dogs: Any, tmp_path: Path) -> None:
    archives = serve(server, dogs)
    server.cuts = [100, 4000, 0]
    get(tmp_path / "r", archives)
    assert [wanted for name, wanted in server.asked if name == "lists.tar"] == [
        None,
        "bytes=100-",
        "bytes=4100-",
        "bytes=4100-",
    ]


def test_the_next_call_continues_or_starts_again_if_the_server_does_not_support_ranges(
    server: Server, dogs: Any, tmp_path: Path
) -> None:
    archives, root = serve(server, dogs), tmp_path / "r"
    server.cuts = [500, 0, 0, 0]
    with pytest.raises(DataError, match=r"500 of .* bytes are kept in .*lists\.tar\.part"):
        get(root, archives)
    assert (root / "lists.tar.part").stat().st_size == 500
    server.cuts, server.ranges = [], False
    get(root, archives)
    assert server.asked[-3][1] == "bytes=500-"
    assert (root / "Images").is_dir()


def test_attempts_are_limited_even_if_every_attempt_starts_from_the_beginning(
    server: Server, dogs: Any, tmp_path: Path
) -> None:
    archives = serve(server, dogs)
    server.ranges, server.cuts = False, [500, 400, 500, 400, 500, 400, 500]
    with pytest.raises(DataError, match="gave up after 3 attempts"):
        get(tmp_path / "r", archives)
    assert len(server.asked) == 3


def test_a_part_longer_than_the_file_is_downloaded_again(server: Server, dogs: Any, tmp_path: Path) -> None:
    archives, root = serve(server, dogs), tmp_path / "r"
    root.mkdir()
    (root / "lists.tar.part").write_bytes(b"x" * (archives[0].file.size + 1))
    get(root, archives)
    assert server.asked[0] == ("lists.tar", None)


def test_an_unsatisfiable_range_starts_the_download_again(server: Server, dogs: Any, tmp_path: Path) -> None:
    archives, root = serve(server, dogs), tmp_path / "r"
    root.mkdir()
    (root / "lists.tar.part").write_bytes(b"x" * 3000)
    whole = server.files["lists.tar"]
    server.files["lists.tar"] = b""  # the server responds with 416 to any range, and then not at all
    with pytest.raises(DataError, match="0 bytes instead of"):
        get(root, archives)
    server.files["lists.tar"] = whole
    get(root, archives)
    assert (root / "lists").is_dir()


@pytest.mark.parametrize("change", ["flipped", "longer", "shorter"])
def test_wrong_content_is_refused_and_removed(server: Server, dogs: Any, tmp_path: Path, change: str) -> None:
    archives, root, whole = serve(server, dogs), tmp_path / "r", server.files["lists.tar"]
    server.files["lists.tar"] = {
        "flipped": b"\1" + whole[1:],
        "longer": whole + b"\0" * 512,
        "shorter": whole[:-512],
    }[change]
    with pytest.raises(DataError, match="SHA-256 is" if change == "flipped" else "bytes instead of"):
        get(root, archives)
    assert not (root / "lists").exists()
    server.files["lists.tar"] = whole
    get(root, archives)
    assert (root / "lists").is_dir()


@pytest.mark.parametrize("status", [403, 404])
def test_a_permanent_refusal_is_not_retried(server: Server, dogs: Any, tmp_path: Path, status: int) -> None:
    archives = serve(server, dogs)
    server.status["lists.tar"] = status
    with pytest.raises(DataError, match=f"{status} .*base address"):
        get(tmp_path / "r", archives)
    assert len(server.asked) == 1


def test_transient_faults_are_retried_with_growing_delays(server: Server, dogs: Any, tmp_path: Path) -> None:
    archives, pauses = serve(server, dogs), []
    server.status["lists.tar"] = 503
    retry_policy = RetryPolicy(timeout=5, attempts=5, pause=20, sleep=pauses.append)
    with pytest.raises(DataError, match="503"):
        download_stanford_dogs(tmp_path / "r", archives=archives, retry_policy=retry_policy)
    assert pauses == [20, 40, 60, 60]


def test_an_unreachable_server_is_reported(dogs: Any, tmp_path: Path, server: Server) -> None:
    archives = (Archive(RemoteFile("lists.tar", 10, "0" * 64, "http://127.0.0.1:9/lists.tar"), "lists"),)
    with pytest.raises(DataError, match=r"put lists\.tar into"):
        get(tmp_path / "r", archives)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "data:,x", "/etc/passwd", "http:///x"])
def test_only_http_addresses_are_accepted(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match="http"):
        get(tmp_path / "r", (Archive(RemoteFile("lists.tar", 10, "0" * 64, url), "lists"),))
    with pytest.raises(DataError, match="http"):
        download_stanford_dogs(tmp_path / "r2", base_url="file:///etc", retry_policy=QUICK)


def test_a_redirect_to_a_file_url_is_not_followed(server: Server, dogs: Any, tmp_path: Path) -> None:
    archives = serve(server, dogs)
    server.status["lists.tar"] = 302
    with pytest.raises(DataError, match=r"not allowed|302"):
        get(tmp_path / "r", archives)
    assert not (tmp_path / "r" / "lists").exists()


def test_existing_archives_are_used_and_kept(server: Server, dogs: Any, tmp_path: Path) -> None:
    archives, root = serve(server, dogs), tmp_path / "r"
    root.mkdir()
    for name, content in server.files.items():
        (root / name).write_bytes(content)
    get(root, archives)
    assert server.asked == []
    assert (root / "images.tar").is_file()
    assert (root / "Images").is_dir()


def test_a_wrong_existing_archive_is_refused_and_kept(server: Server, dogs: Any, tmp_path: Path) -> None:
    archives, root = serve(server, dogs), tmp_path / "r"
    root.mkdir()
    (root / "lists.tar").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"4 bytes instead of.*remove it"):
        get(root, archives)
    assert (root / "lists.tar").read_bytes() == b"mine"


def test_an_unpacked_tree_is_not_downloaded_again(server: Server, dogs: Any) -> None:
    archives = serve(server, dogs)
    assert get(dogs.root, archives) == dogs.root
    assert server.asked == []
    assert not (dogs.root / "Annotation").exists()


def test_too_little_space_is_reported_before_fetching(
    server: Server, dogs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives = serve(server, dogs)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 1000})())
    with pytest.raises(DataError, match="GB free"):
        get(tmp_path / "r", archives)
    assert server.asked == []


def test_an_unusable_folder_is_reported(server: Server, dogs: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="--root"):
        get(tmp_path / "file" / "r", serve(server, dogs))


def test_interrupted_unpacking_never_looks_complete(server: Server, dogs: Any, tmp_path: Path) -> None:
    archives, root = serve(server, dogs), tmp_path / "r"

    def stop(what: str, done: int, total: int) -> None:
        if what == "unpacking images.tar":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(root, archives, progress=stop)
    assert not (root / "Images").exists()
    (root / ".unpacking-left").mkdir()  # as if a killed process had left it behind
    get(root, archives)
    assert len(list((root / "Images").rglob("*.jpg"))) == 18
    assert not list(root.glob(".unpacking-*"))


def test_an_archive_without_its_folder_is_refused(server: Server, dogs: Any, tmp_path: Path) -> None:
    content = tar_of({"Photos/a.jpg": b"x"})
    server.files["images.tar"] = content
    with pytest.raises(DataError, match="no folder 'Images'"):
        get(tmp_path / "r", (Archive(remote("images.tar", content, server.url), "Images", "Images"),))
    assert not (tmp_path / "r" / "Images").exists()

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from aimlib.datasets.extraction import Limits, unpack
from aimlib.errors import DataError


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 3) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = size if kind == tarfile.REGTYPE else 0
    return info


def extended(kind: bytes = tarfile.REGTYPE, **headers: str) -> tarfile.TarInfo:
    info = member("harmless", kind)
    info.pax_headers = headers
    return info


def archive(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as tar:
        for info in members:
            tar.addfile(info, io.BytesIO(b"x" * info.size))
    return path


HOSTILE = {
    "parent": [member("../evil")],
    "parent inside": [member("a/../../evil")],
    "absolute": [member("/tmp/evil")],
    "symlink": [member("evil", tarfile.SYMTYPE, "/etc/passwd")],
    "relative symlink": [member("a"), member("evil", tarfile.SYMTYPE, "a")],
    "through a symlink": [member("d", tarfile.SYMTYPE, ".."), member("d/evil")],
    "hard link": [member("a"), member("evil", tarfile.LNKTYPE, "a")],
    "character device": [member("evil", tarfile.CHRTYPE)],
    "block device": [member("evil", tarfile.BLKTYPE)],
    "pipe": [member("evil", tarfile.FIFOTYPE)],
    "twice": [member("a"), member("a")],
    "twice but for case": [member("a.jpg"), member("A.JPG")],
    "twice but for a dot": [member("a"), member("./a")],
    "file then folder": [member("a"), member("a", tarfile.DIRTYPE)],
    "file then below it": [member("a"), member("a/b")],
    "folder then file": [member("a", tarfile.DIRTYPE), member("a")],
    "backslash": [member("..\\evil")],
    "hard link outside": [member("evil", tarfile.LNKTYPE, "../../etc/passwd")],
    "hard link to a link": [member("s", tarfile.SYMTYPE, "/etc"), member("evil", tarfile.LNKTYPE, "s/passwd")],
    "sparse": [member("evil", tarfile.GNUTYPE_SPARSE)],
    "unknown type": [member("evil", b"Z")],
    "home": [member("~/../../evil")],
    "drive": [member("C:\\evil")],
    "path in an extended header": [extended(path="../../evil")],
    "link in an extended header": [extended(path="evil", linkpath="/etc/passwd", kind=tarfile.SYMTYPE)],
    "huge in an extended header": [extended(path="evil", size="99999999999")],
    "sparse in an extended header": [
        extended(path="evil", **{"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9999999999"})
    ],
    "too many": [member(str(number)) for number in range(11)],
    "too large": [member("a", size=1001)],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_are_refused_and_leave_no_files_behind(tmp_path: Path, case: str) -> None:
    path = archive(tmp_path / "hostile.tar", *HOSTILE[case])
    before = set(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=r"hostile\.tar"):
        unpack(path, tmp_path / "deep" / "out", Limits(members=10, bytes=1000))
    assert set(tmp_path.rglob("*")) - before <= {tmp_path / "deep"}
    assert not Path("/tmp/evil").exists()


def test_plain_archives_are_unpacked(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "a.tar",
        member("./"),
        member("d", tarfile.DIRTYPE),
        member("d/f"),
        member("./d/g"),
        member("e/h", size=0),
    )
    seen: list[tuple[str, int, int]] = []
    unpack(path, tmp_path / "out", Limits(), lambda *call: seen.append(call))
    files = {
        p.relative_to(tmp_path / "out").as_posix(): p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()
    }
    assert files == {"d/f": b"xxx", "d/g": b"xxx", "e/h": b""}
    assert seen[-1][0] == "unpacking a.tar"
    assert seen[-1][1] <= seen[-1][2] == path.stat().st_size


def test_file_modes_in_the_archive_are_ignored(tmp_path: Path) -> None:
    info = member("setuid")
    info.mode = 0o6777
    unpack(archive(tmp_path / "a.tar", info), tmp_path / "out", Limits())
    assert (tmp_path / "out" / "setuid").stat().st_mode & 0o7111 == 0


@pytest.mark.parametrize("content", ["empty", "garbage", "cut in a header", "cut in content", "cut between members"])
def test_damaged_archives_are_refused(tmp_path: Path, content: str) -> None:
    whole = archive(tmp_path / "whole.tar", member("a", size=2000), member("b", size=2000)).read_bytes()
    path = tmp_path / "damaged.tar"
    path.write_bytes(
        {
            "empty": b"",
            "garbage": b"garbage" * 1000,
            "cut in a header": whole[:2700],
            "cut in content": whole[:1500],
            "cut between members": whole[:2560],
        }[content]
    )
    with pytest.raises(DataError, match=r"damaged\.tar.*fetch it again"):
        unpack(path, tmp_path / "out", Limits())
    assert not (tmp_path / "out").exists()


def test_a_header_that_declares_too_many_bytes_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = member("a", size=5_000_000)
        tar.addfile(info, io.BytesIO(b"x" * info.size))
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:4096] + bytes(1024))
    with pytest.raises(DataError, match="damaged"):
        unpack(tmp_path / "a.tar", tmp_path / "out", Limits())
    assert not (tmp_path / "out").exists()


def test_a_damaged_later_header_is_an_error(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", member("a"), member("b"))
    content = bytearray(path.read_bytes())
    content[1024 + 150] ^= 0xFF  # damages the checksum of the second header
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        unpack(path, tmp_path / "out", Limits())

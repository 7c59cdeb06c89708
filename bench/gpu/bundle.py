"""`make gpu-bundle`: everything that a compute node without a network connection needs, in folders of limited size.

Each folder contains pieces, a manifest and `install.py`, which joins, verifies and installs the pieces from all
folders.
"""

from __future__ import annotations

import argparse
import email
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from bench.gpu import about
from bench.harness import ROOT

HERE = Path(__file__).parent
HAVE = HERE / "node-packages.txt"
_MIB = 2**20
_PIECE = 15 * _MIB
_ROOM_FOR_INDEX = 64 * 1024
"""Number of bytes per folder that are reserved for the manifest and the script."""
PLATFORMS = (*(f"manylinux_2_{minor}" for minor in range(35, 16, -1)), "manylinux2014", "manylinux1")
"""Platforms whose wheels run on a node, in pip's notation."""
_NEVER_READ = ("ray/jars/",)
"""Parts of wheels that no Python program uses; Ray's Java files make up 40 % of the Ray wheel."""
_LEFT_OUT = ("docs/", "examples/")
"""Parts of the source that no step needs, except docs/gpu.md, to which the tables are written."""


class BundleError(RuntimeError):
    """The bundle cannot be built; the message explains why."""


def packages(text: str) -> dict[str, str]:
    """Return the packages from a list with one package per line, with their versions.

    The version is empty if the line contains only a name.
    """
    found = {}
    for line in text.splitlines():
        name, _, version = line.partition("#")[0].strip().partition("==")
        if name:
            found[normal(re.split(r"[<>~! @\[;]", name, maxsplit=1)[0])] = version.strip()
    return found


def normal(name: str) -> str:
    """Return the normalized name that package indexes use for comparisons."""
    return re.sub(r"[-_.]+", "-", name).lower()


def wheels(python: str, have: Mapping[str, str], folder: Path) -> list[Path]:
    """Download the requirements of this package for the given Python version, recursively, except those in `have`.

    The versions are those in constraints.txt, with which the tests passed.

    Raises
    ------
    BundleError: pip does not find any wheel, or no wheel with a required version.
    """
    with (ROOT / "pyproject.toml").open("rb") as file:
        waiting = [Requirement(text) for text in tomllib.load(file)["project"]["dependencies"]]
    found: dict[str, Path] = {}
    asked: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        name = normal(wanted.name)
        if _is_there(wanted, have.get(name)):
            continue
        if name not in found:
            found[name] = slim(_download(wanted, python, folder / name))
        for extra in ("", *wanted.extras):
            if (name, extra) not in asked:
                asked.add((name, extra))
                waiting += _needs(found[name], extra, python)
    return sorted(found.values())


def _is_there(wanted: Requirement, version: str | None) -> bool:
    """Return whether the node has a suitable package; a package without a version in the node's list is suitable.

    Raises
    ------
    BundleError: the node's torch is too old, and a bundle does not include torch.
    """
    if version is None:
        return False
    if not version or wanted.specifier.contains(version, prereleases=True):
        return True
    if normal(wanted.name) in ("torch", "torchvision"):
        raise BundleError(f"HAVE: the node has {wanted.name} {version}, but {wanted} is needed")
    return False


def slim(wheel: Path) -> Path:
    """Remove the files in `_NEVER_READ` from a wheel, in place, and from its list of files; return the wheel."""
    with zipfile.ZipFile(wheel) as content:
        every = content.infolist()
        kept = [item for item in every if not item.filename.startswith(_NEVER_READ)]
        if len(kept) == len(every):
            return wheel
        smaller = wheel.with_suffix(".slim")
        with zipfile.ZipFile(smaller, "w", zipfile.ZIP_DEFLATED) as target:
            for item in kept:
                read = content.read(item)
                if item.filename.endswith(".dist-info/RECORD"):
                    lines = read.decode().splitlines(keepends=True)
                    read = "".join(line for line in lines if not line.startswith(_NEVER_READ)).encode()
                target.writestr(item, read, compress_type=zipfile.ZIP_DEFLATED)
    smaller.replace(wheel)
    return wheel


def _needs(wheel: Path, extra: str, python: str) -> list[Requirement]:
    """Return the requirements of a wheel on the node, including those of the given extra if it is not empty."""
    with zipfile.ZipFile(wheel) as content:
        place = next(name for name in content.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(content.read(place))
    node = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "os_name": "posix",
        "extra": extra,
    }
    found = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    return [each for each in found if each.marker is None or each.marker.evaluate(node)]


def _download(wanted: Requirement, python: str, folder: Path) -> Path:
    platforms = [option for name in PLATFORMS for option in ("--platform", f"{name}_x86_64")]
    options = ["--only-binary=:all:", "--python-version", python, "--implementation", "cp", *platforms]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += [*options, "-c", str(ROOT / "constraints.txt"), "-d", str(folder), f"{wanted.name}{wanted.specifier}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BundleError(f"{wanted}: pip does not find a wheel for Python {python}:\n{done.stderr[-1000:]}")
    return next(folder.glob("*.whl"))


def source(target: Path) -> Path:
    """Write the files that git tracks, and the commit, to a compressed archive.

    Raises
    ------
    BundleError: this is not a checkout.
    """
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False)
    if listed.returncode:
        raise BundleError(f"{ROOT}: this is not a git checkout: {listed.stderr.strip()}")
    files = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    with tarfile.open(target, "w:gz") as archive, tempfile.NamedTemporaryFile("w", suffix=".commit") as commit:
        for name in files:
            if not name.startswith(_LEFT_OUT) or name == "docs/gpu.md":
                archive.add(ROOT / name, arcname=f"source/{name}")
        commit.write(about.commit() + "\n")
        commit.flush()
        archive.add(commit.name, arcname="source/COMMIT")
    return target


def photos(given: Path, target: Path, most: int) -> Path:
    """Write photos to an archive of at most `most` bytes: an entire tree, or the first photos of every breed and split.

    Parameters
    ----------
    given : an archive, which is used unchanged, or a tree in the layout of Stanford Dogs.

    Raises
    ------
    BundleError: the file does not exist, or the archive is larger than `most` bytes.
    """
    if given.is_file():
        if given.stat().st_size > most:
            raise BundleError(
                f"PHOTOS={given}: larger than the {most // _MIB} MiB of a folder; give a tree, from which a sample "
                "is taken"
            )
        shutil.copyfile(given, target)
        return target
    lists = sorted(path for path in given.rglob("*") if path.suffix in (".mat", ".txt", ".md") and path.is_file())
    images = _in_turn(sorted(given.rglob("*.jpg")))
    if not images:
        raise BundleError(f"PHOTOS={given}: there are no photos (*.jpg)")
    size, taken = sum(path.stat().st_size for path in lists), list(lists)
    for path in images:
        size += path.stat().st_size + 1024
        if size > most:
            break
        taken.append(path)
    with tarfile.open(target, "w") as archive:
        for path in taken:
            archive.add(path, arcname=f"{given.name}/{path.relative_to(given)}")
    return target


def _in_turn(paths: Iterable[Path]) -> list[Path]:
    """Return the photos from all folders in turn, so that the first photos include all breeds."""
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path)
    most = max(map(len, folders.values()), default=0)
    return [folder[number] for number in range(most) for folder in folders.values() if number < len(folder)]


def pack(files: Sequence[Path], out: Path, limit: int, python: str, piece: int = _PIECE) -> list[Path]:
    """Cut files into pieces and write the pieces to folders ``1``, ``2``, ... of at most `limit` bytes each.

    Every folder contains the same manifest of all files and pieces, and `install.py`.
    """
    room = limit - _ROOM_FOR_INDEX
    if room < piece:
        raise BundleError(
            f"LIMIT: {limit / _MIB:.1f} MiB per folder is less than the size of a piece; give at least "
            f"{piece // _MIB + 1}"
        )
    manifest: dict[str, Any] = {"python": python, "files": []}
    folder, used = 1, 0
    for path in files:
        size, pieces = path.stat().st_size, []
        if room - used < size <= room:  # files that fit into one folder are not split across folders
            folder, used = folder + 1, 0
        for number, content in enumerate(_pieces(path, piece)):
            if used + len(content) > room:
                folder, used = folder + 1, 0
            used += len(content)
            name = f"{path.name}.{number:03d}"
            (out / str(folder)).mkdir(parents=True, exist_ok=True)
            (out / str(folder) / name).write_bytes(content)
            pieces.append({"name": name, "folder": folder, "sha256": hashlib.sha256(content).hexdigest()})
        whole = hashlib.sha256(path.read_bytes()).hexdigest()
        manifest["files"].append({"name": path.name, "sha256": whole, "bytes": size, "pieces": pieces})
    folders = [out / str(number) for number in range(1, folder + 1)]
    for each in folders:
        (each / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        shutil.copyfile(HERE / "install.py", each / "install.py")
    return folders


def _pieces(path: Path, size: int) -> Iterable[bytes]:
    with path.open("rb") as file:
        while content := file.read(size):
            yield content


def main(arguments: list[str] | None = None) -> int:
    """Write the bundle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "gpu-bundle", help="folder in which the numbered folders are created"
    )
    parser.add_argument("--python", default="3.12", help="version of Python on the node")
    parser.add_argument(
        "--have",
        type=Path,
        default=HAVE,
        help="file that lists the packages on the node, one per line: name or name==version",
    )
    parser.add_argument("--photos", type=Path, help="archive or tree of photos to include")
    parser.add_argument("--limit", type=float, default=60.0, help="maximum size of a folder in MiB")
    asked = parser.parse_args(arguments)
    try:
        folders = _bundle(asked)
    except BundleError as error:
        print(error, file=sys.stderr)
        return 2
    for folder in folders:
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{folder}: {size / _MIB:.1f} MiB")
    print(f"on the node: python3 1/install.py --target DIR {' '.join(folder.name for folder in folders)}")
    return 0


def _bundle(asked: argparse.Namespace) -> list[Path]:
    if asked.out.exists() and any(asked.out.iterdir()) and not (asked.out / "1" / "manifest.json").exists():
        raise BundleError(f"{asked.out}: contains something else; give a different folder as OUT")
    have = packages(asked.have.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="gpu-bundle.") as scratch:
        carried = wheels(asked.python, have, Path(scratch) / "wheels")
        print(f"not on the node: {', '.join(path.name for path in carried) or 'nothing'}")
        files = [source(Path(scratch) / "source.tar.gz"), *carried]
        limit = int(asked.limit * _MIB)
        if asked.photos:
            files.append(photos(asked.photos, Path(scratch) / "photos.tar", limit - _ROOM_FOR_INDEX))
        shutil.rmtree(asked.out, ignore_errors=True)
        return pack(files, asked.out, limit, asked.python)


if __name__ == "__main__":
    sys.exit(main())

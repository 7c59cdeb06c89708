#!/usr/bin/env python3
"""Join, verify and install the folders written by `make gpu-bundle`: python3 1/install.py --target DIR 1 2

The script needs only Python, and pip if there are wheels, but no network connection. Afterwards, DIR contains `site`
with the packages, `source`, and `photos` if the bundle includes any. The script prints the next command to run.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path


class Incomplete(Exception):  # noqa: N818 -- the message says what is missing
    """Pieces are missing or damaged; the message names them."""


def manifest_of(folders):
    """Return the manifest, which is the same in all folders."""
    found = {}
    for folder in folders:
        path = folder / "manifest.json"
        if not path.is_file():
            raise Incomplete(f"{folder}: no manifest.json: this folder is not part of a bundle")
        found[path.read_text(encoding="utf-8")] = folder
    if len(found) > 1:
        raise Incomplete(
            f"{' and '.join(map(str, found.values()))} are from different bundles; use folders of the same bundle"
        )
    return json.loads(next(iter(found)))


def joined(manifest, folders, target):
    """Write every file in the bundle, joined and verified, to `target`; return the paths."""
    problems, paths = [], []
    for file in manifest["files"]:
        pieces = [_piece(piece, folders, problems) for piece in file["pieces"]]
        if all(piece is not None for piece in pieces):
            path = target / file["name"]
            path.write_bytes(b"".join(pieces))
            if hashlib.sha256(path.read_bytes()).hexdigest() != file["sha256"]:
                problems.append(f"{file['name']}: its pieces do not make up the file")
            paths.append(path)
    if problems:
        raise Incomplete("\n".join(problems))
    return paths


def _piece(piece, folders, problems):
    for folder in folders:
        path = folder / piece["name"]
        if path.is_file():
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == piece["sha256"]:
                return content
            problems.append(f"{path}: damaged (its SHA-256 is different); copy it again")
            return None
    problems.append(f"{piece['name']}: missing; it is in folder {piece['folder']} of the bundle")
    return None


def unpack(archive, target):
    """Unpack an archive below `target`."""
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as content:
        if hasattr(tarfile, "data_filter"):
            content.extractall(target, filter="data")
        else:
            content.extractall(target)


def install(wheels, target, python):
    """Install wheels into a folder, without a network connection."""
    here = "{}.{}".format(*sys.version_info[:2])
    if here != python:
        raise Incomplete(f"the wheels are for Python {python}, but this is {here}: run this script with python{python}")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    command += ["--no-cache-dir", "--disable-pip-version-check", "--upgrade", "--target", str(target)]
    done = subprocess.run([*command, *map(str, wheels)], check=False)
    if done.returncode:
        raise Incomplete(f"pip exited with {done.returncode}; see above")


def main():
    """Run the installation; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="all folders in the bundle that contain pieces")
    parser.add_argument("--target", required=True, type=Path, help="folder to install into")
    asked = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            manifest = manifest_of(asked.folders)
            paths = joined(manifest, asked.folders, Path(scratch))
            wheels = [path for path in paths if path.suffix == ".whl"]
            if wheels:
                install(wheels, asked.target / "site", manifest["python"])
            for path in paths:
                if path.name.startswith("source.tar"):
                    unpack(path, asked.target)
                elif path.name.startswith("photos.tar"):
                    unpack(path, asked.target / "photos")
    except Incomplete as error:
        print(error, file=sys.stderr)
        return 1
    root = asked.target.resolve()
    print(f"cd {root / 'source'} && PYTHONPATH={root / 'site'} make gpu PYTHON={sys.executable}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

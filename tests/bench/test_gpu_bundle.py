"""`make gpu-bundle`: joined pieces have the original bytes, folders are small enough, missing pieces are reported."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from bench.gpu import bundle
from bench.harness import ROOT

PYTHON = "{}.{}".format(*sys.version_info[:2])


def wheel(folder, name="parcel", version="1.0", extra=None, needs=()) -> Path:
    """Write a wheel with a module that contains its version."""
    files = {f"{name}.py": f"VERSION = {version!r}\n".encode(), **(extra or {})}
    info = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {n}" for n in needs)]
    files[f"{info}/METADATA"] = ("\n".join(lines) + "\n").encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = "".join(f"{each},,\n" for each in files) + f"{info}/RECORD,,\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as content:
        for each, data in files.items():
            content.writestr(each, data)
        content.writestr(f"{info}/RECORD", record)
    return path


@pytest.fixture
def packed(tmp_path):
    """A bundle with a source archive, a wheel that is too large for one folder, and photos; also the bundled files."""
    given = tmp_path / "given"
    given.mkdir()
    (given / "README").write_text("the source")
    with tarfile.open(given / "source.tar.gz", "w:gz") as archive:
        archive.add(given / "README", arcname="source/README")
    with tarfile.open(given / "photos.tar", "w") as archive:
        archive.add(given / "README", arcname="tree/Images/breed/photo.jpg")
    large = wheel(given, extra={"parcel_data.bin": random.Random(0).randbytes(300_000)})
    files = [given / "source.tar.gz", large, given / "photos.tar"]
    folders = bundle.pack(files, tmp_path / "bundle", limit=200_000, python=PYTHON, piece=40_000)
    return files, folders


def install(folders, target, *arguments):
    command = [sys.executable, str(folders[0] / "install.py"), "--target", str(target), *map(str, folders), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=target.parent)


def test_folders_respect_the_limit_and_the_pieces_can_be_joined_to_the_same_bytes(packed):
    files, folders = packed
    assert len(folders) > 2
    manifest = json.loads((folders[0] / "manifest.json").read_text())
    for folder in folders:
        assert sum(path.stat().st_size for path in folder.iterdir()) <= 200_000
        assert (folder / "manifest.json").read_text() == (folders[0] / "manifest.json").read_text()
    for path, file in zip(files, manifest["files"], strict=True):
        pieces = [(folders[piece["folder"] - 1] / piece["name"]).read_bytes() for piece in file["pieces"]]
        assert b"".join(pieces) == path.read_bytes()
        assert file["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_bundle_that_fits_into_a_folder_is_not_split(packed):
    _, folders = packed
    for file in json.loads((folders[0] / "manifest.json").read_text())["files"]:
        if file["bytes"] <= 200_000 - 64 * 1024:
            assert len({piece["folder"] for piece in file["pieces"]}) == 1


def test_a_bundle_can_be_installed_without_a_package_index(packed, tmp_path):
    _, folders = packed
    done = install(folders, tmp_path / "node")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "node" / "source" / "README").read_text() == "the source"
    assert (tmp_path / "node" / "photos" / "tree" / "Images" / "breed" / "photo.jpg").exists()
    code = "import parcel; print(parcel.VERSION)"
    env = {"PYTHONPATH": str(tmp_path / "node" / "site"), "PATH": "/usr/bin:/bin"}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout == "1.0\n"
    assert f"make gpu PYTHON={sys.executable}" in done.stdout


def test_a_missing_piece_is_reported_with_its_folder(packed, tmp_path):
    _, folders = packed
    lost = next(folders[1].glob("parcel*"))
    lost.unlink()
    done = install(folders, tmp_path / "node")
    assert done.returncode == 1
    assert f"{lost.name}: missing; it is in folder 2 of the bundle" in done.stderr
    assert not (tmp_path / "node").exists(), "nothing is installed by halves"
    fewer = install([folders[0]], tmp_path / "node")
    assert fewer.returncode == 1
    assert "in folder 3 of the bundle" in fewer.stderr


def test_a_damaged_piece_is_reported(packed, tmp_path):
    _, folders = packed
    hurt = next(folders[0].glob("parcel*"))
    hurt.write_bytes(hurt.read_bytes()[:-1] + b"?")
    done = install(folders, tmp_path / "node")
    assert done.returncode == 1
    assert f"{hurt}: damaged" in done.stderr


def test_folders_from_two_bundles_cannot_be_mixed(packed, tmp_path):
    files, folders = packed
    others = bundle.pack(files[:1], tmp_path / "other", limit=200_000, python=PYTHON, piece=40_000)
    done = install([folders[0], others[0]], tmp_path / "node")
    assert done.returncode == 1
    assert "different bundles" in done.stderr


def test_wheels_for_a_different_python_version_are_refused(packed, tmp_path):
    files, _ = packed
    folders = bundle.pack(files, tmp_path / "other", limit=2_000_000, python="3.99", piece=1_000_000)
    done = install(folders, tmp_path / "node")
    assert done.returncode == 1
    assert "run this script with python3.99" in done.stderr


def test_a_limit_smaller_than_a_piece_is_refused(tmp_path):
    with pytest.raises(bundle.BundleError, match="LIMIT"):
        bundle.pack([], tmp_path, limit=100_000, python=PYTHON, piece=100_000)


def test_a_wheel_from_which_unread_files_are_removed_can_still_be_installed(tmp_path):
    path = wheel(tmp_path, extra={"ray/jars/java.jar": b"x" * 50_000, "ray/core.py": b"pass\n"})
    before = path.stat().st_size
    assert bundle.slim(path) == path
    assert path.stat().st_size < before - 40_000
    with zipfile.ZipFile(path) as content:
        names = content.namelist()
        record = content.read("parcel-1.0.dist-info/RECORD").decode()
    assert "ray/core.py" in names
    assert not [name for name in names if "jar" in name]
    assert "jars" not in record
    assert "ray/core.py" in record
    other = wheel(tmp_path, name="plain")
    content = other.read_bytes()
    assert bundle.slim(other).read_bytes() == content, "a wheel without such parts is left unchanged"


def test_requirements_are_evaluated_for_the_node(tmp_path):
    lines = [
        "always>=1",
        'windows; sys_platform == "win32"',
        'old; python_version < "3.10"',
        'tuner; extra == "tune"',
    ]
    path = wheel(tmp_path, needs=lines)
    assert [each.name for each in bundle._needs(path, "", "3.12")] == ["always"]
    assert [each.name for each in bundle._needs(path, "tune", "3.12")] == ["always", "tuner"]


def test_names_are_compared_as_in_package_indexes():
    text = "# a comment\nPyYAML==6.0\ntyping_extensions\nruamel.yaml >= 1  # why\n\nray[tune]\n"
    versions = {"pyyaml": "6.0", "typing-extensions": "", "ruamel-yaml": "", "ray": ""}
    assert bundle.packages(text) == versions


def test_packages_that_are_too_old_on_the_node_are_included(tmp_path):
    wanted = bundle.Requirement("pandas>=3.0,<4")
    assert bundle._is_there(wanted, "3.1.0")
    assert bundle._is_there(wanted, ""), "a list without versions is believed"
    assert not bundle._is_there(wanted, "2.2.3")
    assert not bundle._is_there(wanted, None)
    with pytest.raises(bundle.BundleError, match=r"torch 2\.5\.1, but torch>=2\.7 is needed"):
        bundle._is_there(bundle.Requirement("torch>=2.7"), "2.5.1")


def test_the_default_list_does_not_include_the_packages_in_the_bundle():
    have = bundle.packages(bundle.HAVE.read_text(encoding="utf-8"))
    assert {"torch", "torchvision", "numpy", "pandas", "pyarrow", "nvidia-ml-py", "timm"} <= have.keys()
    assert not have.keys() & {"ray", "optuna", "pydantic", "pydantic-core", "alembic", "sqlalchemy", "jsonschema"}


def test_the_photos_are_a_sample_of_every_breed_that_fits(tmp_path):
    tree = tmp_path / "tree"
    for breed in ("a", "b", "c"):
        folder = tree / "Images" / breed
        folder.mkdir(parents=True)
        for number in range(5):
            (folder / f"{number}.jpg").write_bytes(b"x" * 9_000)
    (tree / "lists").mkdir()
    (tree / "lists" / "train_list.mat").write_bytes(b"list")
    made = bundle.photos(tree, tmp_path / "photos.tar", most=65_000)
    with tarfile.open(made) as archive:
        names = archive.getnames()
    assert "tree/lists/train_list.mat" in names
    taken = sorted(name for name in names if name.endswith(".jpg"))
    assert taken == [f"tree/Images/{breed}/{number}.jpg" for breed in "abc" for number in (0, 1)]
    with pytest.raises(bundle.BundleError, match="no photos"):
        bundle.photos(tree / "lists", tmp_path / "none.tar", most=65_000)
    with pytest.raises(bundle.BundleError, match="larger than"):
        bundle.photos(made, tmp_path / "copy.tar", most=1_000)


def test_the_source_consists_of_tracked_files_and_the_commit(tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout of git here")
    made = bundle.source(tmp_path / "source.tar.gz")
    with tarfile.open(made) as archive:
        names = archive.getnames()
        commit = archive.extractfile("source/COMMIT").read().decode().strip()
    assert {"source/Makefile", "source/docs/gpu.md", "source/bench/gpu/install.py"} <= set(names)
    assert not [name for name in names if name.startswith("source/docs/") and name != "source/docs/gpu.md"]
    assert commit
    assert commit != "unknown"


def test_a_folder_that_contains_something_else_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "precious").write_text("x")
    assert bundle.main(["--out", str(tmp_path)]) == 2
    assert "contains something else" in capsys.readouterr().err
    assert (tmp_path / "precious").read_text() == "x"

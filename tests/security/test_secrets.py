"""What the environment holds is never written down."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from victims import Victim

from ablations.execution.provenance import checkout_state, provenance
from aimlib.errors import UsageError

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "sEcReT-aws-1f0c",
    "RAY_AUTH_TOKEN": "5ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e7aaaa",
    "WANDB_API_KEY": "sEcReT-wandb-77aa",
    "HF_TOKEN": "sEcReT-hub-31c9",
    "HTTPS_PROXY": "http://user:sEcReT-proxy-b2@proxy.invalid:3128",
    "DATABASE_URL": "postgresql://user:sEcReT-database-c3@db.invalid/x",
}
WORDS = ("sEcReT", SECRETS["RAY_AUTH_TOKEN"])


def leaks(*places: Path) -> list[str]:
    """Return the files that hold a secret, compressed pages of Parquet written out."""
    import pyarrow.parquet as pq

    found = []
    for place in places:
        for path in place.rglob("*") if place.is_dir() else [place]:
            if not path.is_file():
                continue
            content = path.read_bytes()
            if path.suffix == ".parquet":
                with contextlib.suppress(Exception):
                    file = pq.ParquetFile(path)
                    content += repr((file.read().to_pylist(), file.schema_arrow.metadata)).encode()
            if any(word.encode() in content for word in WORDS):
                found.append(str(path))
    return found


def test_leaks_are_found(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": ["sEcReT-" + "a" * 99] * 99}), tmp_path / "a.parquet", compression="zstd")
    (tmp_path / "b.txt").write_text("nothing")
    assert leaks(tmp_path) == [str(tmp_path / "a.parquet")]


def test_the_environment_is_not_in_rows_plans_reports_or_messages(
    victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    victim.runs[0].unlink()
    (victim.directory / "study.json").unlink()
    assert victim.run() == {"run": "ok"}
    assert "1 computed" in victim.printed
    printed = victim.printed
    for arguments in (("results", victim.directory, "--columns", "all"), ("status", victim.directory)):
        printed += victim.ablate(*arguments)
    assert not any(word in printed for word in WORDS)
    assert (victim.directory / "report" / "report.html").is_file()
    assert leaks(victim.directory) == []
    assert not any(word in repr(provenance()) for word in WORDS)


_SESSION = """
import os, sys
from ablations.execution.ray.loopback import on_loopback
from ablations.execution.ray.auth import prepare_token
prepare_token()
with on_loopback():
    from ablations.commands.app import main
    sys.argv = ["ablate", "run", sys.argv[1], "--out", sys.argv[2]]
    main()
"""


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_the_environment_is_not_in_what_a_session_of_ray_leaves(victim: Victim) -> None:
    victim.runs[0].unlink()
    done = subprocess.run(
        [sys.executable, "-c", _SESSION, str(victim.study), str(victim.directory)],
        env=os.environ | SECRETS | {"RAY_AUTH_MODE": "token", "HOME": str(victim.folder)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not any(word in done.stdout + done.stderr for word in WORDS)
    assert leaks(victim.directory) == []
    assert len(victim.runs) == 2


def test_a_remote_with_a_token_is_no_part_of_provenance(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x.invalid"]
    for words in (
        ["init", "--quiet"],
        ["remote", "add", "origin", "https://user:sEcReT-git-9@git.invalid/x"],
        ["add", "."],
        ["commit", "--quiet", "-m", "x"],
    ):
        subprocess.run([*git, *words], check=True)
    commit, dirty = checkout_state(package)
    assert commit is not None
    assert dirty is None
    assert "sEcReT" not in repr((commit, dirty))


@pytest.mark.parametrize(
    "override",
    [
        "claim=https://user:sEcReT-claim@host.invalid/claim.yaml",
        "data.root=https://user:sEcReT-root@host.invalid/data",
        "data.password=sEcReT-option",
    ],
)
def test_a_password_that_was_typed_into_a_study_reaches_no_file(victim: Victim, override: str) -> None:
    """The message may repeat what the user typed; it is written nowhere."""
    with pytest.raises(UsageError):
        victim.ablate("run", victim.study, "--out", victim.directory, "--executor", "inline", "--set", override)
    assert leaks(victim.directory) == []

"""Values of environment variables are never stored."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from victims import Victim

from ablations.execution.provenance import checkout_state, provenance
from aimlib.errors import UsageError
from aimlib.records.redaction import without_secrets

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "sEcReT-aws-1f0c",
    "RAY_AUTH_TOKEN": "5ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e7aaaa",
    "WANDB_API_KEY": "sEcReT-wandb-77aa",
    "HF_TOKEN": "sEcReT-hub-31c9",
    "GITHUB_TOKEN": "sEcReT-github-0a7d",
    "KAGGLE_KEY": "sEcReT-kaggle-90aa",
    "AZURE_CLIENT_SECRET": "sEcReT-azure-client-1b",
    "AZURE_STORAGE_ACCOUNT_KEY": "sEcReT-azure-account-2c==",
    "AZURE_STORAGE_CONNECTION_STRING": "AccountName=a;AccountKey=sEcReT-azure-string-3d==;BlobEndpoint=http://b.invalid",
    "AZURE_STORAGE_SAS_TOKEN": "sv=2026&sp=rw&sig=sEcReT-azure-signature-4e",
    "GOOGLE_API_KEY": "sEcReT-google-5f",
    "MLFLOW_TRACKING_PASSWORD": "sEcReT-mlflow-6a",
    "HTTPS_PROXY": "http://user:sEcReT-proxy-b2@proxy.invalid:3128",
    "DATABASE_URL": "postgresql://user:sEcReT-database-c3@db.invalid/x",
}
WORDS = (
    "sEcReT",
    SECRETS["RAY_AUTH_TOKEN"],
    "AKIAIOSFODNN7SECRETS",
    "A1b2A1b2",
    "Sy0Sy0",
    "a0Afa0Af",
    "QUNDT1VO",
    "MIIEvQ",
    "Zz09Zz09",
)


def leaks(*places: Path) -> list[str]:
    """Return the files that contain a secret; compressed Parquet pages are decompressed first."""
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


def test_planted_leaks_are_found(tmp_path: Path) -> None:
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


FORMS = (
    "AKIA" + "IOSFODNN7SECRETS",
    "hf_" + "sEcReT" * 6,
    "sEcReT-query-d4",
    "sEcReT-login-e5",
    "sEcReT-bearer-f6",
    "ghp_" + "A1b2" * 9,
    "github_pat_" + "A1b2_" * 6,
    "AIza" + "Sy0" * 11 + "aB",
    "ya29." + "a0Af" * 10,
    "QUNDT1VOVEtFWQ" * 5 + "==",
    "sEcReT%2Bsas%3D",
    "-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\\n-----END PRIVATE KEY-----",
    "wandb_v1_" + "Zz09" * 8,
)


def in_a_message() -> str:
    """Return a message that quotes secrets in every format, as the errors of storage clients do."""
    aws, hub, query, login, bearer, github, fine, google, oauth, account, sas, key, wandb = FORMS
    quoted = ", ".join(f"{name}: {value}" for name, value in os.environ.items() if name in SECRETS)
    return (
        f"401 for {aws} at https://bucket.invalid/x?X-Amz-Signature={query}&x=1 with {hub}; "
        f"postgresql://optuna:{login}@db.invalid/x; Authorization: Bearer {bearer}; environment {quoted}; "
        f"git: {github}, {fine}; google: {google}, {oauth}; wandb {wandb}; "
        f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={account};EndpointSuffix=core.windows.net; "
        f"https://a.blob.core.windows.net/c/b?sv=2026&sp=rw&sig={sas}; "
        f'{{"type": "service_account", "private_key": "{key}", "client_email": "a@b.invalid"}}'
    )


class Leaking:
    """A training function that prints secrets and raises an error; the error and its cause quote the secrets."""

    def __call__(self, *_: object, **__: object) -> None:
        print(in_a_message())
        print(in_a_message(), file=sys.stderr)
        raise RuntimeError(f"cannot fetch: {in_a_message()}") from ConnectionError(in_a_message())


@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow"])
def test_secrets_in_errors_and_output_are_not_stored(
    victim: Victim, monkeypatch: pytest.MonkeyPatch, tracker: str
) -> None:
    from ablations.trackers.base import TRACKERS

    for module in TRACKERS[tracker][1]:
        pytest.importorskip(module)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("ablations.execution.run_task.train", Leaking())
    victim.runs[0].unlink()
    assert victim.run("--track", tracker) == {"run": "ok"}
    # The run's own output reaches the terminal of the user who started the run unchanged; all other lines are ours.
    ours = [line for line in victim.printed.splitlines() if not line.startswith("401 for ")]
    assert any("cannot fetch" in line for line in ours)
    shown = "\n".join(ours)
    run_id = next((victim.directory / "failures").iterdir()).name.partition(".")[0]
    for arguments in (
        ("results", victim.directory, "--columns", "all"),
        ("logs", victim.directory, run_id),
        ("status", victim.directory),
        ("watch", victim.directory, "--once"),
        ("watch", victim.directory, "--once", "--html"),
        ("browse", victim.directory, "--out", victim.directory / "browse.html"),
        ("report", victim.directory),
    ):
        shown += victim.ablate(*arguments)
    assert "(not shown)" in shown
    assert [word for word in (*WORDS, *FORMS) if word in shown] == []
    assert (victim.directory / "logs").is_dir()
    assert leaks(victim.directory) == []


def test_a_path_is_not_treated_as_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every shell sets PWD, which is not a password, and paths only show where a secret is stored."""
    monkeypatch.setenv("PWD", str(tmp_path))
    monkeypatch.setenv("OLDPWD", "/some/where/else")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path))
    text = f"{tmp_path}/study.yaml and /some/where/else"
    assert without_secrets(text) == text
    monkeypatch.setenv("DATABASE_PWD", "sEcReT-pwd")
    assert "sEcReT" not in without_secrets("with sEcReT-pwd")


def command_lines() -> list[str]:
    """Return the command lines of all processes that contain a secret."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if any(word in text for word in (*WORDS, *FORMS)):
                found.append(text)
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="this system has no /proc")
def test_the_process_list_contains_no_secrets(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command runs in this process, with the secrets in the environment. All child processes are also checked."""
    found: list[list[str]] = []

    class Listing(Leaking):
        def __call__(self, *arguments: object, **options: object) -> None:
            found.append(command_lines())
            super().__call__()

    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("ablations.execution.run_task.train", Listing())
    victim.runs[0].unlink()
    assert victim.run() == {"run": "ok"}
    assert found == [[]]
    assert leaks(victim.directory) == []


def test_command_lines_with_secrets_are_found() -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", FORMS[2]])
    try:
        until = time.monotonic() + 10  # the kernel shows a command line shortly after the program has started
        while not (found := command_lines()) and time.monotonic() < until:
            time.sleep(0.05)
        assert len(found) == 1
    finally:
        sleeper.kill()
        sleeper.wait()


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
def test_a_ray_sessions_files_do_not_contain_the_environment(victim: Victim) -> None:
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


def test_a_remote_with_a_token_is_not_part_of_provenance(tmp_path: Path) -> None:
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
def test_a_password_typed_into_a_study_is_not_written_to_a_file(victim: Victim, override: str) -> None:
    """The message may repeat what the user typed, but no file may contain it."""
    with pytest.raises(UsageError):
        victim.ablate("run", victim.study, "--out", victim.directory, "--executor", "inline", "--set", override)
    assert leaks(victim.directory) == []

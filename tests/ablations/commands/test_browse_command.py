"""`ablate browse` as a command: its output, and what happens when serving a page ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ablations.commands.app import app
from ablations.progress.session_state import active_runs
from aimlib.records import LIVE


@pytest.fixture
def study(tmp_path: Path) -> Path:
    import numpy as np
    from synthetic_study import ARMS, FakeStudy, write_study

    status = {("aim", 1): "missing"}
    return write_study(tmp_path / "study", FakeStudy([*ARMS], [0, 1], status), np.random.default_rng(0))


def test_the_command_writes_the_page_and_prints_its_path(study, tmp_path):
    done = CliRunner().invoke(app, ["browse", str(study), "--out", str(tmp_path / "x.html")])
    assert done.exit_code == 0, done.output
    assert done.output.replace("\n", "") == f"page: {tmp_path / 'x.html'}"
    assert (tmp_path / "x.html").stat().st_size > 1_000_000


def test_help_explains_unblinding():
    assert "the study and its report will record that" in " ".join(
        CliRunner().invoke(app, ["browse", "--help"], terminal_width=200).output.replace("│", " ").split()
    )


def test_states_of_active_sessions_are_read_and_those_of_inactive_sessions_are_not(study):
    ids = [run["run_id"] for run in json.loads((study / "study.json").read_text())["runs"]]
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    run = {"arm": "aim", "seed": 1, "epochs": 3, "state": "running"}
    (study / LIVE).mkdir()
    for session, at in (("a" * 12, "2026-01-01T11:59:00+00:00"), ("b" * 12, "2026-01-01T11:00:00+00:00")):
        document = {
            "schema_version": 2,
            "study": "x",
            "session": session,
            "began_at": at,
            "at": at,
            "runs": {ids[0] if session[0] == "a" else ids[1]: run},
            "paused": [ids[2]] if session[0] == "a" else [ids[3]],
        }
        (study / LIVE / f"{session}.json").write_text(json.dumps(document))
    (study / LIVE / "broken.json").write_text("{")
    (study / LIVE / "endless.json").write_text("[" * 100_000)
    without_zone = {"study": "x", "session": "c" * 12, "began_at": "2026-01-01", "at": "2026-01-01T11:59:00"}
    (study / LIVE / "zoneless.json").write_text(json.dumps(without_zone | {"runs": {ids[1]: run}}))
    assert active_runs(study, now) == {ids[0]: "running", ids[2]: "paused"}


def test_a_served_page_is_announced_and_ctrl_c_ends_serving_cleanly(study):
    program = [sys.executable, "-m", "ablations.commands.app", "browse", str(study), "--serve"]
    environment = os.environ | {"COLUMNS": "80", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        address = re.fullmatch(r"page: (http://127\.0\.0\.1:\d+/[\w-]{32}/)\n", process.stdout.readline())
        assert address is not None
        assert process.stdout.readline() == "Only this machine can open the page. Press Ctrl-C to stop serving it.\n"
        with urllib.request.urlopen(address[1] + "data") as answer:
            assert json.loads(answer.read())["title"] == "synthetic"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address[1][:-2] + "/")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (0, "", "")
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(address[1])
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nowhere"], "study.json is missing"),
        (["--serve", "--out", "x.html"], "--serve does not write a file"),
        (["--port", "8000"], "--port is only used with --serve"),
        (["--out", "no/such/folder/x.html"], "the page cannot be written"),
    ],
)
def test_a_mistake_ends_the_command_with_code_2_and_a_message_without_a_traceback(study, tmp_path, options, message):
    directory = [] if options == ["nowhere"] else [str(study)]
    program = [sys.executable, "-m", "ablations.commands.app", "browse", *directory, *options]
    done = subprocess.run(program, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr

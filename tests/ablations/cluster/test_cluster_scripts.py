"""The Slurm script and the job script are run with fake versions of srun, scontrol, ray, ablate and pip."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from programs import Programs

from ablations import cluster

# The fake srun runs the given command, after removing srun's own options.
_SRUN = """
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
"""
# symmetric-run on the head: run the command after `--`.
_RAY = """
if [ "$1" = symmetric-run ]; then
  while [ "$1" != -- ]; do shift; done; shift
  stat -c 'token %a' "$RAY_AUTH_TOKEN_PATH" >>"$CALLS"
  "$@"; exit $?
fi
"""


class Job:
    """The Slurm script in a folder of its own."""

    def __init__(self, programs: Programs, tmp_path: Path, nodes: int, ablate: str, **more: str) -> None:
        self.programs, self.home = programs, tmp_path / "home"
        self.home.mkdir()
        (tmp_path / "activate").write_text("")
        self.id = f"9{os.getpid()}"
        self.scratch = Path(f"/tmp/r{self.id}")
        programs.make("srun", _SRUN)
        programs.make("scontrol")
        programs.make("ray", _RAY)
        programs.make("getent", "echo '127.0.1.1 STREAM here'; echo '10.1.2.3 STREAM here'")
        programs.make("ablate", ablate)
        overrides = [f"setup={tmp_path / 'activate'}", f"nodes={nodes}", "restarts=3", "cpus=8", "gpus=2"]
        script = tmp_path / "slurm.sbatch"
        script.write_text(cluster.template("slurm").render(overrides), encoding="utf-8")
        environment = programs.environment(
            HOME=str(self.home),
            SLURM_JOB_ID=self.id,
            SLURM_JOB_NUM_NODES=str(nodes),
            CALLS=str(tmp_path / "calls"),
            **more,
        )
        self.process = subprocess.Popen(
            ["bash", str(script)],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end(self) -> tuple[int, str]:
        _, err = self.process.communicate(timeout=30)
        return self.process.returncode, err

    def until_called(self, word: str) -> None:
        deadline = time.monotonic() + 20
        while not any(word in call for call in self.programs.calls):
            assert time.monotonic() < deadline, self.programs.calls
            time.sleep(0.02)

    def left_nothing(self) -> bool:
        return not self.scratch.exists() and not list((self.home / ".ray" / "tokens").iterdir())


def test_several_nodes_run_one_driver_with_a_private_token(programs: Programs, tmp_path: Path) -> None:
    job = Job(programs, tmp_path, 2, 'printf "%s" "$RAY_AUTH_MODE $RAY_TMPDIR" >seen')
    code, err = job.end()
    assert code == 0, err
    calls = programs.calls
    (started,) = [call for call in calls if call.startswith("ray ")]
    assert started.startswith(
        "ray symmetric-run --address 10.1.2.3:6379 --min-nodes 2 --num-cpus 8 --num-gpus 2 --include-dashboard=false --"
    ), "the private address, not 127.0.1.1"
    assert "ablate run controlled --address 10.1.2.3:6379 --out results/controlled" in calls
    assert "token 600" in calls
    assert (tmp_path / "seen").read_text() == f"token {job.scratch}"
    assert not any(call.startswith("scontrol") for call in calls), "nothing is queued again that ended by itself"
    assert job.left_nothing()
    assert (job.home / ".ray" / "tokens").stat().st_mode & 0o077 == 0


def test_a_single_node_does_not_start_a_cluster(programs: Programs, tmp_path: Path) -> None:
    job = Job(programs, tmp_path, 1, "exit 1")
    assert job.end()[0] == 1, "what the study ended with"
    assert "ablate run controlled --out results/controlled" in programs.calls
    assert not any(call.startswith(("ray", "scontrol")) for call in programs.calls)
    assert job.left_nothing()


_UNTIL_TOLD = """
trap 'echo "told the driver" >>"$CALLS"; exit 130' TERM
echo "ablate is ready" >>"$CALLS"
while :; do sleep 0.05; done
"""


@pytest.mark.parametrize("nodes", [1, 2])
def test_when_the_time_is_up_the_driver_is_signaled_and_the_job_is_queued_again(
    programs: Programs, tmp_path: Path, nodes: int
) -> None:
    job = Job(programs, tmp_path, nodes, _UNTIL_TOLD)
    job.until_called("ablate is ready")
    job.process.send_signal(signal.SIGTERM)  # only the batch shell is signaled, as with --signal=B:TERM
    code, err = job.end()
    assert code == 130, err
    calls = programs.calls
    assert calls.count("told the driver") == 1
    assert calls[-1] == f"scontrol requeue {job.id}", "last, because it ends the script"
    assert job.left_nothing()


def test_restarts_are_counted(programs: Programs, tmp_path: Path) -> None:
    job = Job(programs, tmp_path, 2, _UNTIL_TOLD, SLURM_RESTART_COUNT="3")
    job.until_called("ablate is ready")
    job.process.send_signal(signal.SIGTERM)
    code, err = job.end()
    assert code == 130
    assert "the job was requeued 3 times; submit it again to resume" in err
    assert not any(call.startswith("scontrol") for call in programs.calls)


def test_a_study_that_finishes_in_time_is_not_queued_again(programs: Programs, tmp_path: Path) -> None:
    job = Job(programs, tmp_path, 2, _UNTIL_TOLD.replace("exit 130", "exit 0"))
    job.until_called("ablate is ready")
    job.process.send_signal(signal.SIGTERM)
    assert job.end()[0] == 0
    assert not any(call.startswith("scontrol") for call in programs.calls)


# ray job submit

_PIP = """
while [ $# -gt 0 ]; do [ "$1" = --wheel-dir ] && touch "$2/aim_ablations-0.1.0-py3-none-any.whl"; shift; done
"""
_SUBMIT = """
while [ $# -gt 0 ]; do [ "$1" = --runtime-env ] && cp "$2" "$KEPT/runtime_env.json"; shift; done
ls "$(sed -n 's/.*"working_dir": "\\(.*\\)",/\\1/p' "$KEPT/runtime_env.json")" >"$KEPT/sent"
echo "$RAY_AUTH_MODE" >"$KEPT/mode"
"""


def submit(programs: Programs, tmp_path: Path, token: bool, *overrides: str) -> subprocess.CompletedProcess[str]:
    programs.make("python", _PIP)
    programs.make("ray", _SUBMIT)
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    (tmp_path / "secret.txt").write_text("secret")
    path = tmp_path / "token"
    if token:
        path.write_text("t")
        path.chmod(0o644)
    script = tmp_path / "job.sh"
    script.write_text(cluster.template("job").render(overrides), encoding="utf-8")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    return subprocess.run(
        ["bash", str(script)],
        env=programs.environment(RAY_AUTH_TOKEN_PATH=str(path), KEPT=str(tmp_path), TMPDIR=str(temporary)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_job_sends_only_a_wheel_and_the_study(programs: Programs, tmp_path: Path) -> None:
    done = submit(programs, tmp_path, True, "study=./mine.yaml", "out=/shared/results/mine")
    assert done.returncode == 0, done.stderr
    wheel = "aim_ablations-0.1.0-py3-none-any.whl"
    assert (tmp_path / "sent").read_text().split() == [wheel, "mine.yaml"]
    runtime = json.loads((tmp_path / "runtime_env.json").read_text())
    assert runtime["pip"] == ["${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/" + wheel]
    assert "results/" in runtime["excludes"]
    (call,) = [call for call in programs.calls if call.startswith("ray job submit")]
    assert "--address http://127.0.0.1:8265 " in call
    assert call.endswith("-- ablate run mine.yaml --address auto --out /shared/results/mine")
    assert (tmp_path / "mode").read_text() == "token\n"
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_job_without_a_token_is_not_submitted(programs: Programs, tmp_path: Path) -> None:
    done = submit(programs, tmp_path, False)
    assert done.returncode == 2
    assert "no token in" in done.stderr
    assert programs.calls == []

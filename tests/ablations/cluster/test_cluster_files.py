"""Every shipped file is valid for the tool that reads it, is private, and contains no secrets."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from programs import Programs

from ablations import cluster
from ablations.spec.resources import Resources
from ablations.spec.study import shipped_studies
from aimlib.errors import ConfigError

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
NAMES = ["ray", "onpremise", "kuberay", "slurm", "job", "docker", "dockerignore", "apptainer"]


def rendered(name: str, *overrides: str) -> str:
    return cluster.template(name).render(overrides)


def program(name: str) -> str:
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert found, f"{name} is in the development requirements: pip install -c constraints.txt '.[dev]'"
    return found


# All files


def test_every_file_in_the_folder_is_listed_by_the_command() -> None:
    folder = Path(cluster.__file__).parent
    on_disk = {path.name for path in folder.iterdir() if path.suffix != ".py" and path.is_file()}
    assert {template.file for template in cluster.templates().values()} == on_disk
    assert list(cluster.templates()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_used_and_every_placeholder_has_a_setting(name: str) -> None:
    template = cluster.template(name)
    places = set(re.findall(r"\{\{(\w+)\}\}", template.text))
    assert places == {setting.key for setting in template.settings}
    for setting in template.settings:
        assert setting.about.strip()
        assert template.render([f"{setting.key}={setting.value}"]) == template.render()
    assert "{{" not in template.render()


@pytest.mark.parametrize("name", NAMES)
def test_no_file_contains_a_secret_or_opens_a_dashboard(name: str) -> None:
    text = rendered(name)
    assert not re.search(r"AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY|password\s*[:=]|--dashboard-host=0\.0\.0\.0", text)
    assert "RAY_AUTH_MODE=disabled" not in text
    if name != "dockerignore":
        assert re.search(r"RAY_AUTH_MODE=token|mode: token", text), "token authentication is on"


def test_a_setting_appears_in_its_place_and_is_recorded() -> None:
    text = rendered("slurm", "nodes=7", "out=~/results/x")
    assert "#SBATCH --nodes=7\n" in text
    assert "#: nodes = 7  number of nodes;" in text
    assert "\nout=~/results/x\n" in text, "unquoted, so that the shell knows ~"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("nodse=3", "unknown setting 'nodse'; did you mean 'nodes'?"),
        ("nodes", "give key=value"),
        ("study=x; rm -rf /", "would need quotes"),
        ("study=$(id)", "would need quotes"),
        ("study=`id`", "would need quotes"),
        ("study=a\nb", "would need quotes"),
        ("study=a\n", "would need quotes"),
        ("study=--help", "would need quotes"),
        ("study=", "would need quotes"),
        ("study=a'b", "would need quotes"),
        ("study=a b", "would need quotes"),
        ("study=a: b", "would need quotes"),
        ("study={{out}}", "would need quotes"),
    ],
)
def test_text_that_a_shell_would_execute_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        rendered("slurm", override)
    assert message in str(error.value)


def test_the_message_about_an_unknown_file_lists_the_others() -> None:
    with pytest.raises(ConfigError, match="unknown file 'slrum'; did you mean 'slurm'"):
        cluster.template("slrum")


def test_the_command_prints_and_lists_the_files(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ablations.commands.app import main

    monkeypatch.setattr(sys, "argv", ["ablate", "cluster", "slurm", "--set", "nodes=3"])
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code or 0) == 0
    assert capsys.readouterr().out == rendered("slurm", "nodes=3")
    monkeypatch.setattr(sys, "argv", ["ablate", "cluster"])
    with pytest.raises(SystemExit):
        main()
    listed = capsys.readouterr().out
    for template in cluster.templates().values():
        assert f"{template.name}  ({template.file})  {template.about}" in listed
        assert all(f"--set {setting.key}={setting.value}" in listed for setting in template.settings)
    monkeypatch.setattr(sys, "argv", ["ablate", "cluster", "slurm", "--set", "nodes=$(id)"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "error: --set nodes: '$(id)' would need quotes" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["ray", "onpremise", "kuberay", "slurm", "job"])
def test_files_run_only_shipped_studies(name: str) -> None:
    text = rendered(name)
    named = set(re.findall(r"ablate run ([\w.]+)", text)) | set(re.findall(r"^study=(\w+)$", text, re.MULTILINE))
    assert named
    assert named <= set(shipped_studies())


# Ray's cluster launcher


def test_the_schema_belongs_to_the_installed_ray_and_refuses_mistakes() -> None:
    schema = ray_schema()
    document = yaml.safe_load(rendered("ray"))
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document | {"worker_count": 3}, schema)


def ray_schema() -> dict[str, Any]:
    distribution = importlib.metadata.distribution("ray")
    path = Path(str(distribution.locate_file("ray/autoscaler/ray-schema.json")))
    return json.loads(path.read_text(encoding="utf-8"))


_PREPARE = """
import json, sys, yaml
from ray.autoscaler._private.util import prepare_config, validate_config
for text in json.loads(sys.stdin.read()):
    prepared = prepare_config(yaml.safe_load(text))
    validate_config(prepared)
    print(json.dumps(prepared))
"""


def test_the_cluster_launcher_in_ray_accepts_both_files() -> None:
    texts = [rendered("ray", "workers=5"), rendered("onpremise", "workers=10.0.0.2,10.0.0.3")]
    done = subprocess.run(
        [sys.executable, "-c", _PREPARE], input=json.dumps(texts), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    aws, own = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert (aws["max_workers"], own["max_workers"]) == (5, 2)
    assert own["provider"]["worker_ips"] == ["10.0.0.2", "10.0.0.3"]
    head, worker = (aws["available_node_types"][name] for name in ("head", "worker"))
    assert (head["max_workers"], worker["min_workers"], worker["max_workers"]) == (0, 5, 5)
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in head["node_config"]
    for node in (head, worker):
        assert node["node_config"]["SecurityGroupIds"], "Ray's own would open SSH to everybody"
        assert node["node_config"]["MetadataOptions"] == {"HttpTokens": "required"}
    for document in (aws, own):
        assert document["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
        for role in ("head", "worker"):
            stop, start = document[f"{role}_start_ray_commands"]
            assert stop.endswith("ray stop")
            assert "export RAY_AUTH_MODE=token" in start
            assert ("--dashboard-host=127.0.0.1" in start) == (role == "head")
    assert "cache_stopped_nodes" in aws["provider"]
    assert not aws["provider"]["cache_stopped_nodes"]


# KubeRay


def rayjob(*overrides: str) -> tuple[dict[str, Any], dict[str, Any]]:
    job, policy = yaml.safe_load_all(rendered("kuberay", *overrides))
    return job, policy


def schema_of_rayjob() -> dict[str, Any]:
    return json.loads((HERE / "rayjob.schema.json").read_text(encoding="utf-8"))


def test_the_rayjob_uses_only_fields_of_kuberay() -> None:
    job, _ = rayjob()
    assert not list(jsonschema.Draft7Validator(schema_of_rayjob()).iter_errors(job))


@pytest.mark.parametrize(
    "path",
    [
        ("spec", "shutdownAfterJobFinish"),
        ("spec", "rayClusterSpec", "authOption"),
        ("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "volume"),
        ("spec", "rayClusterSpec", "headGroupSpec", "rayStartParam"),
    ],
)
def test_the_schema_refuses_a_misspelled_field(path: tuple[str, ...]) -> None:
    job, _ = rayjob()
    inner = job
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = {}
    assert list(jsonschema.Draft7Validator(schema_of_rayjob()).iter_errors(job))


def test_the_rayjob_ends_by_itself_and_restarts_after_failures() -> None:
    job, _ = rayjob("attempts=3", "workers=4", "shm=6Gi")
    spec = job["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["activeDeadlineSeconds"] > 0
    assert (spec["submissionMode"], spec["backoffLimit"]) == ("K8sJobMode", 3)
    ray = spec["rayClusterSpec"]
    assert ray["authOptions"] == {"mode": "token"}
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    assert ray["rayVersion"] == pinned[1]
    assert tuple(map(int, ray["rayVersion"].split("."))) >= (2, 52, 0), "older Ray has no token authentication"
    (workers,) = ray["workerGroupSpecs"]
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"] == 4
    pod = workers["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= 60
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "6Gi"}} in pod["volumes"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in pod["containers"][0]["volumeMounts"]
    assert ray["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}


_TO_THE_END = 10
"""Number of seconds that a driver takes to end after the last run has saved its state, including a margin."""


def test_kubernetes_gives_runs_enough_time_to_save_their_state() -> None:
    job, _ = rayjob()
    grace = Resources().grace_seconds + _TO_THE_END
    ray = job["spec"]["rayClusterSpec"]
    for pod in (ray["headGroupSpec"]["template"]["spec"], ray["workerGroupSpecs"][0]["template"]["spec"]):
        given = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
        drain = float(given["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
        assert grace < drain < pod["terminationGracePeriodSeconds"] - _TO_THE_END
        assert grace < float(given["RAY_JOB_STOP_WAIT_TIME_S"]) < pod["terminationGracePeriodSeconds"]


def test_slurm_and_a_stopped_job_give_runs_enough_time_to_save_their_state() -> None:
    slurm, job = rendered("slurm"), rendered("job")
    grace = Resources().grace_seconds + _TO_THE_END
    lead, guard = re.search(r"--signal=B:TERM@(\d+)", slurm), re.search(r"^  sleep (\d+) &$", slurm, re.MULTILINE)
    stop = re.search(r'"RAY_JOB_STOP_WAIT_TIME_S": "(\d+)"', job)
    assert lead
    assert guard
    assert stop
    assert grace < int(guard[1]) < int(lead[1]) - _TO_THE_END
    assert grace < int(stop[1])


def test_every_pod_in_the_rayjob_is_isolated() -> None:
    job, policy = rayjob("name=mine")
    ray = job["spec"]["rayClusterSpec"]
    pods = [
        job["spec"]["submitterPodTemplate"],
        ray["headGroupSpec"]["template"],
        ray["workerGroupSpecs"][0]["template"],
    ]
    for pod in pods:
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["automountServiceAccountToken"] is False
        for container in pod["spec"]["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert set(container["resources"]["limits"]) >= {"cpu", "memory"}
        assert pod["metadata"]["labels"] == policy["spec"]["podSelector"]["matchLabels"] == {"app": "mine"}
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert all("podSelector" in source for rule in policy["spec"]["ingress"] for source in rule["from"])


def test_the_rayjob_matches_the_kuberay_definition() -> None:
    """The definition has a size of 1.4 MB and is not shipped.

    `AIM_KUBERAY_CRD` is the path of KubeRay's ray.io_rayjobs.yaml.
    """
    named = os.environ.get("AIM_KUBERAY_CRD")
    if not named:
        pytest.skip("AIM_KUBERAY_CRD does not name KubeRay's ray.io_rayjobs.yaml (helm-chart/kuberay-operator/crds)")
    definition = yaml.load(Path(named).read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    (version,) = [item for item in definition["spec"]["versions"] if item["name"] == "v1"]
    schema = version["schema"]["openAPIV3Schema"]
    schema["properties"]["metadata"] = {"type": "object"}
    _closed(schema)
    job, _ = rayjob()
    assert not list(jsonschema.Draft7Validator(schema).iter_errors(job))


def _closed(node: Any) -> None:
    """Make a schema refuse unknown fields, which the server would drop, and translate the Kubernetes extensions."""
    if isinstance(node, dict):
        if node.pop("x-kubernetes-int-or-string", None):
            node.pop("anyOf", None)
            node.pop("pattern", None)
            node["type"] = ["integer", "string"]
        if "properties" in node and not node.get("x-kubernetes-preserve-unknown-fields"):
            node.setdefault("additionalProperties", False)
        for inner in node.values():
            _closed(inner)
    elif isinstance(node, list):
        for inner in node:
            _closed(inner)


# Scripts


@pytest.mark.parametrize("name", ["slurm", "job"])
def test_shellcheck_reports_nothing_for_the_scripts(name: str, tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text(rendered(name), encoding="utf-8")
    subprocess.run(["bash", "-n", str(script)], check=True)
    done = subprocess.run(
        [program("shellcheck"), "--shell=bash", "--exclude=SC2317,SC2329", str(script)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_shellcheck_finds_a_mistake_that_is_inserted_on_purpose(tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text(rendered("slurm").replace('"$RAY_AUTH_TOKEN_PATH"', "$RAY_AUTH_TOKEN_PATH"))
    assert subprocess.run([program("shellcheck"), str(script)], capture_output=True).returncode == 1


# The image


def test_the_linter_reports_nothing_for_the_dockerfile(tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text(rendered("docker"), encoding="utf-8")
    done = subprocess.run([program("hadolint"), str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_is_pinned_and_runs_without_privileges() -> None:
    lines = [line for line in rendered("docker").replace("\\\n", " ").splitlines() if not line.startswith("#")]
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["1000:1000"]
    installs = [line for line in lines if "pip install" in line]
    assert len(installs) == 2
    assert all("-c constraints.txt" in line for line in installs)
    copied = {word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]}
    allowed = {line[1:] for line in rendered("dockerignore").splitlines() if line.startswith("!")}
    assert copied == allowed, "what is copied is what .dockerignore lets through"
    assert all((ROOT / name).exists() for name in copied)
    assert rendered("dockerignore").splitlines()[1] == "*"


# The image for Apptainer


def sections(text: str) -> dict[str, str]:
    """Return the sections of a definition file by name; the part before the first section is the header."""
    found = {"header": ""}
    name = "header"
    for line in text.splitlines():
        if match := re.fullmatch(r"%(\w+)\s*", line):
            name = match[1]
            found[name] = ""
        else:
            found[name] += line + "\n"
    return found


def test_the_apptainer_recipe_has_the_sections_that_apptainer_knows() -> None:
    found = sections(rendered("apptainer", "python=3.12"))
    assert list(found) == ["header", "files", "post", "environment", "runscript", "test"]
    header = [line for line in found["header"].splitlines() if line and not line.startswith("#")]
    assert header == ["Bootstrap: docker", "From: python:3.12-slim-bookworm"]
    for name in ("files", "post", "environment", "runscript", "test"):
        assert all(line.startswith("    ") for line in found[name].splitlines() if line), f"%{name} is indented"


def test_both_images_have_the_same_content() -> None:
    recipe = sections(rendered("apptainer"))
    pairs = [line.split() for line in recipe["files"].splitlines() if line]
    assert all(target == f"/opt/aim-ablations/{source}" for source, target in pairs)
    assert {source for source, _ in pairs} == {line[1:] for line in rendered("dockerignore").split() if line[0] == "!"}
    docker = rendered("docker").replace("\\\n", " ")
    installs = [line.strip() for line in recipe["post"].splitlines() if line.strip().startswith("pip install")]
    assert len(installs) == 2
    assert all(line in re.sub(r" +", " ", docker) for line in installs)
    assert "export RAY_AUTH_MODE=token" in recipe["environment"]


@pytest.mark.parametrize("section", ["post", "environment", "runscript", "test"])
def test_shellcheck_reports_nothing_for_the_scripts_in_the_recipe(section: str, tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text("#!/bin/sh\n" + sections(rendered("apptainer"))[section], encoding="utf-8")
    done = subprocess.run([program("shellcheck"), "--shell=sh", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_commands_run_the_programs_in_the_image(tmp_path: Path, programs: Programs) -> None:
    programs.make("apptainer")
    text = rendered("apptainer")
    script = "\n".join(line.removeprefix("#> ") for line in text.splitlines() if line.startswith("#> "))
    (tmp_path / "site").mkdir()
    environment = programs.environment()
    subprocess.run(["bash", "-euc", script], cwd=tmp_path / "site", env=environment, check=True)
    called = "source ./activate; ablate run demo --set 'name=a b'; ray symmetric-run --address x"
    subprocess.run(["bash", "-euc", called], cwd=tmp_path / "site", env=environment, check=True)
    image = f"exec --nv {tmp_path}/site/aim-ablations.sif"
    assert programs.calls == [
        f"apptainer {image} ablate run demo --set name=a b",
        f"apptainer {image} ray symmetric-run --address x",
    ]


def test_the_files_are_part_of_the_package() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["ablations.cluster"]
    for template in cluster.templates().values():
        assert any(Path(template.file).match(pattern) for pattern in patterns), template.file

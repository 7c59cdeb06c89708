"""What newcomers start with: study templates, the list of shipped studies, and versions."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml
from in_process import ablate
from rich.console import Console

import ablations
import aimlib
from ablations.commands.init import Template
from ablations.planning import plan as planning
from ablations.spec.study import read_study, shipped_studies
from aimlib.config import RunConfig
from aimlib.errors import UsageError
from aimlib.training import network_files

TEMPLATES = get_args(Template)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_passes_the_check_and_states_the_next_step(
    template: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = ablate(capsys, "init", "mine", "--template", template)
    assert code == 0
    assert "next: ablate check mine/study.yaml, then ablate run mine/study.yaml" in out
    study = tmp_path / "mine" / "study.yaml"
    text = study.read_text(encoding="utf-8")
    assert "NAME" not in text
    assert "ablate run mine/study.yaml" in text
    assert all("#" in line for line in text.splitlines()[:4])
    checked = ablations.check(study, timing=False)
    assert checked.plan.study.spec.name == "mine"
    assert {"baseline", "aim"} <= {arm.role for arm in checked.plan.arms}
    assert len(checked.plan.study.spec.seeds) == 5
    assert not [note for note in checked.notes if "no verdict" in note]


def test_fine_tuning_starts_from_the_weights_that_its_own_pretraining_study_keeps(tmp_path: Path) -> None:
    study = ablations.init(tmp_path / "mine", template="finetune")
    stored = network_files.read((study.parent / "pretrained.safetensors").read_bytes(), "pretrained")
    (run,) = ablations.check(study.parent / "pretrain.yaml", timing=False).plan.runs
    assert RunConfig.parse(stored.config) == run.config
    checked = ablations.check(study, timing=False)
    assert any("72 parameters and buffers from" in note for note in checked.notes)
    assert any("frozen in the first 2 epochs: 12 parameters" in note for note in checked.notes)


def test_the_part_that_users_write_has_at_most_15_lines_of_yaml(tmp_path: Path) -> None:
    ablations.init(tmp_path / "mine", template="claim")
    study = (tmp_path / "mine" / "study.yaml").read_text(encoding="utf-8")
    written = [line for line in study.splitlines() if line.partition("#")[0].strip()]
    assert len(written) <= 15


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = ablations.init("mine", template="claim")
    study.write_text("name: edited\n")
    code, out, said = ablate(capsys, "init", "mine", "--template", "sweep")
    assert (code, out) == (2, "")
    assert "mine already exists, and nothing is overwritten; choose a different name" in said
    assert study.read_text() == "name: edited\n"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty already exists"):
        ablations.init("empty")


def test_a_nested_folder_is_created_and_its_last_part_becomes_the_name(tmp_path: Path) -> None:
    study = ablations.init(tmp_path / "work" / "mine", template="sweep")
    assert read_study(study).spec.name == "mine"
    assert f"ablate run {tmp_path}/work/mine/study.yaml" in study.read_text()


@pytest.mark.parametrize(
    ("name", "template", "said"),
    [
        ("my study", "claim", "'my study' cannot be the name of a study; use at most 64 letters"),
        ("..", "claim", "'..' cannot be the name of a study"),
        ("mine", "swep", "unknown template 'swep'; did you mean 'sweep'"),
        ("file/mine", "claim", "cannot be written"),
    ],
)
def test_a_folder_that_cannot_be_written_is_refused(name: str, template: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=said):
        ablations.init(name, template=template)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_study_from_a_template_runs_until_its_verdict(template: str, tmp_path: Path) -> None:
    study = ablations.init("mine", template=template)  # type: ignore[arg-type]
    session = ablations.run(study, executor="inline", console=Console(quiet=True))
    assert not session.failed
    assert not session.open
    assert len(session.completed) == session.planned
    assert session.findings.primary is not None
    assert session.findings.primary.interval.n == 5
    assert ablations.report(session.directory).exists()


# The list of shipped studies


def test_the_list_contains_every_shipped_study_with_its_numbers() -> None:
    listed = {each.name: each for each in ablations.studies()}
    assert set(listed) == set(shipped_studies())
    for name, each in listed.items():
        study = read_study(name)
        spec, arms = study.spec, len(planning.arms_of(study))
        assert (each.arms, each.runs) == (arms, arms * len(spec.seeds)), name
        search = spec.search
        trials = 0 if search is None else len(search.arms) * search.trials * len(search.seeds)
        assert each.trial_runs == trials, name
        assert ("GPU" in each.needs) == (spec.resources.gpus > 0), name
        assert ("photos" in each.needs) == (spec.base["data"]["name"] == "stanford_dogs"), name
        assert ("of 20 breeds" in each.needs) == (spec.base["data"].get("classes") == 20), name


def test_the_list_is_printed_and_is_shown_in_a_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ablate(capsys, "studies")
    assert code == 0
    assert len(out.splitlines()) == 1 + len(shipped_studies())
    assert out == f"{ablations.studies()!r}\n"
    assert "<table>" in ablations.studies()._repr_html_()


def test_versions_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ablate(capsys, "--version")
    assert code == 0
    assert out.splitlines() == [
        f"ablate {aimlib.__version__}",
        f"Python {'.'.join(map(str, sys.version_info[:3]))}",
        f"torch {importlib.metadata.version('torch')}",
        f"ray {importlib.metadata.version('ray')}",
    ]


@pytest.mark.parametrize("arguments", [["--version"], ["studies"], ["init", "mine", "--template", "claim"], ["--help"]])
def test_quick_commands_do_not_import_any_heavy_modules(arguments: list[str]) -> None:
    code = (
        "import sys, atexit\n"
        "heavy = ('torch', 'ray', 'numpy', 'pandas', 'pyarrow', 'optuna', 'matplotlib')\n"
        "atexit.register(lambda: print([name for name in heavy if name in sys.modules], file=sys.stderr))\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "from ablations.commands.app import command\n"
        "command()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_other_yaml_parsers_read_templates_in_the_same_way() -> None:
    folder = Path(ablations.__file__).parent / "studies" / "templates"
    for path in folder.glob("*/*.yaml"):
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["name"].startswith("NAME"), path

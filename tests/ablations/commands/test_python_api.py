"""Every command is a function with the same name and the same arguments, and every such function is a command."""

from __future__ import annotations

import inspect
import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from in_process import ablate
from IPython.lib.pretty import RepresentationPrinter
from rich.console import Console
from tiny_study import TINY, changed

import ablations
import analysis
from ablations.commands.app import app
from aimlib.errors import StoreError, UsageError

COMMANDS = {str(command.name): command.callback for command in app.registered_commands}
DATA = {str(command.name): command.callback for command in app.registered_groups[0].typer_instance.registered_commands}
SHOWN = {"wide"}
"""Options for the width of tables on a terminal."""
ELSEWHERE = {"cluster": "ablations.cluster.template(name).render(settings)"}
"""Commands without a function, because a package that renders files has the same name."""
ONLY_IN_PYTHON = {
    "run": {"until", "prune", "console"},  # run ids, and the place where progress is shown
    "watch": {"console"},
    "download": {"progress"},
    "verify": {"progress"},
    "prepare": {"progress"},
}
ONLY_OF_COMMANDS = {"predict": {"csv", "parquet"}, "keys": {"form"}}
"""Options that are replaced by methods of the result: `predict(...).frame()` is a data frame, and keys are records."""
RENAMED = {"source": "directory"}
"""Names of arguments for which functions also accept `Results`, with the commands' names."""
NO_COMMANDS = {"Study", "SessionResult", "data", "features", "memory", "network"}
HEAVY = {"export", "features", "memory", "network", "predict", "Study"}
"""Names whose modules import torch or pandas."""


def names(function: Callable[..., Any] | None) -> list[str]:
    assert function is not None
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ELSEWHERE])
def test_a_command_and_its_function_have_the_same_arguments(name: str) -> None:
    function = getattr(ablations, name)
    of_command = [each for each in names(COMMANDS[name]) if each not in SHOWN | ONLY_OF_COMMANDS.get(name, set())]
    of_function = [RENAMED.get(each, each) for each in names(function) if each not in ONLY_IN_PYTHON.get(name, ())]
    assert set(of_function) == set(of_command)


@pytest.mark.parametrize("name", DATA)
def test_the_data_commands_and_their_functions_have_the_same_arguments(name: str) -> None:
    function = getattr(ablations.data, name)
    assert [each for each in names(function) if each not in ONLY_IN_PYTHON.get(name, ())] == names(DATA[name])


def test_every_function_is_a_command() -> None:
    assert set(ablations.__all__) - NO_COMMANDS == set(COMMANDS) - set(ELSEWHERE)
    assert set(ablations.__all__) <= set(dir(ablations))


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ELSEWHERE])
def test_an_optional_argument_of_a_command_is_optional_in_its_function(name: str) -> None:
    of_command = inspect.signature(COMMANDS[name]).parameters  # type: ignore[arg-type]
    for each, parameter in inspect.signature(getattr(ablations, name)).parameters.items():
        if each in of_command:
            needed = of_command[each].default is inspect.Parameter.empty
            assert (parameter.default is inspect.Parameter.empty) == needed, each


@pytest.mark.parametrize("name", [name for name in ablations.__all__ if name not in NO_COMMANDS])
def test_a_function_explains_each_of_its_arguments(name: str) -> None:
    function = getattr(ablations, name)
    explained = ", ".join(re.findall(r"^ {4}([a-z][\w, ]*) : ", str(function.__doc__), re.M)).split(", ")
    assert set(names(function)) - set(explained) == set()


def test_the_page_about_commands_lists_every_command_with_its_function() -> None:
    page = (Path(__file__).parents[3] / "docs" / "commands.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `ablate (\w+)[^`]*` \| .* \| (.*) \|$", page, re.M))
    assert set(rows) == {*COMMANDS, "data"}
    for name, python in rows.items():
        assert f"ablations.{name}" in python, name


def test_importing_the_package_and_accessing_its_functions_does_not_import_torch_or_ray() -> None:
    code = (
        "import sys, ablations\n"
        f"[getattr(ablations, name) for name in set(ablations.__all__) - {HEAVY!r}]\n"
        "print([name for name in ('torch', 'ray', 'optuna', 'matplotlib', 'IPython') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_an_unknown_function_name_raises_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'chek'"):
        ablations.chek  # noqa: B018


# Functions return what the commands print


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("AIM_CACHE_DIR", str(folder / "cache"))
        session = ablations.run(TINY, executor="inline", console=Console(quiet=True))
    assert (session.planned, session.computed, len(session.completed)) == (4, 4, 4)
    return Path(str(session.directory)).absolute() if session.directory.is_absolute() else folder / session.directory


def test_status_returns_the_counts_and_the_verdict(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = ablations.status(directory)
    code, out, _ = ablate(capsys, "status", str(directory))
    assert (code, found.sentence in " ".join(out.split())) == (0, True)
    assert found.counts["finished"].tolist() == [2, 2]
    assert found.sentence in repr(found)
    assert "<table>" in found._repr_html_()


def test_results_returns_the_table_of_the_command(
    directory: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = ablations.results(directory, "arm=aim", by="arm,seed", stat=["n", "mean"], sort="-mean")
    assert list(found.columns) == ["arm", "seed", "n", "mean"]
    assert found["mean"].is_monotonic_decreasing
    assert len(ablations.results([directory], ["arm=aim", "seed=1"], columns="arm,run_id")) == 1
    assert list(ablations.results(directory, columns=["seed", "arm"]).columns) == ["seed", "arm"]
    assert len(ablations.results(directory).columns) > 30
    ablations.results(directory, csv=tmp_path / "a.csv", parquet=tmp_path / "a.parquet")
    ablate(capsys, "results", str(directory), "--csv", str(tmp_path / "b.csv"))
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    assert (tmp_path / "a.parquet").stat().st_size > 0
    with pytest.raises(UsageError, match="unknown table 'run'; did you mean 'runs'"):
        ablations.results(directory, table="run")  # type: ignore[arg-type]


def test_logs_report_verify_browse_and_plugins_return_their_results(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "finished" in str(ablations.logs(directory, "aim/0"))
    capsys.readouterr()
    followed = ablations.logs(str(directory), "aim/0", follow=True, interval=0.5)
    assert capsys.readouterr().out.startswith(f"run {followed.run.run_id}: aim/0, finished")
    assert ablations.verify(directory).is_intact
    assert ablations.report(directory, directory / "page").name == "report.html"
    assert ablations.browse(directory, directory / "browse.html") == directory / "browse.html"
    assert {"placements", "samplers"} <= set(ablations.plugins()["family"])
    with pytest.raises(StoreError, match=r"study\.json is missing"):
        ablations.status(directory.parent)


def test_watch_shows_the_state_and_returns_it(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = ablations.watch(directory, directory / "overview.html", html=True, once=True)
    assert found.complete
    assert "4 of 4 runs settled" in capsys.readouterr().out
    assert (directory / "overview.html").exists()
    with pytest.raises(UsageError, match="a file is used only for the page"):
        ablations.watch(directory, "page.html")


def test_check_and_plan_take_a_study_defined_in_python_and_return_what_the_commands_print(tmp_path: Path) -> None:
    checked = ablations.check(ablations.Study(**changed({"arms.<b>": {"training": {"batch_size": 8}}})), timing=False)
    assert "study tiny: 3 arms x 2 seeds = 6 runs" in str(checked)
    printer = io.StringIO()
    RepresentationPrinter(printer).pretty(checked)
    assert printer.getvalue() == str(checked)
    shown = checked._repr_html_()
    assert "3 arms × 2 seeds = 6 runs" in shown
    assert "&lt;b&gt;" in shown
    assert "<b>&lt;" not in shown.replace("<p><b>", "")
    found = ablations.plan(TINY, timing=False, figure=tmp_path / "power.svg")
    assert len(found.table)
    assert (tmp_path / "power.svg").read_text().lstrip().startswith("<?xml")
    with pytest.raises(UsageError, match="check: no study is given"):
        ablations.check()
    with pytest.raises(UsageError, match="--claim shows the shipped studies unchanged"):
        ablations.check("stanford_dogs_aim", claim=True, out="x")  # type: ignore[call-overload]


def test_across_reports_what_is_missing_if_two_studies_cannot_be_combined(directory: Path) -> None:
    with pytest.raises(UsageError, match="share 4 runs, so they are not independent"):
        ablations.across(directory, directory)


# Progress and result of a call


def test_a_session_is_shown_on_standard_error_unless_a_console_is_given(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = ablations.run(TINY, directory, executor="inline")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "4 of 4 runs are already settled" in shown.err
    assert (again.computed, again.settled_before, again.completed) == (0, 4, tuple(again.results.plan.runs["run_id"]))
    ablations.run(TINY, directory, executor="inline", console=Console(quiet=True))
    assert capsys.readouterr() == ("", "")


def test_a_session_result_provides_results_and_findings_on_demand(directory: Path) -> None:
    session = ablations.run(TINY, directory, executor="inline", console=Console(quiet=True))
    assert repr(session) == f"<SessionResult {directory}: 4 runs: 4 completed, 0 failed, 0 open>"
    assert "results" not in vars(session)
    assert isinstance(session.results, analysis.Results)
    assert session.results is session.results
    assert session.findings.headline in session._repr_html_()
    assert repr(session.results) == f"<Results {directory}: 4 of 4 runs have a result>"
    assert repr(session.findings) == f"<Findings: {session.findings.headline}>"


def test_a_failed_run_is_in_the_result_and_does_not_raise_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ablations.execution.run_task as run_task

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("<b>planted</b>")

    monkeypatch.setattr(run_task, "train", broken)
    session = ablations.run(TINY, tmp_path / "out", executor="inline", console=Console(quiet=True))
    assert session.completed == ()
    assert len(session.failed) + len(session.open) == 4
    assert "planted" in next(iter(session.failed.values()))
    shown = session._repr_html_()
    assert "&lt;b&gt;planted&lt;/b&gt;" in shown
    assert "Run the same study again to continue" in shown


def test_a_single_string_counts_as_one_override_or_one_tracker(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown tracker 'tensorbord'"):
        ablations.run(TINY, tmp_path, "seeds=2", track="tensorbord")


def test_an_unknown_choice_is_refused_as_on_the_command_line(tmp_path: Path) -> None:
    document = changed({})
    for searched in ({}, {"search": {"vary": "aim", "over": ["training.optimizer.learning_rate"], "trials": 2}}):
        with pytest.raises(UsageError, match=r"^--executor unknown executor 'local'; known: inline, ray$"):
            ablations.run({**document, **searched}, tmp_path / "out", executor="local")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    with pytest.raises(
        UsageError, match=r"^--rule unknown rule 'sha'; (did you mean 'sha256'\? )?known: sha256, tfds$"
    ):
        ablations.data.order("digits", rule="sha")  # type: ignore[arg-type]

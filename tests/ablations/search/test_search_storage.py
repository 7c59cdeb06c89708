"""The storage for optuna-dashboard is a copy of the search's results and may be lost at any time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from fake_launcher import FakeLauncher
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from rich.console import Console
from tiny_study import rows

from ablations.planning import networks
from ablations.search.dashboard import DashboardCopy
from ablations.sessions import screening
from ablations.spec.study import read_study
from aimlib.errors import ConfigError, UsageError

StudyMaker = Callable[..., Path]
SEARCH: dict[str, Any] = {
    "vary": ["baseline", "aim"],
    "over": ["model.update", "training.optimizer.learning_rate"],
    "trials": 9,
    "batch": 9,
    "seeds": [90, 91],
    "top": 0,
    "sampler": "random",
    "halving": {"reduction_factor": 3, "rungs": 2},
    "training": {"epochs": 3},
}


@pytest.fixture(autouse=True)
def _without_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "refuse_unbuildable", lambda *_: None)


def searched(path: Path, out: Path, **options: Any) -> screening.Screening:
    console = Console(file=(out.parent / "said.txt").open("a"), width=500)
    return screening.screen(read_study(path), out, FakeLauncher(**options), console=console)


def journal(out: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(out / "screening" / "optuna.journal")))


def shown(storage: Any, arm: str = "aim") -> list[optuna.trial.FrozenTrial]:
    trials: list[optuna.trial.FrozenTrial] = optuna.load_study(study_name=f"tiny/{arm}", storage=storage).trials
    return trials


def summary(trials: list[optuna.trial.FrozenTrial]) -> list[Any]:
    return [(t.number, t.params, t.state, t.values, t.intermediate_values, t.user_attrs) for t in trials]


def test_the_copy_contains_values_states_rungs_and_attributes(study: StudyMaker, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = searched(study({"search": SEARCH}), out, failing=lambda arm, seed: (arm, seed) == ("aim_0004", 91))
    epochs = {row["arm"]: row["epochs_run"] for row in rows(out / "screening")}
    for arm in ("baseline", "aim"):
        own = [trial for trial in found.trials if trial.arm == arm]
        for trial, copy in zip(own, shown(journal(out), arm), strict=True):
            assert copy.number == trial.number
            assert copy.params == dict(trial.drawn)
            assert copy.state.name == {"complete": "COMPLETE", "pruned": "PRUNED"}.get(trial.outcome.state, "FAIL")
            assert copy.intermediate_values == dict(trial.outcome.rungs)
            assert copy.user_attrs["arm"] == arm
            assert copy.user_attrs["trial"] == trial.name
            assert copy.user_attrs["censored"] is (trial.outcome.state == "pruned")
            if trial.outcome.state == "complete":
                assert copy.value == trial.value
                assert copy.user_attrs["run ids"] == list(trial.run_ids)
            if trial.outcome.state == "pruned":
                assert copy.user_attrs["epochs"] == 2 * epochs[trial.name]
    assert {t.state for t in shown(journal(out))} == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}


@pytest.mark.parametrize("harm", ["deleted", "cut in a line", "cut after a line", "garbage", "of another search"])
def test_a_damaged_copy_is_rewritten(study: StudyMaker, tmp_path: Path, harm: str) -> None:
    out = tmp_path / "out"
    path = study({"search": SEARCH})
    before = searched(path, out)
    whole = summary(shown(journal(out)))
    file = out / "screening" / "optuna.journal"
    lines = file.read_bytes().splitlines(keepends=True)
    if harm == "deleted":
        file.unlink()
    elif harm == "cut in a line":
        file.write_bytes(b"".join(lines[:20]) + lines[20][:-5])
    elif harm == "cut after a line":
        file.write_bytes(b"".join(lines[:20]))
    elif harm == "garbage":
        file.write_bytes(b"\x00\xff{]\n" + file.read_bytes())
    else:
        storage = journal(out)
        storage.set_trial_user_attr(storage.create_new_trial(storage.get_study_id_from_name("tiny/aim")), "x", 1)
        optuna.delete_study(study_name="tiny/baseline", storage=storage)
        other = optuna.create_study(study_name="tiny/baseline", storage=storage, direction="maximize")
        other.set_user_attr("study directory", (out / "screening" / "mark").read_text())
        other.add_trial(optuna.trial.create_trial(value=1.0))
    again = searched(path, out)
    assert again.trials == before.trials
    assert summary(shown(journal(out))) == whole
    said = (tmp_path / "said.txt").read_text()
    assert ("is only a copy, and will be rewritten" in said) is (harm in ("cut in a line", "garbage"))
    assert [trial.state for trial in shown(journal(out), "baseline")].count(TrialState.COMPLETE) == 3


def test_a_database_is_written_and_a_resumed_search_does_not_add_anything(study: StudyMaker, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'search.db'}"
    path = study({"search": {**SEARCH, "storage": url}})
    searched(path, tmp_path / "out")
    first = summary(shown(url))
    assert len(first) == 9
    searched(path, tmp_path / "out")
    assert summary(shown(url)) == first
    assert not (tmp_path / "out" / "screening" / "optuna.journal").exists()
    with pytest.raises(
        UsageError, match=("contains a study 'tiny/baseline' that does not belong to this directory's search")
    ):
        searched(path, tmp_path / "elsewhere")


def test_no_copy_is_written_if_none_is_requested(study: StudyMaker, tmp_path: Path) -> None:
    assert searched(study({"search": {**SEARCH, "storage": "none"}}), tmp_path / "out").confirmed
    assert not list((tmp_path / "out" / "screening").glob("optuna*"))


def test_a_search_continues_if_its_copy_cannot_be_written(
    study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(JournalFileBackend, "append_logs", full)
    assert searched(study({"search": SEARCH}), tmp_path / "out").confirmed
    said = (tmp_path / "said.txt").read_text()
    assert said.count("cannot be written (OSError: [Errno 28] No space left on device); the search continues") == 1


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("postgresql://user:secret@host/db", "a password does not belong in a study file"),
        ("postgresql://user@host/db?password=secret", "a password does not belong in a study file"),
        ("jurnal", "search.*: 'jurnal': must be journal, none, or a database URL"),
        ("sqlite://", "does not name a database"),
        ("$DB/search", "put the whole URL in one environment variable, e.g. "),
    ],
)
def test_an_impossible_storage_is_refused(study: StudyMaker, storage: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_study(study({"search": {**SEARCH, "storage": storage}}))
    assert "secret" not in str(caught.value)


def test_the_database_can_be_set_in_an_environment_variable(
    study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of the study's files contains a URL with a password."""
    monkeypatch.setenv("SEARCH_STORAGE", f"sqlite:///{tmp_path / 'search.db'}?timeout=17")
    search = {**SEARCH, "vary": "aim", "halving": None, "trials": 3, "batch": 3, "storage": "$SEARCH_STORAGE"}
    searched(study({"search": search}), tmp_path / "out")
    assert len(shown(f"sqlite:///{tmp_path / 'search.db'}")) == 3
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if b"timeout=17" in path.read_bytes()]
    assert "timeout=17" not in (tmp_path / "said.txt").read_text()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "the environment variable SEARCH_STORAGE is not set"),
        ("swordfish", "the environment variable SEARCH_STORAGE contains no URL"),
        ("nothing://anna:swordfish@host/db", r"search\.storage: nothing://host/db cannot be used: "),
        (
            "sqlite:////nowhere/at/all.db?swordfish=1",
            r"storage: sqlite:////nowhere/at/all\.db cannot be used: ",
        ),
    ],
)
def test_database_login_data_is_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, message: str
) -> None:
    if value is None:
        monkeypatch.delenv("SEARCH_STORAGE", raising=False)
    else:
        monkeypatch.setenv("SEARCH_STORAGE", value)
    with pytest.raises(UsageError, match=message) as caught:
        DashboardCopy("$SEARCH_STORAGE", tmp_path, "owner", print)
    assert "swordfish" not in str(caught.value)
    assert "anna" not in str(caught.value)


@pytest.mark.parametrize("url", ["nothing://user@host/db", "sqlite:////nowhere/at/all/search.db"])
def test_an_unreachable_database_is_reported_before_anything_runs(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match=r"search\.storage: \w+://\S+ cannot be used: ") as caught:
        DashboardCopy(url, tmp_path, "owner", print)
    assert "user" not in str(caught.value).split(" cannot be used")[0]

"""A run's output is stored, limited in size, and kept separate from other runs' output."""

from __future__ import annotations

import json
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_process import ablate
from tiny_runs import restored_registries
from tiny_study import changed, planned, write

import ablations
from ablations.execution.run_output import HEAD_BYTES, TAIL_BYTES, RunOutput, not_captured
from ablations.sessions.launch import run
from ablations.store.run_logs import find
from aimlib.errors import StoreError, UsageError
from aimlib.placements import Placement
from aimlib.registry import placements


class Noisy(Placement):
    """A placement in which every layer reads, and which prints text."""

    def reads(self, layers: Any) -> list[str]:
        print("first line\nlevel 1 %\rlevel 2 %\r\x1b[31mred\x1b[0m")
        warnings.warn("careful with this", stacklevel=1)
        print("no newline at the end", file=sys.stderr, end="")
        return [layer.name for layer in layers]


def as_python_shows(message: Any, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
    """Python's own handling of warnings, which pytest replaces."""
    print(warnings.formatwarning(message, category, filename, lineno), file=sys.stderr, end="")


@pytest.fixture(autouse=True)
def _warnings_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "showwarning", as_python_shows)


class Written(list[str]):
    """The text written last, and the number of writes."""

    def __call__(self, content: str) -> None:
        self.append(content)

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self[-1].splitlines()]

    def texts(self, *kinds: str) -> list[str]:
        return [each["text"] for each in self.entries if each["kind"] in kinds]


def test_a_run_that_writes_nothing_does_not_have_a_log_file() -> None:
    written = Written()
    with RunOutput(written).captured():
        pass
    assert not written


def test_lines_are_stored_as_a_terminal_shows_them_and_still_reach_their_destination(
    capsys: pytest.CaptureFixture[str],
) -> None:
    written, before = Written(), (sys.stdout, sys.stderr)
    with RunOutput(written).captured():
        print("one\ntwo")
        print("10 %\r20 %\r30 %", end="")
        warnings.warn("careful", stacklevel=1)
        print("an error", file=sys.stderr)
    assert (sys.stdout, sys.stderr) == before
    assert written.texts("stdout") == ["one", "two", "30 %"]
    assert written.texts("stderr")[-1] == "an error"
    assert "UserWarning: careful" in written.texts("stderr")[0]
    assert "output of an attempt on" in written.texts("note")[0]
    shown = capsys.readouterr()
    assert shown.out == "one\ntwo\n10 %\r20 %\r30 %"
    assert shown.err.endswith("an error\n")


def test_a_warning_shown_in_an_earlier_run_is_shown_again_in_the_next_run() -> None:
    for _ in range(2):
        written = Written()
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.showwarning = as_python_shows
            with RunOutput(written).captured():
                for _ in range(2):
                    warnings.warn_explicit("known", UserWarning, "file.py", 3, registry=_REGISTRY)
        assert sum("known" in text for text in written.texts("stderr")) == 1


_REGISTRY: dict[Any, Any] = {}


def test_output_from_threads_of_the_run_is_included_but_not_from_threads_of_the_session() -> None:
    written, begin, done = Written(), threading.Event(), threading.Event()

    def of_session() -> None:
        begin.wait(10)
        print("session")
        done.set()

    threading.Thread(target=of_session).start()
    with RunOutput(written).captured():
        begin.set()
        done.wait(10)
        own = threading.Thread(target=print, args=("own thread",))
        own.start()
        own.join()
        with not_captured():
            print("view")
    assert written.texts("stdout") == ["own thread"]


@given(st.lists(st.integers(0, 30_000), min_size=1, max_size=60))
def test_the_start_and_the_end_of_the_output_are_kept_within_the_limit(lengths: list[int]) -> None:
    written = Written()
    output = RunOutput(written, interval=0.0)
    for number, length in enumerate(lengths):
        output.add("stdout", f"{number}:" + "x" * length)
    output.close()
    kept = written.texts("stdout")
    numbers = [int(text.partition(":")[0]) for text in kept]
    assert numbers[0] == 0
    assert numbers[-1] == len(lengths) - 1
    assert numbers == sorted(numbers)
    assert sum(len(text) for text in kept) <= HEAD_BYTES + TAIL_BYTES
    left_out = [text for text in written.texts("note") if text.endswith("left out")]
    missing = len(lengths) - len(numbers)
    assert bool(left_out) == bool(missing)
    assert not missing or int(left_out[0].split()[0]) == missing


def test_storage_that_rejects_writes_does_not_affect_the_run() -> None:
    def refuse(content: str) -> None:
        raise StoreError("the disk is full")

    with RunOutput(refuse).captured():
        print("continues")


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noisy")
    document = changed({"arms.aim.model.placement": "noisy_for_logs", "base.training.epochs": 1})
    with restored_registries(), pytest.MonkeyPatch.context() as patched:
        placements.register("noisy_for_logs")(Noisy)
        patched.setattr(warnings, "showwarning", as_python_shows)
        run(write(folder, document), folder / "out", executor="inline")
    return folder / "out"


def test_the_output_of_a_run_is_found_by_arm_and_seed(noisy: Path) -> None:
    log = ablations.logs(noisy, "aim/1")
    assert (log.run.arm, log.run.seed, log.settled, log.state) == ("aim", 1, True, "finished")
    output = [each.text for each in log.entries if each.kind == "stdout"]
    assert output[:2] == ["first line", "\x1b[31mred\x1b[0m"]
    errors = [each.text for each in log.entries if each.kind == "stderr"]
    assert any("careful with this" in text for text in errors)
    assert errors[-1] == "no newline at the end"
    assert [each.text.partition(" on ")[0] for each in log.entries if each.kind == "row"][-1] == "finished"
    assert "1 of 1 epoch" in str(log)
    quiet = ablations.logs(noisy, "baseline/0")
    assert [each.kind for each in quiet.entries] == ["row", "row"]
    assert len(list((noisy / "logs").iterdir())) == 2, "one file for each run that wrote output"


def test_the_command_prints_the_output_without_control_characters(
    noisy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown, _ = ablate(capsys, "logs", noisy, find(noisy, "aim/0").run_id[:12], "--follow")
    assert code == 0
    assert "| first line" in shown
    assert "\x1b" not in shown
    code, nothing, _ = ablate(capsys, "logs", noisy, "baseline/0")
    assert code == 0
    assert "no output is stored, because the run wrote nothing or was computed by an earlier version" in nothing
    code, _, error = ablate(capsys, "logs", noisy, "nobody")
    assert code == 2
    assert error.startswith("error: ")


def test_for_a_name_that_does_not_match_exactly_one_run_the_choices_are_listed(noisy: Path) -> None:
    with pytest.raises(UsageError, match=r"'aim' can mean 2 runs; use one of these:\n  [0-9a-f]{20}  aim/0\n  .*aim/1"):
        find(noisy, "aim")
    with pytest.raises(UsageError, match=r"no arm 'aimm'; did you mean 'aim'\? arms: baseline, aim"):
        find(noisy, "aimm/0")
    with pytest.raises(UsageError, match=r"arm aim has no seed '7'; seeds: 0, 1"):
        find(noisy, "aim/7")
    with pytest.raises(UsageError, match=r"no run 'zzz'; use a run id .* baseline/0; arms: baseline, aim"):
        find(noisy, "zzz")
    with pytest.raises(StoreError, match=r"study.json is missing; give the directory that `ablate run` wrote"):
        find(noisy / "runs", "aim/0")
    run_id = planned(noisy)[0]
    assert find(noisy, run_id[:19]).run_id == run_id


def test_a_damaged_log_is_shown_as_far_as_it_can_be_read(noisy: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(noisy, tmp_path / "copy")
    run_id = find(noisy, "aim/0").run_id
    (tmp_path / "copy" / "logs" / f"{run_id}.007.jsonl").write_bytes(b'{"at": 3}\n\xff[[[\n{"at": "2030-01-01"}\n')
    texts = [each.text for each in ablations.logs(tmp_path / "copy", "aim/0").entries]
    assert sum(text.startswith("not readable: ") for text in texts) == 3
    assert "first line" in texts

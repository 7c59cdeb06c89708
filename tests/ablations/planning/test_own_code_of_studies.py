"""User code in files that a study names: approved once, read but not run before that, and refused with a remedy."""

from __future__ import annotations

import io
import json
import re
import shlex
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from in_process import ablate
from own_study import HELPER, PLUGIN, own_study
from tiny_runs import restored_registries

import ablations
from ablations.planning import approval
from ablations.planning.own_code import files_of
from ablations.spec.study import read_study
from aimlib.errors import ConfigError, UsageError
from aimlib.registry import placements

FAST = {"timing": False}


@pytest.fixture(autouse=True)
def own_registries() -> Iterator[None]:
    with restored_registries():
        yield


def code_of(path: Path) -> str:
    (bundle,) = files_of(read_study(path)).values()
    return bundle.hash


def ids(path: Path, **options: object) -> list[str]:
    found = ablations.check(path, timing=False, trust=True, **options)  # type: ignore[arg-type]
    return [run.run_id for run in found.plan.runs]


def test_without_a_terminal_the_code_is_refused_with_the_command_that_approves_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = own_study(tmp_path)
    code, _, error = ablate(capsys, "check", path, "--no-timing")
    assert code == 2
    assert error.startswith(
        f"error: {path}: own code: you have not approved the code in my_net.py with helper.py (sha256 "
    )
    assert "own_head" not in placements.names(), "none of it was run"
    command = error.partition("then use `")[2].partition("`")[0]
    assert command.startswith(f"ablate check {path} --no-timing --trust ")
    code, out, error = ablate(capsys, *shlex.split(command)[1:])
    assert (code, error) == (0, "")
    assert "no problems" in out
    code, _, _ = ablate(capsys, "check", path, "--no-timing")
    assert code == 0, "it is remembered"


def test_changed_comments_need_no_new_approval_and_other_changes_do(tmp_path: Path) -> None:
    path = own_study(tmp_path)
    ablations.check(path, timing=False, trust=code_of(path)[:32])
    own_study(tmp_path, helper=f"# A comment.\n{HELPER}")
    ablations.check(path, timing=False)
    own_study(tmp_path, helper=HELPER.replace("FIRST = 1", "FIRST = 2"))
    with pytest.raises(
        UsageError, match=r'you have not approved the code in my_net.py .* then use trust="[0-9a-f]{32}"'
    ):
        ablations.check(path, timing=False)
    with pytest.raises(UsageError, match="you have not approved"):
        ablations.check(path, timing=False, trust="0" * 32)
    with pytest.raises(UsageError, match="--trust abc: this is not a hash of code; give at least 32"):
        ablations.check(path, timing=False, trust="abc")
    ablations.check(path, timing=False, trust=True)
    with pytest.raises(UsageError, match="you have not approved"):  # trust=True is not stored
        ablations.check(path, timing=False)


def test_the_hashes_of_all_files_are_listed_at_once(tmp_path: Path) -> None:
    path = own_study(tmp_path, {"plugins": ["my_net.py", "second.py"]})
    second = PLUGIN.replace("own_head", "second_head").replace("FIRST)", "2)").replace("FIRST, ", "")
    (tmp_path / "second.py").write_text(second, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        ablations.check(path, timing=False)
    found = re.search(
        r"you have not approved the code in my_net\.py .* and in second\.py .*; read them, then use "
        r'trust=\["([0-9a-f]{32})", "([0-9a-f]{32})"\], or trust=True',
        str(caught.value),
    )
    assert found, caught.value
    ablations.check(path, timing=False, trust=found.groups())
    ablations.check(path, timing=False)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "approved", "after_edit"), [("y", True, False), ("a", True, True), ("", False, False)]
)
def test_on_a_terminal_a_study_asks_for_approval_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, approved: bool, after_edit: bool
) -> None:
    path = own_study(tmp_path)
    for edited in (False, False, True):
        if edited:
            own_study(tmp_path, helper=HELPER.replace("FIRST = 1", "FIRST = 2"))
        shown = Terminal()
        monkeypatch.setattr(sys, "stdin", Terminal(f"{'' if edited else answer}\n"))
        monkeypatch.setattr(sys, "stderr", shown)
        if after_edit if edited else approved:
            ablations.check(path, timing=False)
        else:
            with pytest.raises(UsageError, match="was not approved; none of it was run"):
                ablations.check(path, timing=False)
        asked = "study.yaml names my_net.py with helper.py (sha256 " in shown.getvalue()
        if edited:
            assert asked != after_edit
        answer = "" if approved else answer  # the question is asked only once


def test_approvals_are_private_and_approvals_that_others_can_write_to_do_not_count(tmp_path: Path) -> None:
    path = own_study(tmp_path)
    ablations.check(path, timing=False, trust=code_of(path))
    remembered = tmp_path / "config" / "approved_code.json"
    assert stat.S_IMODE(remembered.stat().st_mode) == 0o600
    assert code_of(path) in json.loads(remembered.read_text())["code"]
    remembered.chmod(0o666)
    with pytest.raises(UsageError, match="you have not approved"):
        ablations.check(path, timing=False)
    remembered.chmod(0o600)
    ablations.check(path, timing=False)
    remembered.write_text("{broken")
    with pytest.raises(UsageError, match="you have not approved"):
        ablations.check(path, timing=False)


def test_a_file_that_others_can_write_to_needs_a_new_approval(tmp_path: Path) -> None:
    path = own_study(tmp_path)
    approval.approve_file(tmp_path / "my_net.py")
    ablations.check(path, timing=False)
    (tmp_path / "helper.py").write_text(HELPER.replace("FIRST = 1", "FIRST = 2"))
    ablations.check(path, timing=False)
    (tmp_path / "my_net.py").chmod(0o664)
    with pytest.raises(UsageError, match="you have not approved"):
        ablations.check(path, timing=False)


def test_an_approval_that_cannot_be_stored_applies_to_one_call(tmp_path: Path) -> None:
    path = own_study(tmp_path)
    (tmp_path / "config").write_text("a file, and no folder")
    ablations.check(path, timing=False, trust=code_of(path))


def test_without_plugins_only_the_arms_that_use_no_plugin_are_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = own_study(
        tmp_path,
        {"arms.usual": {"of": "aim", "model": {"placement": "every_layer"}}, "arms.more": {"of": "aim"}},
        plugin=PLUGIN + '\nprint("ran")\n',
    )
    code, out, _ = ablate(capsys, "check", path, "--no-timing", "--no-plugins")
    assert code == 0
    assert "not checked, because running its code was not allowed: aim, more" in " ".join(out.split())
    assert "usual" in out
    assert "own_head" not in placements.names()
    own_study(tmp_path, {"arms.usual": {"of": "aim", "model": {"placement": "evry_layer"}}})
    code, _, error = ablate(capsys, "check", path, "--no-timing", "--no-plugins")
    assert code == 2
    assert "did you mean 'every_layer'?" in error


def test_additional_seeds_and_comments_keep_run_ids_and_an_edited_helper_changes_those_of_its_arm(
    tmp_path: Path,
) -> None:
    path = own_study(tmp_path, {"seeds": 1})
    baseline, aim = ids(path)
    assert ids(own_study(tmp_path, {"seeds": 2}))[:2] == [baseline, aim]
    commented = own_study(tmp_path, {"seeds": 1}, helper=f"{HELPER}\n# more\n", plugin=PLUGIN.replace("\n\n\n", "\n"))
    assert ids(commented) == [baseline, aim]
    edited = ids(own_study(tmp_path, {"seeds": 1}, helper=HELPER.replace("names[-count:]", "list(names[-count:])")))
    assert edited[0] == baseline
    assert edited[1] != aim


BAD = {
    "no list": ({"plugins": 3}, {}, "plugins: must be files with Python code, e.g. [my_net.py]; got 3"),
    "no Python file": ({"plugins": ["my_net.txt"]}, {}, "plugins: must be files with Python code"),
    "a missing file": ({"plugins": ["nothing.py"]}, {}, "nothing.py: cannot be read: No such file or directory"),
    "nothing registered": (
        {},
        {"plugin": "x = 1\n"},
        "my_net.py: does not register any class; decorate a class, not a function, as in @placements",
    ),
    "no Python": ({}, {"plugin": "def f(:\n"}, "plugins: my_net.py, line 1: is not valid Python"),
    "an unknown name": (
        {},
        {"helper": "FIRST = 1\n"},
        "my_net.py, line 4: helper does not define 'last_ones'; correct",
    ),
    "a failure": (
        {},
        {"helper": HELPER.replace("FIRST = 1", "FIRST = int('x')")},
        "plugins: helper.py, line 2: ValueError: invalid literal for int() with base 10: 'x'; correct it",
    ),
    "a failing method": (
        {},
        {"helper": HELPER.replace("names[-count:]", "names[count]['x']")},
        "a plugin failed: TypeError: string indices must be integers, not 'str' (helper.py [own code ",
    ),
    "a class without its method": (
        {},
        {"plugin": PLUGIN.replace("def reads", "def read")},
        "plugins: placement 'own_head' (my_net.py, line 7, class OwnHead) lacks reads; it defines 'read': rename that",
    ),
    "a name of the package": (
        {},
        {"plugin": PLUGIN.replace('"own_head"', '"every_layer"')},
        "is registered twice: by aimlib.placements._every_layer of aim-ablations and by my_net.py, line 7; rename",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_in_user_code_is_reported_with_place_and_cause_and_remedy(name: str, tmp_path: Path) -> None:
    changes, files, message = BAD[name]
    path = own_study(tmp_path, changes, **files)  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught:
        ablations.check(path, timing=False, trust=True)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_user_code_can_be_a_control_and_a_factor_and_can_have_a_search_space(tmp_path: Path) -> None:
    control = '''
from aimlib.controls.base import Control
from aimlib.component import ComponentConfig, Integer
from aimlib.registry import controls
from aimlib.placements import Placement
from aimlib.registry import placements

@controls.register("fewer")
class Fewer(Control):
    """Fewer channels."""
    role = "other"
    source = "own"
    def transform(self, model, shape):
        return model.model_copy(update={"memory": model.memory.model_copy(update={"channels": 2})})

@placements.register("own_head")
class OwnHead(Placement):
    """The last layers read."""

    class Config(ComponentConfig):
        count: int = 1

    search_space = {"count": Integer(1, 3)}

    def reads(self, layers):
        return [layer.name for layer in layers][-self.config.count:]
'''
    changes = {
        "arms.fewer": {"of": "aim", "control": "fewer"},
        "factors": {"model.placement": ["own_head", {"name": "own_head", "count": 2}]},
        "vary": "aim",
    }
    found = ablations.check(own_study(tmp_path, changes, plugin=control), timing=False, trust=True)
    assert [arm.role for arm in found.plan.arms] == ["baseline", "aim", "other", "aim"]
    assert len({run.run_id for run in found.plan.runs}) == 8

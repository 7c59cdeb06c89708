"""Classes in scripts and notebooks have the same ids as in files, and are refused if workers' classes would differ."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from folders import HEAD, HELPER, KEY, PLUGIN, code_of, write

ROOT = Path(__file__).parents[3]
SHOW = """
from pathlib import Path
from typing import Any
from aimlib.own_code import parts, sessions
from aimlib.registry import FAMILIES

def shown():
    for bundle in sessions.bundles([], FAMILIES):
        for root in bundle.roots:
            print(root.key, bundle.codes[root.key], bundle.label)
        for key, problem in bundle.refusals.items():
            print("refused", key, problem)
        parts.adopt(bundle)
"""


@pytest.fixture(scope="module")
def warm() -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("warm.py"))]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(autouse=True)
def _at_hand(warm: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "process", warm)


process: Any = None


def ask(folder: Path, **request: object) -> str:
    """Return the output of a request to the warm process, which forks a child for it."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({"folder": str(folder), **request}) + "\n")
    process.stdin.flush()
    text, code = json.loads(process.stdout.readline())
    assert code == 0, text
    return str(text)


def python(folder: Path, *arguments: str) -> str:
    return ask(folder, arguments=arguments)


def script(folder: Path, text: str, **others: str) -> list[str]:
    write(folder, train=SHOW + text, **others)
    return python(folder, "train.py").splitlines()


def test_a_script_and_a_file_have_the_same_hash(tmp_path: Path) -> None:
    expected = code_of(tmp_path / "file", PLUGIN, helper=HELPER)
    text = f"SEEDS = [1]\n{HEAD}{PLUGIN}\nshown()\nSEEDS.append(2)\n"
    assert script(tmp_path, text, helper=HELPER) == [f"{KEY} {expected} train.py"]
    guarded = f'{HEAD}{PLUGIN}\nif __name__ == "__main__":\n    shown()\n'
    assert script(tmp_path, guarded, helper=HELPER) == [f"{KEY} {expected} train.py"]


def test_calling_a_function_through_an_imported_module_reaches_the_same_function(tmp_path: Path) -> None:
    """Python compiles the call differently if the import is in the same file."""
    plugin = PLUGIN.replace("return last_ones([layer", "return last_ones([math.floor(1.5) and layer")
    expected = code_of(tmp_path / "file", f"import math\n{plugin}", helper=HELPER)
    assert script(tmp_path, f"{HEAD}import math\n{plugin}\nshown()\n", helper=HELPER) == [f"{KEY} {expected} train.py"]


def test_a_module_next_to_the_script_counts_as_own_code(tmp_path: Path) -> None:
    expected = code_of(tmp_path / "file", PLUGIN, helper=HELPER)
    assert script(tmp_path, "import my_net\nshown()\n", my_net=HEAD + PLUGIN, helper=HELPER) == [
        f"{KEY} {expected} my_net.py"
    ]
    nested = {
        "pkg/__init__": "",
        "pkg/my_net": HEAD + PLUGIN.replace("from helper", "from .helper"),
        "pkg/helper": HELPER,
    }
    (found,) = script(tmp_path, "import pkg.my_net\nshown()\n", **nested)
    assert found == f"{KEY} {expected} my_net.py"
    write(tmp_path, **{"pkg/run": f"{SHOW}\nimport pkg.my_net\nshown()\n"})
    assert python(tmp_path, "-m", "pkg.run").split()[1] == expected


CHANGED = {
    "a constant of the script": ("FIRST = 4\nshown()\n", "FIRST is 4 in this session, but not in helper.py, line 2"),
    "a constant of the helper": ("import helper\nhelper.FIRST = 4\nshown()\n", "FIRST is 4 in this session"),
    "a function": (
        "import helper\nhelper.last_ones = lambda names, count: names\nshown()\n",
        "last_ones in this session is not the function in helper.py, line 5",
    ),
    "a method": (
        "def reads(self, layers): return []\nfor key in ['reads']:\n    setattr(OwnHead, key, reads)\nshown()\n",
        "OwnHead.reads in this session is not the function in train.py",
    ),
    "an injected name": ("globals()['WIDTH'] = 3\nshown()\n", "WIDTH is not defined in train.py"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_values_that_the_process_has_changed_are_refused(name: str, tmp_path: Path) -> None:
    change, message = CHANGED[name]
    plugin = PLUGIN.replace("FIRST)", "FIRST + WIDTH)") if "injected" in name else PLUGIN
    found = script(tmp_path, f"{HEAD}{plugin}\n{change}", helper=HELPER)
    if name == "a constant of the script":  # a definition that hides the imported name is treated like any other
        assert found[0].startswith(f"{KEY} ")
        return
    assert found[0].startswith(f"refused {KEY} ")
    assert message in found[0]
    assert found[0].endswith("put it in a file, and name the file in the study: plugins: [my_idea.py]")


def test_an_object_that_was_changed_is_refused_but_an_object_that_was_only_read_is_not(tmp_path: Path) -> None:
    plugin = PLUGIN.replace("FIRST)", "TABLE[0])")
    looked = f"{HEAD}TABLE = [1, 2]\n{plugin}\ndef total(table): return sum(table)\ntotal(TABLE)\nshown()\n"
    assert script(tmp_path, looked, helper=HELPER)[0].startswith(f"{KEY} ")
    changed = looked.replace("return sum(table)", "table[0] = 2")
    assert "TABLE was changed after train.py, line " in script(tmp_path, changed, helper=HELPER)[0]


def test_a_class_without_source_code_is_refused(tmp_path: Path) -> None:
    text = f"{HEAD}\nfrom helper import FIRST, last_ones\nexec({PLUGIN!r})\nshown()\n"
    (found,) = script(tmp_path, text, helper=HELPER)
    assert found.startswith(f"refused {KEY} its definition is not in any line that can be read; put it in a file")
    write(tmp_path, my_net=HEAD + PLUGIN, helper=HELPER)
    typed = subprocess.run(
        [sys.executable, "-c", f"{SHOW}{HEAD}{PLUGIN}\nshown()"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert typed.stdout.startswith(f"refused {KEY} its definition is not in any"), typed.stderr


def notebook(folder: Path, *cells: str) -> list[str]:
    pytest.importorskip("IPython")
    write(folder, helper=HELPER)
    out = ask(folder, cells=[SHOW, HEAD, *cells]).splitlines()
    return [line for line in out if line.startswith((KEY, "refused"))]


def test_a_notebook_and_a_file_have_the_same_hash(tmp_path: Path) -> None:
    expected = f"{KEY} {code_of(tmp_path / 'file', PLUGIN, helper=HELPER)} notebook"
    assert notebook(tmp_path, PLUGIN, "shown()") == [expected]
    own = PLUGIN.replace("from helper import FIRST, last_ones", "")
    cells = HELPER.partition("UNUSED = 2")
    assert notebook(tmp_path, cells[0], cells[2], own, "shown()") == [expected]


def test_only_the_last_execution_of_a_repeated_cell_counts(tmp_path: Path) -> None:
    expected = f"{KEY} {code_of(tmp_path / 'file', PLUGIN, helper=HELPER)} notebook"
    own = PLUGIN.replace("from helper import FIRST, last_ones", "")
    first, _, functions = HELPER.partition("UNUSED = 2")
    again = (functions.replace("-count", "count"), own.replace("own idea", "an idea"), own, "1 / 0", functions)
    found = notebook(tmp_path, "FIRST = 5", *again, "shown()", first, "shown()")
    assert len(found) == 2
    assert found[0] != expected, "FIRST was 5"
    assert found[1] == expected, "a helper that is edited afterwards counts for the class that was defined before"


def test_a_class_body_runs_after_the_code_that_it_needs(tmp_path: Path) -> None:
    """The cell with the constant that the class body needs was executed again after the class."""
    own = PLUGIN.replace('source = "own idea"', "width = TWICE").replace("from helper import FIRST, last_ones", "")
    helper = f"{HELPER}\ndef twice(): return 2 * FIRST"
    found = notebook(tmp_path, helper, "TWICE = twice()", own, helper, "TWICE = twice()", "shown()")
    assert found[0].startswith(f"{KEY} ")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["globals()['FIRST'] = 5"], "FIRST is 5 in this session, but not in In ["),
        (["del FIRST"], "FIRST is defined in In [3], line 1, but does not exist in this session"),
        (["globals()['last_ones'] = lambda names, count: names"], "last_ones in this session is not the function in"),
        (["FIRST = 1 / 0"], "In [5], line 1: ZeroDivisionError"),
    ],
)
def test_values_that_a_session_has_changed_are_refused(tmp_path: Path, cells: list[str], message: str) -> None:
    own = PLUGIN.replace("from helper import FIRST, last_ones", "")
    (found,) = notebook(tmp_path, HELPER, own, *cells, "shown()")
    assert found.startswith(f"refused {KEY} ")
    assert message in found


def test_a_name_that_is_not_defined_in_any_cell_is_refused(tmp_path: Path) -> None:
    own = PLUGIN.replace("from helper import FIRST, last_ones", "from helper import last_ones")
    (found,) = notebook(tmp_path, "globals()['FIRST'] = 1", own, "shown()")
    assert "FIRST is not defined in any readable cell of this session" in found
    own = PLUGIN.replace("from helper import FIRST, last_ones", "")
    (found,) = notebook(tmp_path, "from helper import *", own, "shown()")
    assert "import the names from your own code one by one" in found

"""The hash of a class covers exactly the code that the class reaches; code that cannot be resolved is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from folders import HEAD, HELPER, KEY, PLUGIN, code_of, read, write

from aimlib.errors import PluginError

CLASS = """
@placements.register("own_head")
class OwnHead(Placement):
    def reads(self, layers):
        return {}
"""


def using(expression: str, before: str = "") -> str:
    """Return a plugin with a method that contains an expression."""
    return f"{before}\n{CLASS.format(expression)}"


def test_editing_a_helper_changes_the_hash(tmp_path: Path) -> None:
    first = code_of(tmp_path, PLUGIN, helper=HELPER)
    assert code_of(tmp_path, PLUGIN, helper=HELPER.replace("names[-count:]", "names[:count]")) != first
    assert code_of(tmp_path, PLUGIN, helper=HELPER.replace("FIRST = 1", "FIRST = 2")) != first
    assert code_of(tmp_path, PLUGIN.replace("[-1]", "[0]").replace("own idea", "an idea"), helper=HELPER) != first
    assert code_of(tmp_path, PLUGIN, helper=HELPER) == first


@pytest.mark.parametrize(
    ("plugin", "helper"),
    [
        (PLUGIN, HELPER.replace("UNUSED = 2", "UNUSED = 3\n\nALSO = [UNUSED]")),
        (PLUGIN, f"# A comment.\n{HELPER.replace('names[-count:]', 'names[ - count : ]  # the last')}"),
        (f"# seeds\nSEEDS = [1, 2]\nSTUDY = dict(seeds=SEEDS)\n{PLUGIN}\nprint(SEEDS)\n", HELPER),
        (PLUGIN.replace('register("own_head")', 'register(\n    "own_head"\n)  # as ever'), HELPER),
        (PLUGIN.replace("def reads(self", "def reads( self"), HELPER),
        (f'{PLUGIN}\nif __name__ == "__main__":\n    FIRST = 7\n    print(OwnHead)\n', HELPER),
        (f"from __future__ import annotations\n{PLUGIN}", HELPER),
    ],
)
def test_code_that_is_not_reached_and_spacing_do_not_count(tmp_path: Path, plugin: str, helper: str) -> None:
    plugin = plugin.replace("from __future__ import annotations\n", "")
    assert code_of(tmp_path, plugin, helper=helper) == code_of(tmp_path, PLUGIN, helper=HELPER)


def test_file_and_folder_names_are_not_part_of_the_hash(tmp_path: Path) -> None:
    first = code_of(tmp_path, PLUGIN, helper=HELPER)
    elsewhere = write(tmp_path / "b", other=HEAD + PLUGIN.replace("helper", "tools.names"), **{"tools/names": HELPER})
    assert read(elsewhere).codes[KEY] == first
    alone = write(tmp_path / "c", all_in_one=HEAD + HELPER + PLUGIN.replace("from helper import FIRST, last_ones", ""))
    assert read(alone).codes[KEY] == first
    inner = PLUGIN.replace("from helper import FIRST, last_ones\n", "").replace(
        "        return last", "        from {} import FIRST, last_ones\n        return last"
    )
    one, two = (code_of(tmp_path / name, inner.format(name), **{name: HELPER}) for name in ("helper", "names"))
    assert one == two, "an import in a function as well"


@pytest.mark.parametrize(
    "import_line",
    ["from . import helper", "import helper", "from .helper import FIRST, last_ones", "import helper as helper"],
)
def test_a_helper_is_reached_by_every_way_of_importing_it(tmp_path: Path, import_line: str) -> None:
    plugin = PLUGIN.replace("from helper import FIRST, last_ones", import_line)
    if "FIRST" not in import_line:
        plugin = plugin.replace("last_ones([", "helper.last_ones([").replace("FIRST)", "helper.FIRST)")
    first = code_of(tmp_path, plugin, helper=HELPER)
    assert code_of(tmp_path, plugin, helper=HELPER.replace("UNUSED = 2", "UNUSED = 3")) == first
    assert code_of(tmp_path, plugin, helper=HELPER.replace("FIRST = 1", "FIRST = 2")) != first
    assert code_of(tmp_path, plugin, helper=HELPER.replace("names[-count:]", "names[:count]")) != first


REACHED = {
    "a base class": (
        "class Base(Placement):\n    width = WIDTH\n",
        CLASS.format("[]").replace("(Placement)", "(Base)"),
    ),
    "a decorator": ("def mark(cls):\n    cls.width = WIDTH\n    return cls\n", f"@mark{CLASS.format('[]')}"),
    "a default": ("", CLASS.format("[]").replace("layers)", "layers, width=WIDTH)")),
    "a constant of a constant": ("TWICE = 2 * WIDTH\n", CLASS.format("TWICE")),
    "a lambda": ("twice = lambda x: x * WIDTH\n", CLASS.format("twice(2)")),
    "a comprehension": ("", CLASS.format("[WIDTH for WIDTH in range(WIDTH)]")),
    "an f-string": ("", CLASS.format('f"{WIDTH}"')),
    "a nested class": ("", f"{CLASS.format('[]')}\n    class Inner:\n        width = WIDTH\n"),
    "a field of a class": (
        "from typing import Annotated\nWidth = Annotated[int, WIDTH]\n",
        f"{CLASS.format('[]')}\n    class Inner:\n        width: 'Width | None' = None\n",
    ),
    "an item": ("TABLE = {}\nTABLE['a'] = WIDTH\n", CLASS.format("TABLE")),
    "a method that changes": ("TABLE = []\nTABLE.append(WIDTH)\n", CLASS.format("TABLE")),
    "a loop": ("TABLE = []\nfor number in range(WIDTH):\n    TABLE += [number]\n", CLASS.format("TABLE")),
    "a condition": ("if WIDTH > 2:\n    DEPTH = 1\nelse:\n    DEPTH = 2\n", CLASS.format("DEPTH")),
    "a try": (
        "try:\n    import no_such_module_1\nexcept ImportError:\n    no_such_module_1 = WIDTH\n",
        CLASS.format("no_such_module_1"),
    ),
    "a later binding": ("DEPTH = 1\nDEPTH = DEPTH + WIDTH\n", CLASS.format("DEPTH")),
    "an attribute": ("class Box: pass\nBox.width = WIDTH\n", CLASS.format("Box.width")),
    "a function in a function": ("", CLASS.format("(lambda: [x for x in [WIDTH]])()")),
    "a global": ("def count():\n    global WIDTH\n    WIDTH += 1\n", CLASS.format("count()")),
    "a match": ("", CLASS.format("0\n        match layers:\n            case [WIDTH_, *rest]: return WIDTH")),
}


@pytest.mark.parametrize("name", REACHED)
def test_code_that_defines_a_constant_is_reached(name: str, tmp_path: Path) -> None:
    before, after = REACHED[name]

    def code(width: int, unused: int) -> str:
        plugin = f"from helper import WIDTH\nUNUSED = {unused}\n{before}\n{after}"
        return code_of(tmp_path, plugin, helper=f"WIDTH = {width}\n")

    assert code(3, 1) != code(4, 1)
    assert code(3, 1) == code(3, 2)


@pytest.mark.parametrize(
    "expression",
    ["(lambda WIDTH: WIDTH)(1)", "[WIDTH for WIDTH in range(3)]", "layers.WIDTH", "dict(WIDTH=1)", "'WIDTH'"],
)
def test_a_local_name_hides_a_module_level_name(tmp_path: Path, expression: str) -> None:
    codes = {code_of(tmp_path, using(expression, f"WIDTH = {width}")) for width in (3, 4)}
    assert len(codes) == 1


def test_annotations_of_functions_are_not_evaluated(tmp_path: Path) -> None:
    plugin = CLASS.format("[]").replace("(self, layers)", "(self, layers: Sequence[WIDTH]) -> NoSuchName")
    assert len({code_of(tmp_path, f"WIDTH = {width}\n{plugin}") for width in (3, 4)}) == 1


def test_the_hash_depends_on_the_definition_that_a_name_refers_to(tmp_path: Path) -> None:
    codes = {code_of(tmp_path, using("f(1)", f"from math import {name} as f")) for name in ("sin", "cos")}
    assert len(codes) == 2
    aliased = code_of(tmp_path, using("nn.ReLU", "import torch.nn as nn"))
    assert code_of(tmp_path, using("nn.ReLU", "from torch import nn")) == aliased


def test_cycles_and_recursion_are_followed_once(tmp_path: Path) -> None:
    plugin = "from helper import even\ndef odd(n): return n and even(n - 1)\n" + CLASS.format("odd(3)")
    helper = "import my_net\ndef even(n): return not n or my_net.odd(n - 1)\n"
    first = code_of(tmp_path, plugin, helper=helper)
    assert code_of(tmp_path, plugin, helper=helper.replace("not n", "n == 0")) != first


REFUSED = {
    "NoSuchName": (using("NoSuchName"), "my_net.py, line 9: NoSuchName is not defined in my_net.py; define or import"),
    "eval": (using("eval('FIRST')"), "eval: text that is evaluated cannot be resolved"),
    "exec": (using("exec('x = 1')"), "exec: text that is executed"),
    "globals": (using("globals()['x']"), "globals: names that are looked up"),
    "__file__": (using("open(__file__)"), "__file__: the location of its file cannot be resolved"),
    "a star": (
        using("FIRST", "from helper import *"),
        "line 4: from helper import *: import the names from your own code one",
    ),
    "a whole module": (using("vars(helper)", "import helper"), "the module helper is used as a whole"),
    "a changed module": (
        using("helper.FIRST", "import helper\nhelper.FIRST = 3"),
        "`helper.FIRST = 3` may change helper",
    ),
    "a dotted module": (using("a.b.C", "import a.b"), "write `from a import b` for your own code"),
    "a missing name": (using("x", "from helper import nothing as x"), "helper does not define 'nothing'"),
    "a missing attribute": (using("helper.nothing", "import helper"), "helper does not define 'nothing'"),
    "a main guard": (
        using("WIDTH", 'if __name__ == "__main__":\n    WIDTH = 3\n'),
        "WIDTH is defined only under `if __name__ == '__main__':` (my_net.py, line 5)",
    ),
    "a call that changes": (using("TABLE", "TABLE = []\nfill(TABLE)"), "line 5: `fill(TABLE)` may change TABLE"),
    "above the folder": (using("x", "from ..other import x"), "this import refers to something outside the folder"),
    "a module in a function": (using("__import__('helper')"), "__import__: a module that is imported by name"),
    "a name that is computed": (
        CLASS.format("[]").replace('"own_head"', '"own" + "_head"'),
        "the name and the version of a registered class must be literals",
    ),
    "no Python": ("class:\n" + CLASS.format("[]"), "my_net.py, line 4: is not valid Python: invalid syntax"),
    "twice": (
        CLASS.format("[]") + CLASS.format("[1]"),
        "is registered twice: in my_net.py, line 5, and in my_net.py, line 10",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_code_that_cannot_be_resolved_is_refused_and_the_error_shows_its_location(name: str, tmp_path: Path) -> None:
    plugin, message = REFUSED[name]
    with pytest.raises(PluginError) as caught:
        code_of(tmp_path, plugin, helper=HELPER, **{"a/b": "C = 1\n"})
    assert message in str(caught.value)
    assert str(caught.value).startswith(("my_net.py, line", "placements/own_head is registered"))


def test_a_module_that_workers_do_not_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "elsewhere", beside_nobody="VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    with pytest.raises(PluginError, match="neither in the same folder nor part of an installed package"):
        code_of(tmp_path / "here", using("VALUE", "from beside_nobody import VALUE"))


def test_lines_that_are_not_run_are_reported(tmp_path: Path) -> None:
    text = f'"""Text."""\n{HEAD}{PLUGIN}\nprint("hello")\nimport torch\ntorch.manual_seed(3)\n'
    found = read(write(tmp_path, my_net=text, helper=HELPER))
    assert [note.partition(" is not run")[0] for note in found.unused()] == [
        'my_net.py, line 17: `print("hello")`',
        "my_net.py, line 19: `torch.manual_seed(3)`",
    ]

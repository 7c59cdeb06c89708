"""Drivers and workers import classes in the user's own code from modules whose names contain the code's hash."""

from __future__ import annotations

import inspect
import json
import linecache
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from folders import HEAD, HELPER, KEY, PLUGIN, write
from tiny_runs import restored_registries

from aimlib.config import RunConfig
from aimlib.errors import PluginError
from aimlib.own_code import modules, parts
from aimlib.placements import Placement
from aimlib.registry import placements, updates

UPDATE = '''
from torch import nn
from aimlib.updates import MemoryUpdate
from aimlib.registry import updates
from helper import (
    FIRST,
    last_ones as ends,
)


@updates.register("own_update", version=3)
class OwnUpdate(MemoryUpdate):
    """Scales."""

    source = "own idea"

    def forward(self, features, memory_NCHW):
        from helper import (
            last_ones,
        )
        ends([], FIRST)
        return memory_NCHW * 2 + len(last_ones([], 0))

    def fails(self):
        raise ValueError("as it must")
'''


@pytest.fixture(autouse=True)
def own_registries() -> Iterator[None]:
    with restored_registries():
        yield


@pytest.fixture
def update(tmp_path: Path) -> Any:
    bundle = parts.read(write(tmp_path, my_net=UPDATE, helper=HELPER))
    parts.adopt(bundle)
    return bundle


def config(placement: str = "own_head") -> RunConfig:
    return RunConfig.parse(
        {
            "model": {
                "backbone": {"name": "small_resnet", "widths": [4, 4, 8]},
                "memory": {"name": "conv_ones", "channels": 4, "rows": 2, "columns": 2},
                "placement": placement,
            },
            "data": {"name": "digits", "size": 8, "train_images": 40},
            "training": {"epochs": 1, "batch_size": 16, "optimizer": "adam", "selection": "last_epoch"},
            "seed": 0,
        }
    )


def test_the_class_in_the_registry_is_the_class_in_the_generated_module(update: Any) -> None:
    cls = updates.get("own_update")
    assert cls.__module__ == f"aim_own_{update.text_hash[:16]}.my_net"
    assert cls is modules.classes(update)["updates/own_update"]
    assert pickle.loads(pickle.dumps(cls)) is cls
    origin = updates.origin("own_update")
    assert origin is not None
    assert (origin.file, origin.code) == ("my_net.py", update.codes["updates/own_update"])
    assert updates.parse("own_update").identity() == {"name": "own_update", "version": 3, "code": origin.code}
    assert "own code: my_net.py, sha256 " in next(i for i in updates.plugins() if i.name == "own_update").distribution


def test_tracebacks_and_inspect_show_the_original_lines_of_the_file(update: Any, tmp_path: Path) -> None:
    cls = updates.get("own_update")
    lines = dedent(UPDATE).split("\n")
    assert inspect.getsource(cls.fails) == '    def fails(self):\n        raise ValueError("as it must")\n'
    assert inspect.getsource(cls).startswith("@updates.register")
    linecache.checkcache()
    with pytest.raises(ValueError, match="as it must") as caught:
        cls.fails(None)
    frame = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert frame.filename == f"my_net.py [own code {update.text_hash[:8]}]"
    assert frame.lineno == lines.index('        raise ValueError("as it must")') + 1
    assert frame.line == 'raise ValueError("as it must")'


def test_torch_compiles_a_class_in_a_generated_module(update: Any) -> None:
    forward = updates.get("own_update").forward
    compiled = torch.compile(lambda x_NCHW: forward(None, None, x_NCHW), backend="eager", fullgraph=True)
    assert torch.equal(compiled(torch.ones(2)), torch.full((2,), 2.0))


def test_only_code_that_is_reached_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = f'{HEAD}import os\nprint("ran")\nos.environ["OWN_CODE_RAN"] = "1"\n{PLUGIN}\nraise SystemExit(3)\n'
    parts.adopt(parts.read(write(tmp_path, my_net=text, helper=HELPER + '\nprint("helper ran")\n')))
    assert placements.get("own_head")
    assert capsys.readouterr().out == ""


def test_the_hash_of_own_code_affects_only_the_ids_of_runs_that_use_it(tmp_path: Path) -> None:
    ids = []
    for first in (1, 2):
        parts.adopt(
            parts.read(write(tmp_path, my_net=HEAD + PLUGIN, helper=HELPER.replace("FIRST = 1", f"FIRST = {first}")))
        )
        ids.append((config().run_id("0" * 20), config("every_layer").run_id("0" * 20)))
    assert ids[0][0] != ids[1][0]
    assert ids[0][1] == ids[1][1]
    assert "code" not in json.dumps(config("every_layer").identity())


def test_a_worker_verifies_the_code_that_it_receives_before_running_it(tmp_path: Path) -> None:
    bundle = parts.read(write(tmp_path, my_net=HEAD + PLUGIN, helper=HELPER))
    parts.adopt(bundle)
    sent = json.loads(json.dumps(parts.payloads(config())))
    assert parts.verified(sent[0]).codes == bundle.codes
    commented = json.loads(json.dumps(sent[0]))
    pieces = commented["modules"]["helper"]["pieces"]
    pieces[0][1] = f"# A comment.\n{pieces[0][1]}"
    parts.install([commented])
    for before, after in (("names[-count:]", "names[:count]"), ("FIRST = 1", "FIRST = print('ran')")):
        forged = json.loads(json.dumps(sent[0]))
        pieces = forged["modules"]["helper"]["pieces"]
        pieces[0][1] = pieces[0][1].replace(before, after)
        with pytest.raises(PluginError, match=r"but the plan states .*; none of it was run"):
            parts.install([forged])
    other = sent[0] | {"codes": {KEY: "0" * 64}}
    with pytest.raises(PluginError, match="none of it was run"):
        parts.install([other])
    with pytest.raises(PluginError, match="not readable"):
        parts.install([{"hash": "x"}])


def test_if_code_fails_on_import_the_error_shows_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, my_net=HEAD + PLUGIN, helper=HELPER.replace("FIRST = 1", "FIRST = 1 / 0"))
    with pytest.raises(PluginError, match=r"^helper\.py, line 2: ZeroDivisionError: division by zero; correct it"):
        parts.adopt(parts.read(path))


def test_own_code_cannot_replace_a_plugin_of_the_package(tmp_path: Path) -> None:
    path = write(tmp_path, my_net=HEAD + PLUGIN.replace('"own_head"', '"every_layer"'), helper=HELPER)
    with pytest.raises(
        PluginError, match=r"aimlib\.placements\._every_layer of aim-ablations and by my_net\.py, line 7"
    ):
        parts.adopt(parts.read(path))


def test_two_different_classes_with_the_same_name_are_refused_and_the_error_shows_both_places(tmp_path: Path) -> None:
    one = parts.read(write(tmp_path / "a", my_net=HEAD + PLUGIN, helper=HELPER))
    same = parts.read(write(tmp_path / "b", other=HEAD + PLUGIN, helper=HELPER))
    parts.refuse_twice([one, same])
    other = parts.read(write(tmp_path / "c", other=HEAD + PLUGIN, helper=HELPER.replace("FIRST = 1", "FIRST = 2")))
    with pytest.raises(PluginError, match=r"twice: in my_net\.py, line 7, and in other\.py, line 7; rename"):
        parts.refuse_twice([one, other])


def test_a_later_definition_replaces_an_earlier_one(tmp_path: Path) -> None:
    bundle = parts.read(write(tmp_path, my_net=HEAD + PLUGIN, helper=HELPER))

    def reads(self: Any, layers: Any) -> list[str]:
        return []

    for _ in range(2):
        own = type("OwnHead", (Placement,), {"reads": reads, "__module__": "__main__"})
        placements.register("own_head")(own)
        assert placements.get("own_head") is own
        assert placements.unowned() == {"own_head": own}
        parts.adopt(bundle)
        assert placements.get("own_head").__module__.startswith("aim_own_")
        assert placements.unowned() == {}


def test_the_same_code_in_different_files_has_separate_modules(tmp_path: Path) -> None:
    one = parts.read(write(tmp_path / "a", my_net=HEAD + PLUGIN, helper=HELPER))
    two = parts.read(write(tmp_path / "b", other=HEAD + PLUGIN.replace("helper", "names"), names=HELPER))
    assert one.hash == two.hash
    for bundle, name in ((one, "my_net"), (two, "other"), (one, "my_net")):
        parts.adopt(bundle)
        assert placements.get("own_head").__module__.endswith(f".{name}")

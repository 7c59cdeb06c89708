"""Plugins in other distributions are found through entry points and loaded on first use; broken plugins are
harmless."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import restored_registries

from aimlib.errors import ConfigError, PluginError
from aimlib.placements.base import Placement
from aimlib.registry import PluginInfo, placements


@pytest.fixture(autouse=True)
def own_registries() -> Any:
    with restored_registries():
        yield


def distribution(folder: Path, name: str, entries: dict[str, str], version: str = "1.2", **modules: str) -> None:
    """Write the files of an installed distribution with entry points in the placements group, and its modules."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [f"{entry} = {target}" for entry, target in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(["[aimlib.placements]", *lines, ""]))
    for module, code in modules.items():
        (folder / f"{module}.py").write_text(code)


def placement_code(name: str, *, register: str | None) -> str:
    decorator = f"@placements.register({register!r})" if register else ""
    return (
        "from aimlib.placements.base import Placement\nfrom aimlib.registry import placements\n"
        f"{decorator}\nclass {name}(Placement):\n    def reads(self, layers): return [layers[-1].name]\n"
    )


def test_an_entry_point_is_listed_without_importing_it_and_loaded_on_first_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    distribution(
        tmp_path,
        "aim-elsewhere",
        {"head_only": "aim_elsewhere_module:HeadOnly", "bare": "aim_elsewhere_bare:Bare"},
        aim_elsewhere_module=placement_code("HeadOnly", register="head_only"),
        aim_elsewhere_bare=placement_code("Bare", register=None),
    )
    expected = PluginInfo("placements", "head_only", "aim-elsewhere 1.2", "aim_elsewhere_module")
    assert expected in placements.plugins()
    assert "head_only" in placements.names()
    assert "aim_elsewhere_module" not in sys.modules
    cls = placements.get("head_only")
    assert issubclass(cls, Placement)
    assert placements.parse("head_only").name == "head_only"
    assert placements.get("bare").__name__ == "Bare"  # only the entry point registers the class
    assert placements.parse("bare").identity() == {"name": "bare", "version": 1}


def test_the_error_for_a_broken_entry_point_shows_distribution_and_cause_and_other_plugins_still_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    distribution(
        tmp_path,
        "aim-broken",
        {
            "broken": "aim_broken_module:X",
            "absent": "aim_module_that_is_absent:X",
            "half": "aim_half_module:Half",
            "silent": "aim_silent_module",
        },
        aim_broken_module="raise ZeroDivisionError('by design')",
        aim_half_module=placement_code("Half", register="half") + "raise RuntimeError('after registering')\n",
        aim_silent_module="",
    )
    for _ in range(2):  # the error is also raised the second time
        with pytest.raises(PluginError, match=r"'broken' of aim-broken 1\.2 .*ZeroDivisionError: by design"):
            placements.get("broken")
        with pytest.raises(PluginError, match=r"'half' of aim-broken 1\.2 .*RuntimeError: after registering"):
            placements.get("half")
    with pytest.raises(PluginError, match=r"'absent' of aim-broken 1\.2 .*ModuleNotFoundError"):
        placements.get("absent")
    with pytest.raises(
        PluginError, match=r"aim_silent_module of aim-broken 1\.2 was imported but did not register placement 'silent'"
    ):
        placements.get("silent")
    assert {"broken", "every_layer"} <= set(placements.names())
    assert placements.parse("every_layer").name == "every_layer"
    with pytest.raises(ConfigError, match="aim-broken"):
        placements.parse("broken")


def test_looking_up_plugins_reads_the_installed_distributions_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []
    real = importlib.metadata.entry_points
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **group: (asked.append(None), real(**group))[1])
    monkeypatch.syspath_prepend("/no/such/folder")
    for _ in range(3):
        assert placements.parse("every_layer").name == "every_layer"
    assert len(asked) == 1


def test_a_name_that_two_distributions_claim_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    distribution(tmp_path, "aim-one", {"same": "aim_same_one:A"}, aim_same_one=placement_code("A", register="same"))
    distribution(tmp_path, "aim-two", {"same": "aim_same_two:B"}, aim_same_two=placement_code("B", register="same"))
    assert [info.distribution for info in placements.plugins() if info.name == "same"] == ["aim-one 1.2", "aim-two 1.2"]
    with pytest.raises(
        PluginError, match=r"claimed by aim-one 1\.2 \(aim_same_one\) and aim-two 1\.2 \(aim_same_two\)"
    ):
        placements.get("same")
    assert "aim_same_one" not in sys.modules


def test_a_distribution_cannot_claim_the_name_of_a_built_in_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    distribution(tmp_path, "aim-thief", {"every_layer": "aim_thief:A"}, aim_thief=placement_code("A", register=None))
    with pytest.raises(PluginError, match=r"claimed by aim-ablations .* and aim-thief 1\.2"):
        placements.get("every_layer")
    assert placements.get("stage_only")


def test_an_entry_point_must_have_the_name_that_the_class_registers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    distribution(
        tmp_path, "aim-alias", {"alias": "aim_alias_module:A"}, aim_alias_module=placement_code("A", register="proper")
    )
    with pytest.raises(PluginError, match=r"'alias'.*'proper'"):
        placements.get("alias")
    assert placements.parse("proper").name == "proper"

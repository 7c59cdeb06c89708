"""Plugins are listed without being imported, conflicts raise errors, and third parties use entry points."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from tiny_runs import NEEDED, restored_registries

from aimlib.component import Categorical, ComponentConfig, Integer, Real
from aimlib.errors import ConfigError, PluginError
from aimlib.registry import FAMILIES, PluginInfo, Registry, placements


@pytest.fixture(autouse=True)
def own_registries() -> Any:
    with restored_registries():
        yield


@pytest.fixture
def shop() -> Registry:
    """Return an empty registry."""
    return Registry("shops", "shop", "aimlib.no_such_package", ("sell",))


class Shop:
    def sell(self) -> None: ...


def named(name: str, module: str, **members: Any) -> type:
    return type(name, (Shop,), {"__module__": module, **members})


def test_the_error_for_a_duplicate_name_shows_both_modules(shop: Registry) -> None:
    shop.register("corner")(named("One", "first.module"))
    with pytest.raises(
        PluginError, match=r"'corner' is registered twice: by first\.module\.One and by second\.module\.Two"
    ):
        shop.register("corner")(named("Two", "second.module"))
    assert shop.get("corner").__name__ == "One"


def test_reloading_the_same_class_is_not_a_conflict(shop: Registry) -> None:
    shop.register("corner")(named("One", "first.module"))
    again = named("One", "first.module")
    assert shop.register("corner")(again) is shop.get("corner") is again


def test_the_error_for_an_unknown_name_lists_the_choices_and_the_nearest_one(shop: Registry) -> None:
    with pytest.raises(PluginError) as caught:
        placements.get("evry_layer")
    message = str(caught.value)
    assert message.startswith("unknown placement 'evry_layer'; did you mean 'every_layer'? known: ")
    assert all(name in message for name in placements.names())
    with pytest.raises(PluginError, match="unknown shop 'x'; known: none"):
        shop.get("x")
    with pytest.raises(PluginError, match="known: ") as caught:
        placements.get("qqqqqqqq")
    assert "did you mean" not in str(caught.value)


def test_built_in_plugins_are_listed_with_their_module() -> None:
    found = {info.name: info for info in placements.plugins()}
    assert found["every_layer"] == PluginInfo(
        "placements", "every_layer", "aim-ablations", "aimlib.placements._every_layer"
    )
    assert all(family.get(info.name) for family in FAMILIES for info in family.plugins())


def test_listing_plugins_does_not_import_torch_or_any_plugin() -> None:
    code = (
        "import sys\nfrom aimlib.registry import FAMILIES, trainers\n"
        "names = [f.names() for f in FAMILIES if f is not trainers]\n"
        "assert all(names), names\n"
        "plugins = ('torch', 'aimlib.placements', 'aimlib.memory', 'aimlib.backbones', 'aimlib.datasets')\n"
        "bad = [module for module in sys.modules if module.startswith(plugins)]\n"
        "print(bad)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_name_of_a_built_in_plugin_is_reserved_before_it_is_imported() -> None:
    code = (
        "from aimlib.registry import placements\n"
        "class Mine:\n    def reads(self, layers): return []\n"
        "try:\n    placements.register('every_layer')(Mine)\n"
        "except Exception as error:\n    print(error)\n"
        "print(placements.get('every_layer').__module__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    refusal, owner = done.stdout.splitlines()
    assert "registered twice: by aimlib.placements._every_layer and by __main__.Mine" in refusal
    assert owner == "aimlib.placements._every_layer"


def test_a_class_without_a_required_method_is_refused(shop: Registry) -> None:
    with pytest.raises(PluginError, match=r"shop 'empty' \(.*Empty\) lacks sell"):
        shop.register("empty")(type("Empty", (), {}))
    assert shop.names() == []


def test_a_search_space_must_name_options(shop: Registry) -> None:
    class Config(ComponentConfig):
        size: int = 1

    good = named("Good", "m", Config=Config, search_space={"size": Integer(1, 4)})
    assert shop.register("good")(good) is good
    with pytest.raises(PluginError, match="search_space lists names that are not options of Config: color, sice"):
        shop.register("bad")(
            named(
                "Bad",
                "m",
                Config=type("C", (ComponentConfig,), {"__module__": "m"}),
                search_space={"sice": Integer(1, 4), "color": Integer(1, 2)},
            )
        )


def test_a_config_must_be_a_component_config(shop: Registry) -> None:
    with pytest.raises(PluginError, match="Config must be a subclass"):
        shop.register("odd")(named("Odd", "m", Config=dict))


def test_a_plugin_without_config_gets_its_own_class(shop: Registry) -> None:
    one, two = shop.register("one")(named("One", "m")), shop.register("two", version=3)(named("Two", "m"))
    assert one.Config is not two.Config
    assert (one.Config().name, one.Config.version) == ("one", 1)
    assert (two.Config().name, two.Config.version) == ("two", 3)
    assert ComponentConfig.component == ""


def test_plugins_that_share_a_config_class_keep_their_own_names(shop: Registry) -> None:
    class Config(ComponentConfig):
        size: int = 1

    one = shop.register("one")(named("One", "m", Config=Config))
    two = shop.register("two", version=2)(named("Two", "m", Config=Config))
    assert (one.Config().name, one.Config.version) == ("one", 1)
    assert (two.Config(size=3).name, two.Config.version) == ("two", 2)
    assert shop.parse({"name": "one", "size": 2}).identity() == {"name": "one", "version": 1, "size": 2}
    shop.register("plain")(named("Plain", "m", Config=ComponentConfig))
    assert ComponentConfig.component == ""


def test_a_subclass_of_a_plugin_is_a_separate_plugin(shop: Registry) -> None:
    class Config(ComponentConfig):
        size: int = 1

    parent = shop.register("parent")(named("Parent", "m", Config=Config))
    shop.register("child")(type("Child", (parent,), {"__module__": "m"}))
    assert shop.parse({"name": "child", "size": 2}).name == "child"
    assert shop.parse("parent").name == "parent"


def test_parse_accepts_names_mappings_and_configurations(shop: Registry) -> None:
    cls = shop.register("corner")(named("One", "m"))
    config = shop.parse("corner")
    assert config == shop.parse({"name": "corner"}) == shop.parse(config)
    assert isinstance(config, cls.Config)
    with pytest.raises(ConfigError, match="name: missing: set it to the name of the shop, one of corner"):
        shop.parse({"size": 3})
    with pytest.raises(ConfigError, match="name: missing"):
        shop.parse(7)
    with pytest.raises((ConfigError, PluginError), match="every_layer"):
        shop.parse(placements.parse("every_layer"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Integer(4, 4), "low < high"),
        (lambda: Real(2.0, 1.0), "low < high"),
        (lambda: Real(0.0, 1.0, log=True), "low > 0"),
        (lambda: Categorical((1, 1)), "two different choices"),
    ],
)
def test_empty_search_dimensions_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_search_spaces_of_built_in_plugins_are_within_the_valid_range_of_their_options() -> None:
    checked = 0
    for family in FAMILIES:
        for info in family.plugins():
            cls = family.get(info.name)
            for option, dimension in getattr(cls, "search_space", {}).items():
                ends = dimension.choices if isinstance(dimension, Categorical) else (dimension.low, dimension.high)
                for value in ends:
                    assert getattr(cls.Config.parse({**NEEDED.get(info.name, {}), option: value}), option) == value
                    checked += 1
    assert checked > 5

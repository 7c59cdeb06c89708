"""One registry per plugin family. Importing this module does not import any plugin or torch.

Each built-in plugin is one private file: `every_layer` is in ``aimlib/placements/_every_layer.py`` and registers itself
there with ``@placements.register("every_layer")``. Third parties list their plugins in an entry point group
(``aimlib.placements``, ...). Names are listed without importing anything; a plugin is imported when it is first used,
and a plugin that cannot be imported does not affect other plugins.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from aimlib.component import ComponentConfig, Dimension, Frozen
from aimlib.errors import ConfigError, PluginError, text_of, unknown_name
from aimlib.own_code import signatures

PluginClass = TypeVar("PluginClass", bound=type)

DISTRIBUTION = "aim-ablations"


@dataclass(frozen=True)
class PluginInfo:
    """The origin of a plugin, determined without importing the plugin.

    Attributes
    ----------
    family, name : e.g. ``placements``, ``every_layer``.
    distribution : the installed distribution that contains the plugin, with the distribution's version if known.
    module : the module that defines the plugin.
    """

    family: str
    name: str
    distribution: str
    module: str


@dataclass(frozen=True)
class Origin:
    """The origin of a plugin in the user's own code; see `aimlib.own_code`.

    Attributes
    ----------
    file : name of the file without its folder, or ``notebook``.
    code : hash of the code that the class reaches.
    bundle : hash of everything that the file registers; the name of the class's module contains it.
    place : file and line, for messages.
    """

    file: str
    code: str
    bundle: str = ""
    place: str = ""

    def __str__(self) -> str:
        """Return the origin in the form in which rows store it."""
        return f"own code: {self.file}, sha256 {self.code}"


class Registry:
    """The plugins of one family, by name.

    Parameters
    ----------
    family : plural noun; also the entry point group ``aimlib.<family>``.
    kind : singular noun for messages.
    package : the package of the built-in plugins.
    methods : names that every plugin class of the family must define.
    bases : names of the base classes in `package`; a plugin class must derive from one of them or have its own
        constructor.
    """

    def __init__(
        self, family: str, kind: str, package: str, methods: tuple[str, ...] = (), bases: tuple[str, ...] = ()
    ) -> None:
        self.family = family
        self.kind = kind
        self.package = package
        self._methods, self._bases = methods, bases
        self._classes: dict[str, type] = {}
        self._origins: dict[str, Origin] = {}

    def register(self, name: str, *, version: int = 1) -> Callable[[PluginClass], PluginClass]:
        """Return the class decorator that registers a plugin as `name`.

        The class may define `Config` (a ComponentConfig with its options), `search_space` (dimensions of those
        options), `source` (origin of the idea) and `initial_values`. If `initial_values` is ``own``, the default for
        the user's own code, the initial values that the class sets itself are kept. If it is ``rules``, the default for
        distributions, the rules of `aimlib.memory.initialization` replace these values. `version` is part of every run
        id; raise it whenever the plugin starts to compute something different.

        Raises
        ------
        PluginError: the name is taken, or the class lacks what its family requires.
        """

        def decorate(cls: PluginClass) -> PluginClass:
            self._refuse_duplicate(name, cls)
            self._complete(name, version, cls)
            self._classes[name] = cls
            self._origins.pop(name, None)
            return cls

        return decorate

    def adopt(self, name: str, cls: type, version: int, origin: Origin) -> None:
        """Register a class of the user's own code; a class that this process registered as `name` is replaced.

        Raises
        ------
        PluginError: a distribution has a plugin of that name, or the class lacks what its family requires.
        """
        owner = next((info for info in self._of_distributions() if info.name == name), None)
        if owner is not None:
            raise PluginError(
                f"{self.kind} {name!r} is registered twice: by {owner.module} of {owner.distribution} and by "
                f"{origin.place or origin.file}; rename yours"
            )
        self._complete(name, version, cls, origin.place)
        cls.Config.code = origin.code  # type: ignore[attr-defined]
        self._classes[name], self._origins[name] = cls, origin

    def origin(self, name: str) -> Origin | None:
        """Return the origin of a plugin in the user's own code; None for other plugins."""
        return self._origins.get(name)

    def unowned(self) -> dict[str, type]:
        """Return, by name, the classes that no distribution lists and that were not adopted as the user's own code."""
        owned = {info.name for info in self._of_distributions()}
        return {name: cls for name, cls in self._classes.items() if name not in owned and name not in self._origins}

    def _refuse_duplicate(self, name: str, cls: type) -> None:
        own, other = f"{cls.__module__}.{cls.__qualname__}", self._classes.get(name)
        if name in self._origins:  # the user defines the class again; the next study adopts the new definition
            other = None
        first = f"{other.__module__}.{other.__qualname__}" if other is not None else own
        # The name of a built-in plugin is taken even before the plugin is imported.
        module = next((info.module for info in self._builtin() if info.name == name), cls.__module__)
        if module != cls.__module__:
            first = module
        if first != own:
            raise PluginError(f"{self.kind} {name!r} is registered twice: by {first} and by {own}; rename one of them")

    def _complete(self, name: str, version: int, cls: type, place: str = "") -> None:
        """Check the plugin's attributes, and set the optional attributes that it lacks."""
        if not isinstance(cls, type):
            raise PluginError(
                f"{self.kind} {name!r} ({getattr(cls, '__qualname__', cls)!s}) is not a class; write a class with "
                f"{' and '.join(f'{each}()' for each in self._methods)}, and decorate the class"
            )
        where = self._described(name, cls, place)
        self._refuse_other_base(where, cls)
        self._refuse_lacking(where, cls)
        for problem in signatures.problems(cls):
            raise PluginError(f"{where}: {problem}")
        given: Any = getattr(cls, "Config", ComponentConfig)
        if not (isinstance(given, type) and issubclass(given, ComponentConfig)):
            raise PluginError(
                f"{where}: Config must be a subclass of aimlib.component.ComponentConfig; write `class "
                f"Config(ComponentConfig):` with one line, such as `width: int = 8`, for each option"
            )
        own, config = f"{cls.__qualname__}.Config", given
        if (
            "Config" not in cls.__dict__ or config.__qualname__ != own
        ):  # Config is inherited or shared; with a copy, the name and version set below apply to this plugin only
            config = type("Config", (config,), {"__module__": cls.__module__, "__qualname__": own})
            setattr(cls, "Config", config)  # noqa: B010 -- mypy does not know the attributes of a `type`
        elif config.__dict__.get("component", name) != name:
            raise PluginError(
                f"{self.kind} {name!r} ({cls.__module__}.{cls.__qualname__}) is already registered as "
                f"{config.component!r}; register a subclass, or use one name"
            )
        config.component, config.version, config.code = name, version, ""
        self._state_start(name, cls, config)
        dimensions: Mapping[str, Dimension] = getattr(cls, "search_space", {})
        unknown = sorted(set(dimensions) - set(config.model_fields))
        if unknown:
            raise PluginError(
                f"{self.kind} {name!r}: search_space lists names that are not options of Config: "
                f"{', '.join(unknown)}; correct them"
            )

    def described(self, name: str) -> str:
        """Return a plugin's kind, name and location, for messages: ``loss 'bad' (bad.py, line 5, class Bad)``."""
        origin = self._origins.get(name)
        return self._described(name, self.get(name), origin.place if origin else "")

    def _described(self, name: str, cls: type, place: str) -> str:
        return f"{self.kind} {name!r} ({f'{place}, class {cls.__name__}' if place else _full_name(cls)})"

    def _refuse_other_base(self, where: str, cls: type) -> None:
        """Refuse a class that neither derives from one of the family's base classes nor has its own constructor."""
        if not self._bases or any(
            each.__name__ in self._bases and f"{each.__module__}.".startswith(f"{self.package}.")
            for each in cls.__mro__
        ):
            return
        constructor = next(each for each in cls.__mro__ if "__init__" in each.__dict__)
        if constructor is object or constructor.__module__.partition(".")[0] in ("torch", "torchvision"):
            module, base = self._base()
            bases = " or ".join(f"{module}.{each}" for each in self._bases)
            raise PluginError(
                f"{where} is not a subclass of {bases}; write `from {module} import {base.__name__}` and `class "
                f"{cls.__name__}({base.__name__}):`"
            )

    def _base(self) -> tuple[str, type]:
        """Return the module from which the family's first base class is imported, and that class."""
        name = (
            self.package if hasattr(importlib.import_module(self.package), self._bases[0]) else f"{self.package}.base"
        )
        return name, cast("type", getattr(importlib.import_module(name), self._bases[0]))

    def _refuse_lacking(self, where: str, cls: type) -> None:
        """Refuse a class that does not define all methods of its family."""
        lacking = [method for method in self._methods if not callable(getattr(cls, method, None))]
        lacking += sorted(getattr(cls, "__abstractmethods__", frozenset()) - set(lacking))
        if not lacking:
            return
        own = [each for each in vars(cls) if callable(getattr(cls, each)) and not each.startswith("_")]
        near = {method: difflib.get_close_matches(method, own, n=1, cutoff=0.75) for method in lacking}
        renames = [f"it defines {found[0]!r}: rename that to {method!r}" for method, found in near.items() if found]
        others = [f"`{self._signature(cls, method)}`" for method, found in near.items() if not found]
        remedies = [*renames, *([f"write {' and '.join(others)} in it"] if others else [])]
        raise PluginError(f"{where} lacks {', '.join(lacking)}; {', and '.join(remedies)}")

    def _signature(self, cls: type, method: str) -> str:
        """Return the signature of a missing method, as declared in a base class of the plugin or of the family."""
        base = next((getattr(each, method) for each in cls.__mro__ if method in vars(each)), None)
        if base is None and self._bases:
            base = getattr(self._base()[1], method, None)
        if isinstance(base, property):
            return f"@property` and `def {method}(self):"
        if base is None or not callable(base):
            return f"def {method}(self, ...):"
        return f"def {method}({', '.join(map(signatures.parameter, inspect.signature(base).parameters.values()))}):"

    def _state_start(self, name: str, cls: type, config: type[ComponentConfig]) -> None:
        """Record whether the initial values that the class sets itself are kept.

        By default, the initial values of classes in the user's own code are kept. Those of classes in distributions are
        not kept, because version 0.1.0 replaced them.
        """
        stated = getattr(cls, "initial_values", None)
        if stated not in (None, "own", "rules"):
            raise PluginError(
                f"{self.kind} {name!r} ({cls.__module__}.{cls.__qualname__}): initial_values is {stated!r}; set it to "
                f"'own', which keeps the values that the class sets itself, or to 'rules'"
            )
        is_distributed = any(info.name == name for info in self._of_distributions())
        config.initial_values = stated or ("rules" if is_distributed else "own")
        config.own_values_in_id = is_distributed and config.initial_values == "own"

    def names(self) -> list[str]:
        """Return all known names, sorted, without importing any plugin."""
        return sorted({info.name for info in self.plugins()})

    def plugins(self) -> list[PluginInfo]:
        """Return the origins of all plugins, sorted by name, without importing any plugin.

        A name that two distributions claim is listed once for each of them.
        """
        found = self._of_distributions()
        listed = {info.name for info in found}
        found += [
            PluginInfo(self.family, name, str(self._origins.get(name, "(registered in this process)")), cls.__module__)
            for name, cls in self._classes.items()
            if name not in listed
        ]
        return sorted(found, key=lambda info: (info.name, info.distribution))

    def get(self, name: str) -> type[Any]:
        """Return the plugin class called `name`, importing it on first use.

        Raises
        ------
        PluginError: there is no plugin with this name (the message lists the choices), two distributions claim the
            name, or importing the plugin failed (the message names the distribution and the cause).
        """
        claims = [info for info in self.plugins() if info.name == name]
        if len(claims) > 1:
            both = " and ".join(f"{info.distribution} ({info.module})" for info in claims)
            raise PluginError(f"{self.kind} {name!r} is claimed by {both}; uninstall one of them")
        if name not in self._classes and claims:
            self._load(claims[0])
        if name not in self._classes:
            raise PluginError(unknown_name(self.kind, name, self.names()))
        return self._classes[name]

    def _load(self, info: PluginInfo) -> None:
        entry = next((entry for known, entry in self._entry_points() if known == info), None)
        try:
            loaded = entry.load() if entry is not None else importlib.import_module(info.module)
        except (Exception, SystemExit) as error:
            from aimlib.records.escaping import LONGEST_LINE, shortened  # noqa: PLC0415 -- needed only for an error

            self._classes.pop(info.name, None)  # the module may have raised the error after it registered the plugin
            raise PluginError(
                f"{self.kind} {info.name!r} of {info.distribution} cannot be imported from {info.module}: "
                f"{type(error).__name__}: {shortened(text_of(error), LONGEST_LINE)}; repair or uninstall that "
                f"distribution"
            ) from error
        if info.name not in self._classes and isinstance(loaded, type):
            self.register(info.name)(loaded)
        elif info.name not in self._classes and self is trainers and callable(loaded):
            from aimlib.training.own.functions import of_function  # noqa: PLC0415 -- needed only for training code

            self.register(info.name)(of_function(loaded))
        if info.name not in self._classes:
            raise PluginError(
                f"{info.module} of {info.distribution} was imported but did not register {self.kind} {info.name!r}; "
                f"correct its entry point"
            )

    def create(self, config: ComponentConfig) -> Any:
        """Return an instance of the plugin to which `config` belongs."""
        return self.get(config.name)(config)

    def parse(self, value: object) -> ComponentConfig:
        """Convert a value from a document to the plugin's configuration.

        Parameters
        ----------
        value : a name, a mapping with the key `name` and options, or an existing configuration of this family.

        Raises
        ------
        ConfigError: the value contains mistakes; the error has one message per mistake.
        """
        if isinstance(value, ComponentConfig):
            if type(value) is not self.get(value.name).Config:
                raise ConfigError([f"{value.name!r} cannot be used as the {self.kind}"])
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            raise ConfigError(
                [f"name: missing: set it to the name of the {self.kind}, one of {', '.join(self.names())}"]
            )
        options = {key: item for key, item in value.items() if key != "name"}
        try:
            config: type[ComponentConfig] = self.get(value["name"]).Config
        except PluginError as error:
            raise ConfigError([f"name: {error}"]) from error
        return config.parse(options)

    def _of_distributions(self) -> list[PluginInfo]:
        return [*self._builtin(), *(info for info, _ in self._entry_points())]

    def _builtin(self) -> Iterator[PluginInfo]:
        for module in _modules(self.package):
            yield PluginInfo(self.family, module[1:], DISTRIBUTION, f"{self.package}.{module}")

    def _entry_points(self) -> Iterator[tuple[PluginInfo, importlib.metadata.EntryPoint]]:
        for entry in _installed(f"aimlib.{self.family}", tuple(sys.path)):
            distribution = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown distribution"
            yield PluginInfo(self.family, entry.name, distribution, entry.module), entry


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


@cache
def _modules(package: str) -> tuple[str, ...]:
    """Return the modules in a package that contain a plugin; cached, because parsing each option needs this list.

    `importlib.util.find_spec` is not used, because it imports the parent packages, which import torch.
    """
    folder = Path(__file__).parent.parent.joinpath(*package.split("."))
    return tuple(module.name for module in pkgutil.iter_modules([str(folder)]) if module.name.startswith("_"))


@lru_cache(maxsize=64)
def _installed(group: str, _path: tuple[str, ...]) -> importlib.metadata.EntryPoints:
    """Return the entry points in a group; cached, because reading all distributions takes milliseconds."""
    return importlib.metadata.entry_points(group=group)


backbones = Registry("backbones", "backbone", "aimlib.backbones", ("build", "layout"), ("Backbone",))
memories = Registry("memories", "memory source", "aimlib.memory.sources", ("forward",), ("MemorySource",))
placements = Registry("placements", "placement", "aimlib.placements", ("reads",), ("Placement",))
updates = Registry("updates", "update", "aimlib.updates", ("forward",), ("MemoryUpdate",))
controls = Registry("controls", "control", "aimlib.controls", ("transform",), ("Control",))
datasets = Registry("datasets", "data set", "aimlib.datasets", ("shape", "load"), ("DatasetPlugin",))
optimizers = Registry("optimizers", "optimizer", "aimlib.training.optimizers", ("build",), ("OptimizerPlugin",))
schedules = Registry("schedules", "learning-rate schedule", "aimlib.training.schedules", ("rate",), ("Schedule",))
selections = Registry("selections", "selection rule", "aimlib.training.selections", ("select",), ("Selection",))
trainers = Registry("trainers", "training code", "aimlib.training.own", ("train",), ("TrainingCode",))
losses = Registry("losses", "loss", "aimlib.training.losses", ("forward",), ("Loss",))
callbacks = Registry(
    "callbacks", "callback", "aimlib.training.callbacks", ("on_epoch_end", "state_dict"), ("Callback",)
)
augmentations = Registry(
    "augmentations",
    "augmentation",
    "aimlib.training.augmentations",
    ("augment",),
    ("Augmentation", "BatchAugmentation"),
)

FAMILIES: tuple[Registry, ...] = (
    backbones,
    memories,
    placements,
    updates,
    controls,
    datasets,
    optimizers,
    schedules,
    selections,
    trainers,
    losses,
    augmentations,
    callbacks,
)


def components_of(config: Frozen) -> Iterator[tuple[Registry, ComponentConfig]]:
    """Yield every component in a configuration, including nested components, with its registry."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, ComponentConfig):
                for registry in dict.fromkeys(_registries((*field.metadata, field.annotation))):
                    yield registry, item
            if isinstance(item, Frozen):
                yield from components_of(item)


def _registries(annotations: tuple[Any, ...]) -> Iterator[Registry]:
    """Yield the registries in an annotation, at any depth: ``Annotated[..., ComponentOf(x)] | None``."""
    for annotation in annotations:
        if isinstance(annotation, ComponentOf):
            yield annotation.registry
        else:
            yield from _registries((*get_args(annotation), *getattr(annotation, "__metadata__", ())))


@dataclass(frozen=True)
class ComponentOf:
    """Annotation for a field with a component of `registry`; the component's name selects its configuration class.

    ``backbone: Annotated[ComponentConfig, ComponentOf(backbones)]``; if `optional`, null and the name ``none`` mean
    that there is no component.
    """

    registry: Registry
    optional: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate through the registry, so that the plugin's own Config checks the options."""
        return core_schema.no_info_plain_validator_function(
            self._parse,
            serialization=core_schema.plain_serializer_function_ser_schema(_dump),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return a placeholder with the family, because schemas of components are known only after an import."""
        return {"x-family": self.registry.family, "x-optional": self.optional}

    def _parse(self, value: object) -> ComponentConfig | None:
        if self.optional and (value is None or value in ("none", {"name": "none"})):
            return None
        return self.registry.parse(value)


def _dump(config: ComponentConfig | None) -> dict[str, Any] | None:
    return None if config is None else config.model_dump(mode="json")

"""The user's own code in the registries: read, turned into modules, adopted, sent to workers and verified there."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aimlib.component import ComponentConfig, Frozen
from aimlib.errors import PluginError
from aimlib.own_code import modules
from aimlib.own_code.bundle import Bundle, bundle_of
from aimlib.own_code.registrations import Root
from aimlib.own_code.sources import Piece, Source, in_folder, of_file
from aimlib.registry import Origin, Registry, components_of

_KNOWN = frozenset({"aimlib", "ablations", "analysis", "numpy", "torch", "torchvision"})
_adopted: dict[str, Bundle] = {}
"""The bundles in this process, by hash."""


def read(path: Path, functions: Iterable[str] = ()) -> Bundle:
    """Return what a file registers, without running any of it.

    Parameters
    ----------
    functions : names of functions in the file that are training code.

    Raises
    ------
    PluginError: the file cannot be read, does not register anything, or uses a name that cannot be resolved.
    """
    found = bundle_of(of_file(path), in_folder(path.parent), functions=functions)
    if not found.roots:
        raise PluginError(
            f"{path}: does not register any class; decorate a class, not a function, as in "
            f"@placements.register('my_idea') with "
            f"`placements` from aimlib.registry"
        )
    return found


def registry_of(root: Root) -> Registry:
    """Return the registry in which a class is registered."""
    module, _, name = root.registry.rpartition(".")
    found = getattr(importlib.import_module(module), name, None)
    if not isinstance(found, Registry):
        raise PluginError(f"{root.place}: {root.registry} is not a family of plugins; choose one of {module}")
    return found


def refuse_twice(bundles: Iterable[Bundle]) -> None:
    """Refuse different classes with the same name.

    Raises
    ------
    PluginError: different classes have the same name; the message names both places.
    """
    seen: dict[str, tuple[Root, str]] = {}
    for bundle in bundles:
        for root in bundle.roots:
            other, code = seen.setdefault(root.key, (root, bundle.codes[root.key]))
            if (code, other.version) != (bundle.codes[root.key], root.version):
                raise PluginError(
                    f"{registry_of(root).kind} {root.name!r} is registered twice: in {other.place}, and in "
                    f"{root.place}; rename one of them"
                )


def adopt(bundle: Bundle) -> None:
    """Run the code of a bundle, and register its classes.

    Raises
    ------
    PluginError: the code fails, a name is taken by a distribution, or a class lacks what its family requires.
    """
    if not bundle.roots:
        return
    try:
        classes = modules.classes(bundle)
    except Exception as error:
        raise PluginError(f"{modules.where(error, bundle)}; correct it") from error
    for root in bundle.roots:
        origin = Origin(bundle.label, bundle.codes[root.key], bundle.hash, root.place)
        registry_of(root).adopt(root.name, _as_class(classes[root.key], root.place), root.version, origin)
    _adopted[bundle.hash] = bundle


def _as_class(found: Any, place: str) -> type:
    """Return a class unchanged; convert a function to the class that registries expect."""
    if isinstance(found, type):
        return found
    from aimlib.training.own.functions import of_function  # noqa: PLC0415 -- needed only for training code

    return of_function(found, place)


def payloads(config: Frozen) -> list[dict[str, Any]]:
    """Return the user's own code that a configuration needs, in the form that workers receive."""
    found: dict[str, dict[str, Any]] = {}
    for registry, component in components_of(config):
        origin = registry.origin(component.name) if type(component).code else None
        if origin is not None:
            found[origin.bundle] = _adopted[origin.bundle].payload
    return list(found.values())


def bundles(config: Frozen) -> dict[str, Bundle]:
    """Return the bundles of the user's own code that a configuration uses, by component key."""
    return {
        f"{registry.family}/{component.name}": _adopted[origin.bundle]
        for registry, component in components_of(config)
        if type(component).code and (origin := registry.origin(component.name)) is not None
    }


def distributions(component: ComponentConfig) -> str:
    """Return a text, to follow a component's origin, with the distributions that the component's own code imports.

    The text is empty if there are none. Distributions whose versions are stored in every row are left out.
    """
    bundle = next((each for each in _adopted.values() if type(component).code in each.codes.values()), None)
    if bundle is None:
        return ""
    tops = sorted({each.partition(".")[0] for each in outside(bundle)} - _KNOWN - sys.stdlib_module_names)
    listed = importlib.metadata.packages_distributions() if tops else {}
    names = sorted({name for top in tops for name in listed.get(top, ())})
    return f"; imports {', '.join(f'{name} {importlib.metadata.version(name)}' for name in names)}" if names else ""


def outside(bundle: Bundle) -> set[str]:
    """Return the full names of everything that the user's own code uses from other packages."""
    return {
        each
        for refs in bundle.reach.refs.values()
        for found in refs.values()
        for each in found
        if isinstance(each, str)
    }


def refuse_other_code(config: Frozen, identity: str, where: str) -> None:
    """Refuse a stored run that was computed with own code that differs from the code in this process.

    Parameters
    ----------
    identity : the text that the run id hashes, which contains the hash of each component's code.
    where : the beginning of the message.

    Raises
    ------
    PluginError: the code differs; the message names the component.
    """
    for registry, component in components_of(config):
        code = type(component).code
        if code and f'"code":"{code}"' not in identity:
            raise PluginError(
                f"{where}: was computed with code of {registry.kind} {component.name!r} that differs from the code "
                f"registered here; restore the code that the study stores in its folder `code`"
            )


def install(given: Iterable[Mapping[str, Any]]) -> None:
    """Verify the user's own code that was sent to this process, and adopt it.

    Raises
    ------
    PluginError: the hash of the code differs from the stated hash. In this case, none of the code was run.
    """
    for payload in given:
        bundle = _adopted.get(str(payload.get("hash")))
        adopt(bundle if bundle is not None and bundle.payload == payload else verified(payload))


def verified(payload: Mapping[str, Any]) -> Bundle:
    """Return the bundle in a payload, after recomputing its hashes from its text.

    Raises
    ------
    PluginError: the hashes differ from the stated ones.
    """
    try:
        sources = {
            str(name): Source(
                str(name),
                tuple(Piece(str(label), str(text)) for label, text in content["pieces"]),
                bool(content["package"]),
                bool(content["session"]),
            )
            for name, content in payload["modules"].items()
        }
        stated, main, codes = payload["hash"], sources[payload["main"]], dict(payload["codes"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PluginError(
            f"the user's own code for this run is not readable ({json.dumps(str(error))}); run it again"
        ) from None
    bundle = bundle_of(main, sources.get, codes)
    if (bundle.hash, bundle.codes) != (stated, codes):
        problems = "; ".join(bundle.refusals.values())
        raise PluginError(
            f"the user's own code for this run has the hash {bundle.hash[:16]}…, but the plan states "
            f"{str(stated)[:16]}…"
            f"{f' ({problems})' if problems else ''}; none of it was run; use the same version of this package "
            f"everywhere"
        )
    return bundle

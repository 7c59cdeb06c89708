"""`ablations.doctor`: check whether this machine can run a study, and explain what to do if it cannot."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from ablations.commands.doctor import cluster, gpus
from ablations.commands.doctor.finding import Finding
from aimlib.errors import counted, renamed

_GIB = 2**30


@renamed(with_ray="ray")
def doctor(out: str | Path = "results", *, ray: bool = True) -> list[Finding]:
    """Check Python, libraries, devices, memory, disk, storage, access to Ray, and data, without changing anything.

    Parameters
    ----------
    out : directory for the results.
    ray : start Ray briefly, which takes a few seconds.
    """
    findings: list[Finding] = []
    for examine in (
        _python,
        _libraries,
        gpus.devices,
        cluster.shared_memory,
        lambda: _disk(Path(out)),
        lambda: cluster.storage(Path(out)),
        cluster.token,
        cluster.exposure,
        _data,
    ):
        findings += list(_guarded(examine))
    if ray:
        findings += list(_guarded(_ray))
    return findings


def _guarded(examine: Callable[[], Iterable[Finding]]) -> Iterable[Finding]:
    name = getattr(examine, "__name__", "examination").strip("_<>").replace("_", " ")
    try:
        yield from examine()
    except Exception as error:  # noqa: BLE001 -- an examination that fails is itself a finding
        yield Finding(name, "problem", f"{type(error).__name__}: {error}", "see the message")


def _python() -> Iterable[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", "ok", version)  # older versions of Python cannot import this package


def _libraries() -> Iterable[Finding]:
    for name in ("torch", "torchvision", "ray", "optuna", "pandas", "pyarrow", "scipy", "seaborn"):
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "problem", "not installed", "run `make setup`, or pip install aim-ablations")


def _disk(out: Path) -> Iterable[Finding]:
    from aimlib.datasets.locations import cache_folder

    existing = next(parent for parent in (out.absolute(), *out.absolute().parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        yield Finding("results", "problem", f"{existing} cannot be written", "choose a different folder with --out")
    for subject, place in (("results", out), ("prepared data", cache_folder())):
        place = next(parent for parent in (place.absolute(), *place.absolute().parents) if parent.exists())  # noqa: PLW2901
        free = shutil.disk_usage(place).free / _GIB
        remedy = "" if free > 5 else "free up some space: checkpoints and prepared data need several GiB"
        yield Finding(subject, "ok" if free > 5 else "note", f"{free:.1f} GiB free at {place}", remedy)


def _data() -> Iterable[Finding]:
    from aimlib.datasets.summary import summarise
    from aimlib.errors import UsageError
    from aimlib.registry import datasets

    for name in datasets.names():
        needed = [key for key, field in datasets.get(name).Config.model_fields.items() if field.is_required()]
        if needed:
            yield Finding(f"data {name}", "ok", f"the study itself must describe this data ({', '.join(needed)})")
            continue
        try:
            summary = summarise(datasets.create(datasets.parse(name)))
        except UsageError as error:
            yield Finding(
                f"data {name}",
                "note",
                "not available on this machine; required only by studies that use this data",
                str(error),
            )
        else:
            yield Finding(f"data {name}", "ok", summary.images)


def _ray() -> Iterable[Finding]:
    from ablations.execution.ray.executor import RayExecutor
    from ablations.spec.resources import Resources

    with RayExecutor([Resources()]) as executor:
        executor.check()
        yield Finding(
            "Ray", "ok", f"starts on this machine, with {counted(executor.parallel, 'run')} of one CPU at a time"
        )
        yield from gpus.counted_by_ray(executor.totals["GPU"])

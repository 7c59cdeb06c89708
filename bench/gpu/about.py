"""The environment of a measurement: GPU, driver, versions, commit."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from typing import Any

from bench import harness
from bench.gpu.report import Report

PACKAGES = (*harness.PACKAGES, "pydantic", "timm", "nvidia-ml-py")
COMMIT = harness.ROOT / "COMMIT"
"""File written by `make gpu-bundle`; it contains the commit of a source tree that is not in a repository."""


class Unusable(Exception):  # noqa: N818 -- an outcome rather than an error
    """No usable device was found."""


def refuse_unusable(told: Report) -> None:
    """Raise an error if torch cannot use this machine's GPU.

    Raises
    ------
    Unusable: the message contains the reason and what to do.
    """
    if told.rehearsal:
        return
    import torch

    if torch.cuda.is_available() and torch.cuda.device_count():
        return
    built = f"torch {torch.__version__} is built for CUDA {torch.version.cuda}"
    driver = driver_version() or "none found"
    raise Unusable(
        f"torch does not see any GPU that it can use ({built}; driver: {driver}); DEVICE=cpu runs a rehearsal "
        "without one"
    )


def card(told: Report) -> dict[str, Any]:
    """Return the card's name, UUID, memory and driver; empty in a rehearsal."""
    if told.rehearsal:
        return {}
    import torch

    properties = torch.cuda.get_device_properties(told.device)
    return {
        "name": properties.name,
        "uuid": str(getattr(properties, "uuid", "")),
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "capability": f"{properties.major}.{properties.minor}",
        "driver": driver_version(),
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
    }


def driver_version() -> str:
    """Return the version of NVIDIA's driver, according to NVML or nvidia-smi; empty if there is no driver."""
    with contextlib.suppress(Exception):
        import pynvml

        pynvml.nvmlInit()
        version = pynvml.nvmlSystemGetDriverVersion()
        return version.decode() if isinstance(version, bytes) else str(version)
    return smi("driver_version").partition("\n")[0]


def smi(query: str) -> str:
    """Return the output of nvidia-smi, one line per GPU; empty if it is not installed."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, f"--query-gpu={query}", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def versions() -> dict[str, str]:
    """Return the versions of the relevant packages."""
    return harness.versions(PACKAGES)


def commit() -> str:
    """Return the commit of this source tree, from ``COMMIT``, from git, or from the bundle that contained it."""
    given = os.environ.get("COMMIT", "")
    if given:
        return given
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        git = ["git", "-C", str(harness.ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        done = subprocess.run(git, capture_output=True, text=True, check=True, timeout=20)
        return done.stdout.strip()
    with contextlib.suppress(OSError):
        return COMMIT.read_text(encoding="utf-8").strip()
    return "unknown"

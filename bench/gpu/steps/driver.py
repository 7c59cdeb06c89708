"""Are the driver and torch compatible, does torch have kernels for the card, and does Ray see the usable GPUs?"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import tomllib
from pathlib import Path

import torch

from bench.gpu import about
from bench.gpu.report import Report
from bench.harness import ROOT


def check(told: Report) -> None:
    """Check the environment, and multiply two matrices."""
    if importlib.util.find_spec("packaging"):
        for text in unmet(ROOT / "pyproject.toml"):
            told.note(text)
    _kernels(told)
    _product(told)
    if importlib.util.find_spec("pandas"):
        _doctor(told)
    else:
        told.unmeasured("`ablate doctor`", "pandas is not installed")
    if importlib.util.find_spec("ray"):
        _ray(told)
    else:
        told.unmeasured("Ray's number of GPUs", "ray is not installed")


def unmet(project: Path) -> list[str]:
    """Return one sentence for each requirement of this package that is not met on this machine."""
    from packaging.requirements import Requirement

    with project.open("rb") as file:
        wanted = [Requirement(text) for text in tomllib.load(file)["project"]["dependencies"]]
    found = []
    for each in wanted:
        try:
            version = importlib.metadata.version(each.name)
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{each.name} is not installed; {each} is required")
            continue
        if not each.specifier.contains(version, prereleases=True):
            found.append(f"{each.name} {version} is installed; {each} is required")
    return found


def _kernels(told: Report) -> None:
    if told.rehearsal:
        told.note(f"torch {torch.__version__}, built for CUDA {torch.version.cuda}; no card is required")
        return
    major, minor = torch.cuda.get_device_capability(told.device)
    kernels = torch.cuda.get_arch_list()
    # Machine code for a major version runs on later minor versions; PTX (compute_) is translated for any later version.
    own = [int(name.removeprefix("sm_").rstrip("af")) for name in kernels if name.startswith("sm_")]
    ahead = [int(name.removeprefix("compute_").rstrip("af")) for name in kernels if name.startswith("compute_")]
    capability = 10 * major + minor
    suits = any(kind // 10 == major and kind <= capability for kind in own) or any(kind <= capability for kind in ahead)
    told.expect(
        suits, f"torch has kernels for compute capability {major}.{minor}", f"it has kernels for {' '.join(kernels)}"
    )
    told.expect(about.driver_version() != "", "NVML or nvidia-smi reports a driver version")
    told.note(f"driver {about.driver_version()}; torch {torch.__version__} for CUDA {torch.version.cuda}")


def _product(told: Report) -> None:
    a = torch.arange(64.0 * 64, device=told.device).view(64, 64) / 4096
    found = (a @ a).cpu()
    right = a.cpu().double() @ a.cpu().double()
    told.expect(torch.allclose(found.double(), right, rtol=1e-2), "a product of two matrices is correct")


def _doctor(told: Report) -> None:
    from ablations.commands.doctor.machine import doctor

    for finding in doctor(told.scratch, ray=False):
        if finding.state == "ok" or finding.subject.startswith("data "):  # no step needs a data set
            continue
        text = f"ablate doctor: {finding.subject}: {'; '.join(filter(None, (finding.message, finding.remedy)))}"
        about_a_device = any(word in finding.subject.lower() for word in ("gpu", "device", "cuda", "driver"))
        if finding.state == "problem" and about_a_device and not told.rehearsal:
            told.expect(False, "`ablate doctor` finds no fault in a device", text)
        else:
            told.note(text)


def _ray(told: Report) -> None:
    from ablations.execution.ray.executor import RayExecutor
    from ablations.spec.resources import Resources

    with RayExecutor([Resources(gpus=0 if told.rehearsal else 1)]) as executor:
        executor.check()
        counted = int(executor.totals.get("GPU", 0))
    usable = torch.cuda.device_count()
    told.expect(
        told.rehearsal or counted == usable, "Ray counts the GPUs that torch can use", f"Ray {counted}, torch {usable}"
    )

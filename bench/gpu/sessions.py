"""Small studies with faulty networks that run in an ordinary session."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from bench.gpu.report import Report
from bench.gpu.unwell import NAME

_DIGITS = {"name": "digits", "size": 16, "train_images": 40}


def install(folder: Path) -> None:
    """Register the backbone `unwell` in this process and in the workers that the process starts."""
    info = folder / "bench_gpu-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-gpu\nVersion: 1.0\n", encoding="utf-8")
    entry = f"[aimlib.backbones]\n{NAME} = bench.gpu.unwell:Unwell\n"
    (info / "entry_points.txt").write_text(entry, encoding="utf-8")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    sys.path.insert(0, str(folder))


def study(told: Report, arms: dict[str, dict[str, Any]], gpus: float, seeds: int = 1) -> Path:
    """Write a study whose arms differ in the options of their backbones, and return the path of the study file."""
    install(told.scratch / "plugins")
    backbone = {"name": NAME, "widths": [4, 8], "blocks": [1, 1], "trace": str(told.scratch / "trace.jsonl")}
    training = {
        "epochs": 2,
        "batch_size": 16,
        "optimizer": {"name": "adam", "learning_rate": 2e-3},
        "selection": "last_epoch",
        "validation_fraction": 0.0,
    }
    # In a rehearsal, every run takes all CPUs, so runs are sequential, as on one card.
    cpus = (os.cpu_count() or 1) if told.rehearsal else 2
    content = {
        "name": "unwell",
        "base": {"data": _DIGITS, "model": {"backbone": backbone}, "training": training},
        "arms": {name: {"model": {"backbone": {**backbone, **options}}} for name, options in arms.items()},
        "seeds": seeds,
        "resources": {"gpus": 0 if told.rehearsal else gpus, "cpus": cpus, "max_retries": 2},
    }
    path = told.scratch / "study.yaml"
    path.write_text(json.dumps(content), encoding="utf-8")  # JSON is valid YAML
    return path


def run(told: Report, path: Path) -> Any:
    """Run the study with Ray and return its session."""
    from rich.console import Console

    import ablations

    return ablations.run(path, told.scratch / "results", console=Console(file=sys.stderr, width=120))


def attempts(told: Report) -> list[dict[str, Any]]:
    """Return the attempts in the order in which they started, with their fault, process and device."""
    file = told.scratch / "trace.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def statuses(told: Report) -> dict[str, str]:
    """Return, for every arm that has a result, how its run ended."""
    import analysis

    rows = analysis.load(told.scratch / "results").runs
    return dict(zip(rows["arm"], rows["status"], strict=True))

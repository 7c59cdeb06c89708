"""The results of fine-tuning a torchvision network with a memory on Ray are bitwise identical after a kill with -9."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from drivers import until
from tiny_study import failures, litter, numbers, rows, write

TUNED: dict[str, Any] = {
    "name": "tuned",
    "keep": "best",
    "base": {
        "data": {"name": "digits", "size": 32, "channels": 3, "train_images": 60},
        "model": {"backbone": {"name": "torchvision", "architecture": "resnet18"}, "weights": "net.pt"},
        "training": {
            "epochs": 4,
            "batch_size": 10,
            "optimizer": {"name": "adamw", "learning_rate": 1e-3},
            "selection": "best_validation",
            "validation_fraction": 0.25,
            "fine_tuning": {
                "freeze": {"layers": ["conv1", "bn1", "layer1"], "epochs": 2},
                "learning_rates": {"layers": "fc", "scale": 10.0},
                "layer_decay": 0.7,
                "ema": {"decay": 0.9},
            },
        },
    },
    "arms": {
        "baseline": {},
        "memory": {
            "model": {
                "memory": {"name": "conv_ones", "channels": 8, "rows": 2, "columns": 2},
                "placement": "block_entry",
                "update": "conv_sigmoid",
                "read_init": "zero",
            }
        },
    },
    "seeds": 1,
}


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_fine_tuning_of_a_torchvision_network_continues_after_a_kill(
    tmp_path: Path, command: Callable[..., subprocess.Popen[str]]
) -> None:
    import torchvision

    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(num_classes=7).state_dict(), tmp_path / "net.pt")
    path = write(tmp_path, TUNED)
    calm = command("run", path, "--out", tmp_path / "calm", "--executor", "inline")
    assert calm.wait(240) == 0, calm.communicate()[1]
    directory = tmp_path / "killed"
    driver = command("run", path, "--out", directory)
    until(lambda: list((directory / "checkpoints").glob("*/checkpoint.pt")), 120)
    driver.kill()
    assert driver.wait() == -9
    assert len(numbers(directory)) < 2
    again = command("run", path, "--out", directory)
    assert again.wait(240) == 0, again.communicate()[1]
    assert numbers(directory) == numbers(tmp_path / "calm")
    assert max(row["attempts"] for row in rows(directory)) > 1, "the run continued from a checkpoint"
    kept, wanted = (
        {file.name: file.read_bytes() for file in (each / "networks").iterdir()}
        for each in (directory, tmp_path / "calm")
    )
    assert kept == wanted, "the weight averages are bitwise identical"
    assert failures(directory) == []
    assert litter(directory) == []

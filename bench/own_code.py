"""How much do a study's own code for a part of the network, and keeping the network, cost?

Question: How much more processor time does a run take if an update of its memory is defined in a study's own file
    instead of an installed plugin, if its network is kept, and if memory is attached to the network?

Rivals: the same class as an installed plugin, in a study that does not keep any network. All of them compute the same
numbers.

Measured: 2026-11-28, AMD EPYC, 2 cores, 24 GiB, Linux 6.18.44-fc-v657, Python 3.11.7; torch 2.14.1, torchvision
    0.29.1, ray 2.60.0, optuna 5.0.0, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, scipy 1.17.1, matplotlib 3.11.2;
    medians of 9 rounds, 246 s in all.

Reached: processor time, file of the study / installed plugin: 1.01 (≤ 1.02); processor time, installed, keep: last /
    installed plugin: 1.01 (≤ 1.02); processor time, file, keep: last / installed plugin: 1 (≤ 1.02); processor time
    of a run, with / without attaching its memory: 1 (≤ 1.02).
"""

from __future__ import annotations

import os
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

import ablations
from ablations.planning.arms import shape_of
from ablations.planning.plan import arms_of
from ablations.spec.study import read_study
from aimlib.errors import counted
from aimlib.models import build
from bench.harness import Answer, Asked, Goal, main, ratios, rounds_of, row

INSTALLED, FILE, KEPT, BOTH = "installed plugin", "file of the study", "installed, keep: last", "file, keep: last"
LIMIT = 1.02


def measure(asked: Asked) -> Answer:
    """Compute the same run with each kind of plugin, in turn, in one process."""
    epochs, rounds = (1, 1) if asked.quick else (10, 9)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent)
        os.environ["AIM_CONFIG_DIR"] = str(folder / "approvals")
        _install(folder / "installed")
        studies = {
            INSTALLED: _study(folder / "a", "bench_installed", epochs),
            FILE: _study(folder / "b", "bench_file", epochs, plugins=["own.py"]),
            KEPT: _study(folder / "c", "bench_installed", epochs, keep="last"),
            BOTH: _study(folder / "d", "bench_file", epochs, plugins=["own.py"], keep="last"),
        }
        curves: dict[str, Any] = {}
        sessions = {name: _session(name, study, curves) for name, study in studies.items()}
        found = rounds_of(sessions, rounds)
        if any(curve != curves[INSTALLED] for curve in curves.values()):
            raise RuntimeError(f"the runs differ, so their times cannot be compared: {curves}")
        built = rounds_of(_building(studies[INSTALLED]), rounds)
    case = f"one run of {counted(epochs, 'epoch')} on 1,000 digits, 16 px"
    rows = [row(case, name, values, "s") for name, values in found.items()]
    goals = []
    for name in (FILE, KEPT, BOTH):
        rows.append(row(case, f"{name}, in units of {INSTALLED}", ratios(found[name], found[INSTALLED]), "×"))
        goals.append(Goal(f"processor time, {name} / {INSTALLED}", rows[-1].figure, LIMIT, "most"))
    building = "building the network"
    rows += [row(building, name, [1000 * value for value in values], "ms") for name, values in built.items()]
    more = [1 + (a - b) / run for a, b, run in zip(built[ATTACHED], built[PLAIN], found[INSTALLED], strict=True)]
    rows.append(row(building, "run with / without attaching the memory", more, "×"))
    goals.append(Goal("processor time of a run, with / without attaching its memory", rows[-1].figure, LIMIT, "most"))
    return Answer(
        rows, goals, ["Processor time of the whole session, including checks, approval, training, rows and the ledger."]
    )


PLUGIN = '''
from torch import nn

from aimlib.registry import updates
from aimlib.updates.base import MemoryUpdate, pool_to


@updates.register("{name}")
class Write(MemoryUpdate):
    """A convolution of the features, averaged down to the memory's size."""

    source = "own idea"
    initial_values = "own"

    def __init__(self, config, features, memory, where):
        super().__init__(config, features, memory, where)
        self.write = nn.Conv2d(features[0], memory.channels, kernel_size=1)

    def forward(self, features, memory):
        return memory + self.write(pool_to(features, *memory.shape[2:]))
'''


def _install(folder: Path) -> None:
    """Create a distribution that contains the plugin, and add the distribution to the path."""
    info = folder / "bench_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-plugin\nVersion: 1.0\n", encoding="utf-8")
    entry = "[aimlib.updates]\nbench_installed = bench_plugin_module:Write\n"
    (info / "entry_points.txt").write_text(entry, encoding="utf-8")
    (folder / "bench_plugin_module.py").write_text(PLUGIN.format(name="bench_installed"), encoding="utf-8")
    sys.path.insert(0, str(folder))


def _study(folder: Path, update: str, epochs: int, **keys: Any) -> Path:
    """Write a study with one run that uses this update."""
    folder.mkdir()
    (folder / "own.py").write_text(PLUGIN.format(name="bench_file"), encoding="utf-8")
    text = textwrap.dedent(
        f"""
        name: own_code
        base:
          data: {{name: digits, size: 16, train_images: 1000}}
          model:
            backbone: {{name: small_resnet, widths: [16, 32, 64]}}
            memory: {{name: conv_ones, channels: 16, rows: 4, columns: 4}}
            placement: block_entry
            update: {update}
          training: {{epochs: {epochs}, batch_size: 50, optimizer: adam, selection: last_epoch}}
        arms: {{mine: {{}}}}
        seeds: 1
        """
    )
    path = folder / "study.yaml"
    path.write_text(text + (yaml.safe_dump(keys) if keys else ""), encoding="utf-8")
    return path


def _session(name: str, study: Path, curves: dict[str, Any]) -> Callable[[], float]:
    """Return a function that computes a study in a new directory and returns the processor time in seconds."""

    def compute() -> float:
        with tempfile.TemporaryDirectory(dir=study.parent) as out:
            began = time.process_time()
            done = ablations.run(study, f"{out}/study", executor="inline", trust=True, console=Console(quiet=True))
            spent = time.process_time() - began
            curves[name] = done.results.epochs[["train_loss", "test_loss"]].to_numpy().tolist()
        return spent

    return compute


PLAIN, ATTACHED = "without memory", "with memory attached"


def _building(study: Path) -> dict[str, Callable[[], float]]:
    (arm,) = arms_of(read_study(study))
    model, shape = arm.config.model, shape_of(arm.config)
    plain = model.model_copy(update={"memory": None, "placement": None, "update": None, "update_after": None})

    def building(each: Any) -> Callable[[], float]:
        def act() -> float:
            began = time.process_time()
            build(each, shape, 0)
            return time.process_time() - began

        return act

    return {PLAIN: building(plain), ATTACHED: building(model)}


if __name__ == "__main__":
    main(__doc__, measure)

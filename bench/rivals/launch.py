"""Trials that do nothing, launched by other programs. Each trial appends the time to a file; see `bench.launch`.

Arguments: the launcher, the number of trials, and the file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def note(file: str | Path) -> None:
    """Append the time at which a trial's own code starts."""
    with open(file, "a", encoding="ascii") as lines:
        lines.write(f"{time.time()}\n")


def tune(count: int, file: str, *, reuse: bool, with_torch: bool, json: bool = False) -> None:
    """Launch a Ray Tune function trainable on two CPUs, without output, and with no logger except, if asked, JSON's."""
    import os

    os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    import ray
    from ray import tune
    from ray.tune.logger import JsonLoggerCallback

    def trial(_: dict[str, Any]) -> dict[str, float]:
        if with_torch:
            import torch  # noqa: F401
        note(file)
        return {"accuracy": 0.5}

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    tune.Tuner(
        trial,
        param_space={"number": tune.grid_search(list(range(count)))},
        tune_config=tune.TuneConfig(reuse_actors=reuse),
        run_config=tune.RunConfig(
            storage_path=str(Path(file).parent / "tune"),
            verbose=0,
            callbacks=[JsonLoggerCallback()] if json else None,
        ),
    ).fit()
    ray.shutdown()


def optuna(count: int, file: str) -> None:
    """Launch with Optuna alone, in this process and with its in-memory storage."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def trial(trial: optuna.Trial) -> float:
        note(file)
        return trial.suggest_float("number", 0, 1)

    optuna.create_study().optimize(trial, n_trials=count)


def joblib(count: int, file: str) -> None:
    """Launch with two processes started by joblib (loky)."""
    from joblib import Parallel, delayed

    Parallel(n_jobs=2)(delayed(note)(file) for _ in range(count))


def disk(count: int, file: str) -> None:
    """Launch with the same two processes, and write and synchronize the files that one of our runs synchronizes.

    These are a checkpoint, a row, and the row's folder.
    """
    from joblib import Parallel, delayed

    Parallel(n_jobs=2)(delayed(_keep)(file, number) for number in range(count))


def _keep(file: str, number: int) -> None:
    import os

    note(file)
    folder = Path(file).parent
    for kind in ("checkpoint", "row"):
        with open(folder / f"{number}.{kind}", "wb") as kept:
            kept.write(bytes(8192))
            kept.flush()
            os.fsync(kept.fileno())
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def hydra(count: int, file: str) -> None:
    """Launch with Hydra's basic sweeper, one job after another in this process."""
    import hydra as package
    from omegaconf import DictConfig

    sys.argv[1:] = ["--multirun", f"+number=range(0,{count})", f"hydra.sweep.dir={Path(file).parent / 'hydra'}"]

    @package.main(version_base=None)
    def trial(config: DictConfig) -> float:
        note(file)
        return float(config.number)

    trial()


LAUNCHERS: dict[str, Callable[[int, str], None]] = {
    "tune-reuse": lambda count, file: tune(count, file, reuse=True, with_torch=False),
    "tune-reuse-torch": lambda count, file: tune(count, file, reuse=True, with_torch=True),
    "tune-json": lambda count, file: tune(count, file, reuse=True, with_torch=False, json=True),
    "tune-json-torch": lambda count, file: tune(count, file, reuse=True, with_torch=True, json=True),
    "tune": lambda count, file: tune(count, file, reuse=False, with_torch=False),
    "tune-torch": lambda count, file: tune(count, file, reuse=False, with_torch=True),
    "optuna": optuna,
    "joblib": joblib,
    "disk": disk,
    "hydra": hydra,
}

if __name__ == "__main__":
    LAUNCHERS[sys.argv[1]](int(sys.argv[2]), sys.argv[3])

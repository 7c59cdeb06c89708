"""A study with a loss, transforms and callbacks is bitwise identical inline, on Ray, and after a worker is killed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import restored_registries
from tiny_study import changed, failures, numbers, planned, rows, write

import ablations
import analysis
from ablations.planning import own_code
from ablations.spec.study import read_study
from analysis.reading.consistency import other_option

CODE = '''
import os
import signal
import time
from pathlib import Path

from torch.nn import functional

from aimlib.registry import callbacks, losses
from aimlib.training.callbacks import Callback
from aimlib.training.losses import Loss, LossConfig


@losses.register("own_tempered")
class Tempered(Loss):
    """The cross-entropy at a temperature."""

    source = "own idea"
    takes_soft_targets = True

    class Config(LossConfig):
        temperature: float = 2.0

    def forward(self, logits, targets):
        return functional.cross_entropy(logits / self.config.temperature, targets)


@callbacks.register("own_watch")
class Watch(Callback):
    """Counts steps, ends the run after five epochs, and kills its process once."""

    source = "own idea"

    def __init__(self, config):
        super().__init__(config)
        self.steps = 0

    def on_step_end(self, run):
        self.steps += 1
        run.log("steps_so_far", float(self.steps))
        time.sleep(0.1)
        marker = Path(os.environ["KILLED_ONCE"])
        if run.epoch == 3 and run.step == 2 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def on_epoch_end(self, run, row):
        if run.epoch == 5:
            run.stop("five epochs are enough")

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]
'''
PARTS: dict[str, Any] = {
    "loss": "own_tempered",
    "transforms": [{"name": "random_crop", "padding": 1}, "random_erasing", {"name": "mixup", "alpha": 0.4}],
    "callbacks": ["own_watch", "gradient_norm"],
    "schedule": {"name": "warmup", "warmup_epochs": 1, "schedule": "one_cycle"},
    "optimizer": "nadam",
}


@pytest.fixture(autouse=True)
def own_registries() -> Iterator[None]:
    with restored_registries():
        yield


def study(folder: Path) -> Path:
    (folder / "parts.py").write_text(CODE, encoding="utf-8")
    changes = {"plugins": ["parts.py"], "base.training.epochs": 8, "arms.aim.training": PARTS, "seeds": 1}
    return write(folder, changed(changes))


def scalars(directory: Path) -> dict[str, str | None]:
    return {row["run_id"]: row["scalars"] for row in rows(directory)}


@pytest.mark.xdist_group("ray")
def test_after_a_worker_is_killed_the_run_continues_with_bitwise_identical_results_and_scalars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., subprocess.Popen[str]]
) -> None:
    path, marker = study(tmp_path), tmp_path / "killed"
    monkeypatch.setenv("KILLED_ONCE", str(tmp_path))  # the file exists, so no process is killed
    whole = ablations.run(path, tmp_path / "whole", executor="inline", trust=True)
    assert whole.failed == {}
    monkeypatch.setenv("KILLED_ONCE", str(marker))
    (bundle,) = own_code.files_of(read_study(path)).values()
    process = command("run", path, "--out", tmp_path / "out", "--executor", "ray", "--trust", bundle.hash)
    _, error = process.communicate()
    assert process.returncode == 0, error
    assert marker.exists(), "the worker was killed"
    assert set(numbers(tmp_path / "out")) == set(planned(tmp_path / "out"))
    assert numbers(tmp_path / "out") == numbers(tmp_path / "whole")
    assert scalars(tmp_path / "out") == scalars(tmp_path / "whole")
    assert analysis.load(tmp_path / "out").runs["attempts"].max() == 2, "the run continued from a checkpoint"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[analysis.Results]:
    folder = tmp_path_factory.mktemp("parts")
    with pytest.MonkeyPatch.context() as patch, restored_registries():
        patch.setenv("KILLED_ONCE", str(folder))
        ablations.run(study(folder), folder / "out", executor="inline", trust=True)
        yield analysis.load(folder / "out")


def test_a_run_that_is_ended_by_a_callback_is_finished_with_the_reason_from_the_callback(
    results: analysis.Results,
) -> None:
    (run,) = results.runs[results.runs["arm"] == "aim"].to_dict("records")
    assert (run["status"], run["epochs_run"], run["epochs_planned"]) == ("finished", 5, 8)
    assert run["reason"] == "own_watch: five epochs are enough"
    assert failures(results.directory) == []
    verified = ablations.verify(results.directory)
    assert [*verified.inspection.damages, *verified.contradictions, *(verified.missing or ())] == []
    used = json.loads(run["plugins"])
    assert {"losses/own_tempered", "augmentations/mixup", "callbacks/own_watch", "callbacks/gradient_norm"} <= set(used)
    assert used["callbacks/own_watch"].startswith("own code: parts.py")


def test_logged_scalars_are_columns_of_the_epochs(results: analysis.Results) -> None:
    epochs = results.epochs.set_index("arm")
    steps = 2  # 30 images in batches of 16
    assert epochs.loc["aim", "steps_so_far"].tolist() == [1.5 + steps * epoch for epoch in range(5)]
    assert (epochs.loc["aim", "gradient_norm"] > 0).all()
    assert epochs.loc["baseline", ["steps_so_far", "gradient_norm"]].isna().all(axis=None)


def test_stored_rows_without_the_column_can_be_read(results: analysis.Results, tmp_path: Path) -> None:
    import shutil

    import pyarrow.parquet as pq

    from aimlib.records.tables import write_table

    shutil.copytree(results.directory, tmp_path / "older")
    for file in [*(tmp_path / "older").glob("runs/*.parquet"), *(tmp_path / "older").glob("segments/*.parquet")]:
        table = pq.ParquetFile(file).read().drop_columns(["scalars"])
        file.unlink()
        write_table(table, file)
    older = analysis.load(tmp_path / "older")
    assert older.runs["scalars"].isna().all()
    assert "gradient_norm" not in older.epochs
    assert older.epochs["test_accuracy"].tolist() == results.epochs["test_accuracy"].tolist()


@pytest.mark.parametrize(
    ("planned_ones", "option"),
    [
        ([{"name": "mixup", "alpha": 0.4}], ""),
        ([{"name": "cutmix", "alpha": 0.4}], "training.transforms.0.name"),
        ([{"name": "mixup", "alpha": 0.5}], "training.transforms.0.alpha"),
        ([], "training.transforms"),
    ],
)
def test_lists_of_components_are_compared_with_the_plan_element_by_element(
    planned_ones: list[Any], option: str
) -> None:
    hashed = {"training": {"transforms": [{"name": "mixup", "version": 1, "alpha": 0.4}]}}
    assert other_option(hashed, {"training": {"transforms": planned_ones, "epochs": 3}}) == option


def test_results_with_own_components_are_reused_and_verified(results: analysis.Results, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KILLED_ONCE", str(tmp_path))
        again = ablations.run(
            study(tmp_path), tmp_path / "out", executor="inline", trust=True, reuse=[results.directory]
        )
    assert (again.computed, again.failed) == (0, {})
    assert scalars(tmp_path / "out") == scalars(results.directory)

"""If data has its own validation images, all of them are used for validation, and all training images for training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_runs import AIM, data_set, run_config, split, without_clock

from aimlib.datasets.base import DataSet
from aimlib.training.checkpointing import FILE
from aimlib.training.loaders import resident_bytes
from aimlib.training.loop import Paused, train
from aimlib.training.outcomes import outcome_so_far
from aimlib.training.splits import divide


@pytest.fixture
def data() -> DataSet:
    return replace(data_set(), validation=split(12, 3, 8, 1, seed=5))


def test_every_image_is_used_with_every_seed(data: DataSet) -> None:
    assert data.validation is not None
    for seed in range(3):
        divided = divide(data, 0.25, seed)
        assert divided.validated == "validation"
        assert divided.training.tolist() == list(range(36))
        assert divided.validation.tolist() == list(range(12))
    assert len(divide(data, 0.0, 0).validation) == 0
    assert divide(replace(data, validation=None), 0.25, 0).validated == "train"


def test_accuracies_are_measured_on_the_data_sets_own_validation_images(data: DataSet) -> None:
    outcome = train(run_config(model=AIM, training__selection="best_validation"), data)
    assert outcome.images == (36, 12, 18)
    assert data.validation is not None
    easy = replace(
        data, validation=replace(data.validation, pixels=data.test.pixels[:12], labels=data.test.labels[:12])
    )
    of_test = train(run_config(model=AIM, training__selection="best_validation"), easy)
    predictions = of_test.predictions[:, :12]
    for row, predicted in zip(of_test.epochs, predictions, strict=True):
        assert row["validation_accuracy"] == pytest.approx((predicted == easy.test.labels[:12]).mean())
    assert [row["test_accuracy"] for row in outcome.epochs] == [row["test_accuracy"] for row in of_test.epochs], (
        "validation images are not used for training"
    )


def test_a_fraction_of_zero_uses_no_validation_images(data: DataSet) -> None:
    outcome = train(run_config(training__validation_fraction=0.0), data)
    assert outcome.images == (36, 0, 18)
    assert outcome.epochs[0]["validation_accuracy"] is None
    alone = train(run_config(training__validation_fraction=0.0), replace(data, validation=None))
    assert without_clock(alone) == without_clock(outcome)


def test_a_paused_run_is_bitwise_identical(data: DataSet, tmp_path) -> None:
    whole = train(run_config(model=AIM), data)
    for _ in range(100):
        asked = iter([False, False, True])
        try:
            pieces = train(
                run_config(model=AIM),
                data,
                run_id="r",
                checkpoint_directory=tmp_path,
                pause=lambda asked=asked: next(asked, True),
            )
            break
        except Paused:
            assert (tmp_path / FILE).exists()
    else:
        pytest.fail("it never ends")
    assert [{**row, "seconds": 0} for row in pieces.epochs] == [{**row, "seconds": 0} for row in whole.epochs]
    assert (pieces.predictions == whole.predictions).all()


def test_an_abandoned_run_counts_validation_images(data: DataSet, tmp_path) -> None:
    epochs: list[int] = []
    with pytest.raises(Paused):
        train(
            run_config(model=AIM, training__epochs=3),
            data,
            run_id="r",
            checkpoint_directory=tmp_path,
            on_epoch=lambda row: epochs.append(row["epoch"]),
            pause=lambda: len(epochs) == 2,
        )
    given_up = outcome_so_far(run_config(model=AIM, training__epochs=3), data, tmp_path, "r", "too slow")
    assert given_up.images == (36, 12, 18)


def test_validation_images_are_included_in_the_memory(data: DataSet) -> None:
    config = run_config(training__data_on="device")
    own = resident_bytes(config, data) - resident_bytes(config, replace(data, validation=None))
    assert data.validation is not None
    assert own == data.validation.pixels.nbytes + data.validation.labels.nbytes
    assert np.prod(data.validation.pixels.shape) == data.validation.pixels.nbytes

"""What the user's own training code reports is checked immediately; results come from predictions and are restored."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import restored_registries

from aimlib.config import RunConfig
from aimlib.errors import UsageError
from aimlib.registry import datasets
from aimlib.seeding import seed_for
from aimlib.training.checkpoint_manager import Paused
from aimlib.training.own.config import OwnRunConfig
from aimlib.training.own.functions import register_function
from aimlib.training.own.loop import SAME, Attempt, difference, train
from aimlib.training.own.run import OwnRun

DATA = {"name": "digits", "train_images": 60, "size": 8}
Code = Callable[[OwnRunConfig, OwnRun], None]


@pytest.fixture(autouse=True)
def own_registries() -> Iterator[None]:
    with restored_registries():
        yield


def config_of(code: Code, **parts: Any) -> OwnRunConfig:
    code.__qualname__ = code.__name__
    document = {"train": register_function(code), "data": DATA, "seed": 3, "options": {"rate": 0.5}, **parts}
    found = RunConfig.parse(document)
    assert isinstance(found, OwnRunConfig)
    return found


def outcome(code: Code, attempt: Attempt | None = None, *, repeat: bool = False, **parts: Any) -> Any:
    config = config_of(code, **parts)
    return train(config, datasets.create(config.data).load(), attempt or Attempt(), repeat=repeat)


def predicted(run: OwnRun, right: int, split: Any = "test") -> np.ndarray[Any, Any]:
    """Return predictions of which exactly `right` are correct."""
    labels = run.split(split).labels.copy()
    labels[right:] = (labels[right:] + 1) % 10
    return labels


def test_accuracies_are_computed_from_predictions_in_any_order_and_by_name_or_number() -> None:
    def code(config: OwnRunConfig, run: OwnRun) -> None:
        names = run.split("test").names
        order = run.generator("any").permutation(len(names))
        labels = predicted(run, 400)[order]
        run.predictions("test", [names[each] for each in order], [run.classes[each] for each in labels])
        run.report(1, accuracy=0.8, train_loss=2.0)
        run.predictions("test", order, torch.from_numpy(labels))
        run.report()
        run.predictions("test", None, predicted(run, 100))
        run.report(learning_rate=config.options.rate)

    found = outcome(code, training={"epochs": 3})
    assert [epoch["test_accuracy"] for epoch in found.epochs] == [0.8, 0.8, 0.2]
    assert (found.predictions[0] == found.predictions[1]).all()
    assert found.epochs[0]["train_loss"] == 2.0
    assert found.epochs[1]["train_loss"] is None
    assert found.epochs[2]["learning_rate"] == 0.5
    assert (found.status, found.selected_epoch, found.selected["test_accuracy"]) == ("finished", 3, 0.2)
    assert found.images == (60, 0, 500)


def test_the_epoch_with_the_best_held_out_accuracy_is_selected() -> None:
    def code(config: OwnRunConfig, run: OwnRun) -> None:
        assert len(run.split("train").labels) + len(run.split("validation").labels) == 60
        assert not set(run.split("train").names) & set(run.split("validation").names)
        for right in (1, 3, 2):
            run.predictions("validation", None, predicted(run, right, "validation"))
            run.predictions("test", None, predicted(run, 10 * right))
            run.report(validation_accuracy=right / len(run.split("validation").labels))

    found = outcome(code, training={"epochs": 3, "select_on": "validation"})
    assert found.selected_epoch == 2
    assert found.selected["test_accuracy"] == 30 / 500


def give(run: OwnRun, right: int = 400) -> None:
    run.predictions("test", None, predicted(run, right))


WRONG: list[tuple[str, Callable[[OwnRun], object], str]] = [
    ("no predictions", lambda run: run.report(), "call run.predictions('test', ids, labels) before every report"),
    ("too few", lambda run: run.predictions("test", [0, 1], [1, 2]), "once; 498 are missing, such as"),
    ("one less", lambda run: run.predictions("test", range(499), [1] * 499), "once; 1 is missing, such as"),
    ("twice", lambda run: run.predictions("test", [0] * 500, [1] * 500), "listed more than once, such as"),
    ("lengths", lambda run: run.predictions("test", [0, 1], [1]), "2 images, but 1 label"),
    ("scores", lambda run: run.predictions("test", None, np.zeros((500, 10))), "scores.argmax(1)"),
    ("no class", lambda run: run.predictions("test", None, ["11"] * 500), "'11' is not a class; did you mean '1'?"),
    ("beyond", lambda run: run.predictions("test", None, [10] * 500), "classes are 0 to 9"),
    ("halves", lambda run: run.predictions("test", None, [0.5] * 500), "class numbers or names"),
    ("unknown image", lambda run: run.predictions("test", ["x"] * 500, [0] * 500), "no image 'x'"),
    ("ids", lambda run: run.predictions("test", [None] * 500, [0] * 500), "must be image names or numbers"),  # type: ignore[list-item]
    ("far id", lambda run: run.predictions("test", range(1, 501), [0] * 500), "images are 0 to 499"),
    ("split", lambda run: run.predictions("train", None, [0]), "for 'test' or 'validation'"),
    ("no validation", lambda run: run.predictions("validation", None, [0]), "set training.validation_fraction"),
    ("name of a split", lambda run: run.split("tets"), "'tets' is not a split; did you mean 'test'?"),  # type: ignore[arg-type]
    (
        "other accuracy",
        lambda run: (give(run), run.report(accuracy=0.9)),
        "the predictions for the test images give 0.8",
    ),
    ("percent", lambda run: (give(run), run.report(accuracy=80.0)), "accuracy must be a fraction from 0 to 1; got 80"),
    ("text", lambda run: (give(run), run.report(train_loss="low")), "train_loss must be a number; got 'low'"),  # type: ignore[arg-type]
    ("measure", lambda run: (give(run), run.report(trainloss=1.0)), "did you mean 'train_loss'?"),
    ("counted", lambda run: (give(run), run.report(seconds=1.0)), "'seconds' is computed by this package"),
    ("epoch", lambda run: (give(run), run.report(2)), "epoch 2 was reported, but the next one is 1; count from 1, or"),
    ("vector", lambda run: (give(run), run.report(train_loss=torch.ones(3))), "got a Tensor of shape (3,); report its"),  # type: ignore[arg-type]
    ("state", lambda run: run.checkpoint({}), "run.checkpoint: got dict; save your files in a folder, and pass its"),  # type: ignore[arg-type]
    ("exit", lambda run: sys.exit(0), "the training code called sys.exit; it must return instead"),
    ("no network", lambda run: run.network(), "this arm has no network"),
    ("no folder", lambda run: run.checkpoint("/no/such/folder"), "save your files in a folder"),
    ("option", lambda run: run.config.options.rat, "did you mean 'rate'? its options: rate"),
]


@pytest.mark.parametrize(("call", "message"), [each[1:] for each in WRONG], ids=[each[0] for each in WRONG])
def test_impossible_reports_are_refused_immediately(call: Callable[[OwnRun], object], message: str) -> None:
    def code(config: OwnRunConfig, run: OwnRun) -> None:
        call(run)

    with pytest.raises((UsageError, AttributeError)) as error:
        outcome(code)
    assert message in str(error.value)


def test_more_epochs_than_the_budget_are_refused_and_fewer_are_allowed() -> None:
    def code(config: OwnRunConfig, run: OwnRun) -> None:
        for _ in range(2):
            give(run)
            run.report()

    with pytest.raises(UsageError, match=r"epoch 2 was reported, but training\.epochs is 1"):
        outcome(code)
    assert len(outcome(code, training={"epochs": 5}).epochs) == 2


def test_code_that_reports_nothing_is_refused() -> None:
    def silent(config: OwnRunConfig, run: OwnRun) -> None:
        run.predictions("test", None, [0] * 500)

    with pytest.raises(UsageError, match="training code 'silent' returned without a report"):
        outcome(silent)


def test_other_numbers_become_scalars_of_the_epochs_even_after_a_pause(tmp_path: Path) -> None:
    def code(config: OwnRunConfig, run: OwnRun) -> None:
        run.restore()
        for epoch in range(run.epochs_done + 1, 4):
            give(run)
            later = {"late": 10.0 * epoch} if epoch > 1 else {}
            run.report(perplexity=float("nan") if epoch == 3 else 2.0**epoch, **later)
            run.checkpoint(tmp_path / "files")

    (tmp_path / "files").mkdir()
    expected = {"perplexity": [2.0, 4.0, None], "late": [None, 20.0, 30.0]}
    assert outcome(code, training={"epochs": 3}).scalars == expected
    asked = iter([False, True])
    with pytest.raises(Paused):
        outcome(code, Attempt("r", tmp_path / "c", pause=lambda: next(asked)), training={"epochs": 3})
    assert outcome(code, Attempt("r", tmp_path / "c"), training={"epochs": 3}).scalars == expected


def test_a_loss_that_is_not_finite_is_an_outcome_even_if_the_code_catches_it() -> None:
    def code(config: OwnRunConfig, run: OwnRun) -> None:
        for loss in (1.0, float("nan"), 1.0):
            give(run)
            try:
                run.report(train_loss=loss)
            except Exception:
                return

    found = outcome(code, training={"epochs": 3})
    assert (found.status, found.reason, len(found.epochs)) == ("diverged", "train_loss not finite in epoch 2", 1)


def test_a_run_that_diverges_immediately_keeps_its_first_predictions() -> None:
    def code(config: OwnRunConfig, run: OwnRun) -> None:
        give(run, 50)
        run.report(train_loss=float("inf"))

    found = outcome(code)
    assert (found.status, found.selected_epoch, found.selected["test_accuracy"]) == ("diverged", 0, 0.1)
    assert found.predictions.shape == (1, 500)


def test_arms_share_streams_with_the_same_name_but_seeds_do_not() -> None:
    seen = {}

    def code(config: OwnRunConfig, run: OwnRun) -> None:
        draws = run.torch_generator("init").initial_seed(), run.generator("order", 2).random(), torch.rand(1).item()
        seen[config.options.rate, config.seed] = run.seed("init"), *draws
        give(run)
        run.report()

    for rate, seed in ((0.1, 3), (0.2, 3), (0.1, 4)):
        outcome(code, options={"rate": rate}, seed=seed)
    assert seen[0.1, 3] == seen[0.2, 3]
    assert seen[0.1, 3][0] == seed_for(3, "init")
    assert all(one != other for one, other in zip(seen[0.1, 3], seen[0.1, 4], strict=True))


def counting(folder: Path, *, saves: bool = True) -> Code:
    """Return code whose predictions depend on all of its random draws, and which saves the draws."""

    def code(config: OwnRunConfig, run: OwnRun) -> None:
        drawn = 0.0
        if where := run.restore():
            drawn = float((where / "below" / "drawn.txt").read_text())
        while run.epochs_done < config.training.epochs:
            drawn += float(torch.rand(1)) + random.random() + float(np.random.rand())
            give(run, int(drawn * 1e6) % 500)
            run.report(train_loss=drawn)
            if saves:
                (folder / "below").mkdir(exist_ok=True, parents=True)
                (folder / "below" / "drawn.txt").write_text(repr(drawn))
                run.checkpoint(folder)

    return code


@given(stops=st.lists(st.integers(1, 6), max_size=4))
@settings(max_examples=15, deadline=None)
def test_a_run_that_is_paused_anywhere_and_continued_has_the_same_results(
    stops: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("own")
    code = counting(folder / "files")
    whole = outcome(code, training={"epochs": 6})
    asked = [0]

    def attempt(stop: int | None) -> Attempt:
        asked[0] = 0

        def pause() -> bool:
            asked[0] += 1
            return stop is not None and asked[0] >= stop

        return Attempt(run_id="r", directory=folder / "checkpoint", pause=pause)

    for stop in stops:
        with contextlib.suppress(Paused):
            outcome(code, attempt(stop), training={"epochs": 6})
    last = outcome(code, attempt(None), training={"epochs": 6})
    assert [epoch["train_loss"] for epoch in last.epochs] == [epoch["train_loss"] for epoch in whole.epochs]
    assert (last.predictions == whole.predictions).all()


def test_code_that_does_not_save_pauses_at_a_report_and_starts_again(tmp_path: Path) -> None:
    code = counting(tmp_path / "files", saves=False)
    with pytest.raises(Paused):
        outcome(code, Attempt(directory=tmp_path / "c", pause=lambda: True), training={"epochs": 3})
    found = outcome(code, Attempt(directory=tmp_path / "c"), training={"epochs": 3})
    assert (len(found.epochs), found.attempts) == (3, 1)


def test_a_run_with_a_damaged_checkpoint_continues_from_the_previous_one(tmp_path: Path) -> None:
    code, where, notices = counting(tmp_path / "files"), tmp_path / "c", list[str]()
    asked = iter([False, False, True])
    with pytest.raises(Paused):
        outcome(code, Attempt(run_id="r", directory=where, pause=lambda: next(asked)), training={"epochs": 5})
    path = where / "checkpoint.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    found = outcome(code, Attempt(run_id="r", directory=where, on_notice=notices.append), training={"epochs": 5})
    assert "checksum does not match" in notices[0]
    assert (found.predictions == outcome(code, training={"epochs": 5}).predictions).all()


def test_checkpoint_files_stay_in_their_folder(tmp_path: Path) -> None:
    def code(config: OwnRunConfig, run: OwnRun) -> None:
        (tmp_path / "f").mkdir()
        (tmp_path / "f" / "link").symlink_to("/etc/hostname")
        give(run)
        run.report()
        run.checkpoint(tmp_path / "f")

    with pytest.raises(UsageError, match="is not a plain file"):
        outcome(code)


def test_a_run_is_computed_twice_and_compared() -> None:
    assert outcome(counting(Path("/none"), saves=False), repeat=True, training={"epochs": 2}).repeated == SAME
    again = [0]

    def drifting(config: OwnRunConfig, run: OwnRun) -> None:
        again[0] += 1
        give(run, 100)
        run.report()
        give(run, 100 + again[0])
        run.report()

    found = outcome(drifting, repeat=True, training={"epochs": 2})
    assert found.repeated == "from epoch 2 on: 1 of 500 predictions differ in the last epoch"
    assert found.selected["test_accuracy"] == 101 / 500, "the first computation counts"

    def failing(config: OwnRunConfig, run: OwnRun) -> None:
        again[0] += 1
        give(run)
        run.report()
        if again[0] == 4:
            raise ValueError("no")

    assert outcome(failing, repeat=True).repeated == "failed the second time: ValueError: no"
    assert outcome(drifting, training={"epochs": 2}).repeated is None


def test_predictions_of_different_lengths_count_as_different() -> None:
    one, two = np.zeros((1, 3), dtype=np.uint8), np.zeros((2, 3), dtype=np.uint8)
    assert difference(one, two) == "1 epoch the first time, 2 epochs the second"
    assert difference(one, replace_last(one)) == "from epoch 1 on: 1 of 3 predictions differ in the last epoch"


def replace_last(predictions: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    changed = predictions.copy()
    changed[-1, -1] = 1
    return changed


def test_the_studys_network_has_the_same_initial_values_as_in_the_built_in_loop() -> None:
    from aimlib.datasets.base import ImageShape
    from aimlib.models import build

    model = {"backbone": {"name": "small_resnet", "widths": [4, 8, 8]}}
    got: list[torch.nn.Module] = []

    def code(config: OwnRunConfig, run: OwnRun) -> None:
        got.append(run.network())
        give(run)
        run.report()

    outcome(code, model=model)
    wanted = build(config_of(code, model=model).model, ImageShape(1, 8, 8, 10), 3)
    for (name, one), (_, other) in zip(got[0].named_parameters(), wanted.named_parameters(), strict=True):
        assert torch.equal(one, other), name


def test_a_method_or_a_local_function_is_refused() -> None:
    def local(config: OwnRunConfig, run: OwnRun) -> None: ...

    with pytest.raises(UsageError, match="is not a function at the top level"):
        register_function(local)
    with pytest.raises(UsageError, match="is not a function at the top level"):
        register_function(lambda config, run: None)


def test_an_attempt_includes_the_time_of_earlier_attempts() -> None:
    attempt = replace(Attempt(), before=100.0)
    assert attempt.seconds >= 100


def test_a_run_that_ends_early_issues_a_notice_and_an_unknown_name_gets_a_suggestion() -> None:
    notices: list[str] = []

    def code(config: OwnRunConfig, run: OwnRun) -> None:
        with pytest.raises(AttributeError, match=r"run\.predict: no such name; did you mean 'predictions'"):
            run.predict("test")  # type: ignore[attr-defined]
        give(run)
        with pytest.raises(UsageError, match=r"train_loss must be a number; got '0\.3'"):
            run.report(train_loss="0.3")
        with pytest.raises(UsageError, match=r"unknown measure 'acuracy'; did you mean 'accuracy'"):
            run.report(acuracy=0.8)
        run.report(train_loss=torch.ones(1, requires_grad=True).mean())

    found = outcome(code, Attempt(on_notice=notices.append), training={"epochs": 3})
    assert found.epochs[0]["train_loss"] == 1.0
    assert notices == ["the training code reported 1 of 3 planned epochs"]

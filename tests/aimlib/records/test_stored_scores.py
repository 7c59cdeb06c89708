"""Stored scores are read back unchanged, and contradictions between scores and predictions are detected."""

from __future__ import annotations

import numpy as np
import pytest

from aimlib.records.scores import contradiction, scores_from

SCORES = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.4, 0.4, 0.2]])).astype(np.float16)


def test_scores_are_read_back_unchanged() -> None:
    assert np.array_equal(scores_from(SCORES.tobytes(), 3), SCORES)
    with pytest.raises(ValueError, match="reshape"):
        scores_from(SCORES.tobytes(), 4)


@pytest.mark.parametrize("tied", [0, 1])
def test_a_prediction_can_be_either_of_two_classes_with_equal_scores_in_float16(tied: int) -> None:
    assert contradiction(SCORES, np.array([0, 2, tied], dtype=np.uint8)) == ""


@pytest.mark.parametrize(
    ("scores", "predicted", "said"),
    [
        (SCORES, [0, 2, 2], "indicate different classes for 1 of 3 images"),
        (SCORES, [1, 1, 2], "indicate different classes for 3 of 3 images"),
        (SCORES, [0, 2], "it has scores for 3 images, but predictions for 2"),
        (SCORES, [0, 2, 3], "it predicts class 3, but has scores for 3 classes"),
        (-SCORES, [0, 2, 0], "its scores are not log-probabilities"),
        (SCORES * np.float16("nan"), [0, 2, 0], "its scores are not log-probabilities"),
    ],
)
def test_a_contradiction_between_scores_and_predictions_is_described(
    scores: np.ndarray, predicted: list[int], said: str
) -> None:
    assert said in contradiction(scores, np.array(predicted, dtype=np.uint8))

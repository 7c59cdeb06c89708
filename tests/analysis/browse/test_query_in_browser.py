"""Filters on the page match `results.where`: they select the same rows and report the same mistakes."""

from __future__ import annotations

import json

import numpy as np
import pytest

import analysis
from aimlib.errors import UsageError

pytestmark = pytest.mark.slow  # these tests need Chromium; `make test` covers filtering in test_page_in_browser.py
CONDITIONS = [
    "",
    "arm=baseline",
    "arm=baseline,aim",
    "arm = aim[placement=stage_only,channels=8]",
    "arm != 'aim'",
    "status=finished,diverged",
    "status!=finished",
    "channels >= 8",
    "channels = 4",
    "channels != 4",
    "channels == null",
    "channels != null and seed > 0",
    "channels in (4, null)",
    "channels not in [8]",
    "channels in (4, 8,)",
    "not channels > 4",
    "placement == stage_only or seed == 1 and channels == 8",
    "(placement == stage_only or seed == 1) and channels == 8",
    "placement in (stage_only, 'every_layer') and not (seed = 0)",
    "placement == none",
    '`placement` == "stage_only"',
    "placement < every_m",
    "validation_accuracy > 0.15",
    "validation_accuracy >= 1.5e-1 and validation_accuracy <= +inf",
    "validation_accuracy > train_images",
    "epochs_run < epochs_planned",
    "epochs_run<epochs_planned",
    "seed == channels",
    "seed = `channels`",
    "selection_oracle = false",
    "selection_oracle = yes",
    "selection_oracle != 1",
    "role = aim",
    "role == 'treatment'",
    "started_at > 2024-05-01T12:30",
    "started_at >= '2024-05-01 12:00:00+00:00' and started_at < 2024-05-02",
    "started_at > '2024-05-01 15:00:00+02:00'",
    "reason == null",
    "reason != null",
    "reason == 'loss is not finite in epoch 3'",
    "seed = 1_0",
    "AND = 1",
    "seed >= 1 AND seed <= 2 OR seed == 0",
    "test_images == 40",
    "placement == ''",
]
MISTAKES = [
    "placement ==",
    "placement === stage_only",
    "placement =! stage_only",
    "seed >= nan",
    "seed == 1 and and seed == 2",
    "placement",
    "channels > four",
    "channels == '4'",
    "no_such == 1",
    "channels > null",
    "channels > 4 or",
    "(channels > 4",
    "channels > 4)",
    "channels in 4",
    "channels in (4 8)",
    "selection_oracle = maybe",
    "started_at > soon",
    "channels not 4",
    "channels ~ 4",
    "placement == 'a",
    "channels == `placement`",
    "(" * 60 + "seed == 1" + ")" * 60,
    "alert(1)",
    "seed == 1; drop",
]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    from browse_study import arms
    from synthetic_study import FakeStudy, write_study

    made = FakeStudy(
        arms(), [0, 1, 2], {("aim", 1): "diverged", ("baseline", 2): "failed"}, claim=None, images=40, name="q"
    )
    return write_study(tmp_path_factory.mktemp("query") / "study", made, np.random.default_rng(1))


@pytest.fixture(scope="module")
def runs(study):
    return analysis.load(study).runs


@pytest.fixture(scope="module")
def opened(study, browser, tmp_path_factory):
    browser.open(analysis.browse(study, tmp_path_factory.mktemp("page") / "x.html").as_uri(), "window.ready")
    browser.click("#runs-tab")
    return browser


def found(page, condition):
    """Return the ids of the runs that the page shows with a filter, or None if the filter is refused."""
    page.value(f"document.getElementById('where').value = {json.dumps(condition)}")
    page.value("document.getElementById('filter').requestSubmit()")
    if page.value("!document.getElementById('problem').hidden"):
        return None
    return page.value(
        "[...document.querySelectorAll('#runs-table tbody button.open')].map((button) => button.dataset.opens)"
    )


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_filter_shows_the_same_rows_as_where(opened, runs, condition):
    try:
        expected = list((runs if not condition else analysis.select(runs, condition))["run_id"])
    except UsageError:
        expected = None
    shown = found(opened, condition)
    assert shown == expected
    assert opened.problems == []


@pytest.mark.parametrize("condition", MISTAKES)
def test_both_refuse_a_mistake_and_the_page_does_not_change(opened, runs, condition):
    with pytest.raises(UsageError):
        analysis.select(runs, condition)
    before = found(opened, "seed == 1")
    assert found(opened, condition) is None
    assert opened.value("document.getElementById('where').getAttribute('aria-invalid')") == "true"
    assert opened.value("document.querySelectorAll('#runs-table tbody tr').length") == len(before) == 5
    assert opened.problems == []


def test_the_message_about_an_unknown_column_suggests_the_nearest(opened):
    assert found(opened, "chanels > 4") is None
    assert "did you mean channels" in opened.value("document.getElementById('problem').textContent")

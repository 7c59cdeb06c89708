"""The benchmarks of `analysis` run and produce rows for every case."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from bench import calibration, harness, large_study


def quick(name):
    """Return a module's output for one small round."""
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{name}", "--quick"], capture_output=True, text=True, cwd=harness.ROOT
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_reports_of_every_size_are_measured():
    said = quick("reports")
    for runs in ("80", "160", "320"):
        for subject in ("analysis, report", "  of it figures", "  of it verdict", "pandas, reads alone"):
            assert any(line.startswith(f"{runs} runs") and subject in line for line in said.splitlines())
    assert said.count("met ") + said.count("NOT MET") == 4


def test_both_ways_to_simulate_are_measured():
    said = quick("calibration")
    for subject in ("simulate", "scipy, study by study", "scipy, all at once"):
        assert f"1,000 studies  {subject}" in said
    assert "met     time of a loop" in said


def test_a_study_that_ends_differently_is_refused():
    differences = np.random.default_rng(0).normal(0, 1, (40, 12))
    simulated = calibration.simulate(differences, calibration.LOOKS, calibration.DELTA, calibration.REPORTED)
    looped = calibration.study_by_study(differences[::20], calibration.LOOKS.levels)
    calibration._agree(simulated, looped)
    with pytest.raises(AssertionError, match="study 20"):
        calibration._agree(simulated, [looped[0], ("holds, or so", 5)])


def test_the_large_study_has_the_stated_size(tmp_path):
    import analysis

    results = analysis.load(large_study.write(tmp_path / "study", 100))
    assert len(results.runs) == 100
    assert results.missing.empty
    assert results.stale.empty
    assert set(results.runs["status"]) <= {"finished", "diverged"}
    findings = analysis.examine(results)
    assert findings.deviations == ()
    assert findings.primary.interval.n == 20
    assert findings.photos is not None
    selected = results.predictions.groupby("run_id")["correct"].mean()
    np.testing.assert_allclose(results.runs["run_id"].map(selected), results.runs["test_accuracy"])

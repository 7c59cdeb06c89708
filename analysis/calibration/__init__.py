"""The error rates of the procedure when the truth is known: simulated studies, rates, and their Monte Carlo errors.

``python -m analysis.calibration docs/calibration.md`` (or ``make calibrate``) writes the page. The tests run a reduced
version and fail if a rate is outside its band, as happens with a wrong constant.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from analysis.calibration.any_time import read_at_any_time, spendings
from analysis.calibration.new_photos import new_photos
from analysis.calibration.one_look import predictions, single_looks
from analysis.calibration.pages import page
from analysis.calibration.rates import DELTA, LOOKS, REPORTED, Rate, Table
from analysis.calibration.repeated_looks import constants, peeking, power, verdicts
from analysis.calibration.several_arms import families, gates, selection
from analysis.calibration.skew import collapses, not_normal

__all__ = ["DELTA", "LOOKS", "REPORTED", "Rate", "Table", "calibrate", "main", "page"]
_SEED = 20210301


def calibrate(repetitions: int = 20_000, levels: tuple[float, ...] | None = None) -> list[Table]:
    """Return all tables of the page.

    Parameters
    ----------
    repetitions : number of simulated studies per rate; a hundredth of this number if every study has thousands of
        images.
    levels : levels of the looks to use in place of the computed ones, to show that a wrong constant is detected.
    """
    rng = np.random.default_rng(_SEED)
    return [
        constants(),
        single_looks(rng, repetitions),
        verdicts(rng, 2 * repetitions, levels),
        families(rng, repetitions),
        predictions(rng, repetitions),
        peeking(rng, repetitions),
        new_photos(rng, max(20, repetitions // 50)),
        selection(rng, repetitions),
        gates(rng, repetitions),
        collapses(rng, repetitions),
        not_normal(rng, repetitions),
        power(),
        spendings(2 * repetitions),
        read_at_any_time(2 * repetitions),
    ]


def main(arguments: list[str]) -> int:
    """Write the page; return 1 if a rate is outside its band."""
    path, repetitions = Path(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 20_000
    started = time.perf_counter()
    tables = calibrate(repetitions)
    path.write_text(page(tables, repetitions), encoding="utf-8")
    faults = [rate for table in tables for rate in table.rates if not rate.holds]
    for rate in faults:
        print(f"out of band: {rate.name}: {rate.value:.4f}, band {rate.low:g} to {rate.high:g}")
    print(f"{path} written in {time.perf_counter() - started:.0f} s; {len(faults)} rates out of band")
    return 1 if faults else 0

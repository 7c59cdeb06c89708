"""What the procedure does when the truth is known: simulated studies, rates, and their Monte Carlo errors.

``python -m analysis.calibration docs/calibration.md`` (or ``make calibrate``) writes the page. The tests run a reduced
version and fail where a rate leaves its band; a wrong constant does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.looks import Looks
from analysis.statistics.bootstrap import bca_interval, percentile_interval, resampling_weights
from analysis.statistics.images import crossed
from analysis.statistics.multiplicity import holm
from analysis.statistics.sequential import constant
from analysis.statistics.simulation import normal_studies, pairs_for_power, simulate
from analysis.statistics.verdict import OPEN, READ

DELTA, REPORTED = 1.0, 4.92
LOOKS = Looks((5, 8, 12))
_SEED = 20210301
_RESAMPLES = 999


@dataclass(frozen=True)
class Rate:
    """One rate with the band it has to stay in.

    Attributes
    ----------
    name : what was counted.
    value : share of the repetitions.
    repetitions : number of them.
    low, high : the band without Monte Carlo error; a value outside of it by more than four standard errors is a fault.
    """

    name: str
    value: float
    repetitions: int
    low: float = 0.0
    high: float = 1.0

    @property
    def error(self) -> float:
        """Monte Carlo standard error."""
        return float(np.sqrt(max(self.value * (1 - self.value), 1 / self.repetitions) / self.repetitions))

    @property
    def holds(self) -> bool:
        """Whether the rate is in its band."""
        return self.low - 4 * self.error <= self.value <= self.high + 4 * self.error


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes
    ----------
    columns, rows : as texts.
    rates : what is held to a band.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    rates: tuple[Rate, ...] = field(default=())


def calibrate(repetitions: int = 20_000, levels: tuple[float, ...] | None = None) -> list[Table]:
    """Return every table.

    Parameters
    ----------
    repetitions : simulated studies per rate (a hundredth of it where every study has thousands of images).
    levels : levels of the looks instead of the computed ones, to show that a wrong constant is found.
    """
    rng = np.random.default_rng(_SEED)
    return [
        _constants(),
        _single_looks(rng, repetitions),
        _verdicts(rng, 2 * repetitions, levels),
        _families(rng, repetitions),
        _predictions(rng, repetitions),
        _peeking(rng, repetitions),
        _photos(rng, max(20, repetitions // 50)),
        _selection(rng, repetitions),
        _gates(rng, repetitions),
        _power(),
    ]


def _constants() -> Table:
    known = {(5, 8, 12): 0.0213, (5, 10, 15): 0.0206}
    rows, rates = [], []
    for looks in (*known, (5, 8), (10, 20, 30)):
        value = constant(looks)
        rows.append((", ".join(map(str, looks)), f"{value:.4f}", f"{known[looks]:.4f}" if looks in known else "–"))
        if looks in known:
            rates.append(Rate(f"constant of {looks}", value, 10**9, known[looks] - 1e-4, known[looks] + 1e-4))
    note = (
        "Level of every single look for an error of .05 of all looks; integrated, and beside it that of a "
        "simulation of 200 million draws (5, 8, 12) and of 3 million (5, 10, 15)."
    )
    return Table(
        "Constants of repeated looks", note, ("Looks at pairs", "Level", "Simulated"), tuple(rows), tuple(rates)
    )


Test = Callable[[npt.NDArray[np.float64], np.random.Generator], npt.NDArray[np.bool_]]


def _t(x: npt.NDArray[np.float64], _: np.random.Generator) -> npt.NDArray[np.bool_]:
    return np.asarray(stats.ttest_1samp(x, 0, axis=1).pvalue < 0.05)


def _z(x: npt.NDArray[np.float64], _: np.random.Generator) -> npt.NDArray[np.bool_]:
    z = x.mean(axis=1) * np.sqrt(x.shape[1]) / x.std(axis=1, ddof=1)
    return np.asarray(2 * stats.norm.sf(np.abs(z)) < 0.05)


def _sign_flip(x: npt.NDArray[np.float64], _: np.random.Generator) -> npt.NDArray[np.bool_]:
    n = x.shape[1]
    signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    rejected = []
    for part in _chunks(x, 2000):
        sums = np.abs(part @ signs.T)
        rejected.append((sums >= np.abs(part.sum(axis=1, keepdims=True)) - 1e-9).mean(axis=1) < 0.05)
    return np.concatenate(rejected)


def _bootstrapped(interval: Callable[..., tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]) -> Test:
    def test(x: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.bool_]:
        rejected = []
        for part in _chunks(x, 500):  # resamples are shared within a chunk alone
            low, high = interval(part, resampling_weights(x.shape[1], _RESAMPLES, rng))
            rejected.append((low > 0) | (high < 0))
        return np.concatenate(rejected)

    return test


def _chunks(x: npt.NDArray[np.float64], size: int) -> Iterator[npt.NDArray[np.float64]]:
    for start in range(0, len(x), size):
        yield x[start : start + size]


def _single_looks(rng: np.random.Generator, repetitions: int) -> Table:
    tests: dict[str, Test] = {
        "t": _t,
        "z": _z,
        "sign-flip": _sign_flip,
        "percentile bootstrap": _bootstrapped(percentile_interval),
        "BCa bootstrap": _bootstrapped(bca_interval),
    }
    rows, rates = [], []
    for n in (3, 5, 10):
        x = rng.standard_normal((repetitions, n))
        found = {name: float(test(x, rng).mean()) for name, test in tests.items()}
        rows.append((str(n), *(f"{value:.3f}" for value in found.values())))
        rates.append(Rate(f"type-I error of t, n = {n}", found["t"], repetitions, 0.05, 0.05))
        rates.append(Rate(f"bootstrap is no interval to decide by, n = {n}", found["BCa bootstrap"], repetitions, 0.07))
        if n < 6:
            rates.append(Rate(f"sign-flip cannot reject, n = {n}", found["sign-flip"], repetitions, 0, 0))
    note = (
        "Two-sided error at nominal .05 of one look at normal differences without a mean. Why t decides, and nothing "
        "else."
    )
    return Table("Type-I error of one look", note, ("n", *tests), tuple(rows), tuple(rates))


_SCENARIOS = (
    (0.25, 0.5),
    (0.25, 0.8),
    (0.5, 0),
    (1, 0),
    (1, 1),
    (1, 2.46),
    (0.5, 2.46),
    (1, 4.92),
    (1.5, 4.92),
    (1, -2),
)


def _verdicts(rng: np.random.Generator, studies: int, levels: tuple[float, ...] | None) -> Table:
    rows, rates = [], []
    for seed_sd, true in _SCENARIOS:
        found = simulate(
            normal_studies(rng, studies, LOOKS, true, np.sqrt(2) * seed_sd), LOOKS, DELTA, REPORTED, levels
        )
        shares = [found.rate(kind) for kind in READ]
        rows.append((f"{seed_sd:g}", f"{true:g}", *(f"{share:.3f}" for share in shares), f"{found.pairs.mean():.1f}"))
        for verdict, is_false in (
            (("harmful",), true >= 0),
            (("no material gain", "trivial gain"), true >= DELTA),
            (("real, smaller than reported",), true <= DELTA or true >= REPORTED),
            (("holds",), true <= REPORTED / 2),
        ):
            if is_false:
                name = f"false “{' or '.join(verdict)}”, seed SD {seed_sd:g}, Δ {true:g}"
                rates.append(Rate(name, found.rate(*verdict), studies, 0, 0.025))
    # The error of the looks themselves, which every false verdict above rests on.
    null = normal_studies(rng, studies, LOOKS, 0.0, 1.0)
    rejected = np.zeros(studies, dtype=bool)
    for n, level in zip(LOOKS.numbers, LOOKS.levels if levels is None else levels, strict=True):
        rejected |= stats.ttest_1samp(null[:, :n], 0, axis=1).pvalue <= level
    rates.append(Rate("any look rejects a true null hypothesis", float(rejected.mean()), studies, 0.05, 0.05))
    columns = ("seed SD", "true Δ", *READ, "mean n")
    note = (
        f"Looks after 5, 8 and 12 pairs, δ = {DELTA:g} pp, r = {REPORTED:g} pp. Seed SD: of either arm, arms "
        "independent, so that of a difference is √2 times that. A verdict is false where the truth contradicts it; "
        "each may come at most .025 of the time. Any look rejects a true null hypothesis in "
        f"{rejected.mean():.4f} of studies."
    )
    return Table("Verdicts, end to end", note, columns, tuple(rows), tuple(rates))


def _families(rng: np.random.Generator, repetitions: int) -> Table:
    """Three arms without effect against one baseline, at one look and over all looks."""
    rows, rates = [], []
    for n in (5, 10):
        baseline = rng.standard_normal((repetitions, n, 1))
        x = rng.standard_normal((repetitions, n, 3)) - baseline
        p = stats.ttest_1samp(x, 0, axis=1).pvalue
        plain = float((p.min(axis=1) < 0.05).mean())
        adjusted = float(np.mean([holm(row).min() < 0.05 for row in p]))
        rows.append((f"one, after {n} pairs", f"{plain:.3f}", f"{adjusted:.3f}"))
        rates.append(Rate(f"family-wise error with Holm, n = {n}", adjusted, repetitions, 0.0, 0.05))
        rates.append(Rate(f"family-wise error without, n = {n}", plain, repetitions, 0.08))
    x = rng.standard_normal((repetitions, 12, 3)) - rng.standard_normal((repetitions, 12, 1))
    by_look = np.stack([stats.ttest_1samp(x[:, :n], 0, axis=1).pvalue for n in LOOKS.numbers])
    smallest = by_look.min(axis=0)
    plain = float((smallest.min(axis=1) < 0.05).mean())
    # Holm over sequential p-values rejects something where the smallest of three is at most the level of alpha / 3.
    adjusted = float((smallest.min(axis=1) <= LOOKS.levels_at(0.05 / 3)[0]).mean())
    rows.append(("three, after 5, 8, 12", f"{plain:.3f}", f"{adjusted:.3f}"))
    rates.append(Rate("family-wise error with Holm over all looks", adjusted, repetitions, 0.0, 0.05))
    note = (
        "Three variants without effect against one baseline: share of studies in which any is called different at .05."
    )
    return Table("Several variants", note, ("Looks", "unadjusted", "Holm"), tuple(rows), tuple(rates))


def _predictions(rng: np.random.Generator, repetitions: int) -> Table:
    rows, rates = [], []
    for n in (5, 8, 12):
        x = rng.standard_normal((repetitions, n + 1))
        known, further = x[:, :n], x[:, n]
        margin = stats.t.ppf(0.975, n - 1) * known.std(axis=1, ddof=1) * np.sqrt(1 + 1 / n)
        covered = float((np.abs(further - known.mean(axis=1)) <= margin).mean())
        rows.append((str(n), f"{covered:.3f}"))
        rates.append(Rate(f"prediction interval, n = {n}", covered, repetitions, 0.95, 0.95))
    note = (
        "Share of prediction intervals, nominal .95, that hold the difference of one further pair: the reported run is "
        "one."
    )
    return Table("Prediction of one further pair", note, ("n", "coverage"), tuple(rows), tuple(rates))


def _peeking(rng: np.random.Generator, repetitions: int) -> Table:
    x = rng.standard_normal((repetitions, 60 + 12))
    naive = np.zeros(repetitions, dtype=bool)
    for n in range(3, 16):
        naive |= stats.ttest_1samp(x[:, :n], 0, axis=1).pvalue < 0.05
    planned = np.zeros(repetitions, dtype=bool)
    for n, level in zip(LOOKS.numbers, LOOKS.levels, strict=True):
        planned |= stats.ttest_1samp(x[:, :n], 0, axis=1).pvalue <= level
    split = Looks((5, 8, 12), further_block=12)
    further = np.zeros(repetitions, dtype=bool)
    for n, level in zip(split.numbers, split.levels, strict=True):
        further |= stats.ttest_1samp(x[:, :n], 0, axis=1).pvalue <= level
    repeated = planned.copy()
    for n in range(24, 73, 12):
        repeated |= stats.ttest_1samp(x[:, :n], 0, axis=1).pvalue <= LOOKS.levels[0]
    found = {
        "p < .05 after every pair from 3 to 15": naive,
        "planned looks": planned,
        "planned looks and one further block, α split beforehand": further,
        "planned looks and five further blocks, nothing split": repeated,
    }
    rows = tuple((name, f"{rejected.mean():.3f}") for name, rejected in found.items())
    rates = (
        Rate("planned looks", float(planned.mean()), repetitions, 0.05, 0.05),
        Rate("one further block", float(further.mean()), repetitions, 0.0, 0.05),
        Rate("naive peeking is caught as wrong", float(naive.mean()), repetitions, 0.15),
    )
    note = "Share of studies without an effect in which some look calls one, in either direction."
    return Table("Looking again and again", note, ("How", "error"), rows, rates)


def _photos(rng: np.random.Generator, repetitions: int) -> Table:
    """Coverage of the true difference on new photos. Latent scores: image, arm × seed, arm × image, and noise."""
    rows, rates = [], []
    for seeds, images, seed_sd, image_sd in ((5, 8580, 0.06, 0.1), (10, 8580, 0.06, 0.1), (5, 300, 0.01, 0.8)):
        spread = np.sqrt(1 + 1 + seed_sd**2 + image_sd**2)
        cuts = (-1.0, -0.9)
        true = 100 * (stats.norm.cdf(cuts[1] / spread) - stats.norm.cdf(cuts[0] / spread))
        hits = np.zeros(3)
        for _ in range(repetitions):
            shared = rng.standard_normal(images, dtype=np.float32)
            right = []
            for cut in cuts:
                score = cut + shared + image_sd * rng.standard_normal(images, dtype=np.float32)
                score = score + seed_sd * rng.standard_normal((seeds, 1), dtype=np.float32)
                right.append(score + rng.standard_normal((seeds, images), dtype=np.float32) > 0)
            x = 100.0 * (right[1].astype(np.float32) - right[0])
            by_seed = x.mean(axis=1)
            margin = stats.t.ppf(0.975, seeds - 1) * by_seed.std(ddof=1) / np.sqrt(seeds)
            both = crossed(x).interval
            pooled = 1.96 * x.std() / np.sqrt(x.size)
            hits += [
                abs(by_seed.mean() - true) <= margin,
                both.lower <= true <= both.upper,
                abs(x.mean() - true) <= pooled,
            ]
        shares = hits / repetitions
        rows.append((str(seeds), f"{images:,}", f"{image_sd:g}", *(f"{share:.3f}" for share in shares)))
        name = f"coverage for new photos, {seeds} seeds, {images} images"
        rates.append(Rate(name, float(shares[1]), repetitions, 0.93, 1.0))
    note = (
        "Share of intervals, nominal .95, that hold the difference on new seeds and new photos: t over seeds alone, "
        "crossed seeds × images, and all answers pooled as if independent. With few images and arms that differ by "
        "image, seeds alone are not enough; pooling never is."
    )
    columns = ("seeds", "images", "SD of arm × image", "t over seeds", "crossed", "pooled")
    return Table("New photos", note, columns, tuple(rows), tuple(rates))


def _selection(rng: np.random.Generator, repetitions: int) -> Table:
    variants, seeds = 20, 5
    hits = np.zeros(2)
    for part in range(0, repetitions, 1000):
        count = min(1000, repetitions - part)
        x = rng.standard_normal((count, variants, seeds)) - rng.standard_normal((count, 1, seeds))
        best = x[np.arange(count), x.mean(axis=2).argmax(axis=1)]
        fresh = rng.standard_normal((count, seeds)) - rng.standard_normal((count, seeds))
        for index, y in enumerate((best, fresh)):
            hits[index] += (stats.ttest_1samp(y, 0, axis=1, alternative="greater").pvalue < 0.025).sum()
    same, new = hits / repetitions
    rows = (("the same five seeds", f"{same:.3f}"), ("five fresh seeds", f"{new:.3f}"))
    rates = (
        Rate("fresh seeds after a selection", float(new), repetitions, 0.025, 0.025),
        Rate("the same seeds after a selection are caught as wrong", float(same), repetitions, 0.08),
    )
    note = "The best of 20 variants without effect, tested one-sided at .025: why screening has seeds of its own."
    return Table("Testing a winner", note, ("Tested on", "error"), rows, rates)


_ABOVE_ZERO = ("trivial gain", "holds", "real, smaller than reported", *sorted(OPEN - {"inconclusive"}))


def _gates(rng: np.random.Generator, repetitions: int) -> Table:
    """How often memory is said to cause a gain where one of the gates is closed in truth."""
    rows, rates = [], []
    for name, truths in (
        ("as many parameters do as well", (REPORTED, 0.0, REPORTED)),
        ("a memory that never learns does as well", (REPORTED, REPORTED, 0.0)),
        ("no arm differs", (0.0, 0.0, 0.0)),
        ("AiM is better than all", (REPORTED, REPORTED, REPORTED)),
    ):
        aim = rng.standard_normal((repetitions, LOOKS.numbers[-1]))
        said = np.ones(repetitions, dtype=bool)
        for truth, reported in zip(truths, (REPORTED, None, None), strict=True):
            control = rng.standard_normal(aim.shape) - truth
            said &= np.isin(simulate(aim - control, LOOKS, DELTA, reported).kinds, _ABOVE_ZERO)
        share = float(said.mean())
        rows.append((name, f"{share:.4f}"))
        low, high = (0.8, 1.0) if min(truths) > 0 else (0.0, 0.025)
        rates.append(Rate(f"“memory causes the gain” where {name}", share, repetitions, low, high))
    note = (
        "Share of studies, seed SD 1 pp, in which every gate is passed (baseline, as many parameters, memory that "
        "never learns). It is false wherever one of them does as well as AiM."
    )
    return Table("Memory causes the gain", note, ("Truth", "said so"), tuple(rows), tuple(rates))


def _power() -> Table:
    rows = []
    for effect in (4.92, 2.46, 1.0):
        cells = []
        for seed_sd in (0.5, 1, 1.5, 2.5):
            sd = np.sqrt(2) * seed_sd
            one, look = (pairs_for_power(effect, sd, alpha) for alpha in (0.05, LOOKS.levels[0]))
            cells.append(f"{one}/{look}")
        rows.append((f"{effect:g}", *cells))
    note = (
        f"Pairs for 80 % power of a single look at .05 / at {LOOKS.levels[0]:.4f}, by SD of either arm (arms "
        "independent)."
    )
    return Table("Pairs that are needed", note, ("Δ, pp", "SD .5", "SD 1", "SD 1.5", "SD 2.5"), tuple(rows))


def page(tables: list[Table], repetitions: int) -> str:
    """Return the tables as Markdown."""
    lines = [
        "# Calibration",
        "",
        f"Simulated with {repetitions:,} studies per rate (twice that for verdicts, a fiftieth for photos) by `make "
        f"calibrate`; numpy {np.__version__}, fixed generator. The tests run a reduced version and fail where a rate "
        "leaves its band by more than four Monte Carlo standard errors.",
        "",
    ]
    for table in tables:
        lines += [f"## {table.title}", "", table.note, "", _line(table.columns), _line(["---"] * len(table.columns))]
        lines += [*map(_line, table.rows), ""]
    lines += ["## What is held", "", _line(("rate", "value", "± Monte Carlo", "band", "holds"))]
    lines.append(_line(["---"] * 5))
    for rate in (rate for table in tables for rate in table.rates):
        band = f"{rate.low:.3g} to {rate.high:.3g}"
        lines.append(
            _line((rate.name, f"{rate.value:.4f}", f"{rate.error:.4f}", band, "yes" if rate.holds else "**no**"))
        )
    return "\n".join(lines) + "\n"


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(arguments: list[str]) -> int:
    """Write the page; 1 where a rate leaves its band."""
    path, repetitions = Path(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 20_000
    started = time.perf_counter()
    tables = calibrate(repetitions)
    path.write_text(page(tables, repetitions), encoding="utf-8")
    faults = [rate for table in tables for rate in table.rates if not rate.holds]
    for rate in faults:
        print(f"out of band: {rate.name}: {rate.value:.4f}, band {rate.low:g} to {rate.high:g}")
    print(f"{path} written in {time.perf_counter() - started:.0f} s; {len(faults)} rates out of band")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

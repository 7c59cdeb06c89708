"""Whether an interval covers the difference on photos that no run has seen."""

from __future__ import annotations

import numpy as np
from scipy import stats

from analysis.calibration.rates import Rate, Table
from analysis.statistics.images import crossed


def new_photos(rng: np.random.Generator, repetitions: int) -> Table:
    """Return how often an interval covers the true difference on new photos.

    A latent score is the sum of effects of the image, of arm × seed and of arm × image, and noise.
    """
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
        "The share of intervals, with the nominal level .95, that cover the difference for new seeds and new photos: "
        "the t interval over seeds alone, the interval for crossed seeds × images, and the interval for all answers "
        "pooled as if they were independent. If there are few images and the difference between arms varies by image, "
        "seeds alone are not enough. Pooling is never valid."
    )
    columns = ("seeds", "images", "SD of arm × image", "t over seeds", "crossed", "pooled")
    return Table("New photos", note, columns, tuple(rows), tuple(rates))

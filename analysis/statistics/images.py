"""How much test images, in addition to seeds, contribute to the variance of a difference: crossed seeds × images.

The t interval over seeds is about this recipe on these images. For this recipe on new photos of the same kind, the
images are a sample as well. Every seed sees every image, so seeds and images are crossed. The variance of the mean
difference is (MS_seed + MS_image - MS_interaction) / (seeds · images), with Satterthwaite's degrees of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.statistics.distributions import t_quantile
from analysis.statistics.interval import Interval, margin_of


@dataclass(frozen=True)
class Crossed:
    """The mean difference with its interval for new photos, and the sources of its variance.

    Attributes
    ----------
    interval : interval for new seeds and new images; its `n` is the number of seeds, and its `sd` the standard error ×
        √n.
    degrees_of_freedom : Satterthwaite's degrees of freedom.
    seed, image, interaction : variance components of the difference for a single seed on a single image, in pp²; the
        first two estimates are truncated at 0.
    seeds, images : number of seeds and of images.
    """

    interval: Interval
    degrees_of_freedom: float
    seed: float
    image: float
    interaction: float
    seeds: int
    images: int

    @property
    def shares(self) -> dict[str, float]:
        """Variance of the mean difference (pp²) that is due to each source: seed, image, interaction.

        The parts add up to the variance on which the interval is based. If seeds vary less than the interaction alone
        would make them vary, their component is truncated at 0, and the interaction's part is less than its own
        component.
        """
        seed, image = self.seed / self.seeds, self.image / self.images
        whole = self.interval.sd**2 / self.seeds
        return {"seed": seed, "image": image, "interaction": max(whole - seed - image, 0.0)}


def crossed(differences: npt.ArrayLike, alpha: float = 0.05) -> Crossed:
    """Return the interval for new seeds and new images.

    Parameters
    ----------
    differences : [seeds, images], in pp: 100 if only the treatment is correct, -100 if only the control is, 0
        otherwise.

    Raises
    ------
    ValueError: there are fewer than two seeds or two images, or a value is not finite.
    """
    x: npt.NDArray[Any] = np.asarray(differences, dtype=float)
    if x.ndim != 2 or min(x.shape) < 2 or not np.isfinite(x).all():
        raise ValueError(f"differences must be finite, [seeds, images] with at least two of each; got {x.shape}")
    s, i = x.shape
    mean = float(x.mean())
    by_seed, by_image = x.mean(axis=1), x.mean(axis=0)
    ms_seed = i * float(by_seed.var(ddof=1))
    ms_image = s * float(by_image.var(ddof=1))
    residual = x - by_seed[:, None] - by_image[None, :] + mean
    ms_rest = float((residual**2).sum()) / ((s - 1) * (i - 1))
    of_images = max(ms_image - ms_rest, 0.0)  # an estimate below 0 means that images do not contribute
    total = ms_seed + of_images
    terms = [(ms_seed, s - 1)] + ([(ms_image, i - 1), (ms_rest, (s - 1) * (i - 1))] if of_images > 0 else [])
    spread = sum(ms**2 / df for ms, df in terms)
    df = total**2 / spread if spread > 0 else float(s - 1)
    error = float(np.sqrt(total / (s * i)))
    critical = float(t_quantile(1 - alpha / 2, df))
    half = margin_of(critical, error)
    interval = Interval(s, mean, error * np.sqrt(s), mean - half, mean + half, alpha, critical)
    return Crossed(interval, float(df), max(ms_seed - ms_rest, 0.0) / i, of_images / s, ms_rest, s, i)


def mcnemar_p(treatment: npt.ArrayLike, control: npt.ArrayLike) -> float:
    """Return the exact two-sided p-value of McNemar's test for one pair of runs; 1 if they never disagree.

    This is a diagnostic for two trained networks; it contains no information on other seeds.

    Parameters
    ----------
    treatment, control : whether each image was classified correctly.
    """
    a, b = np.asarray(treatment, dtype=bool), np.asarray(control, dtype=bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    from scipy import stats  # noqa: PLC0415 -- slow to import, and the verdict does not need it

    return float(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0


def balanced_accuracy(correct: npt.ArrayLike, labels: npt.ArrayLike) -> Any:
    """Return the share of correct predictions averaged over classes: one number per row of `correct`.

    Parameters
    ----------
    correct : [runs, images] or [images].
    labels : [images], class numbers; classes without images are ignored.
    """
    right, classes = np.asarray(correct, dtype=float), np.asarray(labels)
    known = np.unique(classes)
    return np.stack([right[..., classes == number].mean(axis=-1) for number in known]).mean(axis=0)

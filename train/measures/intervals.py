"""Bootstrap intervals of a score, and of the difference of two, over records."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

RESAMPLES = 2_000
LEVEL = 0.95

Numbers = Sequence[float]
Draws = npt.NDArray[np.float64]


def ratio(values: Numbers, weights: Numbers) -> float:
    """The sum of values over the sum of weights, which is not 0."""
    return float(np.sum(values) / np.sum(weights))


def interval(values: Numbers, weights: Numbers) -> tuple[float, float]:
    """The 95% bootstrap interval of `ratio`, over records (Efron 1979)."""
    return bounds(resampled(values, weights))


def paired_interval(
    first: Numbers, second: Numbers, first_weights: Numbers, second_weights: Numbers
) -> tuple[float, tuple[float, float]]:
    """The difference of two models' ratios on the same records, second minus first, and its 95%
    bootstrap interval. Weights are each model's own: one may have written more than the other."""
    samples = resampled(second, second_weights) - resampled(first, first_weights)
    return ratio(second, second_weights) - ratio(first, first_weights), bounds(samples)


def resampled(values: Numbers, weights: Numbers) -> Draws:
    """`ratio` of RESAMPLES draws of as many records, which are the same draws for as many records;
    NaN where a draw has no weight."""
    columns = np.asarray([values, weights], dtype=np.float64)
    draw, count = np.random.default_rng(1), len(values)
    sums = np.empty((2, RESAMPLES))
    for number in range(RESAMPLES):
        times = np.bincount(draw.integers(count, size=count), minlength=count)
        sums[:, number] = columns @ times
    return np.divide(sums[0], sums[1], out=np.full(RESAMPLES, np.nan), where=sums[1] != 0)


def bounds(samples: Draws) -> tuple[float, float]:
    """The middle 95% of samples that are numbers."""
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(samples, [tail, 1 - tail])
    return float(low), float(high)


def verdict(low: float, high: float, better: str, name: str) -> str:
    """What an interval of a difference says."""
    if low <= 0 <= high:
        return "no significant difference"
    return f"{name} is {'better' if (low > 0) == (better == 'higher') else 'worse'}"

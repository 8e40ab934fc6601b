"""How sure a measured share is."""

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
    """The 95% bootstrap interval of `ratio`, over records (Efron 1979), from a fixed seed."""
    means = resampled(np.asarray([values, weights], dtype=np.float64))
    return bounds(quotient(means[0], means[1]))


def paired_interval(
    first: Numbers, second: Numbers, first_weights: Numbers, second_weights: Numbers
) -> tuple[float, tuple[float, float]]:
    """The difference of two models' ratios on the same records, second minus first, and its 95%
    bootstrap interval. Weights are each model's own: one may have written more than the other."""
    columns = [second, second_weights, first, first_weights]
    means = resampled(np.asarray(columns, dtype=np.float64))
    samples = quotient(means[0], means[1]) - quotient(means[2], means[3])
    return ratio(second, second_weights) - ratio(first, first_weights), bounds(samples)


def quotient(values: Draws, weights: Draws) -> Draws:
    """Values over weights; NaN where a draw has no weight."""
    return np.divide(values, weights, out=np.full_like(values, np.nan), where=weights != 0)


def resampled(columns: Draws) -> Draws:
    """The sums of each column (columns, records) over RESAMPLES draws of as many records."""
    draw = np.random.default_rng(1)
    count = columns.shape[1]
    sums = np.empty((columns.shape[0], RESAMPLES))
    for number in range(RESAMPLES):
        times = np.bincount(draw.integers(count, size=count), minlength=count)
        sums[:, number] = columns @ times
    return sums


def bounds(samples: Draws) -> tuple[float, float]:
    """The middle 95% of samples that are numbers."""
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(samples, [tail, 1 - tail])
    return float(low), float(high)

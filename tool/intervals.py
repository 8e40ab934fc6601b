"""How sure a measured share is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

RESAMPLES = 2_000
LEVEL = 0.95

Numbers = Sequence[float]


def ratio(values: Numbers, weights: Numbers) -> float:
    """The sum of values over the sum of weights."""
    return float(np.sum(values) / np.sum(weights))


def interval(values: Numbers, weights: Numbers) -> tuple[float, float]:
    """The 95% bootstrap interval of `ratio`, over records (Efron 1979), from a fixed seed."""
    means = resampled(np.asarray([values, weights], dtype=np.float64))
    return bounds(means[0] / means[1])


def paired_interval(
    first: Numbers, second: Numbers, weights: Numbers
) -> tuple[float, tuple[float, float]]:
    """The difference of two models' ratios on the same records, second minus first, and its 95%
    bootstrap interval."""
    columns = np.asarray([second, first, weights], dtype=np.float64)
    means = resampled(columns)
    difference = (columns[0].sum() - columns[1].sum()) / columns[2].sum()
    return float(difference), bounds((means[0] - means[1]) / means[2])


def resampled(columns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The sums of each column (columns, records) over RESAMPLES draws of as many records."""
    draw = np.random.default_rng(1)
    count = columns.shape[1]
    sums = np.empty((columns.shape[0], RESAMPLES))
    for number in range(RESAMPLES):
        times = np.bincount(draw.integers(count, size=count), minlength=count)
        sums[:, number] = columns @ times
    return sums


def bounds(samples: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95% of samples."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return float(low), float(high)

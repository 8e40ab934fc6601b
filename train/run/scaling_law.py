"""How the loss falls with the size of a model and the tokens that it is trained on.

The form is Chinchilla's (arXiv 2203.15556, equation 2); what repeated data are worth is taken from
arXiv 2305.16264. `tool/scaling_study.py` fits it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

REPETITIONS = 15.39
"""R* of arXiv 2305.16264, equation 5: the worth of repeated passes falls off by e in so many."""
EXPONENTS = (0.1, 1.2)
"""Between these a fit looks for both exponents."""
COARSE, FINE, ZOOMS = 23, 9, 20
"""Points on a side of its first grid and of the later ones, and how many of these there are."""


@dataclass(frozen=True)
class ScalingLaw:
    """loss = irreducible + size * (N / 1e6) ** -size_exponent + data * (D / 1e6) ** -data_exponent,
    for N parameters, embedding included, and D tokens."""

    irreducible: float
    size: float
    size_exponent: float
    data: float
    data_exponent: float

    def loss(self, parameters: float, tokens: float) -> float:
        """The loss to expect, in the unit of the fit (bits per byte)."""
        of_size = self.size * (parameters / 1e6) ** -self.size_exponent
        return self.irreducible + of_size + self.data * (tokens / 1e6) ** -self.data_exponent


@dataclass(frozen=True)
class Trial:
    """A run and its end."""

    parameters: int
    tokens: int
    loss: float


def fresh_tokens(tokens: float, unique: float) -> float:
    """How many fresh tokens so many are worth when they are `unique` ones gone through again and
    again (arXiv 2305.16264, equation 5)."""
    if tokens <= unique:
        return tokens
    repetitions = tokens / unique - 1
    return unique + unique * REPETITIONS * (1 - math.exp(-repetitions / REPETITIONS))


def fit(trials: Sequence[Trial]) -> ScalingLaw:
    """The law with the least squared error of the logarithm of the loss, to first order: a search
    over both exponents by grids that get finer, and linear least squares for the rest, none of it
    below zero.

    Raises:
        ValueError: there are fewer trials than the five numbers of the law, or no law falls with
            both size and tokens.
    """
    if len(trials) < 5:
        raise ValueError(f"{len(trials)} trials cannot tell the five numbers of the law")
    lowest, highest = EXPONENTS
    step = (highest - lowest) / (COARSE - 1)
    places = np.linspace(lowest, highest, COARSE)
    best, found = best_of_grid(trials, places, places)
    for _ in range(ZOOMS):
        if found is None:
            raise ValueError("the losses do not fall with size and tokens")
        near = np.linspace(-2 * step, 2 * step, FINE)  # half the step, around the best so far
        around = [
            np.clip(exponent + near, lowest, highest)
            for exponent in (found.size_exponent, found.data_exponent)
        ]
        error, finer = best_of_grid(trials, *around)
        if finer is not None and error < best:
            best, found = error, finer
        step /= 2
    assert found is not None
    return found


def best_of_grid(
    trials: Sequence[Trial], size_exponents: FloatArray, data_exponents: FloatArray
) -> tuple[float, ScalingLaw | None]:
    """The smallest squared error among pairs of exponents, and its law; None where each pair wants
    a term below zero."""
    size = np.array([trial.parameters / 1e6 for trial in trials])
    data = np.array([trial.tokens / 1e6 for trial in trials])
    loss = np.array([trial.loss for trial in trials])
    best, found = math.inf, None
    for size_exponent in size_exponents:
        for data_exponent in data_exponents:
            terms = np.stack([np.ones_like(size), size**-size_exponent, data**-data_exponent], 1)
            terms /= loss[:, None]  # errors as shares of the loss
            values, *_ = np.linalg.lstsq(terms, np.ones_like(loss), rcond=None)
            error = float(np.sum((terms @ values - 1) ** 2))
            if error < best and min(values) >= 0:
                irreducible, of_size, of_data = map(float, values)
                best = error
                found = ScalingLaw(
                    irreducible, of_size, float(size_exponent), of_data, float(data_exponent)
                )
    return best, found


def residual(law: ScalingLaw, trials: Sequence[Trial]) -> float:
    """The root of the mean squared error of a law, as a share of the loss."""
    errors = [law.loss(trial.parameters, trial.tokens) / trial.loss - 1 for trial in trials]
    return math.sqrt(sum(error**2 for error in errors) / len(errors))


def left_out(trials: Sequence[Trial]) -> list[ScalingLaw]:
    """The laws that all trials but one give: how far the numbers can be trusted."""
    return [fit([*trials[:n], *trials[n + 1 :]]) for n in range(len(trials))]


def rounded(law: ScalingLaw) -> ScalingLaw:
    """The law with four digits, as it is printed."""
    return ScalingLaw(*(round(value, 4) for value in dataclasses.astuple(law)))


LAW = ScalingLaw(1.3804, 0.1876, 0.52, 1.0124, 0.3)
"""In bits per byte, as docs/recipes.md tells: what --preset auto goes by."""

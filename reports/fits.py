"""Least squares, with a word on how well it went."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_NOISE = 1e-9  # of the largest term: what rounding leaves of a term that is not there


@dataclass(frozen=True)
class Fit:
    """value = coefficients[0] + coefficients[1] x + ...; `residual` is the largest, as a share of its value.

    residual is None where the curve goes through all points because there are no more of them than coefficients:
    such a fit says nothing of how well it describes them.
    """

    coefficients: tuple[float, ...]
    points: int
    residual: float | None

    def __call__(self, x: ArrayLike) -> NDArray[np.float64]:
        """The curve's height at `x`."""
        return np.asarray(np.polynomial.polynomial.polyval(np.asarray(x, dtype=float), self.coefficients))


def polynomial(x: Sequence[float], y: Sequence[float], degree: int) -> Fit:
    """The polynomial of `degree` with the least sum of squared residuals. Wants more than `degree` distinct x."""
    if len(set(x)) <= degree:
        raise ValueError(f"{len(set(x))} distinct points for {degree + 1} coefficients")
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    scale = np.abs(xs).max()  # powers of numbers up to 1: pixels squared would spoil the condition
    scaled = np.linalg.lstsq(np.vander(xs / scale, degree + 1, increasing=True), ys, rcond=None)[0]
    scaled[np.abs(scaled) < _NOISE * np.abs(scaled).max()] = 0.0
    fit = Fit(tuple(float(one) for one in scaled / scale ** np.arange(degree + 1)), len(xs), None)
    if len(xs) == degree + 1:
        return fit
    return Fit(fit.coefficients, fit.points, float(np.max(np.abs(fit(xs) - ys) / ys)))

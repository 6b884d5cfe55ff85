"""Statistics of samples. Numbers in, numbers out: no clock, no model."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

CONFIDENCE = 0.95
MIN_SAMPLES = 6  # the fewest whose extremes hold the median with 95 % confidence: 1 - 2 / 2**6 = 0.969
_REPLICATES = 10_000
_BLOCK = 8  # consecutive samples resampled together, since neighbours in time are alike


def median_interval(samples: Sequence[float]) -> tuple[float, float] | None:
    """The order statistics that hold the population's median with at least 95 % confidence, None below 6 samples.

    The ranks come from the binomial distribution of the number of samples below the median (distribution-free).
    """
    n = len(samples)
    if n < MIN_SAMPLES:
        return None
    rank = int(binom.ppf((1 - CONFIDENCE) / 2, n, 0.5))  # the largest with P(fewer than `rank` below) <= 2.5 %
    ordered = np.sort(np.asarray(samples, dtype=float))
    return float(ordered[rank - 1]), float(ordered[n - rank])


def summarise(processes: Sequence[Sequence[float]], seed: int = 0) -> tuple[float, tuple[float, float] | None]:
    """(estimate, 95 % interval) of positive samples grouped by process.

    One process: median and `median_interval`. Several: the median of the processes' medians, on the log scale, with
    a hierarchical bootstrap (processes, then blocks of 8 consecutive samples), since processes differ among
    themselves by more than the samples of one do.
    """
    if len(processes) == 1:
        return float(np.median(processes[0])), median_interval(processes[0])
    logs = [np.log(np.asarray(process, dtype=float)) for process in processes]
    estimate = float(np.exp(np.median([np.median(process) for process in logs])))
    generator = np.random.default_rng(seed)
    # medians[p, b, j]: process p resampled for the j-th place of replicate b
    medians = np.stack([_resampled_medians(process, (_REPLICATES, len(logs)), generator) for process in logs])
    chosen = generator.integers(len(logs), size=(_REPLICATES, len(logs)))
    replicates = np.median(np.take_along_axis(medians, chosen[None], axis=0)[0], axis=1)
    low, high = np.quantile(replicates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return estimate, (float(np.exp(low)), float(np.exp(high)))


def _resampled_medians(
    samples: NDArray[np.float64], shape: tuple[int, ...], generator: np.random.Generator
) -> NDArray[np.float64]:
    """Medians of moving-block resamples of `samples`, as many as `shape` holds."""
    n = len(samples)
    block = min(_BLOCK, n)
    count = int(np.prod(shape))
    medians = np.empty(count)
    step = max(1, 2**22 // n)  # replicates at a time: bounds the memory, not the result
    for begin in range(0, count, step):
        rows = min(step, count - begin)
        starts = generator.integers(n - block + 1, size=(rows, -(-n // block), 1))
        picks = (starts + np.arange(block)).reshape(rows, -1)[:, :n]
        medians[begin : begin + rows] = np.median(samples[picks], axis=1)
    return medians.reshape(shape)

"""Percentiles of raw samples, each only where enough samples stand behind it."""

from collections.abc import Sequence
from itertools import chain

import numpy as np

PERCENTS = (50, 90, 95, 99)
_BEYOND = 10  # samples that must lie beyond a percentile, as MLPerf's load generator wants: 1,000 for p99


def percentiles(samples: Sequence[Sequence[float]]) -> dict[str, float]:
    """p50, p90, p95 and p99 of the samples of all processes together, by linear interpolation; NaN if unsupported."""
    pooled = list(chain.from_iterable(samples))
    return {
        f"p{percent}": float(np.percentile(pooled, percent)) if len(pooled) >= needed(percent) else float("nan")
        for percent in PERCENTS
    }


def needed(percent: int) -> int:
    """How many samples a percentile wants; the median is always given."""
    return 1 if percent == 50 else -(-_BEYOND * 100 // (100 - percent))

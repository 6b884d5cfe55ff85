"""Protocol: how carefully a Spec is measured. Stored with every record, not part of the Spec's id."""

import os
from dataclasses import dataclass
from typing import Any

import psutil

from bench.errors import UsageError
from bench.plain import Plain


@dataclass(frozen=True)
class Protocol(Plain):
    """Times in seconds.

    A timed metric warms up for at least `warmup_calls` calls and `warmup_time`; then it samples until the 95 %
    interval of the median is within `target` of it (a fraction, looked at every 8 samples), but not before
    `min_samples` and `min_time`, and not after `max_time`, unless fewer samples than an interval needs (6) are there
    by then. A throughput sample is a window of queued calls lasting about `window`. `processes` fresh workers repeat
    the whole of it. A worker that takes longer than `time_limit` over its metrics is killed, and what it had measured
    is kept.
    """

    preset: str
    warmup_calls: int
    warmup_time: float
    min_samples: int
    min_time: float
    max_time: float
    target: float
    window: float
    processes: int
    time_limit: float
    threads: int
    seed: int = 0


PRESETS: dict[str, dict[str, Any]] = {
    # a look: one process, a few seconds a metric
    "quick": dict(
        warmup_calls=2,
        warmup_time=0.5,
        min_samples=8,
        min_time=0.5,
        max_time=3.0,
        target=0.02,
        window=0.25,
        processes=1,
        time_limit=300.0,
    ),
    # a comparison: three processes, so that what differs between processes shows
    "standard": dict(
        warmup_calls=3,
        warmup_time=1.0,
        min_samples=32,
        min_time=2.0,
        max_time=20.0,
        target=0.01,
        window=0.5,
        processes=3,
        time_limit=900.0,
    ),
    # a figure to print
    "paper": dict(
        warmup_calls=10,
        warmup_time=5.0,
        min_samples=96,
        min_time=10.0,
        max_time=120.0,
        target=0.005,
        window=1.0,
        processes=5,
        time_limit=3600.0,
    ),
}


def preset(name: str, threads: int | None = None) -> Protocol:
    """The preset called `name`, on `threads` CPU threads (default: one a physical core that this process may use)."""
    if name not in PRESETS:
        raise UsageError(f"no preset {name!r}; presets are {', '.join(PRESETS)}")
    if threads is not None and threads < 1:
        raise UsageError(f"threads={threads}: want a positive whole number")
    return Protocol(preset=name, threads=threads or _physical_cores(), **PRESETS[name])


def _physical_cores() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, psutil.cpu_count(logical=False) or usable)

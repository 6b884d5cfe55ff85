"""When to stop sampling. Draws come from a function and time from a clock, so that tests can script both."""

import gc
from collections.abc import Callable
from pathlib import Path

from bench.protocol import Protocol
from bench.statistics import MIN_SAMPLES, median_interval

_CHECK_EVERY = 8  # samples: a stop that is tried after each one picks the luckiest moment
_PRESSED = 0.1  # the share of the time that others may press on the CPU before a sample's note says so


def cpu_pressure() -> float | None:
    """Seconds since boot during which some task waited for a CPU (Linux's pressure stall information)."""
    try:
        some = Path("/proc/pressure/cpu").read_text().split("\n")[0]
    except OSError:
        return None
    return int(some.rpartition("total=")[2]) * 1e-6


def collect(
    draw: Callable[[], float],
    protocol: Protocol,
    clock: Callable[[], float],
    pressure: Callable[[], float | None] = cpu_pressure,
) -> tuple[list[float], str]:
    """Samples of `draw`, as many as the Protocol wants, and a note where its target was not reached or the CPU was
    wanted by others.

    Nothing is discarded. Python's garbage collector is off meanwhile, as in `timeit`. pressure returns the seconds,
    since some start, during which work waited for a CPU; None where the system does not say.
    """
    samples: list[float] = []
    notes = []
    begin, pressed = clock(), pressure()
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        while True:
            samples.append(draw())
            elapsed = clock() - begin
            converged = (
                len(samples) >= protocol.min_samples
                and len(samples) % _CHECK_EVERY == 0
                and elapsed >= protocol.min_time
                and relative_half_width(samples) <= protocol.target
            )
            if converged or (len(samples) >= MIN_SAMPLES and elapsed >= protocol.max_time):
                break
    finally:
        if collecting:
            gc.enable()
    if relative_half_width(samples) > protocol.target:
        notes.append(f"interval wider than ±{protocol.target:.1%} when {protocol.max_time:g} s were over")
    pressed_after = pressure()
    if pressed is not None and pressed_after is not None and pressed_after - pressed > _PRESSED * elapsed:
        notes.append(f"for more than {_PRESSED:.0%} of the time some work on this machine waited for a CPU")
    return samples, "; ".join(notes)


def relative_half_width(samples: list[float]) -> float:
    """Half the width of the median's 95 % interval, as a fraction of its middle; infinite below 6 samples."""
    interval = median_interval(samples)
    if interval is None:
        return float("inf")
    low, high = interval
    return (high - low) / (high + low) if high + low > 0 else float("inf")

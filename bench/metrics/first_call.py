"""Time of the very first call."""

from bench.build import Case
from bench.metrics import Measurement, metric


@metric(unit="s", better="lower", stage="time")
def first_call(case: Case) -> Measurement:
    """Time of the first call of a fresh process: compiling, tuning and filling caches included; a sample a process.

    Building the model and drawing inputs come before. What it takes beyond `latency` is what starting costs. Workers
    begin with empty compilers' caches, so every process compiles.
    """
    return Measurement(samples=[case.first_call])

"""Time of one call."""

from bench.build import Case
from bench.metrics import Measurement, metric
from bench.timing import collect


@metric(unit="s", better="lower", stage="time")
def latency(case: Case) -> Measurement:
    """Median time of one call from start to synchronised end; a sample is a call."""
    _ = case.seconds_per_call  # warm-up

    def draw() -> float:
        begin = case.clock()
        case.call()
        case.synchronize()
        return case.clock() - begin

    samples, note = collect(draw, case.protocol, case.clock)
    return Measurement(samples=samples, note=note)

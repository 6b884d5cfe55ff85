"""Images a second."""

from math import ceil

from bench.build import Case
from bench.metrics import Measurement, metric
from bench.timing import collect


@metric(unit="img/s", better="higher", stage="time")
def throughput(case: Case) -> Measurement:
    """Median images a second of windows of queued calls, synchronised once a window; a sample is a window.

    Not the batch over the latency: with calls queued, the host prepares the next one while the device works.
    """
    return case.once(windows)


def windows(case: Case) -> Measurement:
    """The metric itself, for others to share by `case.once`."""
    calls = max(1, ceil(case.protocol.window / case.seconds_per_call))

    def draw() -> float:
        begin = case.clock()
        for _ in range(calls):
            case.call()
        case.synchronize()
        return calls * case.spec.batch / (case.clock() - begin)

    samples, note = collect(draw, case.protocol, case.clock)
    return Measurement(samples=samples, note=note)

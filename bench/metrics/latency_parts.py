"""Time of one call, by part."""

from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from bench.build import Case
from bench.cost import Borders, crossings, rows
from bench.errors import Skip
from bench.metrics import Measurement, metric
from bench.parts import Part
from bench.timing import collect


@metric(unit="s", better="lower", stage="time")
def latency_parts(case: Case) -> Measurement:
    """Median time of one call whose parts are timed, from start to synchronised end; a sample is a call.

    details: `parts`, [stage, kind, median seconds] each (`bench.parts`), of the time in a part and not in those that
    it calls, and `borders`, how many times are taken a call. On the CPU a clock is read at each border. On CUDA
    events are recorded on the stream, without waiting for any: a part has the time from its first operator to the
    next part's, in which the device may have waited for the host. Taking times costs time too: it is in the parts,
    mostly in those of many short calls. So the value is above `latency` but for noise, and
    the parts are shares rather than times. Raises Skip for a compiled model and for training steps.
    """
    if case.spec.compile != "none":
        raise Skip("a compiled model has no borders")
    if case.spec.mode != "infer":
        raise Skip("only the forward pass of mode infer is split")
    _ = case.seconds_per_call  # warm-up
    read, seconds = stopwatch(case)
    splits: list[dict[Part, float]] = []
    with Borders(crossings(case.model), read) as borders:

        def draw() -> float:
            borders.clear()
            begin = case.clock()
            case.call()
            case.synchronize()
            total = case.clock() - begin
            splits.append(borders.split(seconds))
            return total

        draw()  # the first with hooks
        splits.clear()
        samples, note = collect(draw, case.protocol, case.clock)
        crossed = len(borders.marks)
    parts = {part: median(split[part] for split in splits) for part in splits[0]}
    notes = [f"with what taking {crossed} times a call costs", note]
    return Measurement(
        samples=samples, note="; ".join(filter(None, notes)), details={"parts": rows(parts), "borders": crossed}
    )


def stopwatch(case: Case) -> tuple[Callable[[], Any], Callable[[Any, Any], float]]:
    """How to mark a moment of the device, and the seconds between two marks once it has been synchronised."""
    if case.spec.device == "cpu":
        return case.clock, lambda begin, end: end - begin

    def record() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(case.spec.device))
        return event

    return record, lambda begin, end: begin.elapsed_time(end) * 1e-3

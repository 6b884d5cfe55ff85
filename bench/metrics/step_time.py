"""Time of one training step, by section and phase."""

from statistics import median
from typing import Any

from bench.build import Case
from bench.cost import rows
from bench.errors import Skip
from bench.metrics import Measurement, metric
from bench.metrics.latency_parts import stopwatch
from bench.sections import Sections, StepBorders
from bench.timing import collect


@metric(unit="s", better="lower", stage="time")
def step_time(case: Case) -> Measurement:
    """Median time of one training step whose sections are timed, to its synchronised end; a sample is a step.

    details: `parts`, [section, phase, median seconds] each (`bench.sections`), and `borders`, how many times are taken
    a step. Phases are forward, backward, optimizer and after step, the last two with section "all". Times are taken as
    `latency_parts` takes them, with the same cost; the search for the borders of the backward pass, between the
    passes, is in no part, and the value is the sum of a step's parts. Raises Skip in mode `infer` and for a compiled
    model.
    """
    if case.spec.compile != "none":
        raise Skip("a compiled model has no borders")
    if case.spec.mode == "infer":
        raise Skip("a step is timed in modes train and pretrain")
    _ = case.seconds_per_call  # warm-up
    read, seconds = stopwatch(case)
    splits: list[dict[Any, float]] = []
    with StepBorders(Sections(case.model).of, read) as borders:

        def draw() -> float:
            for _ in borders.follow(case.call.phases()):
                pass
            case.synchronize()
            splits.append(borders.split(seconds))
            return sum(splits[-1].values())

        draw()  # the first with hooks
        splits.clear()
        samples, note = collect(draw, case.protocol, case.clock)
        crossed = len(borders.marks)
    known = dict.fromkeys(part for split in splits for part in split)
    parts = {part: median(split.get(part, 0.0) for split in splits) for part in known}
    notes = [f"with what taking {crossed} times a step costs", note]
    return Measurement(
        samples=samples, note="; ".join(filter(None, notes)), details={"parts": rows(parts), "borders": crossed}
    )

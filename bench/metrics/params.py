"""Number of parameters."""

from bench import cost
from bench.build import Case
from bench.metrics import Measurement, metric
from bench.tracing import on_meta


@metric(unit="1", better="lower", stage="static")
def params(case: Case) -> Measurement:
    """Number of parameters, trained or not; one that several modules share counts once.

    details: `parts`, [stage, kind, number] each (`bench.parts`), which sum to the value.
    """
    split = cost.parameters(case.once(on_meta))
    return Measurement(sum(split.values()), details={"parts": cost.rows(split)})

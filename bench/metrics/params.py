"""Number of parameters."""

from bench.build import Case, create
from bench.metrics import metric


@metric(unit="1", better="lower", stage="static")
def params(case: Case) -> int:
    """Number of parameters, trained or not; one that several modules share counts once."""
    return sum(parameter.numel() for parameter in create(case.spec, "meta").parameters())

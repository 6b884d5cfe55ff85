"""Padding of packed windows."""

from bench.build import Case
from bench.errors import Skip
from bench.metrics import Measurement, metric
from bench.model import offered
from bench.tracing import on_meta

_MASKS = 100


@metric(unit="1", better="lower", stage="static")
def padding(case: Case) -> Measurement:
    """Share of padding among the rows that blocks process, in a model that packs windows into groups of one size.

    1 - tokens / rows, an image's in all blocks of windows, each a mean over 100 random masks, by the model's own
    word (`packing(masks)`). details: `masks`, `rows`, `tokens`, and what the model adds. Raises Skip for a model
    that has no groups.
    """
    packing = offered(case.once(on_meta), "packing", _MASKS)
    if packing is None:
        raise Skip(f"{case.spec.model} packs no windows into groups")
    found = packing()
    rows, tokens = found["rows"], found["tokens"]
    if not rows:
        raise Skip(f"no block of {case.spec.model} works on groups here")
    return Measurement(
        1 - tokens / rows, details={"masks": _MASKS, "rows": rows, "tokens": tokens, **found.get("details", {})}
    )

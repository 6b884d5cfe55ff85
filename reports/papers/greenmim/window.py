"""What windows of 14 cost instead of 7: the paper's ablation of the window's size."""

from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit, table
from reports.papers.greenmim.steps import (
    BODIES,
    ONE_MASK,
    WINDOW,
    TableRow,
    altered,
    any_measured,
    plain,
    relative,
    step,
)
from reports.papers.greenmim.sweep import pictures
from reports.papers.units import PERCENT

_DOUBLED = 14
_SAID = {"time": "greenmim-006", "peak memory": "greenmim-007"}  # of the paper's body
_UNSAID = "the paper's is of Swin-B"


def window(evidence: Evidence) -> Exhibit:
    """By how much more time, memory and MACs a step with windows of 14 takes, by body."""
    first, *others = (_row(evidence, body, f"greenmim_{name}") for body, name in BODIES.items())
    return Exhibit(
        "greenmim-window",
        "Window 7 against 14",
        "the ablation of the window's size, of which two bounds are in a text",
        f"By how much more a step takes at 224 px with the window's side doubled.\n\n{ONE_MASK}",
        (table([first, *(row for row in others if any_measured([row]))]),),
        pictures(evidence, WINDOW),
    )


def _row(evidence: Evidence, body: str, model: str) -> TableRow:
    [found] = relative(plain(evidence), "increase", [altered(model, WINDOW, _DOUBLED)], step(model))
    said = _SAID if body == next(iter(BODIES)) else {}
    claims = {cost: evidence.by_id[said[cost]] if cost in said else None for cost in found}
    pairs = {f"{cost} (+ %)": evidence.pair(claims[cost], one, PERCENT, _UNSAID) for cost, one in found.items()}
    return {"body": body, **pairs}

"""What is printed and stands alone, as accuracies do, and numbers worked out from what is printed."""

from reports.format import number
from reports.ledger.judging import Row
from reports.papers.evidence import published
from reports.papers.exhibit import SECONDARY, UNSAID, Pair


def quoted(row: Row | None, unsaid: str = UNSAID) -> Pair:
    """A claim as a Pair without a measured side; unsaid: why there is no claim."""
    return Pair(unsaid=unsaid) if row is None else Pair(published=published(row))


def derived(value: float, digits: int, *rows: Row) -> str:
    """A number worked out from claims, as words: an estimate if one of them is, and marked if one is secondary;
    "" for NaN."""
    about = "~" if any(row.claim.about for row in rows) else ""
    mark = SECONDARY if any(row.claim.confidence == "secondary" for row in rows) else ""
    text = number(value, digits)
    return f"{about}{text}{mark}" if text else ""

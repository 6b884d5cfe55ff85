"""What is printed and stands alone: accuracies, and what else nothing here is held against."""

from reports.ledger.judging import Row
from reports.papers.evidence import published
from reports.papers.exhibit import UNSAID, Pair


def quoted(row: Row | None, unsaid: str = UNSAID) -> Pair:
    """A claim as a Pair without a measured side; unsaid: why there is no claim."""
    return Pair(unsaid=unsaid) if row is None else Pair(published=published(row))

"""Evidence: what an exhibit is made of. The ledger's rows, and the numbers that were recorded."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import pandas as pd

from reports.figures import with_looks
from reports.format import number
from reports.ledger.check import Check, Reading, Term
from reports.ledger.judging import CONTEXT, Cells, Finding, Row, find, index
from reports.papers.exhibit import SECONDARY, UNSAID, Pair

_DIGITS = 4  # significant ones of what was measured
_ANY = Check("equal", ())  # wants nothing of where and how


class Evidence:
    """frame: `reports.ledger.judging.frame_of`, with `look` (`reports.figures.with_looks`); rows: the whole ledger."""

    def __init__(self, frame: pd.DataFrame, rows: Sequence[Row]) -> None:
        self.frame = with_looks(frame)
        self.rows = tuple(rows)

    @cached_property
    def by_id(self) -> Mapping[str, Row]:
        """The ledger's rows by the claim's id."""
        return {row.claim.id: row for row in self.rows}

    @cached_property
    def cells(self) -> Cells:
        """Where `find` looks."""
        return index(self.frame)

    def claim(self, printed: str, metric: str, source: str = "", work: str = "") -> Row | None:
        """The row of a number by the model's and the quantity's printed names; source and work are how these begin.

        Of several a confirmed one goes before a secondary one, then the first.
        """
        found = [
            row
            for row in self.rows
            if (row.claim.printed, row.claim.metric) == (printed, metric)
            and row.claim.source.startswith(source)
            and row.claim.work.startswith(work)
        ]
        return min(found, key=lambda row: row.claim.confidence == "secondary", default=None)

    def measure(self, formula: str, *terms: Term) -> Finding:
        """A number from records, wherever they are of (`reports.ledger.check.FORMULAS`): a GPU's before a CPU's, the
        largest batch, the latest. A Term without batch is of any, and of counts at each; terms are of one setting."""
        return find(Reading(formula, terms), _ANY, self.cells, exact=True)

    def pair(
        self,
        row: Row | None,
        found: Finding | None = None,
        scale: float | None = None,
        unsaid: str = UNSAID,
        digits: int = _DIGITS,
    ) -> Pair:
        """What a claim says beside what was found: by the ledger, or by `found` where that has nothing.

        scale: one unit of the column, in SI; that of the claim if not given. digits: significant ones of what was
        measured.
        """
        seen = row.first if row and row.first and row.first.interval else found
        unit = scale or (row.claim.scale if row else 1.0)
        said = Pair(unsaid=unsaid)
        if row:
            said = replace(said, published=published(row), verdict="" if row.verdict == CONTEXT else row.verdict)
        if seen is None:
            return replace(said, missing=row.reason if row else "")
        if seen.interval is None:
            return replace(said, missing=seen.missing or (row.reason if row else ""))
        return replace(said, measured=interval(seen, unit, digits), place=seen.place)


def published(row: Row) -> str:
    """A claim's number as printed, without its unit; marked where that is secondary."""
    claim = row.claim
    text = claim.text.split(" ")[0] if claim.numbers else claim.text
    mark = SECONDARY if claim.confidence == "secondary" else ""
    return f"{'~' if claim.about and text[0] not in '~<>' else ''}{text}{mark}"


def interval(found: Finding, scale: float = 1.0, digits: int = _DIGITS) -> str:
    """A finding's number in units of `scale`, with its 95 % interval where it has one."""
    assert found.interval is not None
    value, low, high = (each / scale for each in found.interval)
    between = "" if math.isnan(low) or low == high else f" ({number(low, digits)} to {number(high, digits)})"
    return f"{number(value, digits)}{between}"

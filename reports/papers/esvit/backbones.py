"""What tables 1 and 4 print of a backbone, and what was measured of the model that stands for it."""

import math
from dataclasses import replace

from reports.ledger.check import Term
from reports.ledger.judging import Finding, Row
from reports.ledger.models import MISSING
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Pair
from reports.papers.quoted import derived, quoted
from reports.roster import Entry

_UNSAID = "the table has none"
_DIGITS = 3  # of quotients of printed numbers


def claim(evidence: Evidence, source: str, printed: str, metric: str) -> Row | None:
    """What a table (`source`, as claims call it) prints of a row."""
    return evidence.claim(printed, metric, source, "EsViT")


def accuracy(evidence: Evidence, source: str, printed: str, metric: str) -> Pair:
    """A printed accuracy; none is measured."""
    return quoted(claim(evidence, source, printed, metric), _UNSAID)


def measured(evidence: Evidence, formula: str, metric: str, *entries: Entry) -> Finding:
    """A number of backbones, or which of them has no model here."""
    missing = next((MISSING[one.printed] for one in entries if not one.model), "")
    terms = (Term(one.spec, metric) for one in entries)
    return Finding("", missing=missing) if missing else evidence.measure(formula, *terms)


def pair(evidence: Evidence, source: str, one: Entry, metric: str) -> Pair:
    """A number of one row, printed and measured."""
    found = measured(evidence, "value", metric, one)
    return evidence.pair(claim(evidence, source, one.printed, metric), found, unsaid=_UNSAID)


def shares(evidence: Evidence, source: str, one: Entry, base: Entry) -> tuple[float, Finding]:
    """A row's throughput, that of `base` being 1: of printed numbers (NaN without one), and in one setting here."""
    own, other = (row.claim.value if row else math.nan for row in _throughputs(evidence, source, one, base))
    if one != base:
        return own / other, measured(evidence, "ratio", "throughput", one, base)
    found = measured(evidence, "value", "throughput", base)
    return own / other, replace(found, interval=(1.0, 1.0, 1.0)) if found.interval else found


def share_pair(evidence: Evidence, source: str, one: Entry, base: Entry) -> Pair:
    """`shares` as words."""
    printed, found = shares(evidence, source, one, base)
    rows = filter(None, _throughputs(evidence, source, one, base))
    return replace(evidence.pair(None, found, unsaid=_UNSAID), published=derived(printed, _DIGITS, *rows))


def _throughputs(evidence: Evidence, source: str, *entries: Entry) -> list[Row | None]:
    return [claim(evidence, source, one.printed, "throughput") for one in entries]

"""A section of the report: a paper's tables and figures, rebuilt, and its claims."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from reports.figures import Picture
from reports.ledger import ledger
from reports.ledger.about import ABOUT, About, touched
from reports.ledger.judging import Row
from reports.papers import exhibits
from reports.papers.evidence import Evidence
from reports.papers.exhibit import MARKS, Exhibit


@dataclass(frozen=True)
class Section:
    """paper: one of `reports.ledger.claim.PAPERS`; rows: its part of the ledger; line: how many of its claims came to
    which verdict; claims: the Markdown table of those that are or could be tested."""

    paper: str
    about: About
    rows: tuple[Row, ...]
    line: str
    exhibits: tuple[Exhibit, ...]
    claims: str


def sections(evidence: Evidence) -> list[Section]:
    """The sections of all papers that the records have something of."""
    return [_section(evidence, paper) for paper in touched(evidence.frame)]


def _section(evidence: Evidence, paper: str) -> Section:
    rows = tuple(row for row in evidence.rows if row.claim.paper == paper)
    table = ledger.section(paper, rows)
    return Section(paper, ABOUT[paper], rows, table["line"], tuple(exhibits(evidence, paper)), table["tested"])


def pictures(found: Iterable[Section]) -> list[Picture]:
    """Every picture of the sections."""
    return [picture for one in found for exhibit in one.exhibits for picture in exhibit.pictures]


def headlines(found: Iterable[Section]) -> pd.DataFrame:
    """The claims that a paper is known by, with their verdicts, as words."""
    rows = []
    for one in found:
        by_id = {row.claim.id: row for row in one.rows}
        rows += [_headline(one.about.name, by_id[number]) for number in one.about.headlines]
    return pd.DataFrame(rows)


def _headline(paper: str, row: Row) -> dict[str, str]:
    claim = row.claim
    mark = MARKS.get(row.verdict, "")
    return {
        "paper": paper,
        "of": claim.printed,
        "quantity": claim.quantity,
        "published": claim.text,
        "measured": ledger.measured(row),
        "verdict": f"{mark} {row.verdict}".strip(),
        "why, or where": row.reason or (row.first.place if row.first else ""),
        "claim": claim.id,
    }

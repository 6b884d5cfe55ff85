"""The ledger as a whole: judged from records, and written as Markdown, CSV and JSON."""

import csv
import dataclasses
import io
import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import UsageError
from bench.record import Record
from bench.spec import hint
from reports.format import percent
from reports.ledger.about import ABOUT
from reports.ledger.check import TOLERANCE, Sorted
from reports.ledger.claim import PAPERS, Claim, claims
from reports.ledger.judging import CONTEXT, NORMS, NOT_MEASURED, VERDICTS, Finding, Row, frame_of, index, judge, said
from reports.ledger.sorting import sort
from reports.tables import compact
from reports.templating import templates

BOUNDS = {"tolerance": percent(TOLERANCE, 0), "norms": percent(NORMS, 0)}  # words of what verdicts allow
_COLUMNS = (
    *("id", "paper", "work", "source", "model", "quantity", "published", "numbers", "resolution", "unit", "verdict"),
    *("relation", "value", "low", "high", "place", "reading", "reason", "conditions", "read in", "confidence"),
)


@cache
def sorted_claims() -> tuple[tuple[Claim, Sorted], ...]:
    """Every claim with its class."""
    return tuple((claim, sort(claim)) for claim in claims())


def papers_of(words: Sequence[str]) -> tuple[str, ...]:
    """The papers that are named, in the ledger's order; all for none. UsageError on an unknown one."""
    for word in words:
        if word not in PAPERS:
            raise UsageError(f"no paper {word!r}{hint(word, PAPERS)}; papers are {', '.join(PAPERS)}")
    return tuple(paper for paper in PAPERS if paper in words or not words)


def rows(records: Sequence[Record], papers: Collection[str] = PAPERS) -> list[Row]:
    """The ledger of some papers, judged from records."""
    of_papers = [(claim, how) for claim, how in sorted_claims() if claim.paper in papers]
    return judge(of_papers, index(frame_of(records)))


def line(judged: Iterable[Row]) -> str:
    """`Claims: 3 reproduced, 1 differs, ...; 5 are context`: how many came to which verdict."""
    counts = Counter(row.verdict for row in judged)
    words = ", ".join(f"{counts[verdict]} {_plural(verdict, counts[verdict])}" for verdict in VERDICTS)
    return f"Claims: {words}; {counts[CONTEXT]} are context"


def _plural(verdict: str, count: int) -> str:
    return "differ" if verdict == "differs" and count != 1 else verdict


def write(judged: Sequence[Row], folder: Path) -> Path:
    """Write ledger.md, ledger.csv and ledger.json; returns the path of the first. UsageError if that can't be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / "ledger.md"
        page.write_text(to_page(judged), encoding="utf-8")
        write_data(judged, folder)
    except OSError as error:
        raise UsageError(f"cannot write the ledger to {folder}: {error.strerror or error}") from error
    return page


def write_data(judged: Sequence[Row], folder: Path) -> list[Path]:
    """Write ledger.csv and ledger.json into a folder that is there; returns their paths. Raises OSError."""
    texts = {folder / "ledger.csv": to_csv(judged), folder / "ledger.json": to_json(judged)}
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)


def to_page(judged: Sequence[Row]) -> str:
    """The ledger as Markdown: how many came to which verdict, and a table a paper."""
    papers = [paper for paper in PAPERS if any(row.claim.paper == paper for row in judged)]
    return (
        templates()
        .get_template("ledger.md.j2")
        .render(
            line=line(judged),
            summary=compact(summary(judged)),
            sections=[section(paper, [row for row in judged if row.claim.paper == paper]) for paper in papers],
            secondary=any(row.claim.confidence == "secondary" for row in judged),
            **BOUNDS,
        )
    )


def to_csv(judged: Sequence[Row]) -> str:
    """A line a claim; numbers in SI units, not rounded."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**_plain(row), "numbers": " ".join(map(repr, row.claim.numbers))} for row in judged)
    return text.getvalue()


def to_json(judged: Sequence[Row]) -> str:
    """The same with all readings: an object of `summary` (a number a verdict), `papers` (of each, with `missing`) and
    `claims`."""
    papers = [paper for paper in PAPERS if any(row.claim.paper == paper for row in judged)]
    content = {
        "summary": _counts(judged),
        "papers": {
            paper: {**_counts([row for row in judged if row.claim.paper == paper]), "missing": ABOUT[paper].missing}
            for paper in papers
        },
        "claims": [{**_plain(row), "readings": [_finding(one) for one in row.found]} for row in judged],
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _counts(judged: Sequence[Row]) -> dict[str, int]:
    counts = Counter(row.verdict for row in judged)
    return {verdict: counts[verdict] for verdict in (*VERDICTS, CONTEXT)}


def _plain(row: Row) -> dict[str, Any]:
    claim = row.claim
    value, low, high = row.first.interval if row.first and row.first.interval else (None, None, None)
    return {
        "id": claim.id,
        "paper": claim.paper,
        "work": claim.work,
        "source": claim.source,
        "model": claim.printed,
        "quantity": claim.quantity,
        "published": claim.text,
        "numbers": list(claim.numbers),
        "resolution": claim.resolution,
        "unit": claim.unit,
        "verdict": row.verdict,
        "relation": row.relation,
        "value": value,
        "low": _finite(low),
        "high": _finite(high),
        "place": row.first.place if row.first else "",
        "reading": row.reading,
        "reason": row.reason,
        "conditions": claim.conditions,
        "read in": claim.provenance,
        "confidence": claim.confidence,
    }


def _finding(one: Finding) -> dict[str, Any]:
    content = dataclasses.asdict(one)
    content["interval"] = None if one.interval is None else [_finite(number) for number in one.interval]
    return content


def _finite(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else number


def summary(judged: Sequence[Row]) -> pd.DataFrame:
    """How many claims came to which verdict: a row a paper, and one of all where there are several."""
    papers = [paper for paper in PAPERS if any(row.claim.paper == paper for row in judged)]
    table = [
        {"paper": ABOUT[paper].name, **_counts([row for row in judged if row.claim.paper == paper])} for paper in papers
    ]
    return pd.DataFrame([*table, {"paper": "all", **_counts(judged)}] if len(table) > 1 else table)


def section(paper: str, judged: Sequence[Row]) -> dict[str, Any]:
    """What is said of the paper, summary and Markdown tables of a paper: what is or could be tested; context."""
    tested = [_cells(row) for row in judged if row.verdict != CONTEXT]
    context = [_cells(row) for row in judged if row.verdict == CONTEXT]
    columns = ["id", "source", "model", "quantity", "published", "reason"]
    return {
        "about": ABOUT[paper],
        "line": line(judged),
        "tested": compact(pd.DataFrame(tested)),
        "context": compact(pd.DataFrame(context, columns=columns).rename(columns={"reason": "why"})),
        "contexts": str(len(context)),
    }


def measured(row: Row) -> str:
    """What the verdict rests on, as words, with which reading that is where there are several; "" without a verdict."""
    if row.first is None or row.verdict == NOT_MEASURED:
        return ""
    label = f" ({row.first.label})" if len(row.found) > 1 and row.first.label else ""
    return f"{said(row.first, row.claim)}{label}"


def _cells(row: Row) -> dict[str, str]:
    claim = row.claim
    return {
        "id": claim.id,
        "source": f"{claim.source} of {claim.work}",
        "model": claim.printed,
        "quantity": claim.quantity if row.verdict != CONTEXT else claim.metric,
        "published": claim.text,
        "measured": measured(row),
        "verdict": row.verdict,
        "reading": row.reading,
        "reason": row.reason,
        "confidence": claim.confidence if claim.confidence == "secondary" else "",
    }

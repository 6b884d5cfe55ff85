"""Exhibit: a table or a figure of a paper, rebuilt from records, published and measured side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from reports.figures import Picture
from reports.ledger.judging import ABSENT, AMBIGUOUS, DIFFERS, NOT_COMPARABLE, REPRODUCED

MARKS = {REPRODUCED: "✓", DIFFERS: "✗", AMBIGUOUS: "?", NOT_COMPARABLE: "≁"}
LEGEND = ", ".join(f"{mark} {verdict}" for verdict, mark in MARKS.items()) + "."
SECONDARY = "†"
NONE = "-"
NOT_HERE = "not among these records"
UNSAID = "in no text of the paper that was found"


@dataclass(frozen=True)
class Pair:
    """What is published of one quantity, and what was measured, as words without the unit, which is in the heading.

    verdict: the ledger's, where there is one. unsaid and missing say why a side has no number. place: where and how it
    was measured, "" for what is the same everywhere.
    """

    published: str = ""
    measured: str = ""
    verdict: str = ""
    unsaid: str = UNSAID
    missing: str = ""
    place: str = ""


@dataclass(frozen=True)
class Table:
    """Words, a row a row of the paper's; notes are what the numbers in brackets say. title is "" for the only one."""

    rows: pd.DataFrame
    notes: tuple[str, ...] = ()
    title: str = ""


@dataclass(frozen=True)
class Exhibit:
    """name: unique, lower-case and with dashes. rebuilds: what of the paper this is. text: how to read it, Markdown.

    tables and pictures: what there is to see; a picture whose figure is None says what is missing.
    """

    name: str
    title: str
    rebuilds: str
    text: str = ""
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass
class _Notes:
    """Notes by their words, numbered in the order of the rows; equal ones are one."""

    numbers: dict[str, int] = field(default_factory=dict)

    def __call__(self, words: str) -> str:
        if not words:
            return ""
        return f" [{self.numbers.setdefault(words, len(self.numbers) + 1)}]"


def table(rows: Sequence[Mapping[str, str | Pair]], title: str = "") -> Table:
    """Rows of words and Pairs as a Table.

    A column of Pairs is two, `X, published` and `X, measured`; of which one that would hold nothing and has nothing to
    explain is left out, and where nothing in the table is published, measured numbers stand below `X`. A measured
    number carries the mark of its verdict; where and why are notes, but for a place that is the same of all, which is
    one note on the table.
    """
    every = [pair for row in rows for pair in row.values() if isinstance(pair, Pair)]
    suffix = ", measured" if any(pair.published for pair in every) else ""
    places = dict.fromkeys(pair.place for pair in every if pair.place)
    notes = _Notes()
    alone = f"Conditions: {next(iter(places))}." if len(places) == 1 else ""
    columns = dict.fromkeys(name for row in rows for name in row)
    words: dict[str, list[str]] = {}
    for name in columns:
        cells = [row.get(name, "") for row in rows]
        pairs = [cell for cell in cells if isinstance(cell, Pair)]
        if not pairs:
            words[name] = [str(cell) or NONE for cell in cells]
            continue
        if any(pair.published for pair in pairs):
            words[f"{name}, published"] = [
                cell.published or NONE + notes(cell.unsaid) if isinstance(cell, Pair) else cell or NONE
                for cell in cells
            ]
        if any(pair.measured or pair.missing for pair in pairs):
            words[f"{name}{suffix}"] = [
                _measured(cell, notes, bool(alone)) if isinstance(cell, Pair) else cell or NONE for cell in cells
            ]
    numbered = (f"[{number}] {note}" for note, number in notes.numbers.items())
    return Table(pd.DataFrame(words), tuple(filter(None, (alone, *numbered))), title)


def _measured(pair: Pair, notes: _Notes, alone: bool) -> str:
    if not pair.measured:
        absent = all(reason.endswith(ABSENT) for reason in pair.missing.split("; "))
        return NONE + notes(NOT_HERE if absent else pair.missing)
    mark = MARKS.get(pair.verdict, "")
    return f"{pair.measured}{f' {mark}' if mark else ''}{'' if alone else notes(pair.place)}"

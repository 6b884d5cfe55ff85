"""The sample report is what its records say today."""

import json
from pathlib import Path

import pytest

from bench import jsonl
from reports.ledger import ledger
from reports.ledger.about import ABOUT, touched
from reports.ledger.judging import VERDICTS, frame_of
from reports.papers import exhibits
from reports.papers.evidence import Evidence
from reports.tables import compact

SAMPLE = Path(__file__).parent.parent / "docs" / "sample"


@pytest.fixture(scope="module")
def records():
    return jsonl.read(SAMPLE / "records.jsonl")


@pytest.fixture(scope="module")
def page():
    return (SAMPLE / "report.md").read_text(encoding="utf-8")


def test_its_verdicts_are_those_of_its_records(records, page):
    """Make it anew as docs/sample/README.md says where a change of the ledger changes them."""
    judged = ledger.rows(records)
    assert f"{ledger.line(judged)}." in page
    assert json.loads((SAMPLE / "ledger.json").read_text())["summary"] == json.loads(ledger.to_json(judged))["summary"]


def test_it_has_every_table_and_figure_of_every_paper(records, page):
    assert touched(frame_of(records)) == tuple(ABOUT)
    for about in ABOUT.values():
        assert f"\n## {about.name}\n" in page


@pytest.mark.parametrize("paper", ABOUT)
def test_its_tables_are_those_that_are_made_today(records, page, paper):
    found = exhibits(Evidence(frame_of(records), ledger.rows(records)), paper)
    for exhibit in found:
        assert f"### {exhibit.title}\n" in page
        assert all(compact(one.rows) in page for one in exhibit.tables)


def test_most_verdicts_are_reached(records):
    reached = {row.verdict for row in ledger.rows(records)}
    assert reached >= {*VERDICTS} - {"ambiguous"}

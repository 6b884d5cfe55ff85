"""How many of its codes BEiT v2's tokenizer uses: table 4, TOKENIZER.md, and what was measured here."""

from typing import Any

import pandas as pd

from reports.attention import looked, warning
from reports.figures import Picture
from reports.figures.codebook_ranks import METRIC, NAME, TITLE, draw
from reports.format import number, scale
from reports.papers.drawn import drawn
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit, Pair, Table, table
from reports.papers.quoted import quoted

_TABLE_4, _ZOO = "Table 4", "TOKENIZER.md"
# Where it stands; teacher; layers of decoder; the claims on usage, reconstruction loss and linear accuracy.
_ROWS = (
    (_TABLE_4, "CLIP", "1", "hb-002", "hb-001", "hb-003"),
    (_TABLE_4, "CLIP", "3", "hb-005", "hb-004", "hb-006"),
    (_TABLE_4, "CLIP", "6", "hb-008", "hb-007", "hb-009"),
    (f"{_TABLE_4}, as another reader noted it", "CLIP", "3", "beitv2-040", "", ""),
    (_ZOO, "CLIP", "1", "beitv2-037", "", ""),
    (_ZOO, "CLIP", "3", "beitv2-038", "", ""),
    (_ZOO, "DINO", "1", "beitv2-039", "", ""),
    ("a user's report (issue 936): 1,000 codes, patches of 32 px", "CLIP", "1", "hb-040", "", ""),
)
# What users report as codes that no patch gets.
_UNUSED = (("issue 1556: codes of width 1024, 250k images", "beitv2-053"), ("issue 1724: industrial images", "hb-039"))
_TEXT = """\
Share of the 8,192 codes that some patch gets. The published numbers are of trained tokenizers on ImageNet-1K's
validation set or on far more images than here; the paper says that a deeper decoder lowers usage, and the default
tokenizer has three layers all the same. Two who read table 4 found 95 % where TOKENIZER.md says 97 %. The loss is
quoted without its unit; that of the released code is one less the cosine. What was measured here is of the weights and
images that its rows name: so many patches can use at most as many codes ("at most"), so that few images say little of a
large codebook; perplexity is how many codes equally often used would have the same entropy."""


def codebook(evidence: Evidence) -> Exhibit:
    """Usage as published and as measured, and how often each code occurs."""
    rows = looked(evidence.frame, METRIC)
    missing = Picture(NAME, TITLE, f"Not drawn: no {METRIC} is recorded.")
    here = Table(pd.DataFrame([_measured(row) for row in rows.to_dict("records")]), title="Measured here")
    return Exhibit(
        "beitv2-codebook",
        "Codebook usage",
        "Table 4 (as others quote it) and TOKENIZER.md's list of tokenizers",
        warning(rows) + _TEXT,
        (
            table([_said(evidence, *row) for row in _ROWS], "As published"),
            table([_unused(evidence, *row) for row in _UNUSED], "Codes never used, as users report"),
            *(() if rows.empty else (here,)),
        ),
        tuple(drawn("beitv2", draw, evidence.frame, missing)),
    )


def _said(
    evidence: Evidence, source: str, teacher: str, layers: str, usage: str, loss: str, linear: str
) -> dict[str, str | Pair]:
    unsaid = "not printed there"
    return {
        "source": source,
        "teacher": teacher,
        "layers of decoder": layers,
        "usage (%)": evidence.pair(evidence.by_id.get(usage)),
        "reconstruction loss (unit not printed)": quoted(evidence.by_id.get(loss), unsaid),
        "linear (%)": quoted(evidence.by_id.get(linear), unsaid),
    }


def _unused(evidence: Evidence, source: str, one: str) -> dict[str, str | Pair]:
    return {"source": source, "unused codes": evidence.pair(evidence.by_id.get(one))}


def _measured(row: dict[Any, Any]) -> dict[str, str]:
    details, shown = row["details"], scale(METRIC, "1")
    most = min(1.0, details["patches"] / details["codes"])
    return {
        "model": row["series"],
        "weights": details["weights"],
        "images": details["images"],
        "patches": number(details["patches"], 1),
        "codes used": f"{number(len(details['counts']), 1)} of {number(details['codes'], 1)}",
        f"usage ({shown.unit})": number(row["value"] * shown.factor, shown.digits),
        f"at most ({shown.unit})": number(most * shown.factor, shown.digits),
        "perplexity": number(details["perplexity"], 4),
    }

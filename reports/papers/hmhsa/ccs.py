"""hMHSA's table 4: how alike heads attend (CCS), of bases and with hallucinated heads."""

from reports.attention import RANDOM
from reports.baselines import untagged
from reports.figures import Picture
from reports.figures.ccs_blocks import draw
from reports.format import number
from reports.frame import measured
from reports.papers.drawn import drawn
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit, Pair, table
from reports.papers.hmhsa.looked import shown
from reports.papers.hmhsa.models import MODELS, as_compared

_CLAIM = "hm-10"  # of the mean over the bases
_IN_TABLE = MODELS[1:]  # the table has no DeiT-Ti
_UNSAID = "no value of table 4 is in any text that was found"

_TEXT = """
CCS is the mean cosine of the rows of two heads' attention maps, 1 where heads are alike. The paper's table has it for
trained models on images that it doesn't name; of its values only that those of the bases are above a bound on
average, and lower with hMHSA, is in a text. Of random weights CCS says nothing: such a number stands here to show
that it was taken, and is held against nothing.
"""
_NONE = Picture("ccs_blocks", "Similarity of heads by block (CCS)", "Not drawn: no record has `ccs` of these models.")


def ccs(evidence: Evidence) -> Exhibit:
    """CCS of each base and of what the paper makes of it; block by block as a picture."""
    rows: list[dict[str, str | Pair]] = [
        {
            "model": one.printed,
            "base": _found(evidence, one.base),
            "with hMHSA, cFFN": _found(evidence, one.ours),
        }
        for one in _IN_TABLE
    ]
    rows.append(
        {
            "model": "on average, above",
            "base": evidence.pair(evidence.by_id[_CLAIM]),
            "with hMHSA, cFFN": Pair(unsaid=_UNSAID),
        }
    )
    return Exhibit(
        "hmhsa-ccs",
        "Similarity of heads",
        "hMHSA and cFFN, table 4",
        _TEXT.strip(),
        (table(rows, "CCS"),),
        tuple(drawn("hmhsa", draw, shown(evidence.frame), _NONE)),
    )


def _found(evidence: Evidence, model: str) -> Pair:
    """The CCS of a model as the paper has it, of trained weights where such were looked at, and what it is of."""
    rows = measured(as_compared(evidence.frame), "ccs")
    rows = rows[rows["model"].map(untagged).eq(model).astype(bool)]
    if rows.empty:
        return Pair(unsaid=_UNSAID, missing=f"no ccs of {model} is recorded")
    row = rows.sort_values("weights", key=lambda weights: weights == "random", kind="stable").iloc[0]
    details = row["details"]
    weights = RANDOM if row["weights"] == "random" else details["weights"]
    return Pair(measured=number(row["value"], 3), unsaid=_UNSAID, place=f"{details['images']}; {weights}")

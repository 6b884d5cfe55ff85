"""What EsViT's region loss L_R costs beside its view loss L_V: section 2.2, and the table of appendix C.2."""

from dataclasses import replace
from typing import Any

from reports.baselines import STAGES, untagged
from reports.figures import Picture
from reports.figures.losses_batch import draw
from reports.figures.picture import conditions
from reports.format import factor, name
from reports.frame import series
from reports.papers.drawn import drawn
from reports.papers.evidence import Evidence, published
from reports.papers.exhibit import NONE, SECONDARY, Exhibit, Table, table
from reports.reductions import changes, quotient
from reports.tables import MEMORY

_TEXT = f"""
The step with both losses as a multiple of the step with the view loss alone. The appendix was in no text that was
found: what is of it comes from an article that quotes it ({SECONDARY}), at 12 images a GPU. The main text's "around" is
of a batch that it doesn't give. The paper's code stores rows of 65,536 numbers for each region, which `impl=reference`
does too; `fast` is the same function without them. Memory that is predicted needs no GPU; a quotient of times does, to
be held against the paper's.
"""

# Claim, of which models here, of what.
_PUBLISHED = (
    ("esvit-080", "multi-stage (Swin-T)", "memory, L_V+L_R by L_V"),
    ("esvit-081", "multi-stage (Swin-T)", "time, L_V+L_R by L_V"),
    ("esvit-083", "multi-stage (Swin-T)", "memory, L_V+L_R by L_V"),
    ("esvit-085", "multi-stage (Swin-T)", "time, L_V+L_R by L_V"),
    ("esvit-082", "mono-stage (DeiT-S)", "memory, L_V+L_R by L_V"),
    ("esvit-084", "mono-stage (DeiT-S)", "time, L_V+L_R by L_V"),
    ("esvit-079", "both", "MACs that L_R adds, mono-stage by multi-stage"),
)
_OF = {"memory": MEMORY, "time": ("throughput", "latency")}  # the metrics that tell, the best first
_COSTS = ("memory", "time of a step", "time of a whole training")  # quantities of the ledger
_NONE = Picture(
    "losses_batch",
    "Memory of a step with and without the region loss",
    "Not drawn: memory of a step with each loss is recorded at no two batches.",
)


def losses(evidence: Evidence) -> Exhibit:
    """The claims, all quotients that were measured, what others say of such steps, and memory over the batch."""
    return Exhibit(
        "esvit-losses",
        "What the region loss costs",
        "EsViT, section 2.2 and appendix C.2",
        _TEXT.strip(),
        (_published(evidence), *_measured(evidence), _others(evidence)),
        tuple(drawn("esvit", draw, evidence.frame, _NONE)),
    )


def _published(evidence: Evidence) -> Table:
    return table(
        [
            {"model": model, "what": what, "source": row.claim.source, "times": evidence.pair(row)}
            for id, model, what in _PUBLISHED
            for row in [evidence.by_id[id]]
        ],
        "The paper's",
    )


def _measured(evidence: Evidence) -> list[Table]:
    """A row a model, route and quantity, a column a batch; nothing where nothing was measured."""
    rows = changes(evidence.frame)
    rows = rows[rows["model"].map(untagged).isin(list(STAGES))]
    rows = rows.assign(series=series(rows, "batch"))
    batches = sorted(rows["batch"].unique())
    words = []
    for label, own in rows.groupby("series", sort=False):
        for what, metrics in _OF.items():
            metric = next((one for one in metrics if one in set(own["metric"])), None)
            if metric:
                found = {row["batch"]: _times(row) for row in own[own["metric"] == metric].to_dict("records")}
                model = {"model": str(label), "stages": STAGES[untagged(own["model"].iloc[0])]}
                of = {"L_V+L_R by L_V": what if what == "time" else name(metric)}
                words.append(model | of | {f"batch {batch}": found.get(batch, NONE) for batch in batches})
    where = f"On {', '.join(rows['machine'].unique())}. {conditions(rows)}"
    return [replace(table(words, "Measured here"), notes=(where,))] if words else []


def _times(row: dict[Any, Any]) -> str:
    """A row of `changes` as a quotient of memories or times."""
    share, low, high = quotient(row)
    return factor(1 / share, 1 / high, 1 / low) if row["metric"] == "throughput" else factor(share, low, high)


def _others(evidence: Evidence) -> Table:
    """A row a model and setting, all that is said of its cost together."""
    found: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for row in evidence.rows:
        claim = row.claim
        if claim.paper == "esvit" and claim.quantity in _COSTS:
            unit = claim.text.partition(" ")[2]
            each = claim.metric.removeprefix("time ") if claim.metric.startswith("time per") else ""
            said = found.setdefault((claim.printed, claim.conditions, claim.source), {})
            what = "memory" if claim.quantity == "memory" else "time"
            said.setdefault(what, []).append(" ".join(filter(None, (published(row), unit, each))))
    return table(
        [
            {"model": model, **{what: "; ".join(said.get(what, ())) for what in _OF}, "of": words, "source": source}
            for (model, words, source), said in found.items()
        ],
        "What others say of their pre-training",
    )

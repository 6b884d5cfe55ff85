"""Hours of whole pre-trainings, as their papers print them: context, of hardware that is mostly not named."""

from reports.ledger.judging import Row
from reports.papers.evidence import Evidence, published
from reports.papers.exhibit import Exhibit, table

_PAPER, _HOURS = "greenmim", ("pre-training time", "pre-training time per epoch")


def gpu_hours(evidence: Evidence) -> Exhibit:
    """Every printed time of a whole pre-training or an epoch of one, by GreenMIM and those around it."""
    rows = [row for row in evidence.rows if row.claim.paper == _PAPER and row.claim.metric in _HOURS]
    works = list(dict.fromkeys(row.claim.work for row in rows))
    rows.sort(key=lambda row: works.index(row.claim.work))
    return Exhibit(
        "greenmim-gpu-hours",
        "GPU hours of pre-training",
        "the hours in the paper's table of results, as others quote them, and those that other papers print",
        "Quoted and never judged: they are of whole trainings, on GPUs that are mostly not named, with loading images. "
        "GPU hours are those of all GPUs together, hours are the clock's. What an epoch of steps alone would take on "
        "the measured device is told with the efficiency.",
        (table([_quoted(row) for row in rows]),),
    )


def _quoted(row: Row) -> dict[str, str]:
    claim = row.claim
    return {
        "model": claim.printed,
        "published": f"{published(row)} {claim.text.partition(' ')[2]}",
        "conditions": claim.conditions,
        "printed by": claim.work,
        "read in": claim.provenance,
    }

"""How much faster and smaller a step is than one that encodes all tokens: what is said, and what was measured."""

from collections.abc import Sequence
from dataclasses import replace

from reports.epochs import IMAGES, hours
from reports.figures import Picture
from reports.format import number, percent
from reports.ledger.check import PREDICTED, Term
from reports.ledger.judging import (
    AMBIGUOUS,
    DIFFERS,
    NOT_COMPARABLE,
    NOT_MEASURED,
    REPRODUCED,
    Finding,
    Row,
)
from reports.papers.evidence import Evidence, interval, published
from reports.papers.exhibit import Exhibit, Pair, Table, table
from reports.papers.greenmim.steps import BODIES, ONE_MASK, TableRow, plain, step, tables_of
from reports.papers.quoted import quoted
from reports.papers.settled import found, settled
from reports.papers.units import GIGA, MIB, PERCENT
from reports.tables import MEMORY

# In the paper's order, last what its authors told the press.
_CLAIMS = ("greenmim-001", "greenmim-002", "greenmim-003", "greenmim-004", "greenmim-201", "greenmim-202")
_HOURS = ("greenmim-020", "greenmim-021")  # SimMIM's and GreenMIM's, of 800 epochs each
_FITS = {True: REPRODUCED, False: DIFFERS, None: AMBIGUOUS}

# AFFMAE's (arXiv:2602.16249) table of pre-training: its models and quantities, in its order.
_THEIRS, _THEIR_TABLE = "AFFMAE", "pre-training efficiency table"
_THEIR_MODELS = ("ViT-MAE", "SimMIM", "HiViT", "GreenMIM", "MixMAE")
_THEIR_NUMBERS = {"FLOPs": "FLOPs (G)", "GPU memory": "GPU memory (GB)", "throughput": "throughput (img/s)"}

_TEXT = f"""\
What is said is measured of Swin-B at 224 px, its windows grouped as the released code does, without the paper's
search; memory at batch 256, that of the released scripts. A mark says whether the claim holds against that base. The
verdict is the ledger's: a number holds where it does against one base, a bound where it does against all.

Below, the steps themselves. Times in a table are of one setting, and so is memory. An epoch is a projection:
{IMAGES:,} images at that throughput, of this one device and nothing but steps. Between GreenMIM and SimMIM this
compares more than one change: GreenMIM masks 75 %, the same in all images of a batch, SimMIM 60 %, each image its own;
resolution, decoder and loss differ; GreenMIM's attention is explicit, SimMIM's is timm's Swin."""
_CHART = "Not drawn: its numbers are in no text of the paper that was found. Known to be missing, and not filled in."


def efficiency(evidence: Evidence) -> Exhibit:
    """What the paper says of speed and memory, against each of its bases; the steps; a third party's numbers."""
    known = plain(evidence)
    return Exhibit(
        "greenmim-efficiency",
        "Efficiency against encoding all tokens",
        "what abstract, introduction and README say; the paper's chart of efficiency is missing",
        "\n\n".join((_TEXT, _others(evidence), ONE_MASK)),
        (_said(evidence), *tables_of({body: _steps(known, name) for body, name in BODIES.items()}), _theirs(evidence)),
        (Picture("greenmim_efficiency", "The paper's chart of efficiency", _CHART),),
    )


def _said(evidence: Evidence) -> Table:
    rows = [evidence.by_id[id] for id in _CLAIMS]
    bases = dict.fromkeys(one.label for row in rows for one in row.found)
    return table([_claim(row, list(bases)) for row in rows], "What is said")


def _claim(row: Row, bases: Sequence[str]) -> TableRow:
    claim, by_base = row.claim, {one.label: one for one in row.found}
    unit = claim.text.partition(" ")[2]
    why = f": {row.reason}" if row.reason and row.verdict != NOT_MEASURED else ""  # else the cells say why
    return {
        "claim": f"{claim.metric} ({unit})" if unit else claim.metric,
        "of": claim.printed,
        "in": claim.source,
        "published": published(row),
        **{base: _against(row, by_base.get(base)) for base in bases},
        "verdict": f"{row.verdict}{why}",
    }


def _against(row: Row, one: Finding | None) -> Pair:
    """What the claim's quantity is against one base, with a mark of its own."""
    if one is None:
        return Pair(missing="it speaks of SimMIM alone" if row.found else row.reason)
    if one.interval is None:
        return Pair(missing=one.missing)
    verdict = NOT_COMPARABLE if one.unlike else _FITS[one.fits]
    return Pair(measured=interval(one, row.claim.scale), verdict=verdict, place=one.place)


def _steps(evidence: Evidence, body: str) -> list[TableRow]:
    """GreenMIM's step and those of its bases."""
    green, simmim = f"greenmim_{body}", f"simmim_{body}"
    specs = {
        "GreenMIM": step(green),
        "SimMIM at 192 px, its own recipe": step(simmim, 192),
        "SimMIM at 224 px": step(simmim),
        "GreenMIM's encoder on all tokens": step(green, mask_ratio=0),
    }
    own, *_ = every = list(specs.values())
    timed, held = (settled(evidence, metrics, every) for metrics in (("throughput",), MEMORY))
    rows: list[TableRow] = []
    for words, spec in specs.items():
        speed, memory, macs = (Term(spec, metric) for metric in ("throughput", PREDICTED, "macs"))
        value = found(evidence, timed, "value", speed)
        row: dict[str, str | Pair] = {
            "step": words,
            "throughput (img/s)": evidence.pair(None, value),
            "epoch (h)": evidence.pair(None, _epoch(value)),
            "peak memory (MiB)": evidence.pair(None, found(evidence, held, "value", memory), MIB),
            "MACs (G)": evidence.pair(None, evidence.measure("value", macs), GIGA),
        }
        if spec != own:
            faster = found(evidence, timed, "ratio", Term(own, "throughput"), speed)
            saved = found(evidence, held, "saving", Term(own, PREDICTED), memory)
            row["GreenMIM is faster (x)"] = evidence.pair(None, faster)
            row["GreenMIM saves memory (%)"] = evidence.pair(None, saved, PERCENT)
        rows.append(row)
    return rows


def _epoch(speed: Finding) -> Finding:
    """Hours of an epoch at a throughput."""
    if speed.interval is None:
        return speed
    value, low, high = speed.interval
    return replace(speed, interval=(hours(value), hours(high), hours(low)))


def _theirs(evidence: Evidence) -> Table:
    """A third party's table, as it is."""
    claims = {
        (model, metric): evidence.claim(model, metric, _THEIR_TABLE, _THEIRS)
        for model in _THEIR_MODELS
        for metric in _THEIR_NUMBERS
    }
    rows: list[TableRow] = [
        {"model": model, **{words: quoted(claims[model, metric]) for metric, words in _THEIR_NUMBERS.items()}}
        for model in _THEIR_MODELS
    ]
    first = next(row.claim for row in claims.values() if row)
    printed = table(rows, f"What a third party prints: {first.work}")
    return replace(printed, notes=(f"{first.conditions}.", *printed.notes))


def _others(evidence: Evidence) -> str:
    """What others' numbers make of the same quotients."""
    simmim, green = (evidence.by_id[id].claim.value for id in _HOURS)
    (slow, fast), (large, small) = (
        [row.claim.value for model in ("SimMIM", "GreenMIM") if (row := evidence.claim(model, metric, _THEIR_TABLE))]
        for metric in ("throughput", "GPU memory")
    )
    return (
        "Others' numbers of the same: by the GPU hours of GreenMIM's own table, as Fast ConvMAE quotes them, 800 "
        f"epochs take {number(green / simmim, 2)} of SimMIM's time, which is {number(simmim / green, 3)}x as fast. By "
        f"AFFMAE's table, on mixed hardware at 512 px, GreenMIM has {number(fast / slow, 2)} of SimMIM's throughput, "
        f"so that it is slower, and saves {percent(1 - small / large, 0)} of the memory."
    )

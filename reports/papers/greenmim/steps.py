"""Steps of GreenMIM's pre-training and of what it is held against: their Specs, and their numbers in one setting."""

from collections.abc import Mapping, Sequence

import pandas as pd

from bench.spec import JsonScalar, Spec
from reports import arguments
from reports.baselines import GREENMIM, models_of
from reports.figures.mask_ratio import DEFAULT, MASK_RATIO
from reports.ledger.check import PREDICTED, Term
from reports.ledger.judging import Finding
from reports.papers.drawn import of_models
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Pair, Table, table
from reports.papers.settled import found, settled
from reports.tables import MEMORY

BODIES: Mapping[str, str] = {"Swin-B": "swin_base", "Swin-T": "swin_tiny"}  # the paper's, and one that a CPU can time
WINDOW, DECODER_DEPTH = "window", "decoder_depth"
DEFAULTS: Mapping[str, float] = {WINDOW: 7, DECODER_DEPTH: 1, MASK_RATIO: DEFAULT}  # of both bodies at 224 px
COSTS = ("time", "peak memory", "MACs")
ONE_MASK = (
    "Time, memory and MACs are of one random mask, the same in all cells of one size and mask ratio: their intervals "
    "hold no variation over masks."
)

_TIMES = ("throughput", "latency")

TableRow = Mapping[str, str | Pair]  # column -> words


def step(model: str, side: int = 224, **given: JsonScalar) -> Spec:
    """A step of a model on images of `side` px, with these arguments of its constructor."""
    return Spec(model, mode="pretrain", size=(side, side), model_args=tuple(given.items()))


def altered(model: str, argument: str, value: float) -> Spec:
    """A step at 224 px with another value of one of DEFAULTS, or with the default itself."""
    given = {} if value == DEFAULTS[argument] else {argument: value}
    return Spec(model, mode="pretrain", size=(224, 224), model_args=tuple(given.items()))


def plain(evidence: Evidence) -> Evidence:
    """The steps of the BODIES alone; an argument that says a default at 224 px is left out, as `altered` does."""
    models = {f"{family}_{body}" for family in ("greenmim", "simmim") for body in BODIES.values()}
    rows = of_models(evidence.frame, models)
    rows = rows[rows["mode"] == "pretrain"]
    at_224 = rows["size"] == "224"
    return Evidence(
        rows.assign(arguments=rows["arguments"].where(~at_224, rows["arguments"].map(_plain))), evidence.rows
    )


def _plain(words: str) -> str:
    return " ".join(word for word in words.split() if not arguments.read(word).items() <= DEFAULTS.items())


def relative(evidence: Evidence, formula: str, specs: Sequence[Spec], base: Spec) -> list[dict[str, Finding]]:
    """The COSTS of steps against a base's, by a formula of two numbers; a cost is of one setting in all of them.

    Time is of throughput, or of latency where that was measured of more steps.
    """
    timed, held = (settled(evidence, metrics, [base, *specs]) for metrics in (_TIMES, MEMORY))
    by_latency = set(timed.frame["metric"]) == {"latency"}

    def costs(spec: Spec) -> dict[str, Finding]:
        time = (Term(spec, "latency"), Term(base, "latency"))
        if not by_latency:  # images a second are time the other way round
            time = (Term(base, "throughput"), Term(spec, "throughput"))
        memory, macs = ((Term(spec, metric), Term(base, metric)) for metric in (PREDICTED, "macs"))
        numbers = ((timed, time), (held, memory), (evidence, macs))
        return dict(zip(COSTS, (found(evidence, within, formula, *terms) for within, terms in numbers), strict=True))

    return [costs(spec) for spec in specs]


def tables_of(rows: Mapping[str, Sequence[TableRow]]) -> tuple[Table, ...]:
    """A Table a body: the paper's own, the first, in any case; others where something of them was measured."""
    return tuple(table(own, body) for i, (body, own) in enumerate(rows.items()) if i == 0 or any_measured(own))


def any_measured(rows: Sequence[TableRow]) -> bool:
    """Whether there is a number of ours in any row."""
    return any(isinstance(cell, Pair) and cell.measured for row in rows for cell in row.values())


def family(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of GreenMIM's models and their bases, for pictures."""
    own = models_of(GREENMIM)
    return of_models(frame, {*own, *(name.replace("greenmim", "simmim") for name in own)})

"""From claims and a frame of records to verdicts: a pure function, and the one place where verdicts are reached.

No verdict is one by default: whatever is missing, skipped or failed leaves a claim `not measured`.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from bench.record import Record
from bench.spec import format_size
from reports import arguments
from reports.baselines import untagged
from reports.format import change, number
from reports.frame import latest, to_frame
from reports.ledger.check import (
    COUNTS,
    FORMULAS,
    HALF,
    MEASURED,
    PREDICTED,
    TOLERANCE,
    Check,
    Context,
    Interval,
    Reading,
    Sorted,
    Term,
    Untested,
)
from reports.ledger.claim import Claim

VERDICTS = ("reproduced", "differs", "ambiguous", "not comparable", "not measured")
REPRODUCED, DIFFERS, AMBIGUOUS, NOT_COMPARABLE, NOT_MEASURED = VERDICTS
CONTEXT = "context"
ABSENT = "is recorded"  # how the reason ends where nothing was even tried
_SKIPPED = " skipped: "
NORMS = 0.05  # by which fvcore's count, that of norms included, is above that of products, at most and generously

_SAME = ("device", "precision", "batch", "compile", "attention", "layout")
_PLACE = ("environment", "preset")

Frame = pd.DataFrame
Cell = dict[str, Any]  # of the frame: column -> value
Cells = dict[tuple[str, ...], list[Cell]]  # by model, mode, size and metric


@dataclass(frozen=True)
class Finding:
    """What a reading gives: an interval, or why there is none (`missing`); `unlike` says why it can't be compared with
    the claim; place is where and how it was measured. fits: whether it is what the claim says, None where its interval
    straddles the bound or is unknown."""

    label: str
    interval: Interval | None = None
    missing: str = ""
    unlike: str = ""
    place: str = ""
    fits: bool | None = None


@dataclass(frozen=True)
class Row:
    """A claim with its verdict (`context` where it is none), the findings of its readings, the one that speaks for it,
    how it was read, and the reason of the verdict."""

    claim: Claim
    verdict: str
    relation: str = ""
    found: tuple[Finding, ...] = ()
    first: Finding | None = None
    reading: str = ""
    reason: str = ""


def frame_of(records: Sequence[Record]) -> Frame:
    """The latest values of records, as in `reports.frame`. Columns beside: machine, the device's name, and when."""
    machines = {record.environment.fingerprint: record.environment.gpu for record in records}
    cpus = {record.environment.fingerprint: record.environment.cpu for record in records}
    frame = latest(to_frame(records))
    names = [
        (machines[where] if device.startswith("cuda") else cpus[where]) or ""
        for where, device in frame[["environment", "device"]].to_numpy()
    ]
    return frame.assign(machine=names, when=pd.to_datetime(frame["time"], utc=True))


def index(frame: Frame) -> Cells:
    """The rows of `frame_of` by what a Term names; of any weights."""
    cells: Cells = {}
    for row in frame.to_dict("records"):
        key = (untagged(row["model"]), row["mode"], row["size"], row["metric"])
        cells.setdefault(key, []).append({str(name): value for name, value in row.items()})
    return cells


def judge(sorted_claims: Iterable[tuple[Claim, Sorted]], cells: Cells) -> list[Row]:
    """A Row a claim, in their order."""
    return [_row(claim, how, cells) for claim, how in sorted_claims]


def _row(claim: Claim, how: Sorted, cells: Cells) -> Row:
    if isinstance(how, Context):
        return Row(claim, CONTEXT, reason=how.why)
    if isinstance(how, Untested):
        return Row(claim, how.verdict, reason=how.why)
    found = tuple(_fitted(find(reading, how, cells), reading, how, claim) for reading in how.readings)
    verdict, first, reason = _verdict(found, how, claim)
    return Row(claim, verdict, how.relation, found, first, _reading(found, how, claim), reason)


def find(reading: Reading, check: Check, cells: Cells, exact: bool = False) -> Finding:
    """The best of what was recorded for a reading: comparable with what `check` wants before not, a GPU's before a
    CPU's, the claim's batch or else the largest, the latest. exact: a Term's batch is a condition, not a wish."""
    readings = [reading]
    if any(term.metric == PREDICTED for term in reading.terms):  # what was measured goes before what is predicted
        terms = tuple(replace(term, metric=MEASURED) for term in reading.terms)
        readings = [replace(reading, terms=terms), reading]
    missing: list[str] = []
    best = None
    for one in readings:
        options = [_alike(term, cells, exact) for term in one.terms]
        common = set.intersection(*({*option} for option in options))
        if not common:
            missing.append(_missing(one, cells, exact))
            continue
        key = max(common, key=lambda key: _rank(key, one, check, options))
        own = [option[key] for option in options]
        try:
            interval = FORMULAS[one.formula](*map(_interval, one.terms, own))
        except ZeroDivisionError:
            words = f"a {one.terms[-1].metric} of 0 is nothing to hold another against"
            missing.append(f"{_words(one.terms[-1])}: {words}")
            continue
        found = Finding(one.label, interval, unlike=_unlike(one, check, own[0]), place=_place(one, own[0]))
        if best is None or not found.unlike:
            best = found
        if not best.unlike:
            return best
    return best or Finding(reading.label, missing=_telling(missing))


def _telling(reasons: Sequence[str]) -> str:
    """Of several reasons the first that tells of something that was tried; the last where all are skips or absences."""
    return next((one for one in reasons if not one.endswith(ABSENT) and _SKIPPED not in one), reasons[-1])


def _rows(term: Term, cells: Cells) -> Iterator[Cell]:
    """The cells of a term, whatever their settings and status."""
    spec = term.spec
    wanted = arguments.read(" ".join(f"{name}={value}" for name, value in spec.model_args))
    for cell in cells.get((spec.model, spec.mode, format_size(spec.size), term.metric), ()):
        trained = spec.mode == "infer" and cell["form"] == "training"
        if arguments.read(cell["arguments"]) == wanted and not trained:
            yield cell


def _alike(term: Term, cells: Cells, exact: bool) -> dict[tuple[Any, ...], Cell]:
    """The latest number of a term in each setting that must be the same for all terms of a reading; exact: at the
    term's batch alone, at which predicted memory has to be in any case."""
    found: dict[tuple[Any, ...], Cell] = {}
    for cell in _rows(term, cells):
        if not math.isnan(_number(term, cell)):  # as it is where the status is not ok
            if (
                (exact or term.metric == PREDICTED)
                and term.metric not in COUNTS
                and term.batch not in (None, cell["batch"])
            ):
                continue  # time and memory at another batch are other quantities
            if term.metric in COUNTS:
                key: tuple[Any, ...] = ()
            else:
                place = () if term.metric == PREDICTED else _PLACE
                key = tuple(cell[name] for name in (*_SAME, *place))
            if key not in found or found[key]["when"] <= cell["when"]:
                found[key] = cell
    return found


def _rank(
    key: tuple[Any, ...], reading: Reading, check: Check, options: Sequence[dict[tuple[Any, ...], Cell]]
) -> tuple[bool, bool, bool, int, pd.Timestamp]:
    cell = options[0][key]
    wanted = reading.terms[0].batch
    on_gpu = cell["device"].startswith("cuda")
    return not _unlike(reading, check, cell), on_gpu, cell["batch"] == wanted, cell["batch"], cell["when"]


def _missing(reading: Reading, cells: Cells, exact: bool) -> str:
    for term in reading.terms:
        tried = [cell for cell in _rows(term, cells) if cell["status"] != "ok"]
        if tried and not _alike(term, cells, exact):
            return f"{term.metric} of {term.spec.model} {tried[-1]['status']}: {tried[-1]['note']}"
    absent = next((term for term in reading.terms if not _alike(term, cells, exact)), None)
    if exact and absent and _alike(replace(absent, batch=None), cells, exact):
        return f"{absent.metric} of {absent.spec.model}: recorded at other batches only"
    if absent is None:
        return f"{_words(reading.terms[0])} and what it is held against are recorded, but not alike"
    return f"no {absent.metric} of {_words(absent)} {ABSENT}"


def _words(term: Term) -> str:
    given = " ".join(f"{name}={value}" for name, value in term.spec.model_args)
    batch = f"batch={term.batch}" if term.batch else ""
    return " ".join(filter(None, (term.spec.model, format_size(term.spec.size) + " px", given, batch)))


def _number(term: Term, cell: Cell) -> float:
    """A term's number in a cell; NaN where its details have none."""
    if not term.field:
        return float(cell["value"])
    inner: Any = cell["details"]
    for step in term.field.split("/"):
        name, _, value = step.partition("=")
        if value:
            inner = next((one for one in inner or () if str(one.get(name)) == value), None)
        else:
            inner = inner.get(name) if isinstance(inner, dict) else None
    return float(inner) if isinstance(inner, int | float) and not isinstance(inner, bool) else math.nan


def _interval(term: Term, cell: Cell) -> Interval:
    """A term's number with its 95 % interval: the number itself where it is the same each time, else NaN if it has
    none."""
    value = _number(term, cell)
    if term.metric in COUNTS or term.metric == PREDICTED:
        return value, value, value
    return value, float(cell["low"]), float(cell["high"])


def _unlike(reading: Reading, check: Check, cell: Cell) -> str:
    """Why a number can't be compared with a claim's; "" where it can."""
    term = reading.terms[0]
    if term.metric in COUNTS:
        return ""
    if check.hardware is not None:
        return _other_hardware(term, check.hardware, cell)
    if term.metric != PREDICTED and not cell["device"].startswith("cuda"):
        return "device kind: the claim's ratio is a GPU's, this one a CPU's"
    if check.half and cell["precision"] not in HALF:
        return f"precision: the claim's is of 16 bits, this one {cell['precision']}"
    if term.batch not in (None, cell["batch"]):
        return f"batch: the claim's is {term.batch}, this one {cell['batch']}"
    return ""


def _other_hardware(term: Term, hardware: str, cell: Cell) -> str:
    if not hardware:
        return "an absolute speed, on hardware that is not stated"
    if hardware not in cell["machine"]:
        return f"an absolute speed on {hardware}"
    for axis in ("precision", "batch", "layout", "compile"):
        wanted = getattr(term.spec, axis)
        if cell[axis] != wanted and (axis != "batch" or term.batch is not None):
            return f"an absolute speed at {axis} {wanted}, this one at {cell[axis]}"
    return ""


def _place(reading: Reading, cell: Cell) -> str:
    metric = reading.terms[0].metric
    if metric in COUNTS:
        return ""
    if metric == PREDICTED:
        return f"predicted, batch {cell['batch']}, {cell['precision']}"
    return f"{cell['machine']}, batch {cell['batch']}, {cell['precision']}"


def _tolerance(reading: Reading, claim: Claim) -> float:
    """How far from the printed number is still that number: half a unit of its last digit; a tenth of it where it is
    printed as about, or ours is timed or predicted."""
    exact = all(term.metric in COUNTS for term in reading.terms) and not claim.about
    return claim.resolution if exact else max(claim.resolution, TOLERANCE * abs(claim.value))


def _fitted(one: Finding, reading: Reading, check: Check, claim: Claim) -> Finding:
    if one.interval is None:
        return one
    _, low, high = one.interval
    bottom, top = _range(reading, check, claim)
    slack = 1e-9 * max(abs(bottom) if math.isfinite(bottom) else 0, abs(top) if math.isfinite(top) else 0)
    inside = bottom - slack <= low and high <= top + slack
    outside = high < bottom - slack or low > top + slack
    return replace(one, fits=True if inside else False if outside else None)


def _range(reading: Reading, check: Check, claim: Claim) -> tuple[float, float]:
    """What a reading has to be in, for the claim to hold."""
    if check.relation == "ordering":
        return 1.0, math.inf
    if check.relation == "at least":
        return claim.value, math.inf
    if check.relation == "at most":
        return -math.inf, claim.value
    far = _tolerance(reading, claim)
    return claim.value - far, claim.value + far


def _verdict(found: Sequence[Finding], check: Check, claim: Claim) -> tuple[str, Finding | None, str]:
    """Verdict, the finding that decides, and the reason."""
    alike = [one for one in found if one.interval and not one.unlike]
    unlike = [one for one in found if one.interval and one.unlike]
    missing = [one for one in found if not one.interval and not _out_of_reach(one, alike, check, claim)]
    fitting = [one for one in alike if one.fits]
    off = [one for one in alike if one.fits is False]
    open_ = [one for one in alike if one.fits is None]
    every = check.relation not in ("equal", "ratio")
    if every and off:
        return DIFFERS, off[0], _off(off[0], check, claim)
    if fitting and (not every or len(fitting) == len(found)):
        return REPRODUCED, _nearest(fitting, check) if every else fitting[0], ""
    if open_ and not (every and (unlike or missing)):
        return AMBIGUOUS, open_[0], _open(open_[0])
    if alike and not (unlike or missing):
        return DIFFERS, off[0], _off(off[0], check, claim)
    if unlike and not alike:
        return NOT_COMPARABLE, unlike[0], unlike[0].unlike
    if check.hardware is not None and not alike:
        on = f"on {check.hardware}" if check.hardware else "on hardware that is not stated"
        return NOT_COMPARABLE, None, f"an absolute speed {on}"
    why = dict.fromkeys(one.missing or one.unlike for one in (*missing, *unlike))
    return NOT_MEASURED, next(iter((*alike, *unlike)), None), "; ".join(why)


def _nearest(found: Sequence[Finding], check: Check) -> Finding:
    """Of those that keep a bound the one that is nearest to it."""
    pick = max if check.relation == "at most" else min
    return pick(found, key=lambda one: one.interval[0] if one.interval else math.nan)


def _out_of_reach(one: Finding, alike: Sequence[Finding], check: Check, claim: Claim) -> bool:
    """Whether a count that was not taken could not change the verdict: that of norms too, where that of products alone
    is farther from the printed number than norms could be."""
    costly = {reading.label for reading in check.readings if reading.costly}
    others = [two for two in alike if two.fits is False and two.interval]
    if check.relation != "equal" or one.label not in costly or not others:
        return False
    return all(_far(two, claim) for two in others)


def _far(one: Finding, claim: Claim) -> bool:
    assert one.interval
    value = one.interval[0]
    return value > claim.value + claim.resolution or value * (1 + NORMS) < claim.value - claim.resolution


def _off(one: Finding, check: Check, claim: Claim) -> str:
    assert one.interval
    value = one.interval[0]
    if check.relation == "ordering":
        return f"{one.label}: it is not"
    words = f"{change(100 * (value / claim.value - 1), decimals=1)} of the published number"
    step = 2 * claim.resolution
    if check.relation == "equal" and abs(math.floor(value / step * (1 + 1e-12)) * step - claim.value) < step * 1e-6:
        words += "; cut off instead of rounded, it is the printed one"
    return words


def _open(one: Finding) -> str:
    assert one.interval
    return "too few samples for an interval" if math.isnan(one.interval[1]) else "the interval straddles the bound"


def _reading(found: Sequence[Finding], check: Check, claim: Claim) -> str:
    """How the claim was read, and what each reading gives where there are several."""
    words = [check.note]
    if len(found) > 1:
        words += [f"{one.label}: {said(one, claim)}{_fit(one)}" for one in found if one.interval]
    elif found[0].place:
        words.append(found[0].place)
    return "; ".join(filter(None, words))


def _fit(one: Finding) -> str:
    place = f" ({one.place})" if one.place else ""
    return place if one.unlike or one.fits is None else f"{place}, {'fits' if one.fits else 'does not fit'}"


def said(one: Finding, claim: Claim) -> str:
    """A finding's number in the claim's unit, two digits more than printed, with its interval; "" where it has none."""
    if one.interval is None:
        return ""
    value, low, high = (each / claim.scale for each in one.interval)
    digits = max(claim.digits + 2, 4)
    unit = claim.text.partition(" ")[2].split(" ")[0].replace("ratio", "") if claim.numbers else "x"
    between = "" if math.isnan(low) or low == high else f" ({number(low, digits)} to {number(high, digits)})"
    return f"{number(value, digits)}{between} {unit}".strip()

"""Claim: one published number, as it is printed and in SI units."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from bench.errors import BenchError
from reports.claims import load
from reports.ledger.quantities import QUANTITIES
from reports.ledger.units import UNITS

PAPERS = ("sgformer", "hmhsa", "greenmim", "esvit", "beitv2")
_PAPER_OF_FILE = {"hm": "hmhsa", **{paper: paper for paper in PAPERS}}  # a claim's id begins with it
_SHARED, _ABOUT_BEITV2 = "hb", "BEiT v2 "  # of BEiT v2, else of EsViT and what it is held against

_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?"
_VALUE = re.compile(rf"(?P<bound><=|>=|<|>)?(?P<about>~)?(?P<number>{_NUMBER})(?:-(?P<end>{_NUMBER}))?(?P<times>x)?")
_BOUNDS = {"<": "at most", "<=": "at most", ">": "at least", ">=": "at least"}
_ABOUT = re.compile(r"(?:about|around|nearly|ESTIMATED)\b", re.I)
_HALF = Decimal("0.5")


class ClaimError(BenchError):
    """A claims file holds something that this version has no word for."""


@dataclass(frozen=True)
class Claim:
    """paper: one of PAPERS, whose ledger it is in; work: where the number stands, which may be another's paper.

    printed is the model's name there, metric and text the quantity and the number, unit included; quantity is ours.
    numbers are in `unit` (SI, MAC or img/s): one, two where a range is printed, none where it is words. resolution is
    half a unit of the last printed digit; one printed unit is `scale` of `unit`, and `digits` significant ones are
    printed. bound is `at least`, `at most` or nothing; about, whether it is printed as
    approximate. confidence is `confirmed`, or `secondary` where it was read in somebody's quotation.
    """

    id: str
    paper: str
    work: str
    source: str
    printed: str
    metric: str
    quantity: str
    text: str
    numbers: tuple[float, ...]
    resolution: float
    scale: float
    digits: int
    bound: str
    about: bool
    unit: str
    conditions: str
    provenance: str
    confidence: str

    @property
    def value(self) -> float:
        """The number, of a claim that has exactly one."""
        [number] = self.numbers
        return number


def parse(row: Mapping[str, str]) -> Claim:
    """A row of `reports.claims.load`. Raises ClaimError on a metric that `quantities` doesn't list."""
    metric, text, unit = row["metric"], row["value"], row["unit"]
    if metric not in QUANTITIES:
        raise ClaimError(f"{row['id']}: no quantity for {metric!r}; list it in reports/ledger/quantities.py")
    si, factor = UNITS.get(unit, (unit, "1"))
    found = _VALUE.fullmatch(text)
    said = unit.split(" ", 1)[-1] if unit.startswith("x ") else ""
    numbers = [Decimal(number) for number in (found["number"], found["end"]) if number] if found else []
    bound = _BOUNDS.get(found["bound"], "") if found else ""
    if unit.split(" ")[0] == "x" or (found and found["times"]):
        si = "1"
    return Claim(
        id=row["id"],
        paper=paper_of(row["id"], row["paper"]),
        work=row["paper"],
        source=row["source"],
        printed=row["model"],
        metric=metric,
        quantity=QUANTITIES[metric].name,
        text=" ".join(filter(None, (text, "" if unit == "qualitative" else unit))),
        numbers=tuple(float(number * Decimal(factor)) for number in numbers),
        resolution=float(_step(numbers[0]) * _HALF * Decimal(factor)) if numbers else 0.0,
        scale=float(factor),
        digits=len(numbers[0].as_tuple().digits) if numbers else 0,
        bound=bound or ("at least" if said == "at least" else ""),
        about=bool((found and found["about"]) or _ABOUT.match(row["conditions"]) or _ABOUT.match(said.lstrip("("))),
        unit=si,
        conditions=row["conditions"],
        provenance=row["provenance"],
        confidence=row["confidence"],
    )


def paper_of(id: str, work: str) -> str:
    """Whose ledger a claim is in, by its id; ClaimError if that is no paper's."""
    prefix = id.rpartition("-")[0]
    if prefix == _SHARED:
        return "beitv2" if work.startswith(_ABOUT_BEITV2) else "esvit"
    if prefix not in _PAPER_OF_FILE:
        raise ClaimError(f"{id}: ids begin with one of {', '.join(_PAPER_OF_FILE)}, {_SHARED}")
    return _PAPER_OF_FILE[prefix]


def claims() -> list[Claim]:
    """Every published number, by paper and id; first those whose id is the paper's own."""
    rows = [{str(key): str(value) for key, value in row.items()} for row in load().to_dict("records")]
    return sorted((parse(row) for row in rows), key=_place)


def _place(claim: Claim) -> tuple[int, bool, str, int]:
    prefix, _, count = claim.id.rpartition("-")
    return PAPERS.index(claim.paper), prefix == _SHARED, prefix, int(count)


def _step(number: Decimal) -> Decimal:
    """One unit of the last digit that is written."""
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)  # the grammar has no NaN
    return Decimal(1).scaleb(exponent)

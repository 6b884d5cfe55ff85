"""Check: how a claim is tested. Context and Untested: that it isn't, and why."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.spec import Spec

COUNTS = ("params", "macs", "step_macs", "macs_fvcore", "activations", "top_tokens", "mask_occupancy", "padding")
PREDICTED, MEASURED = "peak_live_bytes", "peak_memory"
HALF = ("bfloat16", "float16", "amp_bfloat16", "amp_float16")
TOLERANCE = 0.1  # of the printed number: what is printed as about, predicted or timed


@dataclass(frozen=True)
class Term:
    """One number of ours: a metric of a Spec, whose device, and for speeds precision too, are those of the machine.

    field leads to a number of its details, as in `curves/stage=1/tokens`; "" is the value itself. A `batch` of None is
    any batch, the same for all terms of a reading: what is one image's, or what a claim doesn't say.
    """

    spec: Spec
    metric: str
    batch: int | None = None
    field: str = ""


@dataclass(frozen=True)
class Reading:
    """One way to read a claim: a formula of terms; label says which, "" where there is only one.

    costly: it takes long, and is measured only where the others leave the claim undecided.
    """

    formula: str
    terms: tuple[Term, ...]
    label: str = ""
    costly: bool = False


@dataclass(frozen=True)
class Check:
    """relation: `equal` (one model's number), `ratio`, `at least`, `at most`, or `ordering` (each reading's first term
    above its second).

    An `equal` or a `ratio` holds in one of its readings, a bound and an ordering in all. half: the paper's precision is
    16 bits, which speeds must have been measured with. hardware: words of the device's name that an absolute speed is
    of; None where it is not absolute, "" where the paper doesn't say.
    """

    relation: str
    readings: tuple[Reading, ...]
    note: str = ""
    half: bool = False
    hardware: str | None = None


@dataclass(frozen=True)
class Context:
    """Not to be tested: an accuracy, or a recipe."""

    why: str


@dataclass(frozen=True)
class Untested:
    """Testable in principle, but not here: verdict and reason are these, whatever was measured."""

    why: str
    verdict: str = "not measured"


Sorted = Check | Context | Untested

Interval = tuple[float, float, float]  # value, low, high


def _quotient(a: Interval, b: Interval) -> Interval:
    return a[0] / b[0], a[1] / b[2], a[2] / b[1]


def _less(a: Interval, b: Interval) -> Interval:
    return a[0] - b[0], a[1] - b[2], a[2] - b[1]


def _saving(a: Interval, b: Interval) -> Interval:
    return _less((1.0, 1.0, 1.0), _quotient(a, b))


# From the intervals of a reading's terms to that of what the claim says: a covers b's true value whenever both cover.
FORMULAS: Mapping[str, Callable[..., Interval]] = {
    "value": lambda a: a,
    "value and class token": lambda a: (a[0] + 1, a[1] + 1, a[2] + 1),
    "share of 196 patches": lambda a: (a[0] / 196, a[1] / 196, a[2] / 196),
    "ratio": _quotient,
    "saving": _saving,
    "increase": lambda a, b: _less(_quotient(a, b), (1.0, 1.0, 1.0)),
    "ratio of differences": lambda a, b, c, d: _quotient(_less(a, b), _less(c, d)),
}

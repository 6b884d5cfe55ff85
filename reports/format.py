"""From SI units to what people read. The only place where a number is rounded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isinf, nan

import pandas as pd


@dataclass(frozen=True)
class Scale:
    """How a unit is shown: times `factor`, as `unit`, with `digits` significant digits."""

    unit: str
    factor: float = 1.0
    digits: int = 3


_SCALES: Mapping[str, Scale] = {
    "s": Scale("ms", 1e3),
    "B": Scale("MiB", 2**-20, 4),
    "MAC": Scale("GMACs", 1e-9, 4),
    "img/s": Scale("img/s"),
    "bit": Scale("bit"),
    "px": Scale("px"),
    "h": Scale("h"),
}
_METRICS: Mapping[str, Scale] = {
    "params": Scale("M", 1e-6, 4),
    "activations": Scale("M", 1e-6, 4),
    "first_call": Scale("s"),  # with a compiler, minutes
    "mfu": Scale("%", 1e2),
    "ccs": Scale(""),
    "hallucination": Scale(""),
    "padding": Scale("%", 1e2),
    "top_tokens": Scale("", digits=1),  # an integer
    "correspondence_accuracy": Scale(""),
    "mask_occupancy": Scale(""),
    "significance": Scale(""),
    "codebook_usage": Scale("%", 1e2),
}
_NAMES: Mapping[str, str] = {
    "macs_fvcore": "MACs (fvcore)",
    "macs": "MACs",
    "step_macs": "step MACs",
    "mfu": "MFU",
    "ccs": "CCS",
    "latency_parts": "latency with hooks",
}


def scale(metric: str, unit: str) -> Scale:
    """The scale of a metric: its own, or that of its unit."""
    return _METRICS.get(metric) or _SCALES.get(unit, Scale(unit, digits=4))


def heading(metric: str, unit: str) -> str:
    """`peak memory (MiB)`: the metric and the unit in which it is shown, if it has one."""
    shown = scale(metric, unit).unit
    return f"{name(metric)} ({shown})" if shown else name(metric)


def name(metric: str) -> str:
    """A metric's name as words."""
    return _NAMES.get(metric, metric.replace("_", " "))


def number(value: float, digits: int) -> str:
    """`value` with `digits` significant digits, and never fewer than its integer part has."""
    if pd.isna(value):
        return ""
    if value == 0:
        return "0"
    if isinf(value):
        return "∞" if value > 0 else "-∞"
    decimals = max(0, digits - 1 - int(f"{value:e}".split("e")[1]))
    return f"{value:,.{decimals}f}"


def cell(metric: str, unit: str, value: float, low: float, high: float) -> str:
    """A table's cell: the number, and half the width of its 95 % interval where it has one."""
    shown = scale(metric, unit)
    text = number(value * shown.factor, shown.digits)
    if pd.isna(low) or pd.isna(high) or value == 0:
        return text
    return f"{text} ±{(high - low) / 2 / value:.1%}"


def change(percent: float, low: float = nan, high: float = nan, *, decimals: int) -> str:
    """`-18.15 %`; with its interval, and where that holds 0, what this means; nothing where there is no number."""
    if pd.isna(percent):
        return ""
    text = f"{percent:+.{decimals}f} %" if percent else "0 %"
    return text + _apart(low, high, 0, lambda bound: f"{bound:+.{decimals}f}")


def factor(share: float, low: float = nan, high: float = nan) -> str:
    """`1.75x`, likewise: told apart where the interval doesn't hold 1."""
    if pd.isna(share):
        return ""
    return f"{number(share, 3)}x" + _apart(low, high, 1, lambda bound: number(bound, 3))


def _apart(low: float, high: float, same: float, word: Callable[[float], str]) -> str:
    """An interval in brackets, where there is one, and whether it holds `same`."""
    if pd.isna(low) or pd.isna(high):
        return ""
    return f" ({word(low)} to {word(high)}){', not told apart' if low <= same <= high else ''}"


def percent(share: float, decimals: int = 1) -> str:
    """`12.3 %`; nothing where there is no number."""
    return "" if pd.isna(share) else f"{100 * share:.{decimals}f} %"


def quantity(metric: str, unit: str, value: float) -> str:
    """A number with its unit, where it can't be in a heading: `62.07 GMACs`."""
    shown = scale(metric, unit)
    return f"{number(value * shown.factor, shown.digits)} {shown.unit}".strip()


def bytes_(value: float) -> str:
    """Bytes as GiB."""
    return f"{value / 2**30:.1f} GiB"

"""Units as claims print them: the SI unit that is meant, and how many of it one is. Data alone."""

from collections.abc import Mapping

_SHARE = ("1", "0.01")
_G = ("MAC", "1e9")  # papers print multiply-accumulates under the name of FLOPs (docs/measuring.md)

# Those that are not here stand for themselves. Factors are texts, so that decimal numbers stay what they are.
UNITS: Mapping[str, tuple[str, str]] = {
    "%": _SHARE,
    "% abs": _SHARE,
    "points": _SHARE,
    "G": _G,
    "GMACs": _G,
    "GFLOPs": _G,
    "M": ("1", "1e6"),
    "GB": ("B", "1e9"),
    "GB per GPU": ("B", "1e9"),
    "GB per card": ("B", "1e9"),
    "MB (max mem)": ("B", "1e6"),
    "ms": ("s", "1e-3"),
    "s": ("s", "1"),
    "s (unit not printed)": ("s", "1"),
    "min": ("s", "60"),
    "hours": ("s", "3600"),
    "hours per 100 epochs": ("s", "3600"),
    "hours per 300 epochs": ("s", "3600"),
    "hours per 800 epochs": ("s", "3600"),
    "GPU hours": ("s", "3600"),
    "GPU hours/epoch": ("s", "3600"),
    "image/s": ("img/s", "1"),
    "images/s": ("img/s", "1"),
    "images/s per V100": ("img/s", "1"),
    "pixels": ("px", "1"),
    "pixel": ("px", "1"),
    "pixels (mean l2 at 224)": ("px", "1"),
    **dict.fromkeys(("ratio", "fraction", "rate", "count", "params", "tokens", "patches", "codes", ""), ("1", "1")),
}

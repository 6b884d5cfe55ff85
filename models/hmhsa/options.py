"""The arguments that the family adds to its bases', checked."""

from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

IMPLS = ("auto", "reference", "maps", "folded", "sdpa")
# `hallucinate`: how half of the heads' logits are made of the other half's (paper, Tables 2 and 3). The paper's own
# is True: IHH, the filter within a map, then CHH, the mixture across heads.
HALLUCINATE: dict[object, tuple[str, ...]] = {
    True: ("ihh", "chh"),
    "copy": (),
    "ihh": ("ihh",),
    "chh": ("chh",),
    "chh+ihh": ("chh", "ihh"),
}
# `compact`: what is factorised. The paper's own is True, fc2; "fc1" is of its Table 6; "narrow", of its Table 5, is a
# plain FFN of fewer hidden units, as many as give the same parameters and MACs.
COMPACT = (True, False, "narrow", "fc1")
AXES = ("key", "query")


@dataclass(frozen=True)
class Options:
    """How a base is changed. Raises ValueError naming the argument and what it may be.

    hallucinate: a key of HALLUCINATE, or False for the base's own attention. compact: one of COMPACT, False for the
    base's own FFN. branches: parallel branches of each factor in the training form, 0 for the deployed form. ratio:
    the compact ratio t, of which the inner width is floor(t H C / (H + C)). axis: which axis of a map lies on the
    grid that IHH filters. impl: one of IMPLS.
    """

    hallucinate: bool | str = True
    compact: bool | str = True
    branches: int = 2
    ratio: float = 2 / 3
    axis: str = "key"
    impl: str = "auto"

    def __post_init__(self):
        _among("hallucinate", self.hallucinate, (*HALLUCINATE, False))
        _among("compact", self.compact, COMPACT)
        _among("axis", self.axis, AXES)
        _among("impl", self.impl, IMPLS)
        if isinstance(self.branches, bool) or not isinstance(self.branches, int) or self.branches < 0:
            raise ValueError(f"branches={self.branches!r}: want a whole number, 0 for the deployed form.")
        if isinstance(self.ratio, bool | str) or not 0 < self.ratio <= 1:
            raise ValueError(f"ratio={self.ratio!r}: want a number above 0, up to 1 (an FFN of the base's MACs).")
        if not self.hallucinate and self.impl not in ("auto", "reference"):
            raise ValueError(
                f"impl={self.impl!r} is a way to hallucinate, and hallucinate=False has only 'auto' and 'reference'."
            )

    @classmethod
    def take(cls, words: dict[str, Any]) -> "Options":
        """Remove the family's own from a constructor's keyword arguments."""
        return cls(**{field.name: words.pop(field.name) for field in fields(cls) if field.name in words})

    @property
    def steps(self) -> tuple[str, ...]:
        """What makes hallucinated logits of real ones, in order."""
        return HALLUCINATE[self.hallucinate]

    @property
    def exact_ratio(self) -> Fraction:
        """`ratio` as the fraction that was meant: a float's 2/3 is a little less, and floor would notice."""
        return Fraction(self.ratio).limit_denominator(1000)


def _among(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if not isinstance(value, bool | str) or value not in allowed:
        raise ValueError(f"hMHSA has no {name}={value!r}. Use one of: {', '.join(map(repr, allowed))}.")

"""Hallucination of heads: how well half of a block's attention is predicted from the other half."""

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from bench.attention import Show, observe, show
from bench.build import Case
from bench.errors import Skip
from bench.hallucination import LEVELS, Moments, choices, explained, moments
from bench.metrics import Measurement, metric
from bench.precision import autocast

_CHOICES = 20  # of halves in a block: all of up to six heads
_FOLDS = 8  # of images: as many matrices of a block are kept, however many images there are
_PAPERS = "ihh_chh"  # the level that the value is of


@metric(unit="1", better="neither", stage="device")
def hallucination(case: Case) -> Measurement:
    """Share of the variance of half of the heads' logits that IHH and CHH of the other half explain, mean over blocks.

    IHH and CHH are those of hMHSA (arXiv:2306.10875), fitted by least squares to a model that was trained without them
    (`bench.hallucination`). A block's number is the median over choices of halves: the order of trained heads is
    arbitrary, so the paper's choice, the first half, is one draw of many, and the best of many would flatter models
    with more heads. The share is of images that the fit has not seen, each predicted by a fit of the others (in up to
    8 groups); below 0 is worse than a constant a row, which softmax ignores. Variances are summed over heads in
    logits, because a step of 1 is the same factor in every head's softmax.

    details: for each block the median of each level (`bench.hallucination.fit`), the paper's, best and worst choice,
    and all choices; blocks with one head or a mask, and others that cannot be fitted, have none and say why. It is
    what a trained model's maps allow, not what training with hallucination reaches. Raises Skip if no block can be
    fitted, and what `bench.attention.show` and `observe` raise.
    """
    shown = case.once(show)
    blocks = [_block(alike) for alike in _folds(shown)]
    fitted = [block for block in blocks if block["why"] == ""]
    if not fitted:
        reasons = dict.fromkeys(block["why"] for block in blocks)
        raise Skip(f"no attention map can be fitted: {'; '.join(reasons)}")
    images = max(block["folds"] for block in fitted)
    details = {
        "weights": shown.weights,
        "images": shown.images,
        "held_out": images > 1,
        "levels": {level: fmean(block["median"][level] for block in fitted) for level in LEVELS},
        "paper": fmean(block["paper"][_PAPERS] for block in fitted),
        "best": fmean(block["best"][_PAPERS] for block in fitted),
        "worst": fmean(block["worst"][_PAPERS] for block in fitted),
        "in_sample": fmean(block["in_sample"] for block in fitted),
        "blocks": blocks,
    }
    return Measurement(details["levels"][_PAPERS], note=_note(shown, blocks, images), details=details)


def _folds(shown: Show) -> list[list[Moments]]:
    """The Moments of each map in up to 8 groups of images, products added up."""
    folds: list[list[Moments]] = []
    for number, (_, image) in enumerate(shown.each()):
        with autocast(shown.spec):
            found = observe(shown.model, image, shown.spec.model, moments, logits=True)
        if number < _FOLDS:
            folds.append(found)
        else:
            folds[number % _FOLDS] = [one + more for one, more in zip(folds[number % _FOLDS], found, strict=True)]
    return [list(alike) for alike in zip(*folds, strict=True)]


def _block(alike: Sequence[Moments]) -> dict[str, Any]:
    """One map's row: what is explained, or why it is not known."""
    first = alike[0]
    row: dict[str, Any] = {"name": first.label, "heads": first.heads, "masked": sum(one.masked for one in alike)}
    row |= {"windows": sum(one.windows for one in alike)}
    known = [one.products for one in alike if one.products is not None]
    if not known:
        return row | {"why": first.why}
    computed = choices(first.heads, _CHOICES)
    held_out, inside = ({level: shares.tolist() for level, shares in one.items()} for one in explained(known, computed))
    some = [index for index, share in enumerate(held_out[_PAPERS]) if share == share]  # NaN: constant logits
    if not some:
        return row | {"why": "its logits are constant"}

    def at(choice: int) -> dict[str, Any]:
        return {"computed": list(computed[choice]), **{level: held_out[level][choice] for level in LEVELS}}

    ranked = sorted(some, key=lambda choice: held_out[_PAPERS][choice])
    return row | {
        "why": "",
        "folds": len(known),
        "median": {level: median(held_out[level][choice] for choice in some) for level in LEVELS},
        "paper": at(0 if 0 in some else ranked[0]),
        "best": at(ranked[-1]),
        "worst": at(ranked[0]),
        "in_sample": median(inside[_PAPERS][choice] for choice in some),
        "choices": [held_out[_PAPERS][choice] for choice in some],
    }


def _note(shown: Show, blocks: Sequence[dict[str, Any]], images: int) -> str:
    note = [f"{shown.images}; {shown.weights}"]
    if images == 1:
        note.append("fitted to the one image that it explains")
    without: dict[str, list[str]] = {}
    for block in blocks:
        if block["why"]:
            without.setdefault(block["why"], []).append(block["name"])
    note += [
        f"without {len(names)} {'map' if len(names) == 1 else 'maps'} ({why}): {', '.join(names)}"
        for why, names in without.items()
    ]
    if masked := sum(block["masked"] for block in blocks if not block["why"]):
        note.append(
            f"without {masked} of {sum(b['windows'] for b in blocks if not b['why'])} windows, which have a mask"
        )
    return "; ".join(note)

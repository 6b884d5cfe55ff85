"""Contributive cosine similarity: how alike the heads of a block attend."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from bench import photographs
from bench.attention import Look, Map, look
from bench.build import Case
from bench.details import jpeg, short
from bench.errors import Skip
from bench.metrics import Measurement, metric

_PICTURES = 4  # blocks of the gallery, from the first to the last


@metric(unit="1", better="lower", stage="device")
def ccs(case: Case) -> Measurement:
    """Mean cosine of the rows of two heads' softmaxed attention maps, over head pairs, rows, blocks and images.

    CCS of arXiv:2306.10875, whose text leaves open whether a head is paired with itself: the value is of pairs i < j,
    details hold the average over all pairs too. 1: all heads attend alike; 0: to different keys. Always on the eager
    path, images one at a time. Blocks with one head have no pairs and are left out. Of random weights it is about 1
    and means nothing. Raises what `bench.attention.look` raises.
    """
    seen = case.once(look)
    by_image = [_blocks(maps) for maps in seen.maps.values()]
    blocks = [_over_images(one) for one in zip(*by_image, strict=True)]
    alone = [block["name"] for block in blocks if block["ccs"] is None]
    if len(alone) == len(blocks):
        raise Skip("no attention map has two heads to compare")
    details = {
        "weights": seen.weights,
        "images": seen.images,
        "all_pairs": _over_blocks(blocks, "all_pairs"),
        "per_image": {name: _over_blocks(one, "ccs") for name, one in zip(seen.maps, by_image, strict=True)},
        "blocks": blocks,
        "similarity": {
            one.label: short(one.matrix) for one in _first(seen) if one.heads > 1 and one.matrix is not None
        },
        "gallery": _gallery(seen),
    }
    return Measurement(_over_blocks(blocks, "ccs"), note=_note(seen, alone), details=details)


def _blocks(maps: Sequence[Map]) -> list[dict[str, Any]]:
    """One image's blocks. Heads are compared within their map; in a block of several maps all pairs count alike."""
    named: dict[str, list[Map]] = {}
    for one in maps:
        named.setdefault(one.block, []).append(one)
    rows = []
    for name, own in named.items():
        many = [one for one in own if one.heads > 1]
        pairs = [one.heads * (one.heads - 1) / 2 for one in many]
        squares = [float(one.heads**2) for one in many]
        rows.append(
            {
                "name": name,
                "heads": sum(one.heads for one in own),
                "ccs": fmean([one.similarity.item() for one in many], pairs) if many else None,
                "all_pairs": fmean([one.all_pairs.item() for one in many], squares) if many else None,
            }
        )
    return rows


def _over_images(alike: Sequence[dict[str, Any]]) -> dict[str, Any]:
    means = {key: None if alike[0][key] is None else fmean(one[key] for one in alike) for key in ("ccs", "all_pairs")}
    return {**alike[0], **means}


def _over_blocks(blocks: Sequence[dict[str, Any]], key: str) -> float:
    return fmean(block[key] for block in blocks if block[key] is not None)


def _first(seen: Look) -> list[Map]:
    return next(iter(seen.maps.values()))


def _gallery(seen: Look) -> dict[str, Any]:
    """One row of each head of up to four maps of the whole image, with the first image."""
    drawn = [(one.label, one.picture) for one in _first(seen) if one.picture is not None]
    chosen = {round(step) for step in np.linspace(0, len(drawn) - 1, _PICTURES)} if drawn else set()
    return {
        "image": next(iter(seen.maps)),
        "jpeg": jpeg(photographs.as_picture(seen.first)),
        "blocks": [
            {"name": label, "query": picture.query, "grid": list(picture.grid), "heads": short(picture.heads)}
            for label, picture in (drawn[index] for index in sorted(chosen))
        ],
    }


def _note(seen: Look, alone: Sequence[str]) -> str:
    note = [seen.origin]
    if alone:
        note.append(f"without {len(alone)} of one head: {', '.join(alone)}")
    if zero_rows := sum(int(one.zero_rows.item()) for maps in seen.maps.values() for one in maps):
        note.append(f"{zero_rows} rows of zeros, which are like none")
    return "; ".join(note)

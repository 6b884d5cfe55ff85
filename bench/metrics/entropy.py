"""Entropy of attention: over how many keys the heads spread."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from bench.attention import Map, look
from bench.build import Case
from bench.metrics import Measurement, metric


@metric(unit="bit", better="neither", stage="device")
def entropy(case: Case) -> Measurement:
    """Mean entropy of the rows of softmaxed attention maps, -sum p log2 p, over rows, heads, blocks and images.

    0: every token attends to one key; log2(keys): to all alike. details hold it relative to log2(keys) too. Always on
    the eager path, images one at a time, blocks with one head included. Raises what `bench.attention.look` raises.
    """
    seen = case.once(look)
    by_image = [_blocks(maps) for maps in seen.maps.values()]
    blocks = [
        {
            "name": alike[0]["name"],
            "heads": len(alike[0]["entropy"]),
            "entropy": _over_images(alike, "entropy"),
            "relative": _over_images(alike, "relative"),
        }
        for alike in zip(*by_image, strict=True)
    ]
    details = {
        "weights": seen.weights,
        "images": seen.images,
        "per_image": {name: _over_blocks(one) for name, one in zip(seen.maps, by_image, strict=True)},
        "blocks": blocks,
    }
    return Measurement(_over_blocks(blocks), note=seen.origin, details=details)


def _blocks(maps: Sequence[Map]) -> list[dict[str, Any]]:
    """One image's blocks: of each head its entropy, and the share of what it could be (0 where there is one key)."""
    rows: dict[str, dict[str, Any]] = {}
    for one in maps:
        row = rows.setdefault(one.block, {"name": one.block, "entropy": [], "relative": []})
        bits = one.entropy.tolist()
        row["entropy"] += bits
        row["relative"] += [each / math.log2(one.keys) if one.keys > 1 else 0.0 for each in bits]
    return list(rows.values())


def _over_images(alike: Sequence[dict[str, Any]], key: str) -> list[float]:
    return [fmean(head) for head in zip(*(one[key] for one in alike), strict=True)]


def _over_blocks(blocks: Sequence[dict[str, Any]]) -> float:
    return fmean(fmean(block["entropy"]) for block in blocks)

"""Where a model spends its tokens."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from bench import photographs
from bench.attention import show
from bench.build import Case
from bench.details import jpeg, short
from bench.errors import Skip
from bench.metrics import Measurement, metric
from bench.model import offered
from bench.precision import autocast
from bench.tracing import on_meta

_QUARTER = 4


class Reallocating(Protocol):
    """What merges tokens by significance: of images (B, C, H, W) a mapping for each block that does, with its `name`,
    `significance` (B, rows, columns) and `token` (B, rows, columns), the index of the merged token of each."""

    def reallocation(self, images: Tensor) -> Sequence[Mapping[str, Any]]: ...


@metric(unit="1", better="neither", stage="device")
def significance(case: Case) -> Measurement:
    """Share of all significance that the most significant quarter of a model's tokens has: a quarter, if it is even.

    Of models that merge tokens by significance (`reallocation(images)`), images one at a time: means over blocks and
    images. Of random weights it is about a quarter and means nothing. details: `weights`, `images` (where they come
    from), `per_image`, `blocks` (name, value), of the first image its name `image`, `jpeg`, and `maps`, those of the
    first block on each grid: `name`, and rows of `significance`, of `token` (which merged token) and of `length` (how
    many it is merged of). Raises Skip for a model that merges none and as `bench.attention.show`.
    """
    if offered(case.once(on_meta), "reallocation", torch.empty(0)) is None:
        raise Skip(f"{case.spec.model} sorts no tokens by significance: it has no method reallocation(images)")
    shown = case.once(show)
    shares: dict[str, list[float]] = {}
    blocks: Sequence[Mapping[str, Any]] = ()
    drawn: dict[str, Any] = {}
    for image_name, image in shown.each():
        with torch.no_grad(), autocast(case.spec):
            blocks = cast(Reallocating, shown.model).reallocation(image)
        shares[image_name] = [_top_quarter(block["significance"]) for block in blocks]
        if not drawn:
            picture = jpeg(photographs.as_picture(shown.plain(image)))
            drawn = {"image": image_name, "jpeg": picture, "maps": _maps(blocks)}
    details = {
        "weights": shown.weights,
        "images": shown.images,
        "per_image": {name: fmean(own) for name, own in shares.items()},
        "blocks": [
            {"name": block["name"], "value": fmean(own)}
            for block, own in zip(blocks, zip(*shares.values(), strict=True), strict=True)
        ],
        **drawn,
    }
    value = fmean(fmean(own) for own in shares.values())
    return Measurement(value, note=f"{shown.images}; {shown.weights}", details=details)


def _top_quarter(significance: Tensor) -> float:
    """The share of an image's significance (1, rows, columns) that its most significant quarter has."""
    ordered = significance.double().flatten().sort(descending=True).values
    return float(ordered[: len(ordered) // _QUARTER].sum() / ordered.sum())


def _maps(blocks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The first image's maps, of the first block on each grid."""
    grids: dict[tuple[int, ...], Mapping[str, Any]] = {}
    for block in blocks:
        grids.setdefault(tuple(block["token"].shape[1:]), block)
    found = []
    for block in grids.values():
        token = block["token"][0].cpu()
        found.append(
            {
                "name": block["name"],
                "significance": short(block["significance"][0]),
                "token": token.tolist(),
                "length": token.flatten().bincount()[token].tolist(),
            }
        )
    return found

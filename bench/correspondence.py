"""Correspondence: does a region of a picture know itself when the picture is mirrored and loses its colours?

    picture -> view 1, view 2 -> model, eager attention -> regions of both -> the most similar ones -> matches
                                                        -> attention maps -> entropy of each head on either view

The definition is that of EsViT's authors (arXiv:2106.09785). Each region of view 1 goes to the region of view 2 of the
highest cosine; of these matches the ten of the highest cosines count. The true place of the region in (row, column) is
the mirrored column of its row, so an error is an offset in whole cells before it is one in pixels: zero is exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import ColorJitter, RandomApply

from bench.attention import Seen, Show, entropy, observe, show
from bench.build import Case
from bench.details import short
from bench.errors import Skip, one_line
from bench.precision import autocast
from bench.regions import Regions, regions

KEPT = 10  # matches of an image
_JITTER = RandomApply([ColorJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)], p=0.8)

Bits = list[tuple[str, Tensor]]  # of one view: a map's label and its heads' entropies, (heads,)


@dataclass(frozen=True)
class Correspondence:
    """How a model's regions correspond in two views of each image.

    matches: of each image by its name, what `match` returns. first: both views of the first image. entropy: blocks
    as details hold them, means over images; None where the maps were not all seen, and entropy_missing says why.
    """

    weights: str
    images: str
    grid: tuple[int, int]
    matches: Mapping[str, Tensor]
    first: tuple[Image.Image, Image.Image]
    entropy: list[dict[str, Any]] | None
    entropy_missing: str

    @property
    def kept(self) -> int:
        """How many matches of an image count."""
        return len(next(iter(self.matches.values())))

    @property
    def note(self) -> str:
        """Where images and weights come from, and what is not as defined."""
        rows, columns = self.grid
        few = f"; all {self.kept} regions of {rows}x{columns} count, there are no {KEPT}" if self.kept < KEPT else ""
        return f"{self.images}; {self.weights}{few}"


def correspond(case: Case) -> Correspondence:
    """Run the case's model over both views of each of the Spec's images. For `case.once`.

    Raises what `bench.attention.show`, `bench.regions.regions` and `match` do, and UsageError if the images cannot be
    read. Attention maps that are hidden, or not there, are no error.
    """
    shown = case.once(show)
    matches: dict[str, Tensor] = {}
    spread: list[tuple[Bits, Bits]] = []
    first, grid, missing = None, (0, 0), ""
    for number, (name, picture) in enumerate(shown.pictures()):
        both = views(picture, case.protocol.seed + number)
        images = [shown.given(view) for view in both]
        with autocast(case.spec):
            if not missing:
                try:
                    looked = [_look(shown, image) for image in images]
                    spread.append((looked[0][1], looked[1][1]))
                except Skip as reason:  # of the maps; one of the regions comes again
                    missing = one_line(reason)
            if missing:
                looked = [(regions(shown.model, image, case.spec.model), []) for image in images]
        before, after = (found for found, _ in looked)
        matches[name] = match(before, after, case.spec.size)
        first, grid = first or both, before.grid
    assert first is not None  # there is no empty set of images
    seen = None if missing else _over_images(spread)
    return Correspondence(shown.weights, shown.images, grid, matches, first, seen, missing)


def views(picture: Image.Image, seed: int | None) -> tuple[Image.Image, Image.Image]:
    """The two views of an RGB picture: itself; and mirrored, with its colours jittered (probability 0.8), and grey.

    seed: of the jitter, the same at every call; None for no jitter. No other random numbers are disturbed.
    """
    mirrored = ImageOps.mirror(picture)
    if seed is not None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed GPUs too
            mirrored = _JITTER(mirrored)
    return picture, mirrored.convert("L").convert("RGB")


def match(before: Regions, after: Regions, size: tuple[int, int]) -> Tensor:
    """The most similar pairs of a region of view 1 and one of view 2, which is mirrored, of one image of `size`.

    Up to `KEPT` rows of (y1, x1, y2, x2, cosine, error), float64 on the CPU, the highest cosine first, and of equals
    the first region: centres of the two cells, and the distance (px) of the second from where the first truly is in
    view 2. Cosines are taken in float64. Raises Skip if a region is not finite, or there is but one.
    """
    (rows, columns), (height, width) = before.grid, size
    if rows * columns == 1:
        raise Skip("there is one region at the top layer, which corresponds to itself")
    one, other = (F.normalize(found.features[0].double(), dim=-1) for found in (before, after))
    if not (one.isfinite().all() and other.isfinite().all()):
        raise Skip("regions of the top layer are not finite")
    cosines, partner = (found.cpu() for found in (one @ other.T).max(dim=1))
    best = cosines.argsort(descending=True, stable=True)[:KEPT]
    (row, column), (row2, column2) = (
        ((cell // columns).double(), (cell % columns).double()) for cell in (best, partner[best])
    )
    y, x = height / rows, width / columns  # of a cell
    error = torch.hypot((row2 - row) * y, (column2 - (columns - 1 - column)) * x)
    centres = ((row + 0.5) * y, (column + 0.5) * x, (row2 + 0.5) * y, (column2 + 0.5) * x)
    return torch.stack([*centres, cosines[best], error], dim=1)


def _look(shown: Show, image: Tensor) -> tuple[Regions, Bits]:
    """The regions of one view and the entropies of its attention maps, of one forward pass. Raises Skip for either."""
    found: list[Regions] = []
    name = shown.spec.model
    bits = observe(
        shown.model, image, name, _bits, forward=lambda given: found.append(regions(shown.model, given, name))
    )
    return found[0], bits


def _bits(seen: Seen) -> tuple[str, Tensor]:
    return seen.label, entropy(seen.p)


def _over_images(spread: Sequence[tuple[Bits, Bits]]) -> list[dict[str, Any]]:
    """Of each block its heads' entropies (bit) on view 1 and on view 2, means over images."""
    blocks: dict[str, list[Tensor]] = {}
    for before, after in spread:
        for (label, one), (_, other) in zip(before, after, strict=True):
            blocks.setdefault(label, []).append(torch.stack([one, other]))
    return [{"name": label, "views": short(torch.stack(alike).mean(dim=0))} for label, alike in blocks.items()]

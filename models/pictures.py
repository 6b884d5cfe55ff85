"""What turns pictures into random views of them shares: a seed each, and any picture as RGB."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from PIL import Image

__all__ = ["each", "rgb", "seeded"]

Drawn = TypeVar("Drawn")


@contextmanager
def seeded(generator: torch.Generator | int) -> Iterator[None]:
    """PyTorch's global generator seeded by `generator`, and put back afterwards."""
    generator = _generator(generator)
    seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device).item()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed GPUs too
        yield


def each(
    draw: Callable[[Image.Image, torch.Generator], Drawn],
    images: Iterable[Image.Image],
    generator: torch.Generator | int,
) -> list[Drawn]:
    """`draw` of every image, which `generator` gives a seed in turn. Raises ValueError if there are no images."""
    generator = _generator(generator)
    drawn = [draw(image, generator) for image in images]
    if not drawn:
        raise ValueError("there are no images to crop. Give at least one.")
    return drawn


def rgb(image: Image.Image) -> Image.Image:
    """The picture as RGB, whatever its mode: transparency is dropped, and levels above 255 are clipped.

    Raises ValueError if it is no PIL image, or has no pixels.
    """
    if not isinstance(image, Image.Image):
        raise ValueError(f"the image is of type {type(image).__name__}. Give a PIL image, as Image.fromarray makes.")
    if 0 in image.size:
        raise ValueError(f"the image is {image.width} pixels wide and {image.height} high. Give at least one of each.")
    detour = {"P": "RGBA", "La": "LA"}.get(image.mode)  # else Pillow warns of a palette's transparency, or can't
    return (image.convert(detour) if detour else image).convert("RGB")


def _generator(given: torch.Generator | int) -> torch.Generator:
    return given if isinstance(given, torch.Generator) else torch.Generator().manual_seed(given)

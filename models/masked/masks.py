"""Masks over cells: random ones, what a given one may look like, and where the decoder puts what it got."""

import torch
from torch import Tensor

from models.masked.options import CELL


def check_mask(mask: Tensor, side: int, batch: int, cell: int = CELL) -> Tensor:
    """A mask as (L,) or (batch, L), L = side² cells of `cell` pixels; it may come as a grid, (side, side) or (batch,
    side, side). Looks at type and shape alone, so it may be on `meta`.

    Raises ValueError if it isn't boolean, or of another grid or batch.
    """
    length = side**2
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        found = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"the mask is {found}, and must be a boolean tensor, True where a cell is removed.")
    flat = mask.flatten(-2) if mask.shape[-2:] == (side, side) else mask
    if flat.shape not in ((length,), (batch, length)):
        raise ValueError(
            f"the mask has shape {tuple(mask.shape)}; {side}x{side} cells of {cell} pixels and {batch} images want "
            f"({length},), one for all images, or ({batch}, {length}), one for each."
        )
    return flat


def draw(removed: int, shape: tuple[int, ...], generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """A mask of shape (..., L) of `removed` cells chosen evenly, and the ids_restore of its order: the rank of each
    cell when cells are sorted by noise, visible ones first."""
    noise = torch.rand(shape, generator=generator, device=None if generator is None else generator.device)
    ids_restore = noise.argsort(dim=-1).argsort(dim=-1)
    return ids_restore >= shape[-1] - removed, ids_restore


def aligned(mask: Tensor) -> Tensor:
    """The ids_restore that gives each visible cell its own latent: visible cells row-major, then the others."""
    return mask.int().argsort(dim=-1, stable=True).argsort(dim=-1)


def check_images(images: Tensor, in_chans: int, side: int) -> None:
    """Raise ValueError unless they are (B, in_chans, 32 side, 32 side)."""
    if images.ndim != 4 or images.shape[1:] != (in_chans, CELL * side, CELL * side):
        raise ValueError(
            f"the images have shape {tuple(images.shape)}; the model was built for (batch, {in_chans}, {CELL * side}, "
            f"{CELL * side}). Build it with another img_size or in_chans."
        )


def draw_images(batch: int, in_chans: int, side: int, generator: torch.Generator | None) -> Tensor:
    """Standard normal ones, as images are after normalisation by ImageNet's mean and deviation."""
    device = None if generator is None else generator.device
    return torch.randn(batch, in_chans, CELL * side, CELL * side, generator=generator, device=device)

"""Regions: what a model has at its top layer of each part of an image, by timm's conventions.

    images -> model.forward_features -> tokens (B, prefix + N, C), or a map (B, C, h, w) or (B, h, w, C) -> Regions

They are as `forward_features` leaves them: behind the last norm in most transformers, and not in models whose norm
comes after pooling (`fc_norm`) or that have none (ResNet).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.errors import Skip
from bench.spec import format_size

_CHANNELS = {"NCHW": 1, "NHWC": 3}  # which axis


@dataclass(frozen=True)
class Regions:
    """features: (B, N, C), row by row of a grid of (rows, columns) that covers the image."""

    features: Tensor
    grid: tuple[int, int]


def regions(model: nn.Module, images: Tensor, name: str) -> Regions:
    """The regions of images (B, channels, height, width) at the top layer of `model`, without gradients.

    Of tokens the first `model.num_prefix_tokens` (class token, registers; none where it doesn't say) are left out. The
    channels of a map are where `model.output_fmt` says, else on the axis that is `model.num_features` long. name is
    the model's, for messages. Raises Skip for a model without `forward_features`, for what is neither tokens nor a
    map, and where that leaves no grid of the images' proportions.
    """
    forward = getattr(model, "forward_features", None)
    if not callable(forward):
        raise Skip(f"{name} has no forward_features, where timm's models show what they know of each region")
    with torch.no_grad():
        found = forward(images)
    size = (images.shape[-2], images.shape[-1])
    if isinstance(found, Tensor) and found.ndim == 3:
        return _of_tokens(model, found, size, name)
    if isinstance(found, Tensor) and found.ndim == 4:
        return _of_map(model, found, size, name)
    kind = f"of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"of type {type(found).__name__}"
    raise Skip(f"{name}: forward_features returns something {kind}, neither tokens (B, N, C) nor a map of four axes")


def grid_of(cells: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """(rows, columns) of a grid of so many cells with the proportions of an image of `size`."""
    rows = round(math.sqrt(max(cells, 0) * size[0] / size[1]))
    if rows > 0 and cells % rows == 0 and cells // rows == max(1, round(rows * size[1] / size[0])):
        return rows, cells // rows
    return None


def _of_tokens(model: nn.Module, tokens: Tensor, size: tuple[int, int], name: str) -> Regions:
    said = getattr(model, "num_prefix_tokens", None)
    prefix = said if isinstance(said, int) else 0
    number = tokens.shape[1] - prefix
    grid = grid_of(number, size)
    if grid is None or number == 1:  # a lone token is a class token or a mean: PiT
        raise Skip(
            f"{name}: {number} tokens behind {prefix} leading ones (num_prefix_tokens={said}) are no grid of the "
            f"proportions of {format_size(size)}"
        )
    return Regions(tokens[:, prefix:], grid)


def _of_map(model: nn.Module, found: Tensor, size: tuple[int, int], name: str) -> Regions:
    form, width = getattr(model, "output_fmt", None), getattr(model, "num_features", None)
    axes = [axis for axis in _CHANNELS.values() if found.shape[axis] == width]
    if isinstance(form, str) and form in _CHANNELS:
        axes = [_CHANNELS[form]]
    if len(axes) != 1:
        raise Skip(
            f"{name}: a map of shape {tuple(found.shape)} does not say where its channels are (num_features={width}); "
            f"give the model output_fmt, {' or '.join(_CHANNELS)}"
        )
    cells = found.movedim(axes[0], -1)
    grid = (cells.shape[1], cells.shape[2])
    if not _covers(grid, size):
        raise Skip(f"{name}: a map of {grid[0]}x{grid[1]} regions has not the proportions of {format_size(size)}")
    return Regions(cells.flatten(1, 2), grid)


def _covers(grid: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether one stride makes both sides, each with up to one cell more or less: strides may pad or cut the edge."""
    (rows, columns), (height, width) = grid, size
    return height * (columns + 1) > width * (rows - 1) and width * (rows + 1) > height * (columns - 1)

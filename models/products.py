"""Large products a part at a time, in the types that autocast gives them: what losses without stored rows share."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

__all__ = ["add_product", "autocast_dtype", "row_blocks", "without_autocast"]


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """What autocast makes of the factors of a product there; None where it is off."""
    kind = device.type
    on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if on else None


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A context in which products there are of the types that they are given. `meta` has no autocast to switch off."""
    return nullcontext() if autocast_dtype(device) is None else torch.autocast(device.type, enabled=False)


def add_product(total: Tensor, rows: Tensor, others: Tensor) -> None:
    """total (K, D) += rows (R, K) transposed times others (R, D)."""
    if total.dtype == rows.dtype:
        torch.addmm(total, rows.T, others, out=total)  # counters of FLOPs know it, and not addmm_
    else:
        total += rows.T @ others


def row_blocks(rows: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """So many rows of each at a time."""
    return zip(*(x.split(max(1, rows)) for x in tensors), strict=True)

"""From a mask to the index tensors that the encoders need: on the host, once a forward pass.

The released code does this on the device, with a transfer to the host for each stage and shift. A plan holds tensors,
numbers, lists and dicts alone, so that it can be made beside a data loader, moved, or stripped of its numbers.

In a plan tokens of all rows are counted through. There is one row where all images share a mask; with a mask for each
image their tokens follow one another in a single row, so that encoders need to know of neither case.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.greenmim import grouping
from models.greenmim.windows import Integers, blocks, coordinates, window_ids

WHOLE_BLOCK = 12  # linear multiply-adds of a block per token and C², FFN included; of its attention alone they are 4
GROUPINGS: dict[str, Callable[[Sequence[int], int], grouping.Grouping]] = {
    "official": lambda sizes, width: grouping.official(sizes),
    "search": grouping.search,  # the paper's: the cost of attention decides
    "packed": lambda sizes, width: grouping.packed(sizes, width, linear=WHOLE_BLOCK),  # what groups are used for here
}

Plan = dict[str, Any]
Mask = NDArray[np.bool_]  # (rows, side, side) of cells, True = removed


def layout(removed: Mask, factor: int, window: int, shift: int, width: int, impl: str, method: str) -> Plan:
    """The tokens of one stage in the order of one of its partitions into windows.

    impl "reference": groups of equal size, padded; `order`, `windows` (-1 on padding), `coords` of (groups, size[, 2]).
    Where a row is one group as it stands, `order` is None. impl "window": sorted by window; `order`, `coords` of
    (tokens[, 2]) and `sizes`, the windows' numbers of tokens. Both: `inverse`, where to find each token.
    """
    coords = [coordinates(row, factor) for row in removed]
    ids = [window_ids(one, window, shift) for one in coords]
    if impl == "window":
        return _sorted(coords, ids)
    tokens = len(ids[0])
    if method == "official" and tokens <= 2 * window**2:  # the released code doesn't group so few
        return {"order": None, "inverse": None, "windows": _tensor(np.stack(ids)), "coords": _tensor(np.stack(coords))}
    orders = [order + image * tokens for image, order in enumerate(_orders(ids, width, method))]
    order = np.concatenate([np.where(one < image * tokens, -1, one) for image, one in enumerate(orders)])
    return _grouped(order, np.concatenate(ids), np.concatenate(coords))


def _orders(ids: Sequence[Integers], width: int, method: str) -> list[Integers]:
    """For each row the tokens of its groups, (groups, size), -1 on padding; the size is that of the largest choice."""
    members, sizes, choices = [], [], []
    for one in ids:
        _, window, counts = np.unique(one, return_inverse=True, return_counts=True)
        members.append(np.split(window.argsort(kind="stable"), counts.cumsum()[:-1]))
        sizes.append(counts.tolist())
        choices.append(GROUPINGS[method](sizes[-1], width))
    size = max(choice.size for choice in choices)
    orders = []
    for tokens, counts, choice in zip(members, sizes, choices, strict=True):
        groups = choice.groups if choice.size == size else grouping.partition(size, counts)
        order = np.full((len(groups), size), -1)
        for row, group in zip(order, groups, strict=True):
            listed = np.concatenate([tokens[window] for window in group])
            row[: len(listed)] = listed
        orders.append(order)
    return orders


def _grouped(order: Integers, ids: Integers, coords: Integers) -> Plan:
    """Padding reads token 0, and belongs to no window."""
    real = order >= 0
    inverse = np.empty(len(ids), np.int64)
    inverse[order[real]] = np.flatnonzero(real)
    order = np.where(real, order, 0)
    return {
        "order": _tensor(order),
        "inverse": _tensor(inverse),
        "windows": _tensor(np.where(real, ids[order], -1)),
        "coords": _tensor(coords[order]),
    }


def _sorted(coords: Sequence[Integers], ids: Sequence[Integers]) -> Plan:
    apart = np.concatenate([one + image * (max(map(np.max, ids)) + 1) for image, one in enumerate(ids)])
    order = apart.argsort(kind="stable")
    _, counts = np.unique(apart, return_counts=True)
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    return {
        "order": _tensor(order),
        "inverse": _tensor(inverse),
        "coords": _tensor(np.concatenate(coords)[order]),
        "sizes": counts.tolist(),
    }


def visible(removed: Mask, factor: int) -> torch.Tensor:
    """The visible tokens of a stage among all of its tokens, row-major: (tokens,)."""
    seen = ~removed.repeat(factor, 1).repeat(factor, 2)
    return _tensor(np.flatnonzero(seen))


def squares(removed: Mask, factor: int, side: int) -> torch.Tensor:
    """`blocks` of every row, counted through: (squares, side²)."""
    found = [blocks(row, factor, side) for row in removed]
    tokens = int((~removed[0]).sum()) * factor**2
    return _tensor(np.concatenate([one + image * tokens for image, one in enumerate(found)]))


def _tensor(array: Integers) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64))

"""What padding costs, over many random masks: how the cost of attention depends on the size of groups."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.greenmim.grouping import cost, floor, official, packed, sweep
from models.greenmim.windows import Integers, coordinates, window_ids
from models.masked.options import FACTORS

__all__ = ["random_removed", "study"]


def study(side: int, keep: int, window: int, widths: Sequence[int], shifts: bool, masks: int = 100) -> dict[str, Any]:
    """Group the windows of every stage under `masks` random masks, by each rule of `grouping`.

    side: cells along a side. keep: visible cells. window: tokens along a window's side, less where a stage's grid is
    smaller. widths: channels of the four stages. shifts: odd blocks shift their windows, where the grid is larger than
    one. Mask i shows the first `keep` of numpy.random.default_rng(i).permutation(side²). ValueError: `keep` or `masks`
    out of range, or a number of widths other than four.

    Returns plain numbers, nothing rounded. `curves`, one for each stage and shift: `mean` and `deviation` (of the masks
    as a whole population) of the attention's multiply-adds per block and image by size of groups, for the `sizes` that
    every mask allows; `floor`, their mean without padding; and for "official", "search" and "packed" the mean `size` of
    a group, `cost`, share of rows that are `padding`, and `chosen`, the size for each mask. `mode` is "masking" where
    the released code doesn't group (at most 2 window² tokens); the rules are applied there too. `example`: the windows
    of mask 0 where the released code does group, with the official group of each.
    """
    if not 1 <= keep <= side**2:
        raise ValueError(f"keep is a number of visible cells from 1 to {side**2}, got {keep}")
    if masks < 1:
        raise ValueError(f"masks is at least 1, got {masks}")
    if len(widths) != len(FACTORS):
        raise ValueError(f"widths: {len(FACTORS)} stages, got {len(widths)} ({widths})")
    removed = [random_removed(side, keep, seed) for seed in range(masks)]
    curves, example = [], []
    for stage, (factor, channels) in enumerate(zip(FACTORS, widths, strict=True), start=1):
        grid, tokens = side * factor, keep * factor**2
        extent = min(window, grid)
        coords = [coordinates(one, factor) for one in removed]
        for shift in (0, window // 2) if shifts and grid > window else (0,):
            sizes = [np.unique(window_ids(one, extent, shift), return_counts=True)[1].tolist() for one in coords]
            mode = "masking" if tokens <= 2 * extent**2 else "grouping"
            head = {"stage": stage, "shift": shift}
            curves.append({**head, "channels": channels, "tokens": tokens, "mode": mode, **_curve(sizes, channels)})
            if mode == "grouping":
                shown = {"side": grid, "window": extent, **_layout(coords[0], grid, extent, shift)}
                example.append({**head, **shown, "removed": removed[0].astype(int).ravel().tolist()})
    return {"masks": masks, "keep": keep, "side": side, "window": window, "curves": curves, "example": example}


def random_removed(side: int, keep: int, seed: int) -> NDArray[np.bool_]:
    """(side, side) of cells, True = removed: those after the first `keep` of the generator's permutation."""
    removed = np.ones(side**2, bool)
    removed[np.random.default_rng(seed).permutation(side**2)[:keep]] = False
    return removed.reshape(side, side)


def _curve(lists: Sequence[Sequence[int]], channels: int) -> dict[str, Any]:
    """What one stage and shift costs, from the sizes of its windows under each mask."""
    sweeps = [sweep(sizes, channels) for sizes in lists]
    first = max(one.sizes[0] for one in sweeps)
    costs = np.array([one.costs[one.sizes >= first] for one in sweeps])
    packings = [packed(sizes, channels) for sizes in lists]

    def rule(choices: Iterable[tuple[int, int]]) -> dict[str, Any]:
        """choices: size and number of the groups, for each mask."""
        sizes, groups = np.array([*choices]).T
        return {
            "size": sizes.mean().item(),
            "cost": cost(groups, sizes, channels).mean().item(),
            "padding": (1 - sum(lists[0]) / (groups * sizes)).mean().item(),
            "chosen": sizes.tolist(),
        }

    return {
        "sizes": list(range(first, sum(lists[0]) + 1)),
        "mean": costs.mean(axis=0).tolist(),
        "deviation": costs.std(axis=0).tolist(),
        "official": rule((one.sizes[0], one.counts[0]) for one in sweeps),
        "search": rule((one.sizes[at], one.counts[at]) for one in sweeps for at in [one.costs.argmin()]),
        "packed": rule((one.size, len(one.groups)) for one in packings),
        "floor": np.mean([floor(sizes, channels) for sizes in lists]).item(),
    }


def _layout(coords: Integers, grid: int, window: int, shift: int) -> dict[str, Any]:
    """The windows that hold tokens, as rectangles on the grid, and the official grouping of them."""
    _, first, tokens = np.unique(window_ids(coords, window, shift), return_index=True, return_counts=True)
    grouping = official(tokens)
    groups = {index: number for number, group in enumerate(grouping.groups) for index in group}
    lead = -shift % window  # how far the first window reaches beyond the grid
    starts = (coords[first] + lead) // window * window - lead
    ends = np.minimum(starts + window, grid)
    starts = np.maximum(starts, 0)
    windows = [
        {"row": row, "column": column, "height": height, "width": width, "tokens": count, "group": groups[index]}
        for index, ((row, column), (height, width), count) in enumerate(
            zip(starts.tolist(), (ends - starts).tolist(), tokens.tolist(), strict=True)
        )
    ]
    return {"size": grouping.size, "windows": windows}

"""Which windows share a group: integers in, partition out.

Green Hierarchical Vision Transformer for Masked Image Modeling, arXiv:2205.13515. Windows hold unequal numbers of
visible tokens; whole windows are packed into groups of one size, and the rest of a group is padding. Attention never
crosses windows, so a grouping decides about cost alone, never about results.

The three groupings:
- `official`: groups as large as the largest window, filled one by one. The released code (LayneH/GreenMIM at b981012)
  takes min(window², largest window), which is always the largest window, and searches no further.
- `search`: the paper's. The same filling for every size from the largest window to all tokens; the cheapest is taken.
- `packed`: the cheapest of all groupings. Filling groups one by one is best for one group, not for all of them:
  1, 1, 1, 2, 2, 2 into groups of 3 gives four, where three suffice.

The released code fills a group by a table of subset sums in O(windows * size) steps of Python. Here the sums that the
first windows reach are the bits of one integer, and the result is the same to the last tie.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Grouping", "Sweep", "bound", "cost", "floor", "gap", "official", "packed", "partition", "search", "sweep"]

NODES = 2000  # groups that `packed` tries before it leaves one size of groups undecided: about 20 ms
SPLITS = np.arange(2, 101)[:, None]  # k + 1 of the functions that bound a number of groups


class Grouping(NamedTuple):
    """size: tokens that a group holds. groups: indices of windows, ascending in each, in order of creation."""

    size: int
    groups: tuple[tuple[int, ...], ...]


class Sweep(NamedTuple):
    """Of every size in question, in tokens, ascending: how many groups there are, and what they cost (`cost`)."""

    sizes: NDArray[np.int64]
    counts: NDArray[np.int64]
    costs: NDArray[np.int64]


def cost(count: int, size: int, channels: int, linear: int = 4) -> int:
    """Multiply-adds of `count` groups of `size` tokens, padding included, for one image and one block.

    linear: those of linear layers per token and channels²: 4 is the paper's (qkv and projection of attention), 12 the
    whole block, whose FFN works on padding too in the released code. Arrays are taken elementwise.
    """
    return count * (linear * size * channels**2 + 2 * size**2 * channels)


def floor(sizes: Sequence[int], channels: int, linear: int = 4) -> int:
    """Multiply-adds without any padding: each window is a group of its own size. Errors as `official`."""
    return sum(cost(1, size, channels, linear) for size in _windows(sizes))


def bound(sizes: Sequence[int], channels: int, linear: int = 4) -> int:
    """Multiply-adds that no grouping is below: S tokens take at least ceil(S / size) groups. Errors as `official`."""
    windows = _windows(sizes)
    candidates = np.arange(max(windows), sum(windows) + 1)
    return int(cost(-(-sum(windows) // candidates), candidates, channels, linear).min())


def partition(capacity: int, sizes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Fill groups one by one, each with the windows whose sum is the largest that `capacity` tokens hold.

    Among equal sums the windows of the lowest indices are taken: the last window of a group is the earliest possible,
    then the one before it. sizes: tokens of each window. ValueError: a size that isn't a whole number of at least 1, or
    a window that exceeds the capacity (the released code never ends on either). No windows give no groups.
    """
    rest = _checked(sizes)
    capacity = _check("a group's capacity", capacity)
    if rest and capacity < max(rest):
        raise ValueError(f"a group's capacity is {capacity} tokens, got a window of {max(rest)}; it has to fit")
    indices = list(range(len(rest)))
    groups = []
    while rest:
        reach = _reach(capacity, rest)
        taken = _taken(reach, rest, reach[-1].bit_length() - 1)
        groups.append(tuple(indices.pop(at) for at in taken)[::-1])
        for at in taken:
            del rest[at]
    return tuple(groups)


def official(sizes: Sequence[int]) -> Grouping:
    """What the released code does: groups as large as the largest window.

    ValueError: a size that isn't a whole number of at least 1, or no window at all.
    """
    size = max(_windows(sizes))
    return Grouping(size, partition(size, sizes))


def sweep(sizes: Sequence[int], channels: int, linear: int = 4) -> Sweep:
    """Count and price the groups of `partition` for every size from the largest window to all tokens in one group.

    channels, linear: as in `cost`. Errors as `official`.
    """
    windows = _windows(sizes)
    reach = _reach(sum(windows), windows)
    unit = math.gcd(*windows)  # sums are multiples of it: sizes between two multiples hold no more than the lower one
    candidates = np.arange(max(windows), sum(windows) + 1)
    counts = np.repeat([_count(size, windows, reach) for size in candidates[::unit].tolist()], unit)[: len(candidates)]
    return Sweep(candidates, counts, cost(counts, candidates, channels, linear))


def search(sizes: Sequence[int], channels: int, linear: int = 4) -> Grouping:
    """The paper's search: the cheapest of `sweep`, of the smallest size among equals.

    channels, linear: as in `cost`. Errors as `official`.
    """
    windows = _windows(sizes)
    tokens = sum(windows)
    reach = _reach(tokens, windows)
    best, price = 0, math.inf
    for size in range(max(windows), tokens + 1, math.gcd(*windows)):
        if cost(-(-tokens // size), size, channels, linear) < price:  # without padding it would be cheaper, so count
            found = cost(_count(size, windows, reach), size, channels, linear)
            if found < price:
                best, price = size, found
    return Grouping(best, partition(best, windows))


def packed(sizes: Sequence[int], channels: int, linear: int = 4) -> Grouping:
    """The cheapest grouping of all, up to `gap`; never dearer than `search`.

    channels, linear: as in `cost`. Errors as `official`.
    """
    return _cheapest(sizes, channels, linear)[0]


def gap(sizes: Sequence[int], channels: int, linear: int = 4) -> float:
    """By which share `packed` may cost more than the best grouping: 0 says that it is proven to be the best.

    Above 0 where some size of groups was given up after NODES tried groups. Takes as long as `packed`. Errors as
    `official`.
    """
    grouping, least = _cheapest(sizes, channels, linear)
    return cost(len(grouping.groups), grouping.size, channels, linear) / least - 1


def _check(what: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{what} is a whole number of tokens, at least 1, got {value!r}")
    return int(value)


def _checked(sizes: Sequence[int]) -> list[int]:
    return [_check("a window's size", size) for size in sizes]


def _windows(sizes: Sequence[int]) -> list[int]:
    windows = _checked(sizes)
    if not windows:
        raise ValueError("sizes of windows: got none; grouping takes at least one window with a visible token")
    return windows


def _reach(capacity: int, sizes: Sequence[int]) -> list[int]:
    """Bit t of entry i: some of the first i windows sum to t. Ends where the capacity is reached: windows after that
    are left out in any case."""
    room = (2 << capacity) - 1
    sums = 1
    reach = [sums]
    for size in sizes:
        sums |= sums << size & room
        reach.append(sums)
        if sums >> capacity:
            break
    return reach


def _taken(reach: Sequence[int], sizes: Sequence[int], total: int) -> list[int]:
    """The windows that sum to `total`, descending: one is taken only where those before it don't suffice."""
    at = len(reach) - 1
    taken = []
    while total:
        at -= 1
        if not reach[at] >> total & 1:
            taken.append(at)
            total -= sizes[at]
    return taken


def _count(capacity: int, sizes: Sequence[int], reach: Sequence[int]) -> int:
    """How many groups `partition` gives; which windows are in the last two isn't asked.

    reach: that of all windows, of any capacity from this one up, since the first group can share it.
    """
    rest, left, count = list(sizes), sum(sizes), 1
    while left > capacity:
        total = (reach[-1] & (2 << capacity) - 1).bit_length() - 1
        left -= total
        count += 1
        if left > capacity:
            for at in _taken(reach, rest, total):
                del rest[at]
            reach = _reach(capacity, rest)
    return count


def _cheapest(sizes: Sequence[int], channels: int, linear: int) -> tuple[Grouping, int]:
    """The cheapest grouping found, and a cost that none is below.

    Of as many groups the smallest are the cheapest, so sizes are tried upwards from the least that this many could do
    with; numbers of groups follow in the order of that first cost. Nothing is tried that wouldn't be the best so far.
    """
    windows = _windows(sizes)
    descending = tuple(sorted(windows, reverse=True))
    best = search(windows, channels, linear)
    price = cost(len(best.groups), best.size, channels, linear)
    smallest = {count: max(descending[0], -(-sum(windows) // count)) for count in range(1, len(windows) + 1)}
    undecided = []
    for count in sorted(smallest, key=lambda count: cost(count, smallest[count], channels, linear)):
        size = smallest[count]
        while (asked := cost(count, size, channels, linear)) < price:
            try:
                groups = _pack(size, count, descending)
            except _UndecidedError:
                undecided.append(asked)
                groups = None
            if groups:
                best, price = Grouping(size, _indices(groups, windows)), cost(len(groups), size, channels, linear)
            size += 1
    return best, min([price, *undecided])


class _UndecidedError(Exception):
    """NODES groups were tried, and a packing may still exist."""


def _pack(capacity: int, count: int, sizes: tuple[int, ...]) -> list[tuple[int, ...]] | None:
    """Put descending sizes, more than one group holds, into at most `count` groups; None where there is no way.

    Bin completion (Korf, An Improved Algorithm for Optimal Bin Packing, IJCAI 2003): the largest size left gets its
    group filled in every way worth trying, fullest first. What is left unfilled in all groups together is known
    beforehand, and bounds it.
    """
    if _least_count(capacity, sizes) > count:
        return None
    slack = count * capacity - sum(sizes)
    groups: list[tuple[int, ...]] = []
    stack = [(sizes, slack, _completions(capacity, sizes, slack))]
    failed = set()
    nodes = 0
    while stack:
        rest, slack, completions = stack[-1]
        chosen = next(completions, None)
        if chosen is None:
            failed.add((rest, slack))
            stack.pop()
            del groups[-1:]
            continue
        nodes += 1
        if nodes > NODES:
            raise _UndecidedError
        group = tuple(rest[at] for at in chosen)
        left = tuple(size for at, size in enumerate(rest) if at not in chosen)
        unfilled = capacity - sum(group)
        if sum(left) <= capacity:
            return [*groups, group, left]
        slack -= unfilled
        if left[-1] > unfilled and (left, slack) not in failed:  # else the smallest would go into this group as well
            groups.append(group)
            stack.append((left, slack, _completions(capacity, left, slack)))
    return None


def _least_count(capacity: int, sizes: Sequence[int]) -> int:
    """A number of groups that no packing is below: the larger of two bounds.

    L2 (Martello and Toth, Knapsack Problems, 1990): each size above half the capacity takes a group; those from a
    threshold up to half of it go where these groups leave at least the threshold, and into more groups.

    Dual feasible functions (Fekete and Schepers, New Classes of Fast Lower Bounds for Bin Packing Problems, 2001): what
    fits into a group of 1 still does when each share x of it becomes floor((k + 1) x) / k, if (k + 1) x isn't whole.
    """
    large = [size for size in sizes if 2 * size > capacity]
    small = [size for size in sizes if 2 * size <= capacity]
    excess = [
        sum(size for size in small if size >= least)
        - sum(capacity - size for size in large if capacity - size >= least)
        for least in set(small)
    ]
    shares = SPLITS * np.array(sizes)  # (k + 1) x, times the capacity
    rounded = np.where(shares % capacity == 0, shares - np.array(sizes), shares // capacity * capacity)
    counts = -(-rounded.sum(axis=1, keepdims=True) // ((SPLITS - 1) * capacity))
    return max(len(large) - (-max([0, *excess]) // capacity), int(counts.max()))


def _completions(capacity: int, sizes: tuple[int, ...], slack: int) -> Iterator[tuple[int, ...]]:
    """Groups with the first of descending sizes, as indices, that leave at most `slack` unfilled; fullest first.

    Left out: groups that differ by equal sizes alone; and groups whose other sizes sum to no more than a single size
    that fits, as these could change places with it.
    """
    room = capacity - sizes[0]
    mask = (2 << room) - 1
    reach = [1]  # of the last sizes, then turned: bit t of entry i says that some of sizes[i:] sum to t
    for size in sizes[:0:-1]:
        reach.append(reach[-1] | reach[-1] << size & mask)
    reach = [0, *reach[::-1]]
    single = next((at for at, size in enumerate(sizes) if at and size <= room), 0)
    alone = sizes[single] if single else 0
    for total in range(reach[1].bit_length() - 1, max(room - slack, alone + 1) - 1, -1):
        for chosen in _subsets(sizes, reach, total):
            yield (0, *chosen)
    if room - slack <= alone:
        yield (0, single) if single else (0,)


def _subsets(sizes: Sequence[int], reach: Sequence[int], total: int) -> Iterator[tuple[int, ...]]:
    """The different ways to sum to `total` by sizes after the first, as indices, large ones first."""
    stack = [(1, total, ())]
    while stack:
        start, left, chosen = stack.pop()
        if not left:
            yield chosen
        stack.extend(
            (at + 1, left - sizes[at], (*chosen, at))
            for at in reversed(range(start, len(sizes)))
            if (at == start or sizes[at] != sizes[at - 1])
            and sizes[at] <= left
            and reach[at + 1] >> left - sizes[at] & 1
        )


def _indices(groups: Sequence[Sequence[int]], windows: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Groups of sizes as groups of windows, each of the first that are left of a size."""
    left = {size: iter([at for at, other in enumerate(windows) if other == size]) for size in set(windows)}
    return tuple(tuple(sorted(next(left[size]) for size in group)) for group in groups)

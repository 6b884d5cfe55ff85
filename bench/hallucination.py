"""How well half of an attention map's heads is predicted from the other half, as hMHSA (arXiv:2306.10875) does it.

    logits (windows, heads, rows, keys), before softmax -> Moments, added up image by image -> fit -> share explained

hMHSA computes some heads and hallucinates the others: head j = sum over computed heads i of chh[j, i] * IHH_i(A_i),
where IHH_i is a 3x3 kernel on the keys of each row, folded to their grid with zeros around it, and the keys on no grid
(class token, registers) pass IHH unchanged. Softmax ignores a constant in a row, so everything here is centred over
the keys, after IHH: a free intercept for every row.

All of this is linear in ten features a head: its nine shifts, zero at the keys on no grid, and a tenth that is those
keys alone. Shift (0, 0) and the tenth add up to the head itself. So one matrix of their products, (10 heads, 10 heads),
which adds up over rows and images, holds every choice of halves and every fit, and no map is kept.
"""

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.attention import Seen

FEATURES = 10  # of a head
LEVELS = ("copy", "chh", "ihh_chh", "free")
_SHIFTS = [(down, right) for down in range(3) for right in range(3)]  # row-major, as a kernel of F.conv2d
_OWN = (4, 9)  # the features that add up to the head
_CHUNK = 2**20  # numbers of features at a time, 8 MB
_MASKED = 50.0  # below the row's largest in all heads: Swin's mask is -100, trained ViT-S/14's most is 15
_ROUNDING = 1e-6  # of a head's logits: float32 has 1e-7, and their sums of products some more
_RIDGE = 1e-12  # of the diagonal: equal heads have a solution, and others the one of least squares
_STEPS, _GAIN = 20, 1e-5  # of the alternating fit: at most so many, and until a step gains less of the variance


@dataclass(frozen=True)
class Moments:
    """What is kept of one map's logits: products of centred features, (10 heads, 10 heads) in float64, with head i's at
    10 i. products is None where there are none, and why says why. masked: how many of its windows were left out."""

    label: str
    heads: int
    windows: int
    masked: int = 0
    products: Tensor | None = None
    why: str = ""

    def __add__(self, other: "Moments") -> "Moments":
        """Those of both images of one map."""
        known = [one.products for one in (self, other) if one.products is not None]
        return replace(
            self,
            windows=self.windows + other.windows,
            masked=self.masked + other.masked,
            products=torch.stack(known).sum(dim=0) if known else None,
            why="" if known else self.why,
        )


def moments(seen: Seen) -> Moments:
    """The Moments of a map, without windows that hold a masked key (shifted windows)."""
    windows, heads = seen.p.shape[:2]
    layout = seen.layout
    if heads == 1:
        return Moments(seen.label, heads, windows, why="one head")
    if not isinstance(seen.logits, Tensor):
        return Moments(seen.label, heads, windows, why=seen.logits or "logits were not asked for")
    if layout is None:
        return Moments(seen.label, heads, windows, why="its keys lie on no known grid")
    whole = ~has_mask(seen.logits)
    masked = windows - int(whole.sum().item())
    if masked == windows:
        return Moments(seen.label, heads, windows, masked, why="a mask hides some of its keys")
    logits = without_constants(seen.logits[whole] if masked else seen.logits)
    return Moments(seen.label, heads, windows, masked, products(logits, layout.keys))


def has_mask(logits: Tensor) -> Tensor:
    """Which windows of logits (windows, heads, rows, keys) hold a key that no head of a row can look at: far below the
    row's largest in all heads, or not finite."""
    below = (logits.amax(dim=-1, keepdim=True) - logits).amin(dim=1)
    return ~(below < _MASKED).all(dim=-1).all(dim=-1) | ~logits.isfinite().flatten(1).all(dim=1)


def without_constants(logits: Tensor) -> Tensor:
    """Zeros for those heads of logits (windows, heads, rows, keys) that are a constant in every row but for rounding,
    which nobody should explain."""
    spread, square = logits.var(dim=-1, correction=0).mean(dim=(0, 2)), logits.square().mean(dim=(0, 2, 3))
    return logits.masked_fill((spread <= _ROUNDING**2 * square)[:, None, None], 0)


def products(logits: Tensor, grid: tuple[int, int]) -> Tensor:
    """Sums of products of centred features over windows, rows and keys, (10 heads, 10 heads) in float64 on the CPU, of
    logits (windows, heads, rows, keys) whose last keys lie on `grid`."""
    heads, keys = logits.shape[1], logits.shape[3]
    total = logits.new_zeros(FEATURES * heads, FEATURES * heads, dtype=torch.float64)
    for rows in logits.transpose(0, 1).flatten(1, 2).split(max(1, _CHUNK // (FEATURES * heads * keys)), dim=1):
        flat = features(rows.double(), grid).flatten(2).flatten(0, 1)  # (10 heads, rows * keys)
        total += flat @ flat.T
    return total.cpu()


def features(logits: Tensor, grid: tuple[int, int]) -> Tensor:
    """Centred features (heads, 10, rows, keys) of logits (heads, rows, keys), the last of whose keys lie on `grid`."""
    heads, rows, keys = logits.shape
    height, width = grid
    prefix = keys - height * width
    if prefix < 0:
        raise ValueError(f"{keys} keys do not fill a grid of {height} x {width}")
    padded = F.pad(logits[..., prefix:].unflatten(-1, grid), (1, 1, 1, 1))
    found = logits.new_zeros(heads, FEATURES, rows, keys)
    on_grid = found[..., prefix:].unflatten(-1, grid)
    for shift, (down, right) in enumerate(_SHIFTS):
        on_grid[:, shift] = padded[..., down : down + height, right : right + width]
    found[:, -1, :, :prefix] = logits[..., :prefix]
    return found.sub_(found.mean(dim=-1, keepdim=True))


def choices(heads: int, most: int) -> list[tuple[int, ...]]:
    """Which heads are computed, the larger half where `heads` is odd; the paper's choice, the first ones, comes first.

    All choices if there are at most `most`, or `most` of them drawn at random, the same at every run.
    """
    computed = heads - heads // 2
    first = tuple(range(computed))
    if math.comb(heads, computed) <= most:
        return list(combinations(range(heads), computed))
    draw = random.Random(0)
    found = {first: None}
    while len(found) < most:
        found[tuple(sorted(draw.sample(range(heads), computed)))] = None
    return list(found)


@dataclass(frozen=True)
class Halves:
    """The parts of products (..., 10 heads, 10 heads) that belong to choices of computed heads: `inner` of the features
    of these, (..., choices, 10 r, 10 r), `outer` of these with the other heads' logits, (..., choices, 10 r, g), and
    `own`, squares of the latter, (..., choices, g)."""

    inner: Tensor
    outer: Tensor
    own: Tensor

    @classmethod
    def of(cls, total: Tensor, computed: Sequence[Sequence[int]]) -> "Halves":
        """Cut from `total` the parts of each choice of computed heads."""
        heads = total.shape[-1] // FEATURES
        real = torch.tensor([list(one) for one in computed])
        others = torch.tensor([[head for head in range(heads) if head not in one] for one in computed])
        index = (real[..., None] * FEATURES + torch.arange(FEATURES)).flatten(1)  # (choices, 10 r)
        logit = total[..., _OWN[0] :: FEATURES] + total[..., _OWN[1] :: FEATURES]  # (..., 10 heads, heads)
        squares = logit[..., _OWN[0] :: FEATURES, :] + logit[..., _OWN[1] :: FEATURES, :]
        return cls(
            total[..., index[:, :, None], index[:, None, :]],
            logit[..., index[:, :, None], others[:, None, :]],
            squares.diagonal(dim1=-2, dim2=-1)[..., others],
        )

    def __getitem__(self, some: Tensor) -> "Halves":
        """Those of some choices, where these are the only axis before the last ones."""
        return Halves(self.inner[some], self.outer[some], self.own[some])

    def flat(self) -> "Halves":
        """With choices as the only axis before the last ones."""
        return Halves(self.inner.flatten(0, -3), self.outer.flatten(0, -3), self.own.flatten(0, -2))

    @property
    def variance(self) -> Tensor:
        """Squares of the hallucinated heads' logits, (..., choices)."""
        return self.own.sum(dim=-1)

    def missed(self, coefficients: Tensor) -> Tensor:
        """Squared error of the predicted logits, (..., choices), summed over hallucinated heads."""
        quadratic = (coefficients * (self.inner @ coefficients)).sum(dim=(-2, -1))
        return (self.variance - 2 * (coefficients * self.outer).sum(dim=(-2, -1)) + quadratic).clamp_min(0)


def fit(halves: Halves, steps: int = _STEPS, gain: float = _GAIN) -> dict[str, Tensor]:
    """Coefficients (..., choices, 10 r, g) of each level, which explain more from one to the next of the same halves.

    copy: hallucinated head k is computed head k, unchanged, as in the paper's table 2. chh: least squares of computed
    heads. ihh_chh: the paper's, by alternating least squares of kernels and CHH, from the better of chh and the free
    fit's nearest product; no step explains less, but it ends in a local optimum, or after `steps`. A kernel's scale is
    CHH's as well: it is that where the prefix, which IHH passes unchanged, has coefficient 1. free: a kernel of its own
    for each pair of computed and hallucinated head, which no product of IHH and CHH exceeds.
    """
    shape, halves = halves.outer.shape, halves.flat()
    inner, outer = halves.inner, halves.outer
    heads, g = inner.shape[-1] // FEATURES, outer.shape[-1]
    whole = inner.new_zeros(len(inner), heads, FEATURES)
    whole[..., _OWN] = 1
    copy = _product(whole, torch.eye(heads, g, dtype=inner.dtype).expand(len(inner), heads, g))
    mix = _mix(halves, whole)
    chh = _product(whole, mix)
    free = _solve(inner, outer)
    leading = torch.linalg.svd(free.unflatten(-2, (heads, FEATURES)), full_matrices=False).U[..., 0]
    nearest = _mix(halves, leading)
    from_free = (halves.missed(_product(leading, nearest)) < halves.missed(chh))[:, None, None]
    kernels, mix = torch.where(from_free, leading, whole), torch.where(from_free, nearest, mix)
    both = _alternate(halves, kernels, mix, steps, gain)
    return {level: one.reshape(shape) for level, one in zip(LEVELS, (copy, chh, both, free), strict=True)}


def _alternate(halves: Halves, kernels: Tensor, mix: Tensor, steps: int, gain: float) -> Tensor:
    """Coefficients (choices, 10 r, g) from kernels (choices, r, 10) and CHH (choices, r, g), each choice until a step
    gains no more than `gain` of its variance: most need few steps, and a few need all."""
    found = _product(kernels, mix)
    missed, going = halves.missed(found), torch.arange(len(found))
    for _ in range(steps):
        kernels = _kernels(halves, mix)
        mix = _mix(halves, kernels)
        found[going] = _product(kernels, mix)
        before, missed = missed, halves.missed(found[going])
        gains = before - missed > gain * halves.variance
        if not gains.any():
            break
        halves, mix, missed, going = halves[gains], mix[gains], missed[gains], going[gains]
    return found


def _mix(halves: Halves, kernels: Tensor) -> Tensor:
    """The best CHH (choices, r, g) for kernels (choices, r, 10)."""
    heads = kernels.shape[-2]
    alone = _product(kernels, torch.eye(heads, dtype=kernels.dtype).expand(*kernels.shape[:-1], heads))  # (.., 10 r, r)
    return _solve(alone.mT @ halves.inner @ alone, alone.mT @ halves.outer)


def _kernels(halves: Halves, mix: Tensor) -> Tensor:
    """The best kernels (choices, r, 10) for CHH (choices, r, g)."""
    by_head = (mix.shape[-2], FEATURES)
    inner = halves.inner.unflatten(2, by_head).unflatten(1, by_head) * (mix @ mix.mT)[:, :, None, :, None]
    outer = (halves.outer.unflatten(1, by_head) * mix[:, :, None]).sum(dim=-1)
    return _solve(inner.flatten(3, 4).flatten(1, 2), outer.flatten(1)[..., None]).reshape(-1, *by_head)


def _product(kernels: Tensor, chh: Tensor) -> Tensor:
    """Coefficients (..., 10 r, g) of kernels (..., r, 10) and CHH (..., r, g)."""
    return (kernels[..., None] * chh[..., None, :]).flatten(-3, -2)


def _solve(products: Tensor, outer: Tensor) -> Tensor:
    """Least squares from normal equations, with a trace of a ridge relative to each unknown's own square, so that equal
    heads share a coefficient and features of zeros get none."""
    scale = products.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    scale = torch.where(scale > 0, scale, 1)[..., None]
    even = (products / scale).div_(scale.mT)
    even.diagonal(dim1=-2, dim2=-1).add_(_RIDGE)
    found: Tensor = torch.cholesky_solve(outer / scale, torch.linalg.cholesky(even)) / scale
    return found


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run PyTorch on one thread, while entered. A fit is thousands of operators too small for a second, which would
    wait for it every time where other work keeps the processor busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_one_thread()
def explained(
    folds: Sequence[Tensor], computed: Sequence[Sequence[int]]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Share of the variance of the hallucinated heads' logits that is explained, by level: (choices,), of folds that
    the fit has not seen, and of those it has.

    1 - squared errors / squares, both summed over heads, rows, keys and folds: below 0 for what is worse than a
    constant a row, NaN where the logits are constant. With one fold both are of what was fitted.
    """
    every = torch.stack(list(folds))
    seen = Halves.of(every.sum(dim=0), computed)
    inside = _shares(seen, fit(seen))
    if len(folds) == 1:
        return inside, inside
    others = [
        every[[number for number in range(len(folds)) if number != left]].sum(dim=0) for left in range(len(folds))
    ]
    fitted = fit(Halves.of(torch.stack(others), computed))
    return _shares(Halves.of(every, computed), fitted), inside


def _shares(halves: Halves, fitted: dict[str, Tensor]) -> dict[str, Tensor]:
    variance = halves.variance
    everything = variance.reshape(-1, variance.shape[-1]).sum(dim=0)
    everything = everything.masked_fill(everything == 0, math.nan)
    return {
        level: 1 - halves.missed(coefficients).reshape(-1, variance.shape[-1]).sum(dim=0) / everything
        for level, coefficients in fitted.items()
    }

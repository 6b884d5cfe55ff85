"""Block-wise masks over patches: random ones, what a given one may look like, and where its patches lie."""

import math
import random

import numpy as np
import torch
from torch import Tensor

from models.arguments import whole
from models.masked import masks

_ATTEMPTS = 10  # at a block


class BlockMasks:
    """Random masks of exactly `masked` patches of a grid: blocks, as long as one more fits, then single patches.

        BlockMasks().draw(random.Random(0), np.random.RandomState(0))
        draw_masks(BlockMasks(), 128, torch.Generator().manual_seed(0))

    Blocks have `least` to `most` patches (None: as many as `masked`), the last ones fewer, and an aspect ratio from
    `aspect` to 1 / aspect; one as wide or as high as the grid is never set. Masks are far from even: with the default
    numbers a patch in the middle is masked in 70 % of them, one in a corner in 5 %.
    """

    def __init__(
        self,
        grid: tuple[int, int] = (14, 14),
        masked: int = 75,
        least: int = 16,
        most: int | None = None,
        aspect: float = 0.3,
    ) -> None:
        """grid is (rows, columns). Raises ValueError for numbers that make no masks."""
        if not isinstance(grid, tuple | list) or len(grid) != 2:
            raise ValueError(f"BlockMasks has no grid={grid!r}. Use (rows, columns).")
        rows, columns = (whole("grid", side, 1, "BlockMasks") for side in grid)
        self.grid = rows, columns
        self.masked = whole("masked", masked, 1, "BlockMasks", rows * columns)
        self.most = self.masked if most is None else whole("most", most, 1, "BlockMasks")
        self.least = whole("least", least, 1, "BlockMasks", self.most)
        if not 0 < aspect <= 1:
            raise ValueError(f"BlockMasks has no aspect={aspect!r}. Use a number above 0, to 1.")
        self._log_aspect = math.log(aspect), math.log(1 / aspect)

    def draw(self, rng: random.Random, choice: np.random.RandomState) -> np.ndarray:
        """One mask, bool (rows, columns), True = masked. Blocks come from `rng`; `choice` is only asked for the single
        patches that fill up what no block fitted into."""
        mask = np.zeros(self.grid, dtype=bool)
        left = self.masked
        while left and (new := self._add_block(mask, min(left, self.most), rng)):
            left -= new
        if left:
            free = np.flatnonzero(~mask)
            mask.flat[free[choice.choice(len(free), left, replace=False)]] = True
        return mask

    def _add_block(self, mask: np.ndarray, most: int, rng: random.Random) -> int:
        """Set a block that masks up to `most` further patches; their number, 0 if no attempt gave such a block."""
        rows, columns = self.grid
        for _ in range(_ATTEMPTS):
            area = rng.uniform(self.least, most)  # of the last blocks least is the upper end
            ratio = math.exp(rng.uniform(*self._log_aspect))
            height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if height >= rows or width >= columns:
                continue
            top, left = rng.randint(0, rows - height), rng.randint(0, columns - width)
            block = mask[top : top + height, left : left + width]
            new = height * width - np.count_nonzero(block)
            if 0 < new <= most:
                block[:] = True
                return int(new)
        return 0


def draw_masks(blocks: BlockMasks, count: int, generator: torch.Generator | None) -> Tensor:
    """Masks of `blocks`, bool (count, rows, columns), always on the CPU. `generator`, or PyTorch's own where None,
    gives the seeds of all of them; Python's and NumPy's global generators are neither read nor moved."""
    whole("count", count, 0, "draw_masks")
    device = None if generator is None else generator.device
    seeds = torch.randint(2**32, (2,), generator=generator, device=device).tolist()
    rng, choice = random.Random(seeds[0]), np.random.RandomState(seeds[1])
    drawn = np.empty((count, *blocks.grid), dtype=bool)
    for mask in drawn:
        mask[:] = blocks.draw(rng, choice)
    return torch.from_numpy(drawn)


def check_mask(mask: Tensor, side: int, batch: int, patch_size: int = 16) -> Tensor:
    """A mask of side² patches as (batch, P), one for all images repeated; `models.masked.masks` says what it may come
    as, and what is refused."""
    return masks.check_mask(mask, side, batch, patch_size).expand(batch, side**2)


def masked_rows(mask: Tensor) -> Tensor:
    """Where a mask (B, P) is True: positions in a flattened (B · P), int64 (M,), rising.

    Raises ValueError if nothing is masked.
    """
    rows = mask.flatten().nonzero().squeeze(1)
    if not len(rows):
        raise ValueError(f"the mask masks none of {mask.numel()} patches. Mask at least one, or there is no loss.")
    return rows


def masked_queries(mask: Tensor) -> tuple[Tensor, Tensor | None]:
    """Positions of each image's masked patches, rising: of a mask (B, P) int64 (B, m), m being the largest number of
    any image. Where images have fewer, the rest is position 0, and the second tensor, bool (B, m), says what is no
    such filling; it is None where there is none."""
    counts = mask.sum(dim=1)
    fewest, most = torch.stack(counts.aminmax()).tolist()  # one wait for the device, not two
    positions = mask.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
    if fewest == most:
        return positions, None
    real = torch.arange(most, device=mask.device) < counts[:, None]
    return positions.where(real, 0), real

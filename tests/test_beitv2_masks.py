"""BEiT v2's masks: the official generator's to the cell, what any of them has, and how masks are read."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.beitv2.masks import BlockMasks, check_mask, draw_masks, masked_queries, masked_rows
from tests.randomness import untouched

GOLDEN = np.load(Path(__file__).parent / "goldens" / "beitv2" / "block_masks.npz")


def generators(seed):
    return random.Random(seed), np.random.RandomState(seed)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@st.composite
def any_blocks(draw):
    grid = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    masked = draw(st.integers(1, grid[0] * grid[1]))
    most = draw(st.none() | st.integers(1, 50))
    least = draw(st.integers(1, masked if most is None else most))
    return BlockMasks(grid, masked, least, most, draw(st.floats(0.01, 1)))


@st.composite
def any_mask(draw):
    """bool (B, P), also with nothing masked."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 12)))
    bits = draw(st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    return torch.tensor(bits).reshape(shape)


@pytest.mark.parametrize("seed", range(4))
def test_masks_are_the_official_ones(seed):
    blocks, both = BlockMasks(), generators(seed)
    for expected in GOLDEN[f"masks_seed{seed}"]:
        found = blocks.draw(*both)
        assert found.dtype == bool
        np.testing.assert_array_equal(found, expected.astype(bool))


def test_masks_fall_as_unevenly_as_the_official_ones():
    blocks, both = BlockMasks(), generators(7)
    mean = sum(blocks.draw(*both).astype(int) for _ in range(20_000)) / 20_000
    np.testing.assert_allclose(mean, GOLDEN["mean_mask_20000"], rtol=0, atol=1e-12)
    assert mean[5:9, 5:9].mean() == pytest.approx(0.70, abs=0.005)
    assert mean[[0, 0, -1, -1], [0, -1, 0, -1]].mean() == pytest.approx(0.046, abs=0.0005)


@given(blocks=any_blocks(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_a_mask_has_as_many_patches_as_asked_for(blocks, seed):
    with untouched():
        mask, again = blocks.draw(*generators(seed)), blocks.draw(*generators(seed))
    assert (mask.shape, mask.dtype, mask.sum()) == (blocks.grid, bool, blocks.masked)
    np.testing.assert_array_equal(mask, again)


@given(blocks=any_blocks(), seed=st.integers(0, 2**32 - 1), before=st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_a_block_is_a_rectangle_within_the_grid_and_no_more_than_what_is_left(blocks, seed, before):
    rng = random.Random(seed)
    mask = np.random.default_rng(seed).random(blocks.grid) < before
    old = mask.copy()
    left = rng.randint(1, blocks.masked)
    new = blocks._add_block(mask, left, rng)
    added = mask & ~old
    assert added.sum() == new <= left
    assert not (old & ~mask).any()
    if new:
        rows, columns = (np.flatnonzero(added.any(axis=axis)) for axis in (1, 0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert np.ptp(rows) + 1 < blocks.grid[0]  # the whole side is never covered
        assert np.ptp(columns) + 1 < blocks.grid[1]


@given(seed=st.integers(0, 2**32 - 1), area=st.integers(4, 60), aspect=st.floats(0.2, 1))
@settings(max_examples=200, deadline=None)
def test_a_block_has_the_area_and_aspect_asked_for(seed, area, aspect):
    """On an empty grid, to the rounding of its sides, a half each."""
    blocks = BlockMasks((40, 40), masked=200, least=area, most=2 * area, aspect=aspect)
    mask = np.zeros((40, 40), dtype=bool)
    rng = random.Random(seed)
    if not blocks._add_block(mask, 2 * area, rng):
        return  # ten in a row that rounding made too large: none of the above
    height, width = mask.any(axis=1).sum(), mask.any(axis=0).sum()
    assert (height - 0.5) * (width - 0.5) <= 2 * area
    assert (height + 0.5) * (width + 0.5) >= area
    assert (height + 0.5) / max(width - 0.5, 1e-9) >= aspect
    assert (height - 0.5) / (width + 0.5) <= 1 / aspect


def test_patches_are_chosen_evenly_where_no_block_fits():
    """In a grid of one row every block is as high as the grid."""
    mask = BlockMasks((1, 10), masked=4, least=1).draw(*generators(3))
    expected = np.random.RandomState(3).choice(10, 4, replace=False)
    assert sorted(np.flatnonzero(mask)) == sorted(expected)


class Told(BlockMasks):
    """Its blocks' numbers of new patches, in order."""

    def __init__(self, **words):
        super().__init__(**words)
        self.sizes = []

    def _add_block(self, *words):
        self.sizes.append(super()._add_block(*words))
        return self.sizes[-1]


@pytest.mark.parametrize(("most", "largest"), [(9, 9), (None, 75)])
def test_blocks_are_at_most_as_large_as_said(most, largest):
    """Nine patches each, which takes several; with the default the first may have all."""
    blocks = Told(least=4, most=most)
    for seed in range(200):
        blocks.draw(*generators(seed))
    assert 0.8 * largest < max(blocks.sizes) <= largest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"masked": 0}, "BlockMasks has no masked=0. Use a whole number from 1 to 196."),
        ({"masked": 197}, "BlockMasks has no masked=197. Use a whole number from 1 to 196."),
        ({"masked": 75.0}, "BlockMasks has no masked=75.0."),
        ({"least": 0}, "BlockMasks has no least=0. Use a whole number from 1 to 75."),
        ({"least": 76}, "BlockMasks has no least=76. Use a whole number from 1 to 75."),
        ({"least": 20, "most": 19}, "BlockMasks has no least=20. Use a whole number from 1 to 19."),
        ({"most": 0}, "BlockMasks has no most=0. Use a whole number from 1."),
        ({"grid": (0, 14)}, "BlockMasks has no grid=0. Use a whole number from 1."),
        ({"grid": 14}, "BlockMasks has no grid=14. Use (rows, columns)."),
        ({"grid": (14, 14, 14)}, "BlockMasks has no grid=(14, 14, 14). Use (rows, columns)."),
        ({"aspect": 0}, "BlockMasks has no aspect=0. Use a number above 0, to 1."),
        ({"aspect": 1.1}, "BlockMasks has no aspect=1.1."),
    ],
)
def test_what_makes_no_masks_is_refused(words, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        BlockMasks(**words)


def test_the_same_seed_gives_the_same_masks_and_another_others():
    blocks = BlockMasks((10, 16), masked=40)
    with untouched():
        first, again, other = (draw_masks(blocks, 5, seeded(seed)) for seed in (1, 1, 2))
    assert (first.shape, first.dtype, first.device.type) == ((5, 10, 16), torch.bool, "cpu")
    assert first.sum(dim=(1, 2)).tolist() == [40] * 5
    assert torch.equal(first, again)
    assert len({tuple(mask.flatten().tolist()) for mask in [*first, *other]}) == 10
    generator = seeded(1)
    assert torch.equal(draw_masks(blocks, 5, generator), first)
    assert not torch.equal(draw_masks(blocks, 5, generator), first)  # it goes on


def test_without_a_generator_masks_hang_on_pytorchs_own_alone():
    blocks = BlockMasks()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        found = draw_masks(blocks, 3, None)
    assert torch.equal(found, draw_masks(blocks, 3, seeded(9)))


def test_single_patches_hang_on_the_seed_too():
    blocks = BlockMasks((1, 50), masked=10, least=1)  # no block fits
    masks = [draw_masks(blocks, 1, seeded(seed)) for seed in (0, 0, 1)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_any_number_of_masks_but_a_negative_one():
    assert draw_masks(BlockMasks(), 0, seeded(0)).shape == (0, 14, 14)
    with pytest.raises(ValueError, match="draw_masks has no count=-1"):
        draw_masks(BlockMasks(), -1, seeded(0))


@given(side=st.integers(1, 5), batch=st.integers(1, 4), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_a_mask_may_come_flat_or_as_a_grid_for_each_image_or_for_all(side, batch, seed):
    mask = torch.rand(batch, side**2, generator=seeded(seed)) < 0.5
    grids = mask.reshape(batch, side, side)
    assert torch.equal(check_mask(mask, side, batch), mask)
    assert torch.equal(check_mask(grids, side, batch), mask)
    for one in (mask[0], grids[0]):
        assert torch.equal(check_mask(one, side, batch), mask[:1].repeat(batch, 1))


@pytest.mark.parametrize("shape", [(2, 9), (2, 3, 3), (9,), (3, 3)])
def test_a_mask_without_values_is_checked_too(shape):
    found = check_mask(torch.empty(shape, dtype=torch.bool, device="meta"), 3, 2)
    assert (found.shape, found.is_meta) == ((2, 9), True)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(2, 9), "the mask is torch.float32, and must be a boolean tensor, True where a cell is removed."),
        (torch.zeros(2, 9, dtype=torch.int64), "the mask is torch.int64"),
        (np.zeros((2, 9), dtype=bool), "the mask is ndarray"),
        (None, "the mask is NoneType"),
        (
            torch.zeros(3, 9, dtype=torch.bool),
            "the mask has shape (3, 9); 3x3 cells of 16 pixels and 2 images want (9,)",
        ),
        (
            torch.zeros(1, 9, dtype=torch.bool),
            "the mask has shape (1, 9); 3x3 cells of 16 pixels and 2 images want (9,)",
        ),
        (torch.zeros(2, 10, dtype=torch.bool), "one for all images, or (2, 9), one for each."),
        (torch.zeros(2, 2, 3, 3, dtype=torch.bool), "the mask has shape (2, 2, 3, 3)"),
        (torch.zeros((), dtype=torch.bool), "the mask has shape ()"),
        (torch.zeros(2, 1, 9, dtype=torch.bool), "the mask has shape (2, 1, 9)"),
    ],
)
def test_what_is_no_mask_is_refused(mask, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_mask(mask, 3, 2)


@given(mask=any_mask())
@settings(max_examples=100, deadline=None)
def test_masked_rows_are_the_positions_in_the_flattened_batch(mask):
    expected = [place for place, bit in enumerate(mask.flatten().tolist()) if bit]
    if expected:
        rows = masked_rows(mask)
        assert (rows.dtype, rows.tolist()) == (torch.int64, expected)
        assert torch.equal(torch.arange(mask.numel()).reshape(mask.shape)[mask], rows)  # as boolean indexing has them
    else:
        with pytest.raises(ValueError, match=f"masks none of {mask.numel()} patches"):
            masked_rows(mask)


@given(mask=any_mask())
@settings(max_examples=100, deadline=None)
def test_masked_queries_are_each_images_positions_filled_up_to_the_most_of_any(mask):
    expected = [[place for place, bit in enumerate(bits) if bit] for bits in mask.tolist()]
    positions, real = masked_queries(mask)
    most = max(map(len, expected))
    assert (positions.dtype, positions.shape) == (torch.int64, (len(mask), most))
    assert (real is None) == (len({*map(len, expected)}) == 1)
    for row, (own, found) in enumerate(zip(expected, positions.tolist(), strict=True)):
        assert found == own + [0] * (most - len(own))
        if real is not None:
            assert (real.dtype, real[row].tolist()) == (torch.bool, [place < len(own) for place in range(most)])


def test_queries_and_rows_are_the_same_patches():
    mask = draw_masks(BlockMasks(), 3, seeded(0)).flatten(1)
    positions, real = masked_queries(mask)
    assert real is None
    assert torch.equal((positions + 196 * torch.arange(3)[:, None]).flatten(), masked_rows(mask))

"""Position tables of BEiT v2 on other grids: the official loader's results, and what splines and cubics must do."""

import re
from math import isqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.beitv2.tables import _axis, relative_index, resize_positions, resize_table
from tests.detfill import values

GOLDEN = np.load(Path(__file__).parent / "goldens" / "beitv2" / "relpos_resize.npz")
RESIZED = [("27to47", 12), ("27to47", 16), ("27to63", 12), ("47to27", 12)]
NAME = "rel_pos_bias.relative_position_bias_table"


def normal(*shape, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def table_of(side, numbers):
    """A table whose offsets (y, x) have `numbers(y, x)` in each of two heads, and 7, 8, 9 for the CLS token."""
    y, x = np.meshgrid(np.arange(1 - side, side), np.arange(1 - side, side), indexing="ij")
    rows = torch.from_numpy(np.stack([numbers(y, x), -numbers(y, x)], axis=-1).reshape(-1, 2)).double()
    return torch.cat([rows, torch.tensor([[7.0, 7], [8, 8], [9, 9]])])


@pytest.mark.parametrize("side", range(1, 7))
def test_an_index_says_how_far_the_query_is_from_the_key(side):
    index, rows = relative_index(side), (2 * side - 1) ** 2
    assert (index.dtype, index.shape) == (torch.int64, (side**2 + 1, side**2 + 1))
    assert (index[0, 0], index[0, 1:].unique(), index[1:, 0].unique()) == (rows + 2, rows, rows + 1)
    for query in range(side**2):
        for key in range(side**2):
            down, right = query // side - key // side, query % side - key % side
            assert index[1 + query, 1 + key] == (down + side - 1) * (2 * side - 1) + right + side - 1


def test_an_index_of_the_papers_grid_reads_every_row_of_its_table():
    index = relative_index(14)
    assert torch.equal(index.unique(), torch.arange(732))
    with torch.device("meta"):
        found = relative_index(14)
    assert (found.device.type, found.shape, found.dtype) == ("meta", (197, 197), torch.int64)


@pytest.mark.parametrize(("sides", "heads"), RESIZED)
def test_tables_are_resized_as_the_official_loader_does(sides, heads):
    source, target = map(int, sides.split("to"))
    golden = GOLDEN[f"{sides}_h{heads}"]
    table = torch.from_numpy(values(NAME, (source**2 + 3, heads))).float()
    found = resize_table(table, (target + 1) // 2)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), golden, rtol=0, atol=1e-6)
    axis, ratio = _axis(source, target)
    np.testing.assert_allclose(axis, GOLDEN[f"{sides}_h{heads}_axis"], rtol=0, atol=1e-9)
    assert ratio == pytest.approx(GOLDEN[f"{sides}_h{heads}_q"].item(), abs=1e-9)


@given(
    source=st.integers(3, 16),
    target=st.integers(1, 24),
    slopes=st.tuples(*[st.integers(-4, 4)] * 3),
)
@settings(max_examples=50, deadline=None)
def test_a_plane_stays_a_plane_over_the_new_distances(source, target, slopes):
    """A cubic spline is exact for it, whatever its axis. Distances beyond the axis, which only a source of few patches
    can't stretch to, have the value of its end."""
    axis, _ = _axis(2 * source - 1, 2 * target - 1)
    reach = dict(zip(range(1 - source, source), axis, strict=True))
    distance = np.vectorize(reach.__getitem__)
    table = table_of(source, lambda y, x: slopes[0] + slopes[1] * distance(y) + slopes[2] * distance(x))
    found = resize_table(table, target)
    if source == target:
        assert found is table
        return
    expected = table_of(
        target,
        lambda y, x: slopes[0] + slopes[1] * y.clip(axis[0], axis[-1]) + slopes[2] * x.clip(axis[0], axis[-1]),
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_the_axis_of_the_papers_tables_just_reaches():
    for source, target in [(27, 47), (27, 63), (13, 27)]:
        axis, ratio = _axis(source, target)
        assert 1.01 < ratio < 1.5
        assert axis[-1] == -axis[0] == pytest.approx(target // 2, rel=1e-5)
        distances = np.diff(axis[source // 2 :])
        np.testing.assert_allclose(distances[1:] / distances[:-1], ratio, rtol=1e-12)
        assert distances[0] == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_type_and_rows_of_the_cls_token_are_kept_and_heads_are_apart(dtype):
    table = torch.nn.Parameter(normal(732, 3, dtype=dtype))
    found = resize_table(table, 24)
    assert (found.dtype, found.shape, found.requires_grad) == (dtype, (2212, 3), False)
    assert torch.equal(found[-3:], table[-3:])
    assert torch.equal(resize_table(table[:, [2, 0]], 24), found[:, [2, 0]])
    plain = resize_table(table.float(), 24)
    assert torch.equal(found, plain.to(dtype)) or dtype == torch.float64
    torch.testing.assert_close(found.float(), plain, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (731, "the table has 731 rows, and must have (2g - 1)² + 3 for a grid of gxg patches, 732 for 14x14."),
        (19, "the table has 19 rows"),  # 4² + 3: offsets on a side are an odd number
        (3, "the table has 3 rows"),
        (2, "the table has 2 rows"),
        (12, "the table is of 2x2 patches, too few for cubic splines. Give one of 3x3 or more."),
    ],
)
def test_what_is_no_table_is_refused(rows, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        resize_table(torch.zeros(rows, 2), 5)


def cubic(distance, a=-0.75):
    """The weight that cubic convolution gives a sample so far away."""
    d = abs(distance)
    if d <= 1:
        return ((a + 2) * d - (a + 3)) * d * d + 1
    return a * (((d - 5) * d + 8) * d - 4) if d < 2 else 0.0


def interpolation(old, new):
    """The matrix (new, old) of bicubic interpolation along one side, by the factor (new + 0.1) / old."""
    matrix = np.zeros((new, old))
    for row in range(new):
        centre = (row + 0.5) * old / (new + 0.1) - 0.5
        for sample in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            matrix[row, min(max(sample, 0), old - 1)] += cubic(centre - sample)
    return torch.from_numpy(matrix)


@pytest.mark.parametrize(("old", "new"), [(14, 24), (14, 32), (14, 7), (5, 3), (1, 4)])
def test_positions_are_resized_bicubically_by_the_official_factor(old, new):
    table = normal(1, 1 + old**2, 6)
    found = resize_positions(table, new)
    along = interpolation(old, new)
    expected = torch.einsum("yi,xj,ijc->yxc", along, along, table[0, 1:].unflatten(0, (old, old)))
    torch.testing.assert_close(found[0, 1:], expected.flatten(0, 1), rtol=0, atol=1e-12)
    assert torch.equal(found[:, 0], table[:, 0])


@given(old=st.integers(1, 40), new=st.integers(1, 70))
@settings(max_examples=100, deadline=None)
def test_positions_fit_any_grid(old, new):
    table = torch.ones(1, 1 + old**2, 1)
    found = resize_positions(table, new)
    assert found is table if old == new else found.shape == (1, 1 + new**2, 1)
    torch.testing.assert_close(found, torch.ones_like(found))
    assert isqrt(found.shape[1] - 1) == new


def test_positions_pass_gradients_on_and_need_no_values():
    table = normal(1, 10, 2).requires_grad_()
    resize_positions(table, 5).sum().backward()
    assert table.grad.abs().min() > 0
    found = resize_positions(torch.empty(1, 197, 8, device="meta", dtype=torch.bfloat16), 24)
    assert (found.shape, found.dtype, found.is_meta) == ((1, 577, 8), torch.bfloat16, True)

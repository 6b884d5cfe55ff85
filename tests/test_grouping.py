"""Groupings of windows against lists stored from the released code, a plain table of subset sums, and brute force."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from models.greenmim import grouping
from models.greenmim.grouping import bound, cost, floor, gap, official, packed, partition, search, sweep
from models.greenmim.study import study
from models.greenmim.windows import coordinates, window_ids

GOLDENS = Path(__file__).parent / "goldens/greenmim"
LISTS = [one for one in json.loads((GOLDENS / "grouping.json").read_text())["lists"] if one["windows"]]
MASKED = [one for one in LISTS if "visible_cells" in one]
COUNTEREXAMPLES = json.loads((GOLDENS / "counterexamples.json").read_text())
CURVES = json.loads((GOLDENS / "groupsize_cost_100masks.json").read_text())
SWIN_B = (128, 256, 512, 1024)
RULES = {"official": lambda sizes, *_: official(sizes), "search": search, "packed": packed}
FUNCTIONS = RULES | {"gap": gap, "sweep": sweep, "floor": floor, "bound": bound}

windows = st.lists(st.integers(1, 12), min_size=1, max_size=10)
few_windows = st.lists(st.integers(1, 20), min_size=1, max_size=6)
channels = st.sampled_from([1, 8, 128])
linear = st.sampled_from([4, 12])
every_function = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
each = pytest.mark.parametrize("stored", LISTS, ids=lambda one: one["name"])


def price(found, channels, linear=4):
    return cost(len(found.groups), found.size, channels, linear)


def tuples(groups):
    return tuple(map(tuple, groups))


def sums(groups, sizes):
    return [sum(sizes[at] for at in group) for group in groups]


def check_holds(found, sizes):
    size, groups = found
    assert sorted(at for group in groups for at in group) == list(range(len(sizes)))
    assert all(list(group) == sorted(group) for group in groups)
    assert max(sums(groups, sizes)) <= size


def plain_partition(capacity, sizes):
    """By tables: best[i][c] is the largest sum up to c of the first i windows that are left."""
    left = list(range(len(sizes)))
    groups = []
    while left:
        best = [[0] * (capacity + 1)]
        for at in left:
            before, size = best[-1], sizes[at]
            best.append([max(total, before[c - size] + size if c >= size else 0) for c, total in enumerate(before)])
        room, target, group = capacity, best[-1][capacity], []
        for before, at in reversed(list(zip(best, left, strict=False))):
            if before[room] < target:
                group.insert(0, at)
                room, target = room - sizes[at], target - sizes[at]
        groups.append(tuple(group))
        left = [at for at in left if at not in group]
    return tuple(groups)


def every_grouping(sizes):
    """Totals of the groups, for every way to split the windows."""
    if not sizes:
        yield []
        return
    first, *others = sizes
    for totals in every_grouping(others):
        yield [first, *totals]
        for at, total in enumerate(totals):
            yield [*totals[:at], total + first, *totals[at + 1 :]]


@each
def test_official_equals_released_code(stored):
    found, code = official(stored["windows"]), stored["code"]
    assert found == (code["group_size"], tuples(code["groups"]))
    assert len(found.groups) == code["num_groups"]
    assert sums(found.groups, stored["windows"]) == code["elements_per_group"]
    assert price(found, stored["channels"]) == code["cost"]


@each
def test_sweep_equals_stored(stored):
    found = sweep(stored["windows"], stored["channels"])
    assert found.counts.tolist() == stored["search"]["num_groups"]
    assert found.sizes.tolist() == list(range(max(stored["windows"]), sum(stored["windows"]) + 1))


@each
def test_search_equals_stored(stored):
    found, best = search(stored["windows"], stored["channels"]), stored["search"]
    assert found == (best["best_group_size"], tuples(best["best_groups"]))
    assert len(found.groups) == best["best_num_groups"]
    assert sums(found.groups, stored["windows"]) == best["best_elements_per_group"]
    assert price(found, stored["channels"]) == best["best_cost"]


@each
def test_floor_equals_stored(stored):
    assert floor(stored["windows"], stored["channels"]) == stored["varlen_cost"]


@each
def test_packed_is_proven_best_on_stored_lists(stored):
    sizes, channels = stored["windows"], stored["channels"]
    found = packed(sizes, channels)
    check_holds(found, sizes)
    assert bound(sizes, channels) <= price(found, channels) <= stored["search"]["best_cost"]
    assert gap(sizes, channels) == 0


@pytest.mark.parametrize("stored", MASKED, ids=lambda one: one["name"])
def test_windows_of_masks_equal_stored(stored):
    factor = 8 >> stored["stage"] - 1
    side = stored["resolution"] // factor
    removed = np.ones(side**2, bool)
    removed[stored["visible_cells"]] = False
    coords = coordinates(removed.reshape(side, side), factor)
    _, counts = np.unique(window_ids(coords, stored["window_size"], stored["shift"]), return_counts=True)
    assert len(coords) == stored["num_tokens"]
    assert counts.tolist() == stored["windows"]
    assert official(counts) == official(stored["windows"])


@pytest.mark.parametrize("name", ["i224_w7_r0.75_seed0_s2_shift0", "i224_w14_r0.75_seed0_s1_shift0", "edge_ties"])
def test_partition_equals_table_over_a_whole_sweep(name):
    (sizes,) = [one["windows"] for one in LISTS if one["name"] == name]
    for capacity in range(max(sizes), sum(sizes) + 1):
        assert partition(capacity, sizes) == plain_partition(capacity, sizes)


def test_filling_one_by_one_takes_a_group_too_many():
    _, _, sizes, capacity, greedy, least = COUNTEREXAMPLES["fixed"]
    assert partition(capacity, sizes) == ((0, 1, 2), (3,), (4,), (5,))
    assert len(partition(capacity, sizes)) == greedy == 4
    assert least == 3
    assert sorted(sums(packed(sizes, 128).groups, sizes)) == [3, 3, 3]


@pytest.mark.parametrize(("channels", "sizes", "swept", "exact"), COUNTEREXAMPLES["overall"])
def test_packed_is_best_where_search_is_not(channels, sizes, swept, exact):
    found, best = search(sizes, channels), packed(sizes, channels)
    least, size, count, greedy = exact
    assert [price(found, channels), found.size, len(found.groups)] == swept
    assert (price(best, channels), best.size, len(best.groups)) == (least, size, count)
    assert len(partition(size, sizes)) == greedy
    assert gap(sizes, channels) == 0
    check_holds(best, sizes)


@pytest.mark.parametrize(("channels", "sizes", "swept", "exact"), COUNTEREXAMPLES["overall"])
def test_gap_tells_what_is_not_proven(channels, sizes, swept, exact, monkeypatch):
    monkeypatch.setattr(grouping, "NODES", 0)
    assert packed(sizes, channels) == search(sizes, channels)
    assert gap(sizes, channels) > 0
    assert swept[0] / (1 + gap(sizes, channels)) <= exact[0] * (1 + 1e-12)


@given(windows, st.integers(0, 30))
def test_partition_equals_table(sizes, room):
    assert partition(max(sizes) + room, sizes) == plain_partition(max(sizes) + room, sizes)


@given(windows, st.integers(0, 30))
def test_partition_holds_every_window_once(sizes, room):
    capacity = max(sizes) + room
    check_holds(grouping.Grouping(capacity, partition(capacity, sizes)), sizes)


@given(windows, st.integers(0, 30))
def test_first_group_is_the_fullest(sizes, room):
    capacity, totals = max(sizes) + room, {0}
    for size in sizes:
        totals |= {total + size for total in totals}
    assert sums(partition(capacity, sizes), sizes)[0] == max(total for total in totals if total <= capacity)


@given(windows, st.integers(0, 30), st.integers(1, 5), st.data())
def test_partition_of_multiples_ignores_a_remainder(sizes, room, unit, data):
    capacity = max(sizes) + room
    remainder = data.draw(st.integers(0, unit - 1))
    assert partition(capacity * unit + remainder, [unit * size for size in sizes]) == partition(capacity, sizes)


@given(windows, st.integers(1, 3), channels, linear)
def test_sweep_counts_partitions(sizes, unit, channels, linear):
    sizes = [unit * size for size in sizes]
    found = sweep(sizes, channels, linear)
    counts = [len(partition(size, sizes)) for size in found.sizes.tolist()]
    assert found.counts.tolist() == counts
    assert found.costs.tolist() == [
        cost(n, size, channels, linear) for n, size in zip(counts, found.sizes.tolist(), strict=True)
    ]


@given(windows, st.integers(1, 3), channels, linear)
def test_search_is_the_first_cheapest_of_the_sweep(sizes, unit, channels, linear):
    sizes = [unit * size for size in sizes]
    found = sweep(sizes, channels, linear)
    size = found.sizes[found.costs.argmin()].item()
    assert search(sizes, channels, linear) == (size, partition(size, sizes))


@pytest.mark.parametrize(("channels", "sizes", "size"), [(1, [4, 2], 4), (2, [4, 3, 5, 3], 5), (1, [8, 7, 3], 8)])
def test_search_takes_the_smallest_of_equal_cost(channels, sizes, size):
    found = sweep(sizes, channels)
    assert (found.costs == found.costs.min()).sum() == 2
    assert search(sizes, channels).size == size


@given(windows, channels, linear)
def test_better_rules_never_cost_more(sizes, channels, linear):
    costs = [price(rule(sizes, channels, linear), channels, linear) for rule in RULES.values()]
    least = bound(sizes, channels, linear)
    assert costs == sorted(costs, reverse=True)
    assert floor(sizes, channels, linear) <= costs[-1]
    assert least <= costs[-1]
    assert least == min(
        cost(math.ceil(sum(sizes) / size), size, channels, linear) for size in range(max(sizes), sum(sizes) + 1)
    )


@given(few_windows, channels, linear)
def test_packed_equals_brute_force(sizes, channels, linear):
    found = packed(sizes, channels, linear)
    check_holds(found, sizes)
    assert gap(sizes, channels, linear) == 0
    assert price(found, channels, linear) == min(
        cost(len(totals), max(totals), channels, linear) for totals in every_grouping(sizes)
    )
    assert len(found.groups) == min(len(totals) for totals in every_grouping(sizes) if max(totals) <= found.size)


@given(st.lists(st.integers(1, 14), min_size=2, max_size=8), st.integers(0, 12))
@example([12, 11, 7, 7, 4, 1, 1], 8)
@example([14, 13, 8, 4, 2, 1], 6)
@example([10, 7, 7, 1, 1], 4)
@example([6, 6, 6, 6, 3, 1], 2)
def test_pack_finds_a_packing_where_there_is_one(sizes, room):
    capacity = max(sizes) + room
    assume(sum(sizes) > capacity)
    fewest = min(len(totals) for totals in every_grouping(sizes) if max(totals) <= capacity)
    descending = tuple(sorted(sizes, reverse=True))
    assert math.ceil(sum(sizes) / capacity) <= grouping._least_count(capacity, sizes) <= fewest
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "_least_count", lambda capacity, sizes: 0)  # the search has to find it out by itself
        assert grouping._pack(capacity, fewest - 1, descending) is None
    groups = grouping._pack(capacity, fewest, descending)
    assert len(groups) == fewest
    assert max(map(sum, groups)) <= capacity
    assert sorted(size for group in groups for size in group) == sorted(sizes)


@given(windows, channels, st.randoms())
def test_order_of_windows_does_not_matter(sizes, channels, random):
    shuffled = random.sample(sizes, len(sizes))
    assert official(shuffled).size == official(sizes).size
    assert floor(shuffled, channels) == floor(sizes, channels)
    assert bound(shuffled, channels) == bound(sizes, channels)
    assert price(packed(shuffled, channels), channels) == price(packed(sizes, channels), channels)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_many_windows_are_grouped(rule):
    """More than Python nests calls."""
    sizes = [3, 2] * 700
    found = rule(sizes, 128)
    check_holds(found, sizes)
    assert price(found, 128) <= cost(1400, 3, 128)


@pytest.mark.parametrize("size", [0, -1, True, False, 7.0, 1.5, float("nan"), None, "7", np.True_, np.float32(2)])
@every_function
def test_size_that_is_no_number_of_tokens_raises(function, size):
    with pytest.raises(ValueError, match=r"a window's size is a whole number of tokens, at least 1, got "):
        function([3, size, 2], 8)


@pytest.mark.parametrize("capacity", [0, -1, True, 7.0, None])
def test_capacity_that_is_no_number_of_tokens_raises(capacity):
    with pytest.raises(ValueError, match=r"a group's capacity is a whole number of tokens, at least 1, got "):
        partition(capacity, [1])


@pytest.mark.parametrize("sizes", [[0], [0, 0, 0], [4, 0]])
def test_empty_windows_raise_instead_of_filling_for_ever(sizes):
    with pytest.raises(ValueError, match=r"a window's size is .* got 0"):
        partition(4, sizes)


def test_window_above_the_capacity_raises_instead_of_filling_for_ever():
    with pytest.raises(ValueError, match="a group's capacity is 4 tokens, got a window of 5; it has to fit"):
        partition(4, [1, 5, 2])


def test_no_windows_make_no_groups():
    assert partition(4, []) == ()


@every_function
def test_no_windows_raise(function):
    with pytest.raises(ValueError, match="sizes of windows: got none"):
        function([], 8)


def test_numpy_integers_are_sizes():
    assert partition(np.int64(4), np.array([3, 1, 4])) == ((0, 1), (2,))
    assert official(np.array([3, 1, 4], np.uint8)) == (4, ((0, 1), (2,)))
    assert all(type(at) is int for group in packed(np.array([3, 1, 4]), 8).groups for at in group)


@pytest.mark.parametrize("window", [7, 14])
def test_study_equals_stored_curves(window):
    curves = study(side=7, keep=12, window=window, widths=SWIN_B, shifts=True)["curves"]
    assert {f"w{window}_stage{one['stage']}_shift{one['shift']}" for one in curves} == {
        name for name in CURVES if name.startswith(f"w{window}_")
    }
    for one in curves:
        stored = CURVES[f"w{window}_stage{one['stage']}_shift{one['shift']}"]
        assert (one["channels"], one["sizes"]) == (stored["channels"], stored["g"])
        assert_allclose(one["mean"], stored["mean"], rtol=1e-14)
        assert_allclose(one["deviation"], stored["std"], rtol=1e-9)
        assert one["search"]["chosen"] == stored["best_g"]
        assert one["official"]["size"] == pytest.approx(stored["code_g_mean"], rel=1e-14)


@pytest.fixture(scope="module")
def small_study():
    return study(side=7, keep=12, window=7, widths=(96, 192, 384, 768), shifts=True, masks=3)


def test_study_is_plain_json(small_study):
    assert json.loads(json.dumps(small_study)) == small_study


def test_study_says_where_the_released_code_groups(small_study):
    modes = {(one["stage"], one["shift"]): one["mode"] for one in small_study["curves"]}
    assert [key for key, mode in modes.items() if mode == "grouping"] == [(1, 0), (1, 3), (2, 0), (2, 3)]
    assert [key for key, mode in modes.items() if mode == "masking"] == [(3, 0), (3, 3), (4, 0)]
    assert [one["tokens"] for one in small_study["curves"]] == [768, 768, 192, 192, 48, 48, 12]


@pytest.mark.parametrize(("keep", "mode"), [(24, "masking"), (25, "grouping")])
def test_study_groups_above_two_windows_of_tokens(keep, mode):
    curves = study(side=7, keep=keep, window=7, widths=SWIN_B, shifts=False, masks=1)["curves"]
    assert (curves[2]["tokens"], curves[2]["mode"]) == (4 * keep, mode)  # 2 windows of 7 x 7 have 98


def test_study_prices_each_rule(small_study):
    for one in small_study["curves"]:
        costs = [one[name]["cost"] for name in RULES] + [one["floor"]]
        assert costs == sorted(costs, reverse=True)
        assert one["search"]["cost"] <= min(one["mean"])
        for name in RULES:
            assert one[name]["size"] == np.mean(one[name]["chosen"])


def test_study_of_one_mask_equals_stored_lists():
    found = study(side=7, keep=12, window=7, widths=SWIN_B, shifts=False, masks=1)  # mask 0 is the stored seed 0
    for one in found["curves"]:
        (stored,) = [s for s in LISTS if s["name"] == f"i224_w7_r0.75_seed0_s{one['stage']}_shift{one['shift']}"]
        sizes, channels = stored["windows"], stored["channels"]
        assert one["mode"] == stored["official_mode"]
        assert one["floor"] == stored["varlen_cost"]
        assert one["deviation"] == [0] * len(one["sizes"])
        for name, rule in RULES.items():
            groups = rule(sizes, channels)
            assert (one[name]["size"], one[name]["cost"]) == (groups.size, price(groups, channels))
            rows = groups.size * len(groups.groups)
            assert one[name]["padding"] == pytest.approx((rows - sum(sizes)) / rows, abs=1e-15)


def test_study_without_shifts(small_study):
    plain = study(side=7, keep=12, window=7, widths=(96, 192, 384, 768), shifts=False, masks=3)
    for part in ("curves", "example"):
        assert plain[part] == [one for one in small_study[part] if one["shift"] == 0]


def test_example_shows_the_official_groups(small_study):
    assert [(one["stage"], one["shift"]) for one in small_study["example"]] == [(1, 0), (1, 3), (2, 0), (2, 3)]
    for one in small_study["example"]:
        seen = 1 - np.array(one["removed"]).reshape(7, 7).repeat(one["side"] // 7, 0).repeat(one["side"] // 7, 1)
        groups = {}
        for index, window in enumerate(one["windows"]):
            row, column, height, width = (window[word] for word in ("row", "column", "height", "width"))
            assert 0 < height <= 7
            assert 0 < width <= 7
            part = seen[row : row + height, column : column + width]
            assert part.shape == (height, width)
            assert part.sum() == window["tokens"] > 0
            groups.setdefault(window["group"], []).append(index)
            part[:] = 0  # no other window has these
        assert not seen.any()
        found = official([window["tokens"] for window in one["windows"]])
        assert found == (one["size"], tuples(group for _, group in sorted(groups.items())))


@pytest.mark.parametrize("words", [dict(keep=0), dict(keep=50), dict(masks=0), dict(widths=(96, 192, 384))])
def test_study_out_of_range_raises(words):
    with pytest.raises(ValueError, match=next(iter(words))):
        study(**dict(side=7, keep=12, window=7, widths=SWIN_B, shifts=True) | words)

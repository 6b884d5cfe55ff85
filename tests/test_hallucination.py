"""Hallucination of heads: known answers, F.conv2d and dense least squares as oracle, and what cannot be fitted."""

import json
import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models import register_model
from torch import nn

from bench import photographs
from bench.attention import Seen, capture, observe
from bench.build import Case
from bench.hallucination import LEVELS, Halves, choices, explained, features, fit, has_mask, moments, products
from bench.metrics import all_metrics
from bench.protocol import preset
from bench.record import Record
from bench.spec import Spec
from reports.attention import hallucination, numbers
from reports.figures import pictures
from reports.format import number
from reports.frame import to_frame
from tests.blocks import Blocks

PROTOCOL = preset("quick", 1)
GRID = (4, 5)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filtered(logits, kernels, prefix):
    """IHH of logits (heads, rows, keys) as hMHSA does it: (heads, 1, 3, 3) on the keys' grid, the prefix unchanged."""
    on_grid = logits[..., prefix:].unflatten(-1, GRID)
    done = F.conv2d(on_grid.transpose(0, 1), kernels, padding=1, groups=len(kernels)).transpose(0, 1)
    return torch.cat([logits[..., :prefix], done.flatten(-2)], dim=-1)


def hallucinated(heads=6, rows=30, prefix=1, seed=0):
    """Logits (1, heads, rows, keys) whose second half is IHH and CHH of the first, with both."""
    real = drawn(heads // 2, rows, prefix + math.prod(GRID), seed=seed) + 3
    kernels, chh = drawn(heads // 2, 1, 3, 3, seed=seed + 1), drawn(heads // 2, heads // 2, seed=seed + 2)
    others = torch.einsum("ji,inm->jnm", chh, filtered(real, kernels, prefix))
    others = others + drawn(heads // 2, rows, 1, seed=seed + 3)  # a constant a row, which softmax ignores
    return torch.cat([real, others])[None], kernels, chh


def share(logits, computed, level, grid=GRID):
    return explained([products(logits, grid)], [computed])[0][level].item()


@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_hallucinated_heads_are_explained_and_their_kernels_found(prefix):
    logits, kernels, chh = hallucinated(prefix=prefix)
    halves = Halves.of(products(logits, GRID), [(0, 1, 2), (0, 2, 4)])
    fitted = fit(halves)["ihh_chh"][0].reshape(3, 10, 3)  # of the first choice: (computed, features, hallucinated)
    assert share(logits, (0, 1, 2), "ihh_chh") == pytest.approx(1, abs=1e-9)
    assert share(logits, (0, 1, 2), "chh") < 0.9
    expected = kernels.reshape(3, 9, 1) * chh.T[:, None]
    torch.testing.assert_close(fitted[:, :9], expected, rtol=1e-6, atol=1e-6)
    if prefix:
        torch.testing.assert_close(fitted[:, 9], chh.T, rtol=1e-6, atol=1e-6)
    assert share(logits, (0, 2, 4), "ihh_chh") < 0.999


@pytest.mark.parametrize("level", ["chh", "free"])
def test_the_products_hold_the_dense_least_squares(level):
    prefix, rows = 2, 40
    logits = drawn(5, rows, prefix + math.prod(GRID)).cumsum(dim=0) + 5
    computed, others = (0, 2, 3), (1, 4)
    one_hot = torch.eye(9, dtype=torch.float64).reshape(9, 1, 3, 3)
    columns = []
    for head in computed:
        if level == "chh":
            columns.append(logits[head])
            continue
        shifted = [filtered(logits[head][None], kernel[None], prefix)[0] for kernel in one_hot]
        columns += [torch.cat([torch.zeros(rows, prefix), one[:, prefix:]], dim=-1) for one in shifted]
        columns.append(torch.cat([logits[head, :, :prefix], torch.zeros(rows, math.prod(GRID))], dim=-1))
    given_, wanted = (
        torch.stack([one - one.mean(dim=-1, keepdim=True) for one in many]).flatten(1).T
        for many in (columns, [logits[head] for head in others])
    )
    left = wanted - given_ @ torch.linalg.lstsq(given_, wanted, driver="gelsd").solution
    expected = 1 - left.square().sum() / wanted.square().sum()
    assert share(logits[None], computed, level) == pytest.approx(expected.item(), abs=1e-10)


def test_features_are_shifts_of_the_grid_and_the_rest():
    logits = drawn(2, 3, 2 + math.prod(GRID))
    found = features(logits, GRID)
    assert found.shape == (2, 10, 3, 22)
    whole = logits - logits.mean(dim=-1, keepdim=True)
    torch.testing.assert_close(found[:, 4] + found[:, 9], whole)
    with pytest.raises(ValueError, match="22 keys do not fill a grid of 5 x 5"):
        features(logits, (5, 5))


def test_products_add_up_over_windows_rows_and_images(monkeypatch):
    logits = drawn(3, 2, 7, 20)
    whole = products(logits, GRID)
    torch.testing.assert_close(whole, sum(products(one[None], GRID) for one in logits))
    monkeypatch.setattr("bench.hallucination._CHUNK", 1)  # a row at a time
    torch.testing.assert_close(whole, products(logits, GRID))


@settings(deadline=None)
@given(st.integers(2, 5), st.integers(1, 3), st.integers(0, 2), st.integers(0, 99), st.integers(0, 2))
def test_a_richer_level_explains_no_less_of_what_it_was_fitted_to(heads, windows, prefix, seed, like):
    logits = drawn(windows, heads, 4, prefix + math.prod(GRID), seed=seed)
    logits[:, -1] = logits[:, 0] * like  # equal heads, and constant ones
    computed = choices(heads, 6)
    inside = explained([products(logits, GRID)], computed)[1]
    for poorer, richer in pairwise(LEVELS):
        for less, more in zip(inside[poorer].tolist(), inside[richer].tolist(), strict=True):
            assert more >= less - 1e-9 or (math.isnan(more) and math.isnan(less))
            assert math.isnan(more) or more <= 1 + 1e-12


def test_alternation_ends_where_neither_kernels_nor_mix_can_gain_and_alone_as_together():
    computed = choices(6, 20)
    total = products(drawn(1, 6, 8, 21).cumsum(dim=1), GRID)
    halves = Halves.of(total, computed)
    before, one_step, missed = (halves.missed(fit(halves, steps)["ihh_chh"]) for steps in (0, 1, 20))
    assert (missed < one_step).all()
    assert (one_step < before).all()
    alone = [fit(Halves.of(total, [one]))["ihh_chh"][0] for one in computed]
    torch.testing.assert_close(fit(halves)["ihh_chh"], torch.stack(alone))

    far = fit(halves, steps=1000, gain=0)["ihh_chh"].unflatten(1, (3, 10))  # (choices, r, 10, g), of rank 1
    left, middle, right = torch.linalg.svd(far, full_matrices=False)
    assert middle[..., 1].max() < 1e-9
    parts = [left[..., 0].requires_grad_(), (middle[..., :1] * right[..., 0, :]).requires_grad_()]
    error = halves.missed((parts[0][..., None] * parts[1][..., None, :]).flatten(1, 2)) / halves.variance
    for slope in torch.autograd.grad(error.sum(), parts):
        assert slope.abs().max() < 1e-3


def test_what_the_fit_has_not_seen_is_explained_less():
    folds = [products(drawn(1, 4, 6, 21, seed=seed), GRID) for seed in range(3)]
    held_out, inside = explained(folds, choices(4, 6))
    for level in LEVELS[1:]:
        assert (held_out[level] < 0).all()
        assert (inside[level] > 0).all()
    assert torch.equal(*(explained(folds[:1], choices(4, 6))[side]["free"] for side in (0, 1)))
    same = explained([folds[0]] * 3, choices(4, 6))
    torch.testing.assert_close(same[0]["ihh_chh"], same[1]["ihh_chh"])


def test_independent_heads_explain_nothing():
    folds = [products(drawn(1, 6, 400, 20, seed=seed), GRID) for seed in range(3)]
    held_out, _ = explained(folds, choices(6, 20))
    for level in LEVELS[1:]:
        assert held_out[level].abs().max() < 0.01
    assert held_out["copy"].numpy() == pytest.approx(-1, abs=0.1)


def test_equal_heads_explain_all():
    one = drawn(1, 2, 10, 20)
    logits = torch.cat([one, one * torch.tensor([1.0, -2.0]).view(1, 2, 1, 1)], dim=1)
    assert share(logits, (0, 1), "chh") == pytest.approx(1, abs=1e-9)
    assert share(logits, (0, 1), "copy") == pytest.approx(1 - 9 / 4 * share_of_second(logits), abs=1e-9)
    assert share(logits, (0, 2), "chh") < 0.5


def share_of_second(logits):
    """Of the variance of heads 2 and 3, that of head 3."""
    both = (logits - logits.mean(dim=-1, keepdim=True))[0, 2:].square().sum(dim=(1, 2))
    return (both[1] / both.sum()).item()


def test_choices_are_all_or_the_same_few_with_the_papers_first():
    assert choices(2, 20) == [(0,), (1,)]
    assert choices(3, 20) == [(0, 1), (0, 2), (1, 2)]  # an odd head more is computed
    assert len(choices(6, 20)) == len(set(choices(6, 20))) == 20
    some = choices(12, 20)
    assert some == choices(12, 20)
    assert some[0] == (0, 1, 2, 3, 4, 5)
    assert len(set(some)) == 20
    assert all(len(set(one)) == 6 and max(one) < 12 and list(one) == sorted(one) for one in some)


def test_a_mask_is_what_all_heads_are_far_below_in():
    logits = 5 * drawn(3, 2, 4, 20)
    logits[0, 0, 0, 0] = -200  # of one head: it was trained so
    logits[1, :, 2, 3] -= 300
    assert has_mask(logits).tolist() == [False, True, False]
    logits[2, :, 0, 5] = -math.inf
    assert has_mask(logits).tolist() == [False, True, True]
    logits[0, 0, 0, 0] = -math.inf  # of one head, but no number
    assert has_mask(logits).tolist() == [True, True, True]


def test_a_window_with_a_mask_adds_nothing():
    logits = drawn(3, 2, 16, 16)
    logits[1, :, 2, 3] = -300
    found = moments(seen(logits))
    assert (found.windows, found.masked) == (3, 1)
    torch.testing.assert_close(found.products, products(logits[[0, 2]], (4, 4)))


def test_a_head_that_is_constant_but_for_rounding_counts_for_nothing():
    logits = drawn(2, 3, 16, 16)
    logits[:, 1] = 100 + 1e-6 * logits[:, 1]
    found = moments(seen(logits)).products
    assert not found[10:20].any()
    assert not found[:, 10:20].any()
    assert found[:10, 20:].any()


def seen(logits):
    return Seen("block", "block", logits.softmax(dim=-1), torch.tensor(0), logits, (32, 32), {16})


def test_threads_are_as_before_after_a_fit():
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        explained([products(drawn(1, 2, 6, 20), GRID)], [(0,)])
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


class Attention(nn.Module):
    """Attention of tokens (1, N, 16) to themselves; `kind` says what happens on the way to the drop."""

    def __init__(self, num_heads=4, kind="plain"):
        super().__init__()
        self.num_heads, self.kind = num_heads, kind
        self.qk = nn.Linear(16, 32)
        self.attn_drop = nn.Dropout(0.0)

    def forward(self, x):
        q, k = self.qk(x).unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        logits = q @ k.transpose(-2, -1)
        if self.kind == "constant":
            logits = logits * 0 + 0.1
        if self.kind == "masked":
            logits = logits.masked_fill(torch.ones(logits.shape[-2:]).triu(1) > 0, -math.inf)
        if self.kind == "three axes":
            logits = logits.squeeze(0)
        p = logits.softmax(dim=-1)
        if self.kind == "reversed":  # a map, but not that of these logits
            p = p.flip(-1)
        return (self.attn_drop(p) @ x.unsqueeze(1)).mean(dim=1)


IMAGE = drawn(1, 3, 32, 32).float()


def test_logits_are_those_of_the_map_and_only_where_asked_for():
    [alone] = observe(
        Blocks(Attention(kind="three axes"), width=16), IMAGE, "a model", lambda seen: (seen.p, seen.logits), True
    )
    assert alone[1].shape == (1, 4, 16, 16)
    torch.testing.assert_close(alone[1].softmax(dim=-1), alone[0])
    model = Blocks(Attention(), Attention(kind="reversed"), width=16)
    first, second = observe(model, IMAGE, "a model", lambda seen: (seen.p, seen.logits), logits=True)
    torch.testing.assert_close(first[1].softmax(dim=-1), first[0])
    assert second[1] == "the map is not the output of the last softmax before it"
    assert observe(model, IMAGE, "a model", lambda seen: seen.logits) == [None, None]
    found = observe(model, IMAGE, "a model", moments, logits=True)
    assert [(one.label, one.why) for one in found] == [("blocks.0", ""), ("blocks.1", second[1])]
    assert len(capture(model, IMAGE, "a model")) == 2


def test_keys_lie_on_the_images_grid_row_by_row():
    wide = drawn(1, 3, 32, 64).float()
    [(logits, found)] = observe(
        Blocks(Attention(), width=16), wide, "a model", lambda seen: (seen.logits, moments(seen)), True
    )
    torch.testing.assert_close(found.products, products(logits, (4, 8)))
    assert not torch.allclose(found.products, products(logits, (8, 4)))


def measure(model, **axes):
    value = all_metrics()["hallucination"].measure(Case(Spec(model, **axes), PROTOCOL))
    assert json.loads(json.dumps(value.details, allow_nan=False)) == value.details
    return value


@register_model
def vitbench_hallucination(pretrained=False, img_size=32, heads=4, kind="plain", **kwargs):
    return Blocks(Attention(heads, kind), Attention(1), width=16)


def test_a_users_model_has_a_value_with_what_it_is_made_of(two_images):
    value = measure("vitbench_hallucination", size=(32, 32))
    assert value.status == "ok"
    assert "random weights (seed 0)" in value.note
    assert "without 1 map (one head): blocks.1" in value.note
    block, alone = value.details["blocks"]
    assert value.value == value.details["levels"]["ihh_chh"] == block["median"]["ihh_chh"]
    assert (block["heads"], block["folds"], len(block["choices"])) == (4, 2, 6)
    assert block["paper"]["computed"] == [0, 1]
    assert block["worst"]["ihh_chh"] == min(block["choices"]) <= value.value <= max(block["choices"])
    assert block["best"]["ihh_chh"] == max(block["choices"])
    assert value.details["in_sample"] == block["in_sample"] > value.value
    assert (alone["why"], "median" in alone) == ("one head", False)


def test_one_image_explains_itself_and_says_so(monkeypatch):
    every = photographs.load
    monkeypatch.setattr(photographs, "load", lambda *args: (pair for pair, _ in zip(every(*args), "1", strict=False)))
    value = measure("vitbench_hallucination", size=(32, 32))
    assert "fitted to the one image that it explains" in value.note
    assert value.details["held_out"] is False
    assert value.value == value.details["in_sample"]


def test_many_images_are_folded(monkeypatch):
    images = [(str(seed), drawn(3, 32, 32, seed=seed).float()) for seed in range(10)]
    monkeypatch.setattr(photographs, "load", lambda *args: iter(images))
    [block, _] = measure("vitbench_hallucination", size=(32, 32)).details["blocks"]
    assert (block["folds"], block["windows"]) == (8, 10)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"kind": "constant"}, "its logits are constant; one head"),
        ({"kind": "masked"}, "a mask hides some of its keys; one head"),
        ({"kind": "reversed"}, "the map is not the output of the last softmax before it; one head"),
        ({"heads": 1}, "one head"),
    ],
)
def test_what_cannot_be_fitted_is_skipped_with_its_reason(arguments, reason, two_images):
    value = measure("vitbench_hallucination", size=(32, 32), model_args=arguments)
    assert (value.status, value.note) == ("skipped", f"no attention map can be fitted: {reason}")


def test_windows_with_a_mask_and_reduced_keys_are_handled(two_images):
    swin = measure("swin_tiny_patch4_window7_224")
    assert swin.status == "ok"
    masked = {block["name"]: (block["masked"], block["windows"]) for block in swin.details["blocks"]}
    assert masked["layers.0.blocks.0.attn"] == (0, 128)
    assert masked["layers.0.blocks.1.attn"] == (2 * 15, 128)  # the last row and column of 8 x 8 windows
    assert masked["layers.3.blocks.1.attn"] == (0, 2)
    assert "windows, which have a mask" in swin.note
    reduced = measure("pvt_v2_b1")
    assert [block["why"] for block in reduced.details["blocks"]] == ["one head"] * 2 + [""] * 6
    assert [block["heads"] for block in reduced.details["blocks"]] == [1, 1, 2, 2, 5, 5, 8, 8]


def test_an_odd_number_of_heads_computes_the_larger_half(two_images):
    value = measure("deit_tiny_patch16_224")
    assert all(block["paper"]["computed"] == [0, 1] for block in value.details["blocks"])
    assert all(len(block["choices"]) == 3 for block in value.details["blocks"])


@pytest.mark.parametrize("precision", ["bfloat16", "amp_bfloat16"])
def test_half_precision_changes_little(precision, two_images):
    whole, half = (measure("test_vit", size=(160, 160), precision=one) for one in ("float32", precision))
    assert half.value == pytest.approx(whole.value, abs=0.05)


def test_the_report_shows_it_by_block_and_says_where_it_comes_from(environment, two_images):
    value = measure("vitbench_hallucination", size=(32, 32))
    spec = Spec("vitbench_hallucination", size=(32, 32))
    frame = to_frame([Record(spec, PROTOCOL, environment, (value,), "2026-11-21T05:10:00+00:00")])
    [row] = hallucination(frame).to_dict("records")
    assert (row["weights"], row["blocks"], row["held out"]) == (value.details["weights"], "1 of 2", "yes")
    assert row["IHH + CHH"] == number(value.value, 3)
    table = numbers(frame)
    assert list(zip(table["of"], table["name"], strict=True)) == [
        ("block", "blocks.0"),
        *(("level", f"blocks.0 {level}") for level in LEVELS),
        *(("choice", f"blocks.0 choice {choice}") for choice in range(1, 7)),
        ("block", "blocks.1"),
    ]
    block = value.details["blocks"][0]
    assert table["value"].tolist()[:-1] == [value.value, *block["median"].values(), *block["choices"]]
    assert math.isnan(table["value"].iloc[-1])
    [picture] = [one for one in pictures(frame) if one.name == "hallucination_blocks"]
    axes = picture.figure.axes[0]
    assert axes.lines[0].get_ydata().tolist() == [value.value, pytest.approx(math.nan, nan_ok=True)]
    assert len(axes.collections[0].get_offsets()) == 6
    assert picture.caption.startswith("**Random weights**")

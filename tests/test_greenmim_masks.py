"""Masks of GreenMIM and SimMIM: what is drawn, what is taken, what is refused; and what a plan is."""

import re

import numpy as np
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._pytree import tree_leaves

from models.greenmim import grouping
from models.greenmim.study import random_removed
from models.greenmim.windows import coordinates, window_ids
from tests.detfill import fill, image

CPU = {"device": "cpu", "dtype": torch.float32}
TWINS = {"embed_dim": 32, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8), "decoder": (64, 4)}
BOTH = ["greenmim_swin_micro", "simmim_swin_micro"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def on_meta(name, **words):
    with torch.device("meta"):
        return timm.create_model(name, **words)


@pytest.fixture(scope="module")
def green():
    return fill(timm.create_model("greenmim_swin_micro").double().eval())


def random_mask(seed, visible=12, length=49):
    return torch.from_numpy(np.random.default_rng(seed).permutation(length) >= visible)


# Drawn.


@pytest.mark.parametrize(
    ("side", "ratio", "keep"), [(7, 0.75, 12), (6, 0.75, 9), (7, 0.5, 24), (7, 0.6, 19), (7, 0.85, 7)]
)
def test_greenmim_keeps_the_share_rounded_down(side, ratio, keep):
    model = on_meta("greenmim_swin_micro", img_size=32 * side, mask_ratio=ratio)
    mask = model.sample_inputs(3, seeded(), **CPU)["mask"]
    assert mask.shape == (side**2,)
    assert (~mask).sum() == keep == model.keep


@pytest.mark.parametrize(
    ("side", "ratio", "removed"), [(6, 0.6, 22), (7, 0.6, 30), (7, 0.5, 25), (6, 0, 0), (6, 0.5, 18)]
)
def test_simmim_removes_the_share_rounded_up(side, ratio, removed):
    model = on_meta("simmim_swin_micro", img_size=32 * side, mask_ratio=ratio)
    mask = model.sample_inputs(3, seeded(), **CPU)["mask"]
    assert mask.shape == (3, side**2)
    assert (mask.sum(dim=1) == removed).all()


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("per_image", [False, True])
def test_masks_are_random_and_one_each_image_if_asked_for(name, per_image):
    model = on_meta(name, per_image=per_image)
    masks = [model.sample_inputs(4, seeded(seed), **CPU)["mask"] for seed in range(300)]
    assert masks[0].shape == ((4, 49) if per_image else (49,))
    share = torch.stack(masks).double().flatten(0, -2).mean(dim=0)  # of the times that a cell is removed
    assert share.std() < 0.05
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == 300
    if per_image:
        assert all(len(mask.unique(dim=0)) > 1 for mask in masks)


def test_batches_of_any_size_have_the_same_mask():
    model = on_meta("greenmim_swin_micro")
    masks = [model.sample_inputs(batch, seeded(), **CPU)["mask"] for batch in (1, 8)]
    assert torch.equal(*masks)


def test_official_alignment_draws_the_order_of_the_noise():
    inputs = on_meta("greenmim_swin_micro", official_alignment=True).sample_inputs(2, seeded(), **CPU)
    ids_restore, mask = inputs["ids_restore"], inputs["mask"]
    assert sorted(ids_restore.tolist()) == list(range(49))
    assert ((ids_restore >= 12) == mask).all()
    assert ids_restore[~mask].tolist() != list(range(12))


def test_images_are_standard_normal_of_the_asked_type():
    images = on_meta("greenmim_swin_micro", in_chans=2).sample_inputs(2, seeded(), "cpu", torch.float64)["images"]
    assert images.shape == (2, 2, 224, 224)
    assert images.dtype == torch.float64
    assert images.mean().item() == pytest.approx(0, abs=0.02)
    assert images.std().item() == pytest.approx(1, abs=0.02)


# Taken.


@pytest.mark.parametrize("words", [{}, {"impl": "window"}, {"grouping": "search"}, {"grouping": "packed"}])
@pytest.mark.parametrize("name", ["greenmim_swin_micro", "greenmim_twins_large"])
@pytest.mark.parametrize("visible", [3, 12, 24])  # 3: the first stage isn't grouped at all; 24: the third is
def test_a_mask_each_image_is_each_image_alone(name, words, visible):
    model = fill(timm.create_model(name, **words, **(TWINS if "twins" in name else {})).double().eval())
    images, masks = image(3), torch.stack([random_mask(seed, visible) for seed in range(3)])
    with torch.no_grad():
        out = model(images, masks)
        alone = [model(one[None], mask) for one, mask in zip(images, masks, strict=True)]
    for key in ("features", "prediction"):
        torch.testing.assert_close(out[key], torch.cat([one[key] for one in alone]), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(out["loss"], torch.stack([one["loss"] for one in alone]).mean(), rtol=1e-9, atol=1e-9)


def test_a_mask_repeated_for_each_image_is_one_for_all(green):
    images, mask = image(3), random_mask(0)
    with torch.no_grad():
        found = [
            green(images, one) for one in (mask, mask.view(7, 7), mask.repeat(3, 1), mask.repeat(3, 1).view(3, 7, 7))
        ]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-9, atol=1e-9)


def test_removed_pixels_are_not_seen(green):
    mask = random_mask(0)
    images = image()
    hidden = mask.view(7, 7).repeat_interleave(32, 0).repeat_interleave(32, 1)
    with torch.no_grad():
        out = green.forward_features(images, mask)
        assert torch.equal(green.forward_features(images.masked_fill(hidden, 100.0), mask), out)
        assert not torch.equal(green.forward_features(images.masked_fill(~hidden, 100.0), mask), out)


def test_simmim_sees_no_removed_pixels_and_scores_no_others():
    model = fill(timm.create_model("simmim_swin_micro").double().eval())
    images, masks = image(), torch.stack([random_mask(0), random_mask(1)])
    hidden = masks.view(2, 1, 7, 7).repeat_interleave(32, 2).repeat_interleave(32, 3)
    with torch.no_grad():
        out = model(images, masks)
        assert torch.equal(model(images.masked_fill(hidden, 100.0), masks)["prediction"], out["prediction"])
        errors = (images - out["prediction"]).abs()[hidden.expand(-1, 3, -1, -1)]
        assert out["loss"].item() == pytest.approx(errors.mean().item(), rel=1e-8)
        assert model(images)["loss"].item() == 0


@given(seed=st.integers(0, 2**32 - 1), visible=st.integers(1, 49), impl=st.sampled_from(["reference", "window"]))
def test_any_mask_has_a_plan_that_places_every_token_once(seed, visible, impl):
    masks = torch.stack([random_mask(seed, visible), random_mask(seed + 1, visible)])
    encoder = MODELS[impl].encoder
    plan = encoder.plan(masks.view(2, 7, 7).numpy())
    for stage, factor in zip(plan["stages"], (8, 4, 2, 1), strict=True):
        tokens = 2 * visible * factor**2
        for layout in stage["layouts"]:
            if layout["order"] is None:
                assert layout["windows"].shape == (2, visible * factor**2)
                continue
            placed = layout["order"].flatten()[layout["inverse"]]
            assert torch.equal(placed, torch.arange(tokens))
            if impl == "reference":
                assert (layout["windows"] >= 0).sum() == tokens


MODELS = {impl: on_meta("greenmim_swin_micro", impl=impl) for impl in ("reference", "window")}


# Plans.


@pytest.mark.parametrize("impl", ["reference", "window"])
@pytest.mark.parametrize("name", ["greenmim_swin_micro", "greenmim_twins_large"])
def test_with_its_plan_forward_asks_for_no_values(name, impl):
    words = {"impl": impl} | (TWINS if "twins" in name else {})
    model = on_meta(name, **words)
    inputs = model.sample_inputs(2, seeded(), **CPU)
    plan = model.plan(**inputs)
    leaves = tree_leaves(plan)
    assert {type(leaf) for leaf in leaves} <= {Tensor, int, type(None)}
    out = model(**{key: x.to("meta") for key, x in inputs.items()}, **plan)
    assert out["prediction"].shape == (2, 49, 3072)
    real = fill(timm.create_model(name, **words).eval())
    with torch.no_grad():
        torch.testing.assert_close(real(**inputs, **plan), real(**inputs), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("rule", "choose"),
    [
        ("official", lambda sizes, width: grouping.official(sizes)),
        ("search", lambda sizes, width: grouping.search(sizes, width, linear=4)),
        ("packed", lambda sizes, width: grouping.packed(sizes, width, linear=12)),
    ],
)
def test_groups_are_those_of_the_rule(rule, choose):
    """The paper's search prices attention; the better packing, whose groups go through whole blocks, the block."""
    model = on_meta("greenmim_swin_base", grouping=rule)
    for seed in range(5):
        mask = random_mask(seed)
        removed = mask.view(7, 7).numpy()
        plan = model.encoder.plan(removed[None])
        for stage, (factor, width) in enumerate(zip((8, 4, 2, 1), (128, 256, 512, 1024), strict=True)):
            for shift, layout in zip((0, 3), plan["stages"][stage]["layouts"], strict=False):
                ids = window_ids(coordinates(removed, factor), 7, shift)
                found = choose(np.unique(ids, return_counts=True)[1].tolist(), width)
                groups, tokens = (len(found.groups), found.size), 12 * factor**2
                whole = rule == "official" and tokens <= 98  # few tokens are one group in the released code
                assert tuple(layout["windows"].shape) == ((1, tokens) if whole else groups)


@pytest.mark.parametrize(
    ("name", "shifts", "blocks"),
    [  # blocks of windows, by stage and shift
        ("greenmim_swin_tiny", (0, 3), ((1, 1), (1, 1), (3, 3), (2,))),
        ("greenmim_twins_large", (0,), ((1,), (1,), (9,), (1,))),
    ],
)
def test_packing_counts_the_rows_and_tokens_of_all_blocks(name, shifts, blocks):
    rows = []
    for seed in range(4):
        removed, total = random_removed(7, 12, seed), 0
        for factor, counts in zip((8, 4, 2, 1), blocks, strict=True):
            for shift, count in zip(shifts, counts, strict=False):
                sizes = np.unique(window_ids(coordinates(removed, factor), 7, shift), return_counts=True)[1].tolist()
                found = grouping.official(sizes)
                total += count * (found.size * len(found.groups) if sum(sizes) > 98 else sum(sizes))
        rows.append(total)
    found = on_meta(name).packing(4)
    tokens = sum(12 * factor**2 * sum(counts) for factor, counts in zip((8, 4, 2, 1), blocks, strict=True))
    assert found["tokens"] == tokens
    assert found["rows"] == np.mean(rows) > tokens
    assert found["details"]["masks"] == 4
    assert [(one["stage"], one["shift"]) for one in found["details"]["curves"]] == [
        (stage, shift) for stage, counts in enumerate(blocks, 1) for shift in shifts[: len(counts)]
    ]
    assert on_meta(name, impl="window").packing(4)["rows"] == 0


# Half precision, compilation.


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_losses_in_half_precision_are_near_those_in_float32(name, dtype, autocast):
    torch.manual_seed(0)
    model = timm.create_model(name)
    inputs = model.sample_inputs(2, seeded(), **CPU)
    expected = model(**inputs)["loss"].item()
    if not autocast:
        model.to(dtype)
        inputs["images"] = inputs["images"].to(dtype)
    with torch.autocast("cpu", dtype, enabled=autocast):
        loss = model(**inputs)["loss"]
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=torch.finfo(dtype).eps)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_a_loss_over_more_cells_than_half_precision_counts():
    model = on_meta("greenmim_swin_micro", img_size=32, norm_pix_loss=False, mask_ratio=0)
    images, mask = torch.zeros(70_000, 3, 32, 32, dtype=torch.float16), torch.ones(1, dtype=torch.bool)
    prediction = torch.ones(1, 1, 3072, dtype=torch.float16)
    assert model.loss(images, prediction, mask).item() == 1


@pytest.mark.parametrize("name", BOTH)
def test_compiled_models_give_the_same_for_any_mask(name):
    model = timm.create_model(name).eval()
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        for seed in range(2):
            inputs = model.sample_inputs(2, seeded(seed), **CPU)
            assert torch.equal(compiled(**inputs)["prediction"], model(**inputs)["prediction"])


# Refused.


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (torch.zeros(48, dtype=torch.bool), r"shape \(48,\); 7x7 cells .* \(49,\)"),
        (torch.zeros(3, 49, dtype=torch.bool), r"shape \(3, 49\)"),
        (torch.zeros(6, 6, dtype=torch.bool), r"shape \(6, 6\)"),
        (torch.zeros(2, 56, 56, dtype=torch.bool), r"shape \(2, 56, 56\)"),
        (torch.zeros(49, dtype=torch.int64), "torch.int64, and must be a boolean"),
        (torch.zeros(49), "torch.float32, and must be a boolean"),
        ([False] * 49, "list, and must be a boolean"),
    ],
)
def test_a_mask_that_is_none_is_refused(name, mask, reason):
    with pytest.raises(ValueError, match=reason):
        timm.create_model(name)(torch.zeros(2, 3, 224, 224), mask)


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (torch.ones(49, dtype=torch.bool), "removes all 49 cells"),
        (torch.stack([random_mask(0), torch.ones(49, dtype=torch.bool)]), "removes all 49 cells"),
        (torch.stack([random_mask(0), random_mask(0, visible=13)]), "12 to 13 cells"),
    ],
)
def test_greenmim_wants_as_many_visible_cells_of_each_image(green, mask, reason):
    with pytest.raises(ValueError, match=reason):
        green(image(), mask)


@pytest.mark.parametrize(
    ("ids_restore", "reason"),
    [
        (torch.arange(48), r"shape \(48,\)"),
        (torch.arange(49), "doesn't fit"),
        (torch.where(random_mask(0), 12, 0), "doesn't fit"),
    ],
)
def test_an_order_that_the_mask_contradicts_is_refused(green, ids_restore, reason):
    with pytest.raises(ValueError, match=reason):
        green(image(), random_mask(0), ids_restore)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("shape", [(2, 3, 192, 192), (2, 1, 224, 224), (3, 224, 224)])
def test_images_of_another_size_are_refused(name, shape):
    with pytest.raises(ValueError, match=re.escape(str(shape))):
        timm.create_model(name)(torch.zeros(shape))


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"img_size": 200}, "multiple of 32.*200x200. Use a side of 192 or 224"),
        ({"img_size": (224, 192)}, "square"),
        ({"img_size": 0}, "multiple of 32"),
        ({"window": 6}, "window=6 doesn't divide.*7"),
        ({"window": 0}, "window=0"),
        ({"window": 7.0}, "window=7.0"),
        ({"img_size": 160, "window": 7}, "window=7 doesn't divide.*160 px. Use one of.* 5,"),
        ({"mask_ratio": 1}, "mask_ratio=1"),
        ({"mask_ratio": -0.1}, "mask_ratio=-0.1"),
        ({"mask_ratio": "most"}, "mask_ratio='most'"),
        ({"num_classes": 10}, "no classifier, got num_classes=10"),
        ({"impl": "fast"}, "'fast'.*'reference'"),
    ],
)
def test_arguments_that_make_no_model_are_refused(name, words, reason):
    with pytest.raises(ValueError, match=reason):
        timm.create_model(name, **words)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("words", "reason"),
    [({"img_size": 224.5}, "224.5x224.5"), ({"features_only": True}, "no feature maps by stage")],
)
def test_sizes_and_words_of_other_models_are_refused(name, words, reason):
    with pytest.raises(ValueError, match=reason):
        timm.create_model(name, **words)


@pytest.mark.parametrize("depth", [-1, 1.0, True])
def test_a_decoder_of_no_depth_is_refused(depth):
    with pytest.raises(ValueError, match=f"decoder_depth={depth}"):
        timm.create_model("greenmim_swin_micro", decoder_depth=depth)


def test_a_ratio_that_leaves_nothing_visible_is_refused():
    with pytest.raises(ValueError, match=r"mask_ratio=0\.99 leaves none of 49"):
        timm.create_model("greenmim_swin_micro", mask_ratio=0.99)
    with pytest.raises(ValueError, match=r"'best'.*'search'"):
        timm.create_model("greenmim_swin_micro", grouping="best")


@pytest.mark.parametrize(("size", "window"), [(64, 2), (192, 6), (224, 7), (256, 8), (384, 12)])
def test_windows_scale_with_the_image(size, window):
    assert on_meta("greenmim_swin_base", img_size=size).encoder.window == window
    assert on_meta("simmim_swin_base", img_size=size).encoder.layers[0].blocks[0].window_size == (window, window)
    assert on_meta("simmim_swin_large", img_size=size).encoder.layers[0].blocks[0].window_size == (2 * window,) * 2

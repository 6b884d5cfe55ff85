"""BEiT v2's masked model against the official code's outputs and losses; its routes against each other; its losses."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._pytree import tree_map_only

from bench.model import fused_attention
from models.beitv2 import losses
from models.beitv2.mim import Features
from tests.beitv2 import (
    ROUTES,
    Known,
    check,
    check_first,
    close,
    each_route,
    flops,
    gradients,
    pictures,
    small_masked,
    traced,
    undrawn,
    uneven_masks,
)
from tests.detfill import image
from tests.randomness import untouched

GOLDENS = {"beitv2_mim_base_clspt": {}, "beitv2_mim_base": {"cls_head": False}}
KINDS = {"shared": {}, "separate": {"shared_head": False}, "none": {"cls_head": False}}
every_kind = pytest.mark.parametrize("kind", KINDS)


# Against the official code, in float64.


@pytest.fixture(scope="module")
def known(request) -> Known:
    return Known("beitv2_mim_base", request.param, **GOLDENS[request.param])


@pytest.fixture(scope="module")
def masks(known) -> torch.Tensor:
    return torch.from_numpy(known.golden["mask"]).bool()


every_golden = pytest.mark.parametrize("known", GOLDENS, indirect=True, scope="module")


@pytest.mark.parametrize(
    ("known", "impl"),
    [
        ("beitv2_mim_base_clspt", "reference"),
        ("beitv2_mim_base_clspt", "fast"),
        ("beitv2_mim_base", "fast"),
        pytest.param("beitv2_mim_base", "reference", marks=pytest.mark.slow),  # the encoder's part of the first
    ],
    indirect=["known"],
    scope="module",
)
def test_logits_and_losses_are_the_official_ones(known, masks, impl):
    """The reference gives both in one pass. With and without CLS head the weights have the same names."""
    model, theirs = known.models[impl], known.facts["loss"]
    ids = torch.from_numpy(known.golden["target_ids"])
    images = image(2, 224)
    with torch.no_grad():
        out = model(images, masks, ids)
        logits = out if impl == "reference" else model(images, masks)
    kinds = {"logits": "output", "logits_cls": "output_cls"}
    for key, name in list(kinds.items())[: len(theirs) - 1 or 1]:
        check(logits[key], known.golden, name)
    close(out["loss"], torch.tensor(theirs["loss"], dtype=torch.float64))
    if known.official == "beitv2_mim_base":
        assert out.keys() - {"logits"} == {"loss", "patch_loss"}
        assert torch.equal(out["loss"], out["patch_loss"])
    else:
        assert out.keys() - {"logits", "logits_cls"} == {"loss", "patch_loss", "cls_loss"}
        close(out["patch_loss"], torch.tensor(theirs["loss_1"], dtype=torch.float64))
        close(out["cls_loss"], torch.tensor(theirs["loss_2"], dtype=torch.float64))
    assert ("logits" in out) == (impl == "reference")


@every_golden
def test_patch_features_are_the_official_ones(known, masks):
    with torch.no_grad():
        features = known.models["fast"].forward_features(image(1, 224), masks[:1].flatten(1))
    assert features.encoder.shape == (1, 197, 768)
    check_first(features.encoder[:, 1:], known.golden, "patch_features")
    assert (features.head is None) == (known.official == "beitv2_mim_base")
    if features.head is not None:
        check_first(features.head[:, 1:], known.golden, "patch_features_cls")


@pytest.mark.parametrize("known", ["beitv2_mim_base_clspt"], indirect=True, scope="module")
def test_fvcore_counts_of_the_reference_are_the_official_ones(known, masks):
    model = known.models["reference"]
    found = traced(model, lambda images: tuple(model(images, masks[0]).values()), image(1, 224))
    assert found == known.facts["fvcore_by_operator"]
    assert sum(found.values()) == known.facts["fvcore_macs"]


def products_of_a_block(dim: int, tokens: int, queries: int) -> int:
    return 2 * tokens * dim**2 + 2 * queries * dim**2 + 2 * queries * tokens * dim + 8 * queries * dim**2


@pytest.mark.parametrize(
    ("name", "words", "official"),
    [
        ("beitv2_mim_base", {}, 42_829_375_488),
        ("beitv2_mim_base", {"shared_head": False}, 42_829_375_488),
        ("beitv2_mim_base", {"cls_head": False}, 36_069_838_848),
        ("beitv2_mim_large", {}, 135_857_217_536),
    ],
)
def test_flops(name, words, official):
    """Of the reference as officially; of the fast route less by what no loss reads: in the last block all but 75
    patches and the class token, which only a CLS head asks for, and in the last layer of that all but the patches."""
    images, mask = torch.empty(1, 3, 224, 224, device="meta"), torch.arange(196) < 75
    found = {}
    for impl in ROUTES:
        with torch.device("meta"), fused_attention(False):
            model = undrawn(name, impl=impl, **words)
        plan = tree_map_only(torch.Tensor, lambda x: x.to("meta"), model.plan(images, mask))
        with torch.no_grad():
            found[impl] = flops(model, images, mask.to("meta"), **plan)
    assert model.early_layer == {"beitv2_mim_base": 9, "beitv2_mim_large": 21}[name]
    assert found["reference"] == official
    dim, whole = model.embed_dim, products_of_a_block(model.embed_dim, 197, 197)
    heads = 1 if model.cls_pt_layers is None else 2
    saved = whole - products_of_a_block(dim, 197, 75 + heads - 1)
    saved += (heads - 1) * (whole - products_of_a_block(dim, 197, 75))
    assert found["fast"] == official - 2 * saved


# By definition, of small models.


def predicted(model, images, mask):
    """Logits of all patches, written down once more from the model's parts: encoder's, CLS head's."""
    x = model.patch_embed(images)
    x = torch.where(mask[..., None], model.mask_token.expand_as(x), x)
    x = torch.cat([model.cls_token.expand(len(x), 1, -1), x], dim=1)
    bias = model.rel_pos_bias.relative_position_bias_table[model.index].permute(2, 0, 1)
    early = None
    for number, block in enumerate(model.blocks, start=1):
        x = block(x, bias=bias)
        early = x if number == model.early_layer else early
    found = [model.lm_head(model.norm(x))]
    if model.cls_pt_layers is not None:
        y = torch.cat([x[:, :1], early[:, 1:]], dim=1)
        for layer in model.cls_pt_layers:
            y = layer(y, bias=bias)
        separate = model.cls_pt_norm is not None
        norm, head = (model.cls_pt_norm, model.cls_pt_lm_head) if separate else (model.norm, model.lm_head)
        found.append(head(norm(y)))
    return [logits[:, 1:] for logits in found]


@each_route
@every_kind
@pytest.mark.parametrize("early", [1, 2])
def test_predictions_by_their_definition(impl, kind, early):
    model, images, masks = small_masked(impl, early_layer=early, **KINDS[kind]), pictures(), uneven_masks()
    known = predicted(model, images, masks)
    out = model(images, masks)
    assert list(out) == ["logits", "logits_cls"][: len(known)]
    for ours, theirs in zip(out.values(), known, strict=True):
        close(ours, theirs[masks], 1e-12)
    nothing = model(images)
    for ours, theirs in zip(nothing.values(), predicted(model, images, torch.zeros_like(masks)), strict=True):
        close(ours, theirs, 1e-12)
    features = model.forward_features(images, masks)
    assert isinstance(features, Features)
    assert (features.head is None) == (kind == "none")
    close(model.lm_head(features.encoder[:, 1:]), known[0], 1e-12)
    if kind != "none":
        head = model.lm_head if kind == "shared" else model.cls_pt_lm_head
        close(head(features.head[:, 1:]), known[1], 1e-12)


@each_route
@every_kind
def test_losses_are_means_over_masked_patches(impl, kind):
    model, images, masks = small_masked(impl, **KINDS[kind]), pictures(), uneven_masks()
    ids = torch.randint(37, (3, 16), generator=torch.Generator().manual_seed(0))
    known = [F.cross_entropy(x[masks], ids[masks]) for x in predicted(model, images, masks)]
    expected = gradients(model, sum(known))
    out = model(images, masks, ids)
    torch.testing.assert_close(gradients(model, out["loss"]), expected, rtol=0, atol=1e-12)
    close(out["patch_loss"], known[0], 1e-12)
    close(out["loss"], sum(known), 1e-12)
    if len(known) > 1:
        close(out["cls_loss"], known[1], 1e-12)
    assert (out.keys() & {"logits", "logits_cls"} != set()) == (impl == "reference")
    close(model(images, masks, ids[masks])["loss"], sum(known), 1e-12)  # of the masked patches alone


@every_kind
@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("saving", [False, True])
def test_the_fast_route_has_the_reference_gradients(kind, even, saving):
    """With as many masked patches in each image, and with other numbers, where fillings must have no gradient."""
    images, masks = pictures(), uneven_masks()
    if even:
        masks = torch.stack([torch.isin(torch.arange(16), torch.tensor([k, 3 + k, 8 + k, 13])) for k in range(3)])
    ids = torch.randint(37, (3, 16), generator=torch.Generator().manual_seed(0))
    found = []
    for impl in ROUTES:
        model = small_masked(impl, **KINDS[kind]).train()
        model.set_grad_checkpointing(saving and impl == "fast")
        own = images.clone().requires_grad_()
        loss = model(own, masks, ids)["loss"]
        found.append((loss.detach(), gradients(model, loss), own.grad))
    assert all(g is not None and g.any() for g in found[0][1].values())
    torch.testing.assert_close(*found, rtol=0, atol=1e-10)


def test_checkpointing_runs_blocks_again():
    model, calls = small_masked().train(), []
    for block in (*model.blocks, *model.cls_pt_layers):
        block.register_forward_pre_hook(lambda *_: calls.append(1))
    ids = torch.zeros(3, 16, dtype=torch.int64)
    for saving, again in ((False, 0), (True, 5)):
        model.set_grad_checkpointing(saving)
        loss = model(pictures(), uneven_masks(), ids)["loss"]
        calls.clear()
        loss.backward()
        assert len(calls) == again


@each_route
def test_what_is_masked_is_not_seen(impl):
    """Pixels of masked patches change nothing; those of others do."""
    model, images, masks = small_masked(impl), pictures(), uneven_masks()
    grid = masks.reshape(3, 1, 4, 4).repeat_interleave(16, 2).repeat_interleave(16, 3)
    out = model(images, masks)
    other = model(torch.where(grid, 1 - images, images), masks)
    for key in out:
        assert torch.equal(out[key], other[key])
    other = model(torch.where(grid, images, 1 - images), masks)
    assert not torch.allclose(out["logits"], other["logits"])


@each_route
def test_the_bottleneck_passes_what_the_late_blocks_know_through_the_class_token_alone(impl):
    """Behind the early block, the CLS head reads the class token: with another one it predicts something else, and the
    late blocks' patches don't reach it."""
    model, images, masks = small_masked(impl, early_layer=2), pictures(), uneven_masks()
    before = model(images, masks)
    hook = model.blocks[2].register_forward_hook(lambda module, args, out: torch.cat([out[:, :1], 0 * out[:, 1:]], 1))
    after = model(images, masks)
    hook.remove()
    assert torch.equal(before["logits_cls"], after["logits_cls"])
    assert not torch.allclose(before["logits"], after["logits"])
    hook = model.blocks[2].register_forward_hook(lambda module, args, out: torch.cat([0 * out[:, :1], out[:, 1:]], 1))
    after = model(images, masks)
    hook.remove()
    assert torch.equal(before["logits"], after["logits"])
    assert not torch.allclose(before["logits_cls"], after["logits_cls"])


def test_position_tables_are_gathered_once_a_pass():
    model, calls = small_masked(), []
    model.rel_pos_bias.register_forward_hook(lambda *_: calls.append(1))
    model(pictures(), uneven_masks())
    assert calls == [1]


# Arguments.


@each_route
def test_masks_of_every_shape(impl):
    model, images, masks = small_masked(impl), pictures(), uneven_masks()
    known = model(images, masks)["logits"]
    assert torch.equal(model(images, masks.reshape(3, 4, 4))["logits"], known)
    one = model(images, masks[:1].expand(3, 16))["logits"]
    assert torch.equal(model(images, masks[0])["logits"], one)
    assert torch.equal(model(images, masks[0].reshape(4, 4))["logits"], one)
    assert torch.equal(
        model.forward_features(images, masks.reshape(3, 4, 4)).encoder, model.forward_features(images, masks).encoder
    )


@each_route
def test_a_plan_gives_the_same(impl):
    model, images, masks = small_masked(impl), pictures(), uneven_masks()
    ids = torch.randint(37, (3, 16), generator=torch.Generator().manual_seed(0))
    for given_ in (masks, masks.reshape(3, 4, 4), masks[0]):
        plan = model.plan(images, given_, ids)
        assert list(plan) == ["chosen"]
        assert torch.equal(model(images, given_, ids, **plan)["loss"], model(images, given_, ids)["loss"])
        assert torch.equal(model(images, given_, **plan)["logits"], model(images, given_)["logits"])
    assert model.plan(images) == {}
    with pytest.raises(ValueError, match="target_ids go from 0 to 37"):
        model.plan(images, masks, torch.full((3, 16), 37).index_fill(0, torch.tensor(0), 0))
    with pytest.raises(ValueError, match="masks none of 48 patches"):
        model.plan(images, torch.zeros_like(masks))


@each_route
@every_kind
def test_with_a_plan_no_number_is_asked_for(impl, kind):
    """On meta there are none."""
    model, masks = small_masked(impl, **KINDS[kind]).to("meta").train(), uneven_masks()
    images, ids = torch.empty(3, 3, 64, 64, device="meta", dtype=torch.float64), torch.zeros(3, 16, dtype=torch.int64)
    plan = model.plan(images, masks, ids)
    inputs = tree_map_only(torch.Tensor, lambda x: x.to("meta"), {"mask": masks, "target_ids": ids, **plan})
    out = model(images, **inputs)
    assert all(x.is_meta for x in out.values())
    out["loss"].backward()


def refused(match: str, *args, **kwargs) -> None:
    for impl in ROUTES:
        with pytest.raises(ValueError, match=match):
            small_masked(impl)(*args, **kwargs)


def test_arguments_that_make_no_sense_are_refused():
    images, masks, ids = pictures(), uneven_masks(), torch.zeros(3, 16, dtype=torch.int64)
    refused(r"the mask has shape \(3, 9\); 4x4 .* and 3 images", images, masks[:, :9])
    refused(r"the mask has shape \(2, 16\)", images, masks[:2])
    refused("the mask is torch.float32", images, masks.float())
    refused("masks none of 48 patches", images, torch.zeros_like(masks))
    refused(r"the images have shape \(3, 3, 48, 48\)", images[..., :48, :48], masks)
    refused(r"target_ids go from 0 to 37; there are 37 codes", images, masks, ids.index_fill(1, torch.tensor(0), 37))
    refused(r"target_ids go from -1 to 0", images, masks, ids.index_fill(1, torch.tensor(0), -1))
    shapes = r"torch.int64 of shape \(3, 15\); want whole numbers of shape \(3, 16\).*, or \(13,\)"
    refused(shapes, images, masks, ids[:, :15])
    refused(r"torch.int64 of shape \(16,\)", images, masks, ids[0])
    refused(r"torch.float32 of shape \(3, 16\)", images, masks, ids.float())
    refused("target_ids and no mask", images, None, ids)
    for impl in ROUTES:
        with pytest.raises(ValueError, match=r"the images have shape"):
            small_masked(impl).forward_features(images[..., :48, :48])
        with pytest.raises(ValueError, match="the mask has shape"):
            small_masked(impl).forward_features(images, masks[:, :9])


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"num_classes": 10}, r"no classifier, got num_classes=10. Load its checkpoint"),
        ({"early_layer": 0}, r"early_layer=0. Use a whole number from 1 to 2"),
        ({"early_layer": 3}, r"early_layer=3"),  # what follows the last block is not early
        ({"early_layer": 4, "cls_head": False}, r"early_layer=4. Use a whole number from 1 to 3"),
        ({"cls_head": "yes"}, r"cls_head='yes'"),
        ({"shared_head": None}, r"shared_head=None"),
        ({"vocab_size": 1}, r"vocab_size=1. Use a whole number from 2"),
        ({"masked": 0}, r"masked=0. Use a whole number from 1 to 16"),
        ({"masked": 17}, r"masked=17"),
        ({"impl": "slow"}, r"impl='slow'"),
    ],
)
def test_models_that_there_are_none_of_are_refused(words, match):
    with pytest.raises(ValueError, match=match):
        small_masked(**words)


def test_masks_are_drawn_as_the_paper_has_them():
    with torch.device("meta"):
        model = undrawn("beitv2_mim_base")
    with untouched():
        masks = model.draw_masks(20, torch.Generator().manual_seed(0))
    assert masks.shape == (20, 14, 14)
    assert masks.sum((1, 2)).tolist() == 20 * [75]
    assert model.masks.least == 16
    assert model.early_layer == 9
    assert small_masked().draw_masks(2, torch.Generator().manual_seed(0)).sum((1, 2)).tolist() == [6, 6]  # 6.1 of 16
    assert small_masked(masked=9).draw_masks(2, None).sum((1, 2)).tolist() == [9, 9]
    assert small_masked(img_size=16).draw_masks(1, None).tolist() == [[[True]]]


# Cross-entropy without stored logits.


def problem(rows=11, width=5, codes=7, dtype=torch.float64):
    draw = torch.Generator().manual_seed(rows)
    x, weight, bias = (torch.randn(s, generator=draw, dtype=dtype) for s in ((rows, width), (codes, width), (codes,)))
    ids = torch.randint(codes, (rows,), generator=draw)
    return [t.requires_grad_() for t in (x, weight, bias)], ids


def plain(x, weight, bias, ids):
    return F.cross_entropy(F.linear(x, weight, bias), ids)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 9), st.integers(1, 60), st.floats(0.1, 1e4))
def test_cross_entropy_and_gradients_by_blocks_of_any_size(rows, width, codes, block, scale):
    """scale: what the loss is multiplied with before the backward pass, as by a scaler of float16."""
    tensors, ids = problem(rows, width, codes)
    known = plain(*tensors, ids)
    expected = torch.autograd.grad(scale * known, tensors)
    before = losses.BLOCK
    losses.BLOCK = block
    try:
        loss = losses.cross_entropy(*tensors, ids)
    finally:
        losses.BLOCK = before
    torch.testing.assert_close(loss, known, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(scale * loss, tensors), expected, rtol=1e-10, atol=1e-12 * scale)


def test_cross_entropy_stores_no_more_logits_than_a_block(monkeypatch):
    monkeypatch.setattr(losses, "BLOCK", 14)
    rows, plain_linear = [], F.linear
    monkeypatch.setattr(F, "linear", lambda x, *given: rows.append(len(x)) or plain_linear(x, *given))
    tensors, ids = problem(11, 5, 7)
    losses.cross_entropy(*tensors, ids)
    assert rows == [2, 2, 2, 2, 2, 1]


def test_cross_entropy_of_large_logits_is_finite():
    (x, weight, bias), ids = problem()
    large = [(1000 * x).detach().requires_grad_(), weight, bias]
    loss = losses.cross_entropy(*large, ids)
    torch.testing.assert_close(loss, plain(*large, ids))
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, large))


def test_cross_entropy_without_gradients_computes_none():
    tensors, ids = problem()
    with torch.no_grad():
        loss = losses.cross_entropy(*tensors, ids)
        assert flops(losses.cross_entropy, *tensors, ids) == 2 * 11 * 5 * 7
    assert not loss.requires_grad
    torch.testing.assert_close(loss, plain(*tensors, ids))
    tensors[0].requires_grad_(False)  # a frozen encoder
    loss = losses.cross_entropy(*tensors, ids)
    expected = torch.autograd.grad(plain(*tensors, ids), tensors[1:])
    torch.testing.assert_close(torch.autograd.grad(loss, tensors[1:]), expected)


@pytest.mark.parametrize("block", [2**23, 14])
def test_cross_entropy_counts_the_products_of_the_plain_way(block, monkeypatch):
    """Three: logits, and gradients by rows and by weight; the same in meta tensors."""
    monkeypatch.setattr(losses, "BLOCK", block)

    def run(way, device):
        tensors, ids = problem()
        tensors = [t.detach().to(device).requires_grad_() for t in tensors]
        way(*tensors, ids.to(device)).backward()

    for device in ("cpu", "meta"):
        found = [flops(run, way, device) for way in (plain, losses.cross_entropy)]
        assert found == 2 * [3 * 2 * 11 * 5 * 7]


def test_cross_entropy_in_mixed_precision_is_that_of_the_plain_way():
    """Gradients are of float32 weights, and as near as bfloat16's eight bits."""
    tensors, ids = problem(200, 64, 50, torch.float32)
    found = []
    for way in (plain, losses.cross_entropy):
        with torch.autocast("cpu", torch.bfloat16):
            loss = way(*tensors, ids)
        assert loss.dtype == torch.float32
        found.append((loss.detach(), torch.autograd.grad(1000 * loss, tensors)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-6, atol=0)
    exact = plain(*tensors, ids).detach()
    assert not torch.allclose(found[1][0], exact, rtol=1e-7, atol=0)  # the products are bfloat16's
    for ours, theirs in zip(found[1][1], found[0][1], strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 0.01 * theirs.norm()


def test_cross_entropy_of_half_precision_weights_sums_in_float32():
    tensors, ids = problem(200, 64, 50, torch.bfloat16)
    loss = losses.cross_entropy(*tensors, ids)
    assert loss.dtype == torch.float32
    wide = [t.detach().float().requires_grad_() for t in tensors]
    torch.testing.assert_close(loss, plain(*wide, ids), rtol=2e-3, atol=0)
    found = torch.autograd.grad(loss, tensors)
    for ours, theirs in zip(found, torch.autograd.grad(plain(*wide, ids), wide), strict=True):
        assert ours.dtype == torch.bfloat16
        assert (ours.float() - theirs).norm() < 0.01 * theirs.norm()


@each_route
def test_a_step_in_mixed_precision_stays_near(impl):
    model, masks = small_masked(impl).float(), uneven_masks()
    ids = torch.randint(37, (3, 16), generator=torch.Generator().manual_seed(0))
    exact = model(pictures().float(), masks, ids)["loss"]
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(pictures().float(), masks, ids)["loss"]
    torch.testing.assert_close(loss, exact, rtol=0.03, atol=0)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())

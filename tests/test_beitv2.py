"""BEiT v2's classifiers against the official code's outputs and counts, against timm's, and against definitions."""

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from bench.model import fused_attention
from models.beitv2.attention import Attention, Block
from models.beitv2.tables import relative_index
from tests.beitv2 import (
    LISTS,
    ROUTES,
    SMALL,
    Known,
    by_route,
    check,
    close,
    each_route,
    flops,
    index,
    pictures,
    small_classifier,
    small_masked,
    small_tokenizer,
    traced,
    undrawn,
)
from tests.detfill import fill, image

COUNTS = {  # name, size -> parameters, FLOPs (FlopCounterMode) and MACs (fvcore) of the official classifiers
    ("beitv2_base", 224): (86_530_984, 35_127_656_448, 17_581_987_584),
    ("beitv2_base", 384): (86_744_104, 110_968_700_928, 55_537_530_624),
    ("beitv2_large", 224): (304_430_568, 123_109_425_152, 61_603_132_416),
    ("beitv2_large", 384): (304_998_888, 382_132_600_832, 191_208_109_056),
}
PARAMETERS = {  # of the other models: all, trained
    "beitv2_mim_base_clspt": (106_143_056, 106_143_056),
    "beitv2_mim_base_clspt_unshared": (112_444_240, 112_444_240),
    "beitv2_mim_base": (91_965_776, 91_965_776),
    "beitv2_mim_large_clspt": (336_728_512, 336_728_512),
    "vqkd_base_dec1_clip": (95_187_488, 94_655_008),
    "vqkd_base_dec3_clip": (109_361_696, 108_829_216),
    "vqkd_base_dec1_dino": (95_384_352, 94_851_872),
}
ARGUMENTS = {
    "beitv2_mim_base_clspt": ("beitv2_mim_base", {}),
    "beitv2_mim_base_clspt_unshared": ("beitv2_mim_base", {"shared_head": False}),
    "beitv2_mim_base": ("beitv2_mim_base", {"cls_head": False}),
    "beitv2_mim_large_clspt": ("beitv2_mim_large", {}),
    "vqkd_base_dec1_clip": ("beitv2_vqkd_base", {"decoder_depth": 1}),
    "vqkd_base_dec3_clip": ("beitv2_vqkd_base", {}),
    "vqkd_base_dec1_dino": ("beitv2_vqkd_base", {"decoder_depth": 1, "teacher": "dino"}),
}


# Against the official code, in float64.


@pytest.fixture(scope="module")
def known() -> Known:
    return Known("beitv2_base", "beitv2_base_224")


class Pass:
    """What a route makes of the golden's images."""

    def __init__(self, known: Known, impl: str):
        self.golden, self.model = known.golden, known.models[impl]
        self.maps: dict[int, torch.Tensor] = {}
        hooks = [
            self.model.blocks[number].attn.attn_drop.register_forward_hook(
                lambda module, args, out, number=number: self.maps.update({number: out})
            )
            for number in (0, 11)
        ]
        self.patches = self.model.patch_embed(image(2, 224))
        with torch.no_grad():
            self.tokens = self.model.forward_features(image(2, 224))
        for hook in hooks:
            hook.remove()


passed, both_routes = by_route(Pass)


@both_routes
def test_logits_features_and_tokens_are_the_official_ones(passed):
    model, theirs = passed.model, passed.golden
    check(model.forward_head(passed.tokens), theirs, "output")
    check(model.forward_head(passed.tokens, pre_logits=True), theirs, "features")
    check(model.fc_norm(passed.tokens), theirs, "tokens")
    check(passed.patches, theirs, "patch_embed")


@both_routes
def test_maps_are_the_official_ones_and_the_fast_route_stores_none(passed):
    if passed.model.impl == "fast":
        assert passed.maps == {}
        return
    for number in (0, 11):
        check(passed.maps[number], passed.golden, f"attn_block{number}")


def timm_agrees(ours: nn.Module, theirs: str, size: int) -> None:
    with fused_attention(True):
        model = undrawn(theirs, num_classes=1000).double().eval()
    model.load_state_dict(ours.state_dict(), assign=True)
    images = image(1, size)
    with torch.no_grad():
        close(ours(images), model(images), atol=1e-12)


def test_timm_has_the_same_base_model_weight_for_weight(known):
    timm_agrees(known.models["fast"], "beitv2_base_patch16_224", 224)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "theirs", "size"),
    [
        ("beitv2_large", "beitv2_large_patch16_224", 224),
        ("beitv2_base", "beit_base_patch16_384", 384),
    ],
)
def test_timm_has_the_same_models_weight_for_weight(name, theirs, size):
    ours = fill(undrawn(name, img_size=size).double().eval())
    timm_agrees(ours, theirs, size)


# Counts.


def test_fvcore_counts_of_the_reference_are_the_official_ones(known):
    model, facts = known.models["reference"], known.facts
    found = traced(model, model, image(1, 224))
    assert found == facts["fvcore_by_operator"]
    assert sum(found.values()) == facts["fvcore_macs"] == COUNTS["beitv2_base", 224][2]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [key for key in COUNTS if key != ("beitv2_base", 224)])
def test_fvcore_counts_of_every_classifier(name, size):
    with fused_attention(False):
        model = undrawn(name, img_size=size, impl="reference").eval()
    assert sum(traced(model, model, torch.zeros(1, 3, size, size)).values()) == COUNTS[name, size][2]


@pytest.mark.parametrize(("name", "size"), COUNTS)
@each_route
def test_parameters_and_flops_of_every_classifier(name, size, impl):
    """Neither route counts what attention over the fused operator does otherwise."""
    parameters, products, _ = COUNTS[name, size]
    with torch.device("meta"), fused_attention(impl == "fast"):
        model = timm.create_model(name, img_size=size, impl=impl).eval()
        assert sum(p.numel() for p in model.parameters()) == parameters
        assert flops(model, torch.empty(1, 3, size, size)) == products
    depth, width = len(model.blocks), model.embed_dim
    patches = (size // 16) ** 2
    tokens = 1 + patches
    macs = depth * (12 * tokens * width**2 + 2 * tokens**2 * width) + patches * 768 * width + 1000 * width
    assert products == 2 * macs


@pytest.mark.parametrize("official", PARAMETERS)
def test_parameters_of_every_other_model(official):
    name, words = ARGUMENTS[official]
    with torch.device("meta"):
        model = timm.create_model(name, **words)
    counts = [sum(p.numel() for p in model.parameters() if p.requires_grad or every) for every in (True, False)]
    assert tuple(counts) == PARAMETERS[official]
    if official in index():
        assert counts == [index()[official][f"params_{kind}"] for kind in ("total", "trainable")]


# Attention and blocks, by their definitions.


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def attended(module: Attention, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Query by query and head by head; bias (H, N, N)."""
    width, heads = x.shape[-1], module.num_heads
    d = width // heads
    w, out = module.qkv.weight, torch.empty_like(x)
    for image_, own in enumerate(x):
        q = own @ w[:width].T + module.q_bias
        k = own @ w[width : 2 * width].T
        v = own @ w[2 * width :].T + module.v_bias
        for head in range(heads):
            part = slice(head * d, (head + 1) * d)
            for query in range(len(own)):
                logits = torch.stack([q[query, part] @ k[key, part] / d**0.5 for key in range(len(own))])
                out[image_, query, part] = (logits + bias[head, query]).softmax(0) @ v[:, part]
    return out @ module.proj.weight.T + module.proj.bias


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("own", "shared"), [(True, False), (False, True), (True, True), (False, False)])
def test_attention_by_its_definition(own, shared, fused):
    """With the block's own table, a shared bias, both, and none; all queries, and some."""
    x, given = normal(2, 10, 8), normal(2, 10, 10) if shared else None
    module = fill(Attention(8, 2, 28 if own else 0, fused).double())
    bias = torch.zeros(2, 10, 10, dtype=torch.float64) if given is None else given
    where = relative_index(3)
    if own:
        assert module.relative_position_bias_table.shape == (28, 2)
        bias = bias + torch.stack([module.relative_position_bias_table[:, head][where] for head in range(2)])
    expected = attended(module, x, bias)
    close(module(x, where, given), expected, 1e-12)
    some = torch.tensor([[0, 4, 9], [7, 7, 1]])
    close(module(x, where, given, some), torch.stack([expected[b, rows] for b, rows in enumerate(some)]), 1e-12)


def test_in_mixed_precision_the_bias_is_of_the_queries_type(monkeypatch):
    """As fused kernels want it."""
    seen, plain = [], F.scaled_dot_product_attention

    def watched(q, k, v, attn_mask=None):
        seen.append((q.dtype, attn_mask.dtype))
        return plain(q, k, v, attn_mask=attn_mask)

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    module = fill(Attention(8, 2, 28, True))
    with torch.autocast("cpu", torch.bfloat16):
        module(normal(2, 10, 8).float(), relative_index(3))
    assert seen == [(torch.bfloat16, torch.bfloat16)]


@pytest.mark.parametrize("init_values", [0.0, 0.3])
def test_block_by_its_definition(init_values):
    block = fill(Block(8, 2, 28, False, init_values).double())
    x, where = normal(2, 10, 8), relative_index(3)
    scales = [block.gamma_1, block.gamma_2] if init_values else [1, 1]
    norms = [lambda t, own=own: F.layer_norm(t, (8,), own.weight, own.bias, 1e-6) for own in (block.norm1, block.norm2)]
    y = x + scales[0] * block.attn(norms[0](x), where)
    hidden = F.gelu(norms[1](y) @ block.mlp.fc1.weight.T + block.mlp.fc1.bias)
    expected = y + scales[1] * (hidden @ block.mlp.fc2.weight.T + block.mlp.fc2.bias)
    close(block(x, where), expected, 1e-12)
    assert (block.gamma_1 is None) == (init_values == 0)
    some = torch.tensor([[9, 0], [3, 4]])
    close(block(x, where, queries=some), torch.stack([expected[b, rows] for b, rows in enumerate(some)]), 1e-12)


def test_drop_path_drops_attention_and_mlp():
    x = normal(2, 10, 8)
    block = fill(Block(8, 2, 0, False, drop_path=1.0).double())
    assert torch.equal(block.train()(x), x)
    assert not torch.equal(block.eval()(x), x)


def test_drop_path_rises_over_blocks():
    def rates(blocks):
        return [block.drop_path.drop_prob for block in blocks]

    np.testing.assert_allclose(rates(small_classifier(depth=5, drop_path_rate=0.2).blocks), np.linspace(0, 0.2, 5))
    assert rates(small_classifier(depth=1, drop_path_rate=0.2).blocks) == [0]
    for depth, early in ((12, 9), (4, 2), (4, 3)):  # the last head layer of the last lies behind the last block
        model = small_masked(depth=depth, early_layer=early, drop_path_rate=0.1)
        along = np.linspace(0, 0.1, max(depth, early + 2))
        np.testing.assert_allclose(rates(model.blocks), np.linspace(0, 0.1, depth))
        np.testing.assert_allclose(rates(model.cls_pt_layers), along[early : early + 2])
    tokenizer = small_tokenizer(drop_path_rate=0.2, decoder_depth=3)
    assert rates(tokenizer.encoder.blocks) == [0, 0.2]
    assert rates(tokenizer.decoder.blocks) == [0, 0, 0]


# Whole classifiers, small ones.


def test_positions_are_tables_of_blocks_one_shared_table_or_an_embedding():
    def positions(model):
        names = [name for name, _ in model.named_parameters()]
        return [name for name in names if "relative" in name or "pos_embed" in name]

    tables = [f"blocks.{number}.attn.relative_position_bias_table" for number in range(3)]
    assert positions(small_classifier()) == tables
    assert positions(small_classifier(positions="absolute")) == ["pos_embed"]
    assert positions(small_masked()) == ["rel_pos_bias.relative_position_bias_table"]
    assert not [name for name, _ in small_classifier().state_dict().items() if "index" in name]
    with pytest.raises(ValueError, match=r"positions='both'.*'absolute'"):
        small_classifier(positions="both")


def test_absolute_positions_are_added_to_class_token_and_patches():
    model, images = small_classifier(positions="absolute", depth=1), pictures()
    given = []
    model.blocks[0].register_forward_pre_hook(lambda module, args: given.append(args[0]))
    model(images)
    patches = F.conv2d(images, model.patch_embed.proj.weight, model.patch_embed.proj.bias, stride=16)
    tokens = torch.cat([model.cls_token.expand(3, 1, -1), patches.flatten(2).mT], dim=1) + model.pos_embed
    close(given[0], tokens, 1e-12)


@each_route
@pytest.mark.parametrize("positions", ["block", "absolute"])
def test_some_patches_are_those_of_all(impl, positions):
    model, images = small_classifier(impl, positions=positions), pictures()
    whole = model.forward_patches(images)
    close(whole, model.fc_norm(model.forward_features(images))[:, 1:], 1e-12)
    some = torch.tensor([[0, 15, 3], [7, 2, 2], [9, 8, 14]])
    close(
        model.forward_patches(images, some), torch.stack([x[rows] for x, rows in zip(whole, some, strict=True)]), 1e-12
    )


def test_pooling():
    images = pictures()
    model = small_classifier()
    tokens = model.forward_features(images)
    pooled = model.fc_norm(tokens[:, 1:].mean(1))
    close(model.forward_head(tokens, pre_logits=True), pooled, 1e-12)
    close(model(images), pooled @ model.head.weight.T + model.head.bias, 1e-12)

    model = small_classifier(global_pool="token")
    assert isinstance(model.fc_norm, nn.Identity)
    raw = small_classifier(global_pool="").forward_features(images)  # its weights are filled by name alike
    tokens = model.forward_features(images)
    close(tokens, F.layer_norm(raw, (32,), model.norm.weight, model.norm.bias, 1e-6), 1e-12)
    close(model(images), tokens[:, 0] @ model.head.weight.T + model.head.bias, 1e-12)

    model = small_classifier(global_pool="")
    assert model(images).shape == (3, 17, 5)
    close(model.forward_head(raw, pre_logits=True), model.fc_norm(raw), 1e-12)
    with pytest.raises(ValueError, match=r"global_pool='max'.*'avg', 'token', ''"):
        small_classifier(global_pool="max")


def test_pooling_of_another_kind_is_refused_where_its_norm_is_missing():
    model = small_classifier()
    with pytest.raises(ValueError, match=r"global_pool='token' needs a norm in another place.*Build one"):
        model.reset_classifier(7, "token")
    with pytest.raises(ValueError, match="global_pool='max'"):
        model.reset_classifier(7, "max")
    assert (model.num_classes, model.global_pool, model.head.out_features) == (5, "avg", 5)
    with pytest.raises(ValueError, match="global_pool='avg' needs a norm"):
        small_classifier(global_pool="token").reset_classifier(7, "avg")
    model.reset_classifier(7, "")
    assert model(pictures()).shape == (3, 17, 7)
    model.reset_classifier(7, "avg")
    assert model(pictures()).shape == (3, 7)


def test_a_new_classifier_is_drawn_as_the_first():
    model = small_classifier(embed_dim=512, num_heads=2, depth=1)
    model.reset_classifier(512)
    head = model.get_classifier()
    assert head.weight.dtype == torch.float64
    assert head.weight.std().item() == pytest.approx(2e-5, rel=0.02)
    assert not head.bias.any()


def test_dropout_before_the_classifier():
    model = small_classifier(drop_rate=0.5).train()
    tokens = model.forward_features(pictures())
    torch.manual_seed(0)
    x = model.forward_head(tokens, pre_logits=True)
    assert 0.2 < (x == 0).double().mean() < 0.8
    assert model.eval().forward_head(tokens, pre_logits=True).count_nonzero() == x.numel()


@each_route
def test_intermediates_are_what_blocks_give(impl):
    model, images = small_classifier(impl), pictures()
    seen = []
    hooks = [b.register_forward_hook(lambda module, args, out: seen.append(out)) for b in model.blocks]
    final, found = model.forward_intermediates(images)
    for hook in hooks:
        hook.remove()
    close(final, model.forward_features(images), 1e-12)
    assert len(found) == len(seen) == 3
    for ours, theirs in zip(found, seen, strict=True):
        assert torch.equal(ours, theirs[:, 1:].mT.reshape(3, 32, 4, 4))

    [(patches, token)] = model.forward_intermediates(
        images, [1], return_prefix_tokens=True, norm=True, output_fmt="NLC", intermediates_only=True, stop_early=True
    )
    normed = model.fc_norm(seen[1])
    close(patches, normed[:, 1:], 1e-12)
    close(token, normed[:, :1], 1e-12)
    assert len(model.forward_intermediates(images, 2, intermediates_only=True)) == 2

    calls = []
    model.blocks[2].register_forward_hook(lambda *_: calls.append(1))
    early, _ = model.forward_intermediates(images, [0], stop_early=True)
    assert not calls
    close(early, seen[0], 1e-12)
    model.forward_intermediates(images, [0])
    assert calls
    with pytest.raises(ValueError, match=r"output_fmt='NHWC'.*'NCHW', 'NLC'"):
        model.forward_intermediates(images, output_fmt="NHWC")


def test_intermediates_of_class_token_pooling_are_normalised_by_its_norm():
    model, images = small_classifier(global_pool="token"), pictures()
    final, found = model.forward_intermediates(images, norm=True, output_fmt="NLC")
    close(found[-1], model.forward_features(images)[:, 1:], 1e-12)
    close(final, model.forward_features(images), 1e-12)


def test_pruning_keeps_what_maps_need():
    images = pictures()
    model = small_classifier()
    wanted = model.forward_intermediates(images, [0, 1], intermediates_only=True)
    assert model.prune_intermediate_layers([0, 1]) == [0, 1]
    assert len(model.blocks) == 2
    assert isinstance(model.head, nn.Identity)
    assert isinstance(model.fc_norm, nn.Identity)
    for ours, theirs in zip(model.forward_intermediates(images, intermediates_only=True), wanted, strict=True):
        assert torch.equal(ours, theirs)
    model = small_classifier(global_pool="token")
    model.prune_intermediate_layers([2], prune_norm=True, prune_head=False)
    assert isinstance(model.norm, nn.Identity)
    assert isinstance(model.head, nn.Linear)


@pytest.mark.parametrize(("name", "blocks"), [("beitv2_base", [3, 5, 7, 11]), ("beitv2_large", [7, 11, 15, 23])])
def test_features_only_gives_what_the_official_segmentation_reads(name, blocks):
    words = dict(SMALL, features_only=True)
    backbone = timm.create_model(name, **words).eval()
    assert backbone.feature_info.module_name() == [f"blocks.{number}" for number in blocks]
    assert backbone.feature_info.reduction() == [16] * 4
    images = pictures().float()
    whole = backbone.model.forward_intermediates(images, blocks, intermediates_only=True)
    for ours, theirs in zip(backbone(images), whole, strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(ValueError, match=r"beitv2_mim_base has no feature maps.*Use beitv2_base or beitv2_large"):
        timm.create_model("beitv2_mim_base", **words)


def test_the_fast_route_is_fused_and_the_reference_is_not(monkeypatch):
    seen = []
    plain = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *q, **words: seen.append(1) or plain(*q, **words))
    found = {}
    for impl in (*ROUTES, "auto"):
        for fused in (True, False):
            with fused_attention(fused):
                model = timm.create_model("beitv2_base", depth=3, impl=impl, **SMALL).eval()
            seen.clear()
            model(torch.zeros(1, 3, 64, 64))
            found[impl, fused] = model.impl, len(seen)
    assert found == {
        ("reference", True): ("reference", 0),
        ("reference", False): ("reference", 0),
        ("fast", True): ("fast", 3),
        ("fast", False): ("fast", 0),
        ("auto", True): ("fast", 3),
        ("auto", False): ("reference", 0),
    }


@pytest.mark.parametrize("build", [small_classifier, small_masked, small_tokenizer])
@pytest.mark.parametrize("size", [65, (64, 48), 64.0, True, 0, -16])
def test_sizes_that_no_model_has_are_refused(build, size):
    with pytest.raises(ValueError, match=r"square images whose side is a multiple of 16.*, got .*Use a side of \d+ or"):
        build(img_size=size)
    assert build(img_size=(48, 48)).side == 3


@pytest.mark.parametrize("build", [small_classifier, small_masked, small_tokenizer])
@pytest.mark.parametrize("shape", [(2, 3, 48, 48), (2, 3, 64, 48), (2, 3, 48, 64), (2, 4, 64, 64), (3, 64, 64)])
def test_images_of_another_shape_are_refused(build, shape):
    model = build()
    with pytest.raises(ValueError, match=r"the images have shape .*\(batch, 3, 64, 64\).*another img_size or in_chans"):
        model(torch.zeros(shape, dtype=torch.float64))
    if build is small_classifier:
        with pytest.raises(ValueError, match="the images have shape"):
            model.forward_intermediates(torch.zeros(shape, dtype=torch.float64))
        with pytest.raises(ValueError, match="the images have shape"):
            model.forward_patches(torch.zeros(shape, dtype=torch.float64))


def test_names_of_timm_are_the_official_ones_but_for_a_bias_of_keys():
    pairs = [
        ("beitv2_base_224", "timm_beitv2_base_patch16_224"),
        ("beitv2_large_224", "timm_beitv2_large_patch16_224"),
        ("beitv2_base_384", "timm_beit_base_patch16_384"),
    ]
    for pair in pairs:
        ours, theirs = ((LISTS / f"{name}.tsv").read_text().splitlines() for name in pair)
        only = [line for line in theirs if line not in ours]
        assert {line.split("\t")[0].rpartition(".")[2] for line in only} == {"k_bias", "relative_position_index"}
        assert {line.split("\t")[0] for line in ours} <= {line.split("\t")[0] for line in theirs}

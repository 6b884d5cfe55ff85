"""EsViT's backbones against the official code's outputs (tests/goldens/esvit), in float64."""

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from bench.attention import entropy, observe
from bench.model import fused_attention
from models.esvit import checkpoint_filter_fn, swin
from models.esvit.network import Head, Network
from models.esvit.swin import Block, window_mask
from models.esvit.vit import resize_positions
from tests.detfill import image
from tests.esvit import BACKBONES, LISTS, golden, index, official_state


class Known:
    """A backbone with the golden's weights, and what it makes of both sizes of images."""

    def __init__(self, name: str, impl: str):
        registered, arguments = BACKBONES[name]
        self.name, self.golden, self.facts = name, golden(name), index()[name]
        with fused_attention(impl == "fast"):
            self.model = timm.create_model(registered, impl=impl, **arguments).double().eval()
        found = self.model.load_state_dict(
            checkpoint_filter_fn(official_state(LISTS / f"{name}.tsv"), self.model), strict=False
        )
        assert found.unexpected_keys == []
        assert all(key.endswith("num_batches_tracked") for key in found.missing_keys)
        with torch.no_grad():
            self.large, self.small = (self.model.forward_regions(image(2, size)) for size in (224, 96))


@pytest.fixture(scope="module")
def known(request) -> Known:
    return Known(*request.param)


def each(impls=("reference", "fast"), names=tuple(BACKBONES)):
    cases = [pytest.param((name, impl), id=f"{name}-{impl}") for name in names for impl in impls]
    return pytest.mark.parametrize("known", cases, indirect=True, scope="module")


def assert_equal(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


@each()
def test_features_are_the_official_ones(known):
    assert_equal(known.large[0], known.golden["output"])
    assert_equal(known.small[0], known.golden["output_96"])
    assert_equal(torch.cat([known.large[0], known.small[0]]), known.golden["output_list"])


@each()
def test_regions_are_the_official_ones(known):
    regions = torch.cat([known.large[1].flatten(0, 1), known.small[1].flatten(0, 1)])
    theirs = known.golden
    assert [known.large[1].shape[1], known.small[1].shape[1]] == theirs["npatch"].tolist()
    assert list(regions.shape) == theirs["region_shape"].tolist()
    assert_equal(regions.flatten()[:: int(theirs["region_stride"])], theirs["region_sample"])
    assert_equal(known.large[1].sum(dim=2).flatten(), theirs["region_224_sum_per_token"])
    assert_equal(known.small[1].sum(dim=2).flatten(), theirs["region_96_sum_per_token"])


@each(["fast"])
def test_linear_features_are_the_official_ones(known):
    with torch.no_grad():
        if "linear_feat_n4" in known.golden:
            assert_equal(known.model.linear_features(image(2, 224)), known.golden["linear_feat_n4"])
        else:  # ResNet's probe reads the view's feature
            assert_equal(known.model.linear_features(image(2, 224)), known.golden["output"])
        one = known.model.linear_features(image(2, 96), blocks=1)
    assert_equal(one, known.small[0])
    with pytest.raises(ValueError, match=r"blocks=99.*from 1 to"):
        known.model.linear_features(image(1, 224), blocks=99)


@each(["reference"])
def test_parameters_and_flops_are_the_official_ones(known):
    assert sum(p.numel() for p in known.model.parameters()) == known.facts["params_total"]
    for size in (224, 96):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            known.model(torch.empty(1, 3, size, size, dtype=torch.float64))
        assert counter.get_total_flops() == known.facts[f"torch_flop_counter_{size}"]


@each(["reference"], ["swin_tiny_w7", "swin_tiny_w14", "deit_small_p16"])
def test_attention_is_the_official_one(known):
    """The last map of both images, and entropies as officially: of the first image, its first window, 49 queries."""
    maps = [
        observe(known.model, image(2, 224)[[number]], known.name, lambda seen: seen.p.clone()) for number in range(2)
    ]
    theirs = known.golden
    last = torch.cat([one[-1] for one in maps])
    assert list(last.shape) == theirs["last_attn_shape"].tolist()
    assert_equal(last.flatten()[:: int(theirs["last_attn_stride"])], theirs["last_attn_sample"])
    assert len(maps[0]) == len(known.facts.get("all_attn_shapes", maps[0]))
    for number, p in enumerate(maps[0]):
        assert_equal(entropy(p[:1, :, :49]), theirs[f"entropy_layer{number}"])


def test_checkpoints_of_other_windows_and_sizes_are_resized():
    state = official_state(LISTS / "swin_tiny_w7.tsv")
    model = timm.create_model("esvit_swin_tiny", window=14)
    fitted = checkpoint_filter_fn(state, model)
    model.load_state_dict(fitted)
    name = "layers.0.blocks.1.attn.relative_position_bias_table"
    known, made = state[name], fitted[name]
    assert made.shape == (27**2, 3)
    grid = F.interpolate(known.T.reshape(1, 3, 13, 13), size=(27, 27), mode="bicubic", align_corners=False)
    torch.testing.assert_close(made[5 * 27 + 9], grid[0, :, 5, 9])
    assert made.is_contiguous()
    same = "layers.3.blocks.1.attn.relative_position_bias_table"  # the last stage is one window of 7 in both
    assert torch.equal(fitted[same], state[same])

    state = official_state(LISTS / "deit_small_p16.tsv")
    model = timm.create_model("esvit_deit_small", img_size=288)
    fitted = checkpoint_filter_fn(state, model)
    model.load_state_dict(fitted)
    assert fitted["pos_embed"].shape == (1, 1 + 18**2, 384)
    assert torch.equal(fitted["pos_embed"][:, 0], state["pos_embed"][:, 0])

    student = Network(model, Head(384, 8, False), None)
    fitted = checkpoint_filter_fn(state, student)
    student.load_state_dict(fitted, strict=False)
    assert fitted["backbone.pos_embed"].shape == (1, 1 + 18**2, 384)


def test_prefixes_and_projection_heads_stay_out_of_a_backbone():
    state = official_state(LISTS / "swin_tiny_w7.tsv")
    with_heads = {f"backbone.{name}": x for name, x in state.items()} | {
        "head.mlp.0.weight": torch.zeros(2048, 768),
        "head_dense.last_layer.weight_v": torch.zeros(1024, 256),
        "head.last_layer.weight_g": torch.zeros(1024, 1),
    }
    assert checkpoint_filter_fn(with_heads, timm.create_model("esvit_swin_tiny")).keys() == state.keys()
    classifier = {"head.fc.weight": torch.zeros(7, 768), "head.fc.bias": torch.zeros(7)}
    assert checkpoint_filter_fn(classifier, timm.create_model("esvit_swin_tiny", num_classes=7)).keys() == (
        classifier.keys()
    )


def test_positions_of_a_grid_of_any_shape():
    table = torch.randn(1, 1 + 14 * 14, 8, dtype=torch.float64)
    assert resize_positions(table, (14, 14)) is table
    for grid in ((29, 29), (6, 6), (5, 9)):  # 29: where the official factor makes 28
        made = resize_positions(table, grid)
        assert made.shape == (1, 1 + grid[0] * grid[1], 8)
        assert torch.equal(made[:, 0], table[:, 0])
    grid = F.interpolate(table[:, 1:].reshape(1, 14, 14, 8).permute(0, 3, 1, 2), scale_factor=3 / 7, mode="bicubic")
    torch.testing.assert_close(resize_positions(table, (6, 6))[0, 1:], grid.flatten(2)[0].T)


def plain_window_mask(height: int, width: int, window: int, shift: int) -> torch.Tensor:
    """By the definition, pair by pair."""

    def label(row: int, column: int) -> tuple[int, int]:
        return tuple(
            0 if at < side - window else 1 if at < side - shift else 2 for at, side in ((row, height), (column, width))
        )

    cells = range(window * window)
    rows = []
    for top in range(0, height, window):
        for left in range(0, width, window):
            labels = [label(top + i // window, left + i % window) for i in cells]
            rows.append([[0.0 if labels[a] == labels[b] else -100.0 for b in cells] for a in cells])
    return torch.tensor(rows)


@pytest.mark.parametrize(("height", "width", "window", "shift"), [(6, 9, 3, 1), (4, 4, 4, 2), (8, 4, 4, 2)])
def test_window_mask_by_its_definition(height, width, window, shift):
    """(4, 4) is the one padded window of a small crop, in which the first band is empty."""
    assert torch.equal(
        window_mask(height, width, window, shift, "cpu"), plain_window_mask(height, width, window, shift)
    )


def test_padding_comes_before_the_shift():
    """Token by token: a shifted block on a map that its windows don't divide."""
    torch.manual_seed(0)
    block = Block(8, 2, window=4, shift=2, drop_path=0.0, fused=False).double()
    torch.nn.init.normal_(block.attn.relative_position_bias_table)
    x = torch.randn(1, 6, 6, 8, dtype=torch.float64)
    padded = torch.zeros(8, 8, 8, dtype=torch.float64)
    padded[:6, :6] = block.norm1(x)[0]
    q, k, v = block.attn.qkv(padded).reshape(8, 8, 3, 2, 4).permute(2, 3, 0, 1, 4)  # (heads, 8, 8, 4)
    bias = block.attn.relative_position_bias_table

    def place(at: int) -> tuple[int, int]:
        """(window, band) of a row or column, shifted by two and cyclic."""
        moved = (at - 2) % 8
        return moved // 4, 0 if moved < 4 else 1 if moved < 6 else 2

    out = torch.zeros(6, 6, 2, 4, dtype=torch.float64)
    for row in range(6):
        for column in range(6):
            for head in range(2):
                logits, rows = [], []
                for y in range(8):
                    for z in range(8):
                        if (place(y)[0], place(z)[0]) != (place(row)[0], place(column)[0]):
                            continue
                        dy = (row - 2) % 8 % 4 - (y - 2) % 8 % 4
                        dz = (column - 2) % 8 % 4 - (z - 2) % 8 % 4
                        hidden = (place(y)[1], place(z)[1]) != (place(row)[1], place(column)[1])
                        own = q[head, row, column] @ k[head, y, z] / 2 + bias[(dy + 3) * 7 + dz + 3, head]
                        logits.append(own - 100 * hidden)
                        rows.append(v[head, y, z])
                out[row, column, head] = torch.stack(logits).softmax(0) @ torch.stack(rows)
    y = x + block.attn.proj(out.flatten(2))[None]
    torch.testing.assert_close(block(x), y + block.mlp(block.norm2(y)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(100, 60), (32, 224)])
def test_swin_takes_maps_of_odd_sides(size):
    """Merging pads them; both routes agree."""
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    models = [
        timm.create_model("esvit_swin_tiny", depths=(2, 2, 2, 1), impl=impl).double() for impl in ("reference", "fast")
    ]
    models[1].load_state_dict(models[0].state_dict())
    with torch.no_grad():
        features = [model.eval().forward_features(images) for model in models]
    assert features[0].shape == (2, -(-size[0] // 32), -(-size[1] // 32), 768)
    torch.testing.assert_close(*features, rtol=1e-10, atol=1e-10)


def test_drop_path_rises_over_all_blocks():
    model = timm.create_model("esvit_swin_tiny", drop_path_rate=0.1)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for stage in model.layers for block in stage.blocks]
    np.testing.assert_allclose(rates, np.linspace(0, 0.1, 12))


def test_drop_path_drops_attention_and_mlp():
    x = torch.randn(2, 4, 4, 8)
    for shift in (0, 2):
        block = Block(8, 2, window=4, shift=shift, drop_path=1.0, fused=False)
        assert torch.equal(block.train()(x), x)
        assert not torch.equal(block.eval()(x), x)


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("esvit_swin_tiny", (98, 98), "multiples of 4"),
        ("esvit_deit_small", (100, 100), "multiples of 16"),
        ("esvit_vil_2262", (100, 100), "multiples of 32"),
        ("esvit_cvt_tiny", (98, 98), "multiples of 4"),
    ],
)
def test_images_of_other_sizes_are_refused(name, size, words):
    model = timm.create_model(name).eval()
    with pytest.raises(ValueError, match=words):
        model(torch.zeros(1, 3, *size))
    with pytest.raises(ValueError, match=r"\(batch, 3, height, width\)"):
        model(torch.zeros(1, 4, 224, 224))


@pytest.mark.parametrize("name", ["esvit_swin_tiny", "esvit_deit_small", "esvit_resnet50"])
@pytest.mark.parametrize("shape", [(1, 4, 224, 224), (2, 3, 224), (1, 3, 0, 224)])
def test_what_is_no_batch_of_images_is_refused(name, shape):
    with torch.device("meta"):
        model = timm.create_model(name)
        with pytest.raises(ValueError, match=r"\(batch, 3, height, width\)"):
            model.check(torch.empty(shape))


@pytest.mark.parametrize("window", [0, -7, 7.0, True])
def test_windows_are_numbers_of_tokens(window):
    with pytest.raises(ValueError, match=rf"7 or 14.*window={window}.*from 1"):
        timm.create_model("esvit_swin_tiny", window=window)


# What the goldens don't say, of small models.


def small(impl: str = "fast", **words) -> swin.Swin:
    """Swin of four stages, of which the first three have a shifted block."""
    torch.manual_seed(0)
    return timm.create_model("esvit_swin_tiny", embed_dim=24, depths=(2, 2, 2, 1), impl=impl, **words).eval()


@pytest.mark.parametrize("name", ["esvit_swin_tiny", "esvit_deit_small"])
def test_the_fast_route_is_fused_and_the_reference_is_not(name, monkeypatch):
    seen = []
    plain = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *q, **words: seen.append(1) or plain(*q, **words))
    found = {}
    for impl in ("reference", "fast"):
        words = {"embed_dim": 24, "depths": (2, 2, 2, 1)} if "swin" in name else {"depth": 7}
        with fused_attention(True):
            model = timm.create_model(name, impl=impl, **words).eval()
        seen.clear()
        model(torch.zeros(1, 3, 64, 64))
        found[impl] = len(seen)
    assert found == {"reference": 0, "fast": 7}


def test_masks_are_made_once_a_stage_and_by_the_reference_once_a_block(monkeypatch):
    made = []
    plain = swin.window_mask
    monkeypatch.setattr(swin, "window_mask", lambda *given: made.append(given[-1]) or plain(*given))
    for impl, masks in (("reference", 4), ("fast", 3)):  # a third stage of two shifted blocks
        model = timm.create_model("esvit_swin_tiny", embed_dim=24, depths=(2, 2, 4, 1), impl=impl)
        made.clear()
        model(torch.zeros(1, 3, 64, 64))
        assert len(made) == masks


def test_initial_weights():
    model = small()
    for name, p in model.named_parameters():
        if name.endswith(("qkv.weight", "fc1.weight", "reduction.weight", "bias_table")):
            assert p.std().item() == pytest.approx(0.02, rel=0.25), name
        if name.endswith(("qkv.bias", "fc1.bias", "proj.bias")) and "patch_embed" not in name:
            assert not p.any(), name
    assert timm.create_model("esvit_deit_small", depth=1).cls_token.std().item() == pytest.approx(0.02, rel=0.25)


@pytest.mark.parametrize("impl", ["reference", "fast"])
def test_half_precision_stays_near(impl):
    """Of 96 px, where windows are padded and shifted; the mask is float32 and must not widen what it is added to."""
    model, images = small(impl), image(2, 96).float()
    with torch.no_grad():
        exact = model.forward_features(images)
        half = model.bfloat16().forward_features(images.bfloat16())
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).norm() < 0.05 * exact.norm()


def test_intermediates_are_the_maps_behind_the_stages():
    model, images = small(), image(1, 64).float()
    known, ran = [None] * 4, []

    def keep(stage, out):
        known[stage] = out
        ran.append(stage)

    for stage, layer in enumerate(model.layers):
        for block in layer.blocks:
            block.register_forward_hook(lambda _, __, out, stage=stage: keep(stage, out))
    with torch.no_grad():
        final, maps = model.forward_intermediates(images)
        assert ran == [0, 0, 1, 1, 2, 2, 3]
        last = model.forward_features(images)
        assert torch.equal(final, last)
        assert len(maps) == 4
        for found, x in zip(maps, known, strict=True):
            assert torch.equal(found, x.permute(0, 3, 1, 2))

        [third, fourth] = model.forward_intermediates(images, 2, norm=True, intermediates_only=True)
        assert torch.equal(third, maps[2]), "the norm is the last stage's"
        assert torch.equal(fourth, last.permute(0, 3, 1, 2))

        final, [first] = model.forward_intermediates(images, [0])
        assert torch.equal(final, last)
        assert torch.equal(first, maps[0])
        ran.clear()
        final, [first] = model.forward_intermediates(images, [0], stop_early=True)
        assert len(ran) <= 3, "no further than the first block behind what was asked for"
        assert torch.equal(first, maps[0])
        assert torch.equal(final, maps[0].permute(0, 2, 3, 1)), "no norm but the last stage's"
    with pytest.raises(ValueError, match=r"output_fmt='NLC'.*'NCHW'"):
        model.forward_intermediates(images, output_fmt="NLC")


def test_pruned_models_keep_what_their_maps_need():
    images = image(1, 64).float()
    with torch.no_grad():
        model = small(num_classes=5)
        maps = model.forward_intermediates(images, intermediates_only=True)
        assert model.prune_intermediate_layers([0, 1]) == [0, 1]
        found = model.forward_intermediates(images, [0, 1], norm=True, intermediates_only=True)
        assert torch.equal(found[0], maps[0])
        assert torch.equal(found[1], maps[1])
        assert len(model.forward_intermediates(images, intermediates_only=True)) == 2
        assert torch.equal(model(images), maps[1].permute(0, 2, 3, 1)), "neither norm nor head, not even a mean"
        left = {name.split(".")[1] for name in model.state_dict() if name.startswith("layers.")}
        assert left == {"0", "1"}
        assert not [name for name in model.state_dict() if name.startswith(("layers.1.downsample", "norm", "head"))]
    for words, norm, head in (
        ({}, True, False),
        ({"prune_norm": True}, False, False),
        ({"prune_head": False}, True, True),
    ):
        model = small(num_classes=5)
        assert model.prune_intermediate_layers([1, 3], **words) == [1, 3]
        assert (model.num_stages, "norm.weight" in model.state_dict()) == (4, norm)
        assert (model.num_classes, "head.fc.weight" in model.state_dict()) == ((5, True) if head else (0, False))
    model = small(num_classes=5)
    model.prune_intermediate_layers([2], prune_head=False)
    assert "head.fc.weight" not in model.state_dict(), "a head of another width is of no use"


def test_classifier_has_the_models_dtype_and_dropout():
    model = small(num_classes=5, drop_rate=0.3).double()
    assert [m.p for m in model.head.modules() if isinstance(m, torch.nn.Dropout) and m.p] == [0.3]
    for classes in (7, 0, 7):  # also where there is none whose dtype it could have
        model.reset_classifier(classes)
        assert model(image(1, 64)).dtype == torch.float64


def test_checkpointing_is_switched_off_again():
    model, images = small(), image(1, 64).float()
    calls = []
    for block in model.layers[0].blocks:
        block.register_forward_pre_hook(lambda *_: calls.append(1))
    for enable, expected in ((True, 4), (False, 2)):
        model.set_grad_checkpointing(enable)
        calls.clear()
        model(images).sum().backward()
        assert len(calls) == expected


@pytest.mark.parametrize("blocks", [0, -1, 8, 1.0, True])
def test_linear_features_are_of_one_block_to_all(blocks):
    model, images = small(), image(1, 64).float()
    with torch.no_grad():
        assert model.linear_features(images, blocks=7).shape == (1, 2 * (24 + 48 + 96) + 192)
        with pytest.raises(ValueError, match=rf"blocks={blocks}.*from 1 to 7"):
            model.linear_features(images, blocks=blocks)


@pytest.mark.parametrize("name", ["esvit_swin_tiny", "esvit_deit_small", "esvit_resnet50"])
def test_nothing_is_kept_from_decay_by_name(name):
    with torch.device("meta"):
        assert timm.create_model(name).no_weight_decay() == set()


def test_vit_takes_images_that_are_no_squares():
    model = timm.create_model("esvit_deit_small", depth=1).eval()
    x = torch.randn(2, 3, 5, 384)
    known = torch.cat([model.cls_token.expand(2, -1, -1), x.flatten(1, 2)], dim=1)
    with torch.no_grad():
        assert torch.equal(model._pos_embed(x), known + resize_positions(model.pos_embed, (3, 5)))
    assert model.forward_regions(torch.zeros(1, 3, 48, 80))[1].shape == (1, 15, 384)


def test_vit_takes_the_words_of_timm():
    model = timm.create_model("esvit_deit_small", depth=1, pos_drop_rate=1.0).train()
    assert not model._pos_embed(torch.randn(1, 2, 2, 384)).any()
    images = image(1, 32).float()
    own = torch.eye(5, dtype=torch.bool)  # each token attends to itself alone
    with torch.no_grad():
        model.eval()
        assert not torch.equal(model.forward_features(images, attn_mask=own), model.forward_features(images))

"""Attention maps: known answers, the plain formula as oracle, and that no map is missed or kept."""

import base64
import io
import json
import math
import weakref

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from timm.models import register_model
from torch import nn

from bench import attention, photographs
from bench.attention import MissedMap, capture, entropy, head_similarity, heads_axis, similarity_matrix
from bench.build import Case
from bench.errors import Skip
from bench.metrics import all_metrics
from bench.model import create
from bench.protocol import preset
from bench.spec import Spec
from tests.blocks import Blocks

PROTOCOL = preset("quick", 1)


def heads(*rows):
    """A map of one image, (1, heads, 1 row, keys), in float64."""
    return torch.tensor(rows, dtype=torch.float64)[None, :, None]


def softmaxed(windows=1, heads=3, rows=5, keys=7, seed=0, sigma=1.0, dtype=torch.float64):
    logits = torch.randn(windows, heads, rows, keys, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return (sigma * logits).softmax(dim=-1)


def plain_similarity(p):
    """The formula of the specification, head pair by head pair."""
    many = range(p.shape[1])
    cosines = {
        (i, j): F.cosine_similarity(p[:, i], p[:, j], dim=-1, eps=0).nan_to_num(0).mean() for i in many for j in many
    }
    pairs = [cosines[i, j] for i in many for j in many if i < j]
    return sum(pairs) / len(pairs), sum(cosines.values()) / len(cosines)


@pytest.mark.parametrize(
    ("p", "pairs"),
    [
        (heads([0.25] * 4, [0.25] * 4), 1.0),
        (heads([0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.7, 0.2, 0.1]), 1.0),
        (heads([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]), 0.0),
        (heads([0.5, 0.5], [0.8, 0.2]), 0.8574929257),
        (heads([0.5, 0.5], [0.0, 0.0], [0.5, 0.5]), 1 / 3),  # a row of zeros is like none
    ],
    ids=["uniform", "identical", "disjoint", "by hand", "zeros"],
)
def test_similarity_of_known_maps(p, pairs):
    assert head_similarity(p)[0].item() == pytest.approx(pairs, abs=1e-10)


@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_similarity_of_gaussian_logits(sigma):
    p = softmaxed(heads=8, rows=64, keys=4096, sigma=sigma)
    assert head_similarity(p)[0].item() == pytest.approx(math.exp(-(sigma**2)), abs=0.003)


@given(st.integers(1, 3), st.integers(2, 6), st.integers(1, 5), st.integers(1, 9), st.integers(0, 99), st.booleans())
def test_similarity_is_that_of_the_plain_formula(windows, heads, rows, keys, seed, zeros):
    p = softmaxed(windows, heads, rows, keys, seed, sigma=3.0)
    if zeros:
        p[0, 0, 0] = 0
    pairs, all_pairs = plain_similarity(p)
    assert head_similarity(p)[0].item() == pytest.approx(pairs.item(), abs=1e-12)
    assert head_similarity(p)[1].item() == pytest.approx(all_pairs.item(), abs=1e-12)
    matrix = similarity_matrix(p)
    assert matrix.triu(1).sum().item() / (heads * (heads - 1) / 2) == pytest.approx(pairs.item(), abs=1e-12)
    assert matrix.mean().item() == pytest.approx(all_pairs.item(), abs=1e-12)


def test_one_head_has_no_pairs():
    pairs, all_pairs = head_similarity(softmaxed(heads=1))
    assert math.isnan(pairs.item())
    assert all_pairs.item() == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_similarity_is_accumulated_in_float32_at_least(dtype):
    p = softmaxed(windows=8, heads=4, rows=49, keys=49, sigma=0.01).to(dtype)
    assert head_similarity(p)[0].item() == pytest.approx(plain_similarity(p.double())[0].item(), abs=1e-6)


def test_entropy_of_known_maps():
    p = heads([1 / 8] * 8, [1.0] + [0.0] * 7, [0.5, 0.25, 0.25] + [0.0] * 5)
    assert entropy(p).tolist() == pytest.approx([3, 0, 1.5], abs=1e-12)
    windows = torch.cat([p, torch.full_like(p, 1 / 8)])
    assert entropy(windows).tolist() == pytest.approx([3, 1.5, 2.25], abs=1e-12)


@pytest.mark.parametrize(
    ("shape", "said", "axis"),
    [
        ((1, 3, 197, 197), 3, 1),
        ((64, 3, 49, 49), None, 1),
        ((4, 4, 49, 49), 4, 1),  # four windows, four heads
        ((1, 64, 2, 49, 49), 2, 2),  # Twins: windows first
        ((1, 6, 196, 9, 9), 6, 1),  # VOLO: heads first
        ((1, 1, 1, 49, 49), 1, 1),
        ((12, 196, 196), 12, 0),
        ((1, 196, 196), None, 0),
    ],
)
def test_the_heads_axis_is_found(shape, said, axis):
    assert heads_axis(shape, said) == axis


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((300, 196, 196), 12),  # SAM folds windows and heads into one axis
        ((300, 196, 196), None),
        ((1, 8, 8, 49, 49), 8),
        ((1, 64, 2, 49, 49), None),
        ((1, 10, 257, 257), 5),  # differential attention: two maps a head
        ((196, 196), 1),
    ],
)
def test_a_heads_axis_that_is_not_known_is_not_guessed(shape, said):
    with pytest.raises(MissedMap, match="shape"):
        heads_axis(shape, said)


class Attention(nn.Module):
    """Multi-head attention of tokens (1, N, 8) to themselves, whose map is hidden or changed on demand."""

    def __init__(self, num_heads=2, kind="eager"):
        super().__init__()
        self.num_heads = num_heads
        self.kind = kind
        self.qkv = nn.Linear(8, 24)
        self.attn_drop = nn.Dropout(0.0)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        if self.kind == "fused":
            return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        p = (q @ k.transpose(-2, -1)).softmax(dim=-1)
        if self.kind == "mixed":
            p = p - p.flip(1) / 2
        if self.kind == "blank":
            p = p * (torch.arange(p.shape[2]) > 0).view(-1, 1)  # what a mask over all keys leaves
        if self.kind != "hidden":
            p = self.attn_drop(p)
        return (p @ v).transpose(1, 2).flatten(2)


IMAGE = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_maps_come_in_order_of_execution_and_leave_the_model_as_it_was():
    model = Blocks(Attention(2), Attention(4))
    seen = capture(model, IMAGE, "two", closely=True)
    assert [(one.block, one.label, one.heads, one.keys) for one in seen] == [
        ("blocks.0", "blocks.0", 2, 16),
        ("blocks.1", "blocks.1", 4, 16),
    ]
    assert seen[0].picture.query == "centre patch"
    assert seen[0].picture.grid == (4, 4)
    assert seen[0].matrix.shape == (2, 2)
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("kind", ["hidden", "fused"])
def test_one_missed_map_raises(kind):
    with pytest.raises(MissedMap, match=r"^a model hides attention maps: \d softmaxes .* but 1 maps that pass"):
        capture(Blocks(Attention(), Attention(kind=kind)), IMAGE, "a model")


def test_fused_attention_of_a_model_of_timm_raises():
    model = create(Spec("deit_tiny_patch16_224"), "cpu", attention="fused")
    with pytest.raises(MissedMap, match="12 fused attention calls, but 0 maps"):
        capture(model, torch.zeros(1, 3, 224, 224), "deit")


def test_what_is_no_softmaxed_map_raises():
    with pytest.raises(MissedMap, match=r"what blocks.1.attn_drop is given is no softmaxed map"):
        capture(Blocks(Attention(), Attention(kind="mixed")), IMAGE, "a model")
    broken = Blocks(Attention())
    nn.init.constant_(broken.blocks[0].qkv.bias, math.nan)
    with pytest.raises(MissedMap, match="no softmaxed map"):
        capture(broken, IMAGE, "a model")


def test_rows_of_zeros_are_counted():
    [blank] = capture(Blocks(Attention(2, "blank")), IMAGE, "a model")
    assert blank.zero_rows.item() == 2
    assert 0 < blank.similarity.item() <= 15 / 16


def test_no_attention_is_a_reason_to_skip():
    with pytest.raises(Skip, match="computes no attention map"):
        capture(Blocks(), IMAGE, "a model")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_no_map_outlives_its_layer(dtype):
    storages = []
    model = Blocks(Attention(), Attention(4)).to(dtype)
    for block in model.blocks:
        block.attn_drop.register_forward_hook(
            lambda _, args, out: storages.append(weakref.ref(args[0].untyped_storage()))
        )
    seen = capture(model, IMAGE.to(dtype), "a model", closely=True)
    assert len(storages) == len(seen) == 2
    assert [storage() for storage in storages] == [None, None]


def measure(name, model, **axes):
    case = Case(Spec(model, **axes), PROTOCOL)
    value = all_metrics()[name].measure(case)
    assert json.loads(json.dumps(value.details, allow_nan=False)) == value.details
    return value


def test_ccs_and_entropy_share_one_pass(monkeypatch, two_images):
    passes = []

    def counting(*args, **kwargs):
        passes.append(args)
        return capture(*args, **kwargs)

    monkeypatch.setattr(attention, "capture", counting)
    case = Case(Spec("test_vit", size=(160, 160)), PROTOCOL)
    assert [all_metrics()[name].measure(case).status for name in ("ccs", "entropy")] == ["ok", "ok"]
    assert len(passes) == 2  # one an image


def test_a_random_deit_attends_to_all_alike():
    value = measure("ccs", "deit_small_patch16_224")
    assert value.value == pytest.approx(0.98, abs=0.01)
    details = value.details
    assert list(details) == ["weights", "images", "all_pairs", "per_image", "blocks", "similarity", "gallery"]
    assert list(details["per_image"]) == ["astronaut", "chelsea", "coffee", "rocket", "china", "flower"]
    assert "random weights (seed 0)" in value.note
    assert "6 photographs" in value.note
    assert [block["name"] for block in details["blocks"]] == [f"blocks.{i}.attn" for i in range(12)]
    assert details["all_pairs"] == pytest.approx((5 * value.value + 1) / 6)
    assert sum(details["per_image"].values()) / 6 == pytest.approx(value.value)
    assert [len(row) for row in details["similarity"]["blocks.3.attn"]] == [6] * 6
    gallery = details["gallery"]
    assert [one["name"] for one in gallery["blocks"]] == [f"blocks.{i}.attn" for i in (0, 4, 7, 11)]
    for one in gallery["blocks"]:
        assert (one["query"], one["grid"], len(one["heads"])) == ("class token", [14, 14], 6)
        assert all(len(head) == 196 and 0.9 < sum(head) < 1 for head in one["heads"])  # without the class token's key
    assert gallery["image"] == "astronaut"
    assert Image.open(io.BytesIO(base64.b64decode(gallery["jpeg"]))).size == (224, 224)


def test_blocks_with_one_head_have_an_entropy_and_no_ccs(two_images):
    value = measure("ccs", "pvt_v2_b1")
    assert [block["ccs"] is None for block in value.details["blocks"]] == [True] * 2 + [False] * 6
    assert "without 2 of one head: stages.0.blocks.0.attn, stages.0.blocks.1.attn" in value.note
    assert value.details["gallery"]["blocks"][0]["grid"] == [7, 7]  # of the reduced keys
    assert len(value.details["similarity"]) == 6
    spread = measure("entropy", "pvt_v2_b1")
    assert [block["heads"] for block in spread.details["blocks"]] == [1, 1, 2, 2, 5, 5, 8, 8]
    assert spread.value == pytest.approx(math.log2(49), abs=0.1)
    assert all(0.9 < share <= 1 for block in spread.details["blocks"] for share in block["relative"])


def test_sgformer_shows_both_maps_of_its_hybrid_blocks(two_images):
    [one, _] = attention.look(Case(Spec("sgformer_s"), PROTOCOL)).maps.values()
    assert len(one) == 34
    hybrid = [map for map in one if map.block == "block2.0.attn"]
    assert [map.label.rpartition("/")[2] for map in hybrid] == ["global_attn_drop", "local_attn_drop"]
    value = measure("ccs", "sgformer_s")
    assert len(value.details["blocks"]) == 23
    [block] = (block for block in value.details["blocks"] if block["name"] == "block2.0.attn")
    assert block["heads"] == 4
    drawn = [(block["name"], block["grid"]) for block in value.details["gallery"]["blocks"]]
    assert drawn[0] == ("block1.0.attn/global_attn_drop", [7, 7])  # never the windows, nor keys sorted by rank
    assert drawn[-1] == ("block4.0.attn", [7, 7])


def test_maps_of_unequal_heads_weigh_by_their_pairs():
    from bench.metrics.ccs import _blocks

    maps = [
        attention.Map(
            "block", f"block/{count}", count, 9, *map(torch.tensor, (value, value / 2, 0)), torch.zeros(count)
        )
        for count, value in ((1, math.nan), (2, 0.2), (3, 0.6))
    ]
    assert _blocks(maps) == [
        {"name": "block", "heads": 6, "ccs": pytest.approx((0.2 + 3 * 0.6) / 4), "all_pairs": pytest.approx(3.1 / 13)}
    ]


def test_pictures_are_of_maps_of_the_whole_image():
    for tokens, size, grid in [
        (197, (224, 224), (14, 14)),
        (198, (224, 224), (14, 14)),
        (261, (224, 224), (16, 16)),  # four registers and a class token
        (99, (224, 112), (14, 7)),
        (141, (224, 160), (14, 10)),
    ]:
        p = softmaxed(1, 2, tokens, tokens)
        picture = attention._picture(p, size, {tokens})
        assert (picture.query, picture.grid) == ("class token", grid)
        assert torch.equal(picture.heads, p[0, :, 0, -grid[0] * grid[1] :].float())
    p = softmaxed(1, 2, 16, 4)
    drawn = attention._picture(p, (32, 32), {16})
    assert (drawn.query, drawn.grid) == ("centre patch", (2, 2))
    assert torch.equal(drawn.heads, p[0, :, 10].float())  # row 2, column 2 of 4 x 4
    for windows, rows, keys, tokens in [(4, 49, 49, 49), (1, 64, 64, 784), (1, 3136, 60, 3136), (1, 1, 197, 197)]:
        assert attention._picture(softmaxed(windows, 2, rows, keys), (224, 224), {tokens}) is None


@pytest.mark.parametrize(
    ("axes", "reason"),
    [
        ({"model_args": {"in_chans": 1}}, "photographs have 3 channels, and this model takes 1"),
        ({"mode": "pretrain"}, "images are looked at in mode infer"),
        ({"mode": "train"}, "images are looked at in mode infer"),
    ],
)
def test_what_cannot_be_looked_at_is_skipped_with_its_reason(axes, reason):
    for name in ("ccs", "entropy"):
        value = measure(name, "test_vit", size=(160, 160), **axes)
        assert (value.status, value.note) == ("skipped", reason)


@register_model
def vitbench_alone(pretrained=False, img_size=32, **kwargs):
    return Blocks(Attention(num_heads=1))


def test_a_model_of_one_head_has_an_entropy_alone(two_images):
    value = measure("ccs", "vitbench_alone", size=(32, 32))
    assert (value.status, value.note) == ("skipped", "no attention map has two heads to compare")
    assert 0 < measure("entropy", "vitbench_alone", size=(32, 32)).value < 4


@pytest.mark.parametrize("precision", ["bfloat16", "amp_bfloat16"])
def test_half_precision_changes_little(precision, two_images):
    whole, half = (measure("ccs", "test_vit", size=(160, 160), precision=one) for one in ("float32", precision))
    assert half.value == pytest.approx(whole.value, abs=0.01)
    assert half.value != whole.value


def test_weights_and_images_are_named(two_images, tmp_path):
    assert attention._origin("pretrained", {"tag": "fb_in1k"}, 0) == "timm's pretrained weights (fb_in1k)"
    assert attention._origin("a/b.pth@0123456789ab", {}, 0) == "weights of b.pth (sha256 0123456789ab)"
    Image.new("RGB", (300, 200), "red").save(tmp_path / "a.png")
    value = measure("ccs", "test_vit", size=(160, 160), images=photographs.identify(str(tmp_path)))
    assert list(value.details["per_image"]) == ["a.png"]
    assert value.details["images"].startswith(f"1 image of the folder {tmp_path.name} (")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        ("swin_tiny_patch4_window7_224", "ok", ""),
        ("twins_svt_small", "ok", ""),
        ("volo_d1_224", "ok", ""),
        ("nest_tiny", "ok", ""),
        ("maxvit_tiny_tf_224", "ok", ""),
        ("nextvit_small", "ok", ""),
        ("beit_base_patch16_224", "ok", ""),
        ("cait_xxs24_224", "skipped", "no softmaxed map"),
        ("convit_tiny", "skipped", "hides attention maps"),
        ("levit_128s", "skipped", "hides attention maps"),
        ("hiera_tiny_224", "skipped", "hides attention maps"),
        ("coat_tiny", "skipped", "no attention map"),
        ("resnet18", "skipped", "no attention map"),
    ],
)
def test_families_of_timm_are_right_or_refused(model, status, words, two_images):
    value = measure("ccs", model)
    assert value.status == status
    assert words in value.note
    if status == "ok":
        assert 0.3 < value.value <= 1 + 1e-6  # float32

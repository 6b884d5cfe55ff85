"""SG-Former against the official code's outputs, names and counts, and against timm's habits."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose
from timm.models import group_parameters
from timm.utils import AttentionExtract
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from bench.model import fused_attention
from models import sgformer
from models.sgformer import checkpoint_filter_fn
from tests.detfill import fill, image

HERE = Path(__file__).parent
INDEX = json.loads((HERE / "goldens/sgformer/index.json").read_text())
PARAMETERS = {"sgformer_s": 22_545_981, "sgformer_m": 38_689_316, "sgformer_b": 77_950_293}
FVCORE_MACS = {"sgformer_s": 4_817_927_360, "sgformer_m": 7_469_620_968, "sgformer_b": 15_609_796_064}
TORCH_FLOPS = {"sgformer_s": 9_567_696_896, "sgformer_m": 14_853_706_752, "sgformer_b": 31_085_600_256}


def on_meta(name: str, **kwargs) -> torch.nn.Module:
    with torch.device("meta"):
        return timm.create_model(name, **kwargs).eval()


def small(fused: bool = True, **kwargs) -> torch.nn.Module:
    """SG-Former-S with one pair of blocks a stage, in float64 with reproducible weights."""
    with fused_attention(fused):
        return fill(timm.create_model("sgformer_s", depths=(2, 2, 2, 1), num_classes=10, **kwargs).double().eval())


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters()}


class Run:
    """The golden of one size beside what our model gives for the same weights and images."""

    def __init__(self, size: int):
        name = f"sgformer_s_{size}"
        self.index = INDEX[name]
        self.golden = dict(np.load(HERE / f"goldens/sgformer/{name}.npz"))
        model = timm.create_model("sgformer_s", img_size=size)
        self.pos_embed_init = model.pos_embed.detach().clone()
        fill(model.double().eval())
        self.tokens = {}
        self.significance = {}
        model.patch_embed1.register_forward_hook(lambda m, i, out: self.tokens.update(patch_embed1=out))
        for stage in (1, 2, 3):
            hybrid = model.get_submodule(f"block{stage}.0.attn")
            hybrid.register_forward_hook(lambda m, i, out, stage=stage: self.significance.update({stage: out[1]}))
        with torch.no_grad():
            final, maps = model.forward_intermediates(image(2, size))
            self.features = model.forward_head(final, pre_logits=True)
            self.logits = model.forward_head(final)
        self.tokens |= {f"norm{i}": x.flatten(2).transpose(1, 2) for i, x in enumerate(maps, start=1)}


@pytest.fixture(scope="module", params=[224, 448])
def run(request) -> Run:
    return Run(request.param)


def check(actual: torch.Tensor, expected: np.ndarray) -> None:
    assert_allclose(actual.numpy(), expected, rtol=1e-9, atol=1e-9)


def test_logits_equal_golden(run):
    check(run.logits, run.golden["output"])


def test_pooled_features_equal_golden(run):
    check(run.features, run.golden["features"])


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_significance_equals_golden(run, stage):
    check(run.significance[stage], run.golden[f"mask_block{stage}_0"])


@pytest.mark.parametrize("layer", ["patch_embed1", "norm1", "norm2", "norm3", "norm4"])
def test_tokens_equal_golden(run, layer):
    tokens = run.tokens[layer]
    stride, *statistics = run.golden[f"{layer}_stat"]
    check(tokens.flatten()[:: int(stride)], run.golden[f"{layer}_sample"])
    check(torch.stack([tokens.mean(), tokens.std(correction=0), tokens.norm()]), np.array(statistics))


def test_initial_position_table_equals_golden(run):
    rows = run.golden["pos_embed_init"]
    stride = -(-run.pos_embed_init.shape[1] // len(rows))
    assert_allclose(run.pos_embed_init[0, ::stride].numpy(), rows, rtol=0, atol=0)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_count_is_official(name):
    assert sum(p.numel() for p in on_meta(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", TORCH_FLOPS)
def test_torch_flops_are_official(name, fused):
    with fused_attention(fused):
        model = on_meta(name)
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 224, 224, device="meta"))
    assert counter.get_total_flops() == TORCH_FLOPS[name]


def fvcore_count(name: str, size: int = 224):
    from fvcore.nn import FlopCountAnalysis

    with fused_attention(False):
        model = timm.create_model(name, img_size=size).eval()
    count = FlopCountAnalysis(model, torch.zeros(1, 3, size, size))
    return count.unsupported_ops_warnings(False).uncalled_modules_warnings(False)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize("name", FVCORE_MACS)
def test_fvcore_macs_are_official(name):
    assert fvcore_count(name).total() == FVCORE_MACS[name]


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize("size", [224, 448])
def test_fvcore_split_by_operator_is_official(size):
    golden = INDEX[f"sgformer_s_{size}"]
    count = fvcore_count("sgformer_s", size)
    assert dict(count.by_operator()) == golden["fvcore_by_operator"]
    official_attention = {op: golden["fvcore_unsupported_ops"][op] for op in ("aten::sort", "aten::repeat")}
    assert official_attention.items() <= count.unsupported_ops().items()


def test_fused_attention_equals_explicit():
    fused, explicit = small(fused=True), small(fused=False)
    assert fused.block1[1].attn.fused_attn
    assert not explicit.block1[1].attn.fused_attn
    x, weight = image(2), torch.linspace(-1, 1, 20, dtype=torch.float64).reshape(2, 10)
    outputs = [model(x) for model in (fused, explicit)]
    torch.testing.assert_close(*outputs, rtol=1e-9, atol=1e-9)
    for out in outputs:
        (out * weight).sum().backward()
    torch.testing.assert_close(gradients(fused), gradients(explicit), rtol=1e-9, atol=1e-9)


def test_checkpointing_recomputes_blocks_and_changes_nothing():
    drops = {"drop_path_rate": 0.3, "attn_drop_rate": 0.1, "proj_drop_rate": 0.1, "drop_rate": 0.1}
    plain, saving = small(**drops).train(), small(**drops).train()
    saving.set_grad_checkpointing()
    calls = []
    saving.block2[1].register_forward_pre_hook(lambda *_: calls.append(1))
    outputs = []
    for model in (plain, saving):
        torch.manual_seed(0)
        outputs.append(model(image(2)))
        outputs[-1].square().sum().backward()
    torch.testing.assert_close(*outputs, rtol=0, atol=0)
    torch.testing.assert_close(gradients(plain), gradients(saving), rtol=1e-12, atol=1e-12)
    assert len(calls) == 2  # in the forward pass, and again in the backward pass


def test_significance_carries_no_gradient():
    hybrid = small().block1[0].attn
    x = torch.randn(1, 56 * 56, 64, dtype=torch.float64, requires_grad=True)
    out, significance = hybrid(x, None)
    assert out.requires_grad
    assert not significance.requires_grad


@pytest.mark.parametrize("precision", ["autocast", "cast"])
def test_significance_stays_float32_in_bfloat16(precision):
    model = timm.create_model("sgformer_s", depths=(2, 2, 2, 1))
    seen = {}
    model.block1[0].attn.register_forward_hook(lambda m, i, out: seen.update(significance=out[1]))
    model.block1[0].attn.q1.register_forward_hook(lambda m, i, out: seen.update(q1=out))
    x = image(1).float()
    if precision == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            model(x)
    else:
        model.bfloat16()(x.bfloat16())
    assert seen["q1"].dtype == torch.bfloat16
    assert seen["significance"].dtype == torch.float32
    # In bfloat16 the map of a fresh model has about ten values for its 3136 tokens.
    assert len(seen["significance"].unique()) > 1000


class Spy(TorchDispatchMode):
    """Record the arguments of every call of one operator."""

    def __init__(self, operator):
        super().__init__()
        self.operator = operator
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket is self.operator:
            self.calls.append((args, kwargs or {}))
        return func(*args, **(kwargs or {}))


def merge_by_hand(attn, x: torch.Tensor, order: np.ndarray) -> torch.Tensor:
    """Merge tokens x (N, C), taken in `order`, run by run."""
    merged, start = [], 0
    for weigh, size in zip((attn.f1, attn.f2, attn.f3), (784, 1568, 784), strict=True):
        run = weigh.weight.shape[1]
        for first in range(start, start + size, run):
            merged.append(weigh.weight[0] @ x[order[first : first + run]] + weigh.bias)
        start += size
    return torch.stack(merged)


@pytest.mark.parametrize("levels", [1, 5, 10**9])
def test_guided_block_merges_runs_and_breaks_ties_by_index(levels):
    attn = small().block1[1].attn
    x = torch.randn(1, 3136, 64, dtype=torch.float64)
    significance = torch.randint(levels, (1, 3136)).double()
    seen = {}
    attn.kv1.register_forward_hook(lambda m, i, out: seen.update(rows=i[0][0]))
    attn.kv2.register_forward_hook(lambda m, i, out: seen.update(columns=i[0][0]))
    with torch.no_grad(), Spy(torch.ops.aten.sort) as spy:
        attn(x, significance)
        rows = np.arange(3136)
        columns = rows.reshape(56, 56).T.ravel()
        for name, tokens in (("rows", rows), ("columns", columns)):
            order = tokens[np.argsort(significance[0].numpy()[tokens], kind="stable")]
            check(seen[name], merge_by_hand(attn, x[0], order).numpy())
    assert [kwargs["stable"] for _, kwargs in spy.calls] == [
        True,
        True,
    ]  # torch's default happens to be stable on the CPU, not on every device


@pytest.mark.parametrize(
    ("img_size", "got", "sides"),
    [
        (384, "384x384", "224 or 448"),
        ((225, 224), "225x224", "224 or 448"),
        ((448, 112), "448x112", "448 or 672"),
        (0, "0x0", "224 or 448"),
        (-224, "-224x-224", "224 or 448"),
    ],
)
def test_constructor_refuses_sizes_that_do_not_fit(img_size, got, sides):
    with pytest.raises(ValueError, match=rf"multiple of 224 .*, got {got}\. Use a side of {sides}\.$"):
        timm.create_model("sgformer_s", img_size=img_size)


@pytest.mark.parametrize("shape", [(448, 112), (448, 448), (225, 224)])
def test_forward_refuses_images_of_another_size(shape):
    with pytest.raises(ValueError, match=f"built for 224x224 images, got {shape[0]}x{shape[1]}"):
        on_meta("sgformer_s")(torch.empty(1, 3, *shape, device="meta"))


def test_impl_is_resolved_or_refused():
    assert on_meta("sgformer_s").impl == "reference"
    assert on_meta("sgformer_s", impl="reference").impl == "reference"
    with pytest.raises(ValueError, match=r"impl='nope'\. Use one of: auto, reference\."):
        on_meta("sgformer_s", impl="nope")


def test_features_only_gives_strides_4_to_32():
    backbone = on_meta("sgformer_b", features_only=True, out_indices=(0, 1, 2, 3))
    assert backbone.feature_info.reduction() == [4, 8, 16, 32]
    assert backbone.feature_info.channels() == [96, 192, 384, 768]
    maps = backbone(torch.empty(2, 3, 224, 224, device="meta"))
    assert [tuple(x.shape) for x in maps] == [(2, 96, 56, 56), (2, 192, 28, 28), (2, 384, 14, 14), (2, 768, 7, 7)]


def test_features_only_runs_no_stage_beyond_the_last_wanted():
    backbone = on_meta("sgformer_s", features_only=True, out_indices=(0, 1))
    maps = backbone(torch.empty(2, 3, 224, 224, device="meta"))
    assert [tuple(x.shape) for x in maps] == [(2, 64, 56, 56), (2, 128, 28, 28)]
    modules = {name.split(".")[1] for name, _ in backbone.named_parameters()}
    assert modules == {"pos_embed", "patch_embed1", "block1", "norm1", "patch_embed2", "block2", "norm2"}


def test_intermediates_are_those_of_the_whole_model():
    model, x = small(), image(1)
    with torch.no_grad():
        final, maps = model.forward_intermediates(x)
        chosen = model.forward_intermediates(x, indices=[0, 2], stop_early=True, intermediates_only=True)
        torch.testing.assert_close(chosen, [maps[0], maps[2]], rtol=0, atol=0)
        torch.testing.assert_close(model.forward_features(x), final, rtol=0, atol=0)
        torch.testing.assert_close(maps[3], final, rtol=0, atol=0)
        torch.testing.assert_close(model(x), model.forward_head(final), rtol=0, atol=0)
    with pytest.raises(ValueError, match="NCHW, not as 'NLC'"):
        model.forward_intermediates(x, output_fmt="NLC")


def test_reset_classifier_changes_head_and_pooling():
    model, x = on_meta("sgformer_s"), torch.empty(2, 3, 224, 224, device="meta")
    features = model.forward_features(x)
    assert features.shape == (2, 512, 7, 7)
    assert model.forward_head(features, pre_logits=True).shape == (2, 512)
    model.reset_classifier(7)
    assert model(x).shape == (2, 7)
    assert model.get_classifier().out_features == model.num_classes == 7
    model.reset_classifier(0)
    assert model(x).shape == (2, 512)
    model.reset_classifier(0, "")
    assert model(x).shape == (2, 512, 7, 7)
    with pytest.raises(ValueError, match="got '' with 7"):
        model.reset_classifier(7)
    with pytest.raises(ValueError, match="got 'max' with 0"):
        model.reset_classifier(0, "max")
    model.reset_classifier(5, "avg")
    assert model(x).shape == (2, 5)


def test_new_classifier_has_the_device_and_dtype_of_the_model():
    model = on_meta("sgformer_s").bfloat16()
    model.reset_classifier(7)
    assert model.head.weight.device.type == "meta"
    assert model.head.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("fused", [True, False])
def test_attention_maps_are_reachable(fused):
    """Explicitly: two maps of every hybrid block, one of every other block. Fused: the hybrid blocks' alone."""
    maps = AttentionExtract(small(fused), method="hook")(image(1))
    hybrid = {"global_attn_drop": (1, 1, 3136, 49), "local_attn_drop": (64, 1, 49, 49)}
    for name, shape in hybrid.items():
        assert maps[f"block1.0.attn.{name}"].shape == shape
    assert len(maps) == (6 if fused else 10)
    if not fused:
        assert maps["block1.1.attn.attn_drop"].shape == (1, 2, 3136, 60)
        assert maps["block4.0.attn.attn_drop"].shape == (1, 16, 49, 49)
    for x in maps.values():
        check(x.detach().sum(dim=-1), np.ones(x.shape[:-1]))


def test_drop_path_rates_grow_from_0_block_by_block():
    assert not any(isinstance(m, timm.layers.DropPath) for m in on_meta("sgformer_s").modules())
    model = on_meta("sgformer_m", drop_path_rate=0.2)
    rates = [getattr(b.drop_path, "drop_prob", 0.0) for i in range(1, 5) for b in model.get_submodule(f"block{i}")]
    assert_allclose(rates, np.linspace(0, 0.2, 38), rtol=1e-5)


def test_layer_groups_follow_the_network():
    model = on_meta("sgformer_s")
    group = group_parameters(model, model.group_matcher(), reverse=True)
    blocks = [f"block{i}.{j}" for i, depth in enumerate((2, 4, 16, 1), start=1) for j in range(depth)]
    assert [group[f"{block}.norm1.bias"] for block in blocks] == list(range(1, 24))
    assert group["patch_embed1.norm.bias"] == group["pos_embed"] == 0
    assert group["patch_embed2.conv1.bn.bias"] == group["block2.0.norm1.bias"]
    assert group["norm2.bias"] == group["block2.3.norm1.bias"]
    assert group["norm4.bias"] == group["block4.0.norm1.bias"]
    assert group["head.bias"] == 24
    stage = group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    assert [stage[name] for name in ("pos_embed", "norm1.bias", "block2.3.norm1.bias", "norm4.bias")] == [0, 1, 2, 4]


def test_initial_weights_have_the_official_spread():
    torch.manual_seed(0)
    model = timm.create_model("sgformer_s")
    for weight, std in (
        (model.head.weight, 0.02),
        (model.block1[1].attn.f1.weight, 0.02),
        (model.patch_embed2.conv1.c.weight, (2 / 128) ** 0.5),
        (model.block4[0].mlp.dwconv.dwconv.weight, (2 / 9) ** 0.5),
        (model.block1[0].attn.sr.weight, (2 / (64 * 64)) ** 0.5),
    ):
        assert weight.std().item() == pytest.approx(std, rel=0.15)
    vectors = {name: p for name, p in model.named_parameters() if p.ndim < 2}
    assert all((p == name.endswith("weight")).all() for name, p in vectors.items())


def test_official_checkpoint_of_224_loads_into_448(tmp_path):
    source = fill(timm.create_model("sgformer_s"))
    path = tmp_path / "SG-Former-S.pth"
    torch.save({"state_dict_ema": source.state_dict()}, path)
    overlay = {"file": str(path)}
    model = timm.create_model("sgformer_s", img_size=448, pretrained=True, pretrained_cfg_overlay=overlay)
    state = source.state_dict()
    grid = state["pos_embed"].transpose(1, 2).reshape(1, 64, 56, 56)
    grid = F.interpolate(grid, size=(112, 112), mode="bicubic", align_corners=False)
    state["pos_embed"] = grid.flatten(2).transpose(1, 2)
    torch.testing.assert_close(dict(model.state_dict()), dict(state), rtol=0, atol=0)


def test_position_table_keeps_a_ramp_and_its_dtype():
    """A ramp down the rows stays one, at the centres of the new cells; the source dtype stays too."""
    model = on_meta("sgformer_s", img_size=448)
    ramp = torch.arange(56).double().repeat_interleave(56).reshape(1, -1, 1).expand(1, 3136, 64)
    state = {"pos_embed": ramp, "norm1.bias": torch.zeros(64)}
    resized = checkpoint_filter_fn(state, model)["pos_embed"].reshape(112, 112, 64)
    centres = (np.arange(112) + 0.5) / 2 - 0.5
    assert_allclose(resized[4:-4, 7, 0].numpy(), centres[4:-4], atol=0.05)  # torch's bicubic bends a ramp by 3/64
    assert state["pos_embed"] is ramp
    with Spy(torch.ops.aten.upsample_bicubic2d) as spy:
        half = checkpoint_filter_fn({"pos_embed": ramp.bfloat16()}, model)["pos_embed"]
    assert [args[0].dtype for args, _ in spy.calls] == [torch.float32]
    assert half.dtype == torch.bfloat16
    check(half.double().reshape(112, 112, 64), resized.bfloat16().double().numpy())


def test_position_table_shrinks_without_antialiasing():
    """One token of 112x112 reaches four of 56x56; with antialiasing it would reach more."""
    impulse = torch.zeros(1, 112 * 112, 64)
    impulse[0, 50 * 112 + 50] = 1
    resized = checkpoint_filter_fn({"pos_embed": impulse}, on_meta("sgformer_s"))["pos_embed"]
    assert resized.shape == (1, 3136, 64)
    assert resized[0, :, 0].count_nonzero() == 4


def test_position_table_of_no_square_grid_is_refused():
    with pytest.raises(ValueError, match="square grid, the checkpoint's has 3137 tokens"):
        checkpoint_filter_fn({"pos_embed": torch.zeros(1, 3137, 64)}, on_meta("sgformer_s"))


def test_position_table_is_made_once(monkeypatch):
    make, calls = sgformer.sincos_position_table, []
    monkeypatch.setattr(sgformer, "sincos_position_table", lambda *args: calls.append(args) or make(*args))
    on_meta("sgformer_b")
    assert calls == [(96, 56)]


def test_nothing_is_kept_from_weight_decay():
    assert on_meta("sgformer_s").no_weight_decay() == set()

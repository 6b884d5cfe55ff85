"""CvT against a dense oracle and itself on other routes, in float64; its goldens are in test_esvit.py."""

import logging

import pytest
import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.attention import observe
from bench.model import fused_attention
from models.esvit.cvt import CVT_TINY, CvT, FeedForward, WindowAttention
from tests.detfill import fill, image
from tests.esvit import ROUTES, every_route, index


def full_size(impl: str = "auto", fused: bool = True, device: str = "cpu", **words) -> CvT:
    with fused_attention(fused), torch.device(device):
        return CvT(**CVT_TINY, impl=impl, **words).eval()


def small(impl: str = "auto", fused: bool = True, **words) -> CvT:
    row = dict(embed_dims=(8, 12, 16, 24), depths=(2, 1, 2, 1), num_heads=(1, 2, 4, 4), num_classes=5)
    with fused_attention(fused):
        model = CvT(**(CVT_TINY | row | words), impl=impl)
    return fill(model.double().eval())


# The official code's numbers.


@every_route
@pytest.mark.parametrize("size", [224, 96])
def test_flops_are_the_official_ones(impl, fused, size):
    with FlopCounterMode(display=False) as counter:
        full_size(impl, fused, "meta")(torch.empty(1, 3, size, size, device="meta"))
    assert counter.get_total_flops() == index()["cvt_tiny"][f"torch_flop_counter_{size}"]


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("size", [224, 96])
def test_fvcore_macs_are_the_official_ones(size):
    """Operator by operator, but for the pooling, which is a mean here and not counted."""
    from fvcore.nn import FlopCountAnalysis

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    theirs = index()["cvt_tiny"][f"fvcore_by_operator_{size}"]
    with torch.no_grad():
        count = FlopCountAnalysis(full_size(fused=False), torch.zeros(1, 3, size, size))
        ours = dict(count.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator())
    products = ours.pop("matmul")  # officially einsum, of which fvcore knows four digits each
    assert products == pytest.approx(theirs.pop("einsum"), rel=1e-4)
    assert theirs.pop("adaptive_avg_pool2d") == 768 * (size // 32) ** 2
    assert ours == theirs


# Attention inside windows.


def dense(layer: WindowAttention, x: Tensor) -> Tensor:
    """What the layer should give for (B, h, w, C), with the keys of each query picked one by one."""
    height, width, dim = x.shape[1:]
    w, heads = min(layer.window, height, width), layer.num_heads
    x = F.pad(x.permute(0, 3, 1, 2), (0, -width % w, 0, -height % w))
    mixed = F.conv2d(x, layer.qkv.dw.weight, padding=1, groups=dim)
    norm = layer.qkv.bn
    scale = norm.weight / (norm.running_var + 1e-5).sqrt()
    mixed = (mixed - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]
    qkv = torch.einsum("bchw,dc->bhwd", mixed, layer.qkv.pw.weight[..., 0, 0]) + layer.qkv.pw.bias
    q, k, v = (y.unflatten(-1, (heads, -1)) for y in qkv.chunk(3, dim=-1))  # (B, h, w, heads, d)
    rows = []
    for row in range(height):
        for column in range(width):
            top, left = row - row % w, column - column % w
            keys, values = (y[:, top : top + w, left : left + w].flatten(1, 2) for y in (k, v))
            logits = torch.einsum("bhd,bkhd->bkh", q[:, row, column], keys) / dim**0.5
            rows.append(torch.einsum("bkh,bkhd->bhd", logits.softmax(dim=1), values).flatten(1))
    out = torch.stack(rows, dim=1) @ layer.proj_out.weight[..., 0, 0].T + layer.proj_out.bias
    return out.unflatten(1, (height, width))


def attention(impl: str, fused: bool) -> WindowAttention:
    with fused_attention(fused):
        return fill(WindowAttention(8, 2, 7, impl).double().eval())


def a_map(height: int, width: int) -> Tensor:
    return torch.randn(2, height, width, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@every_route
@pytest.mark.parametrize(("height", "width"), [(7, 7), (14, 7), (8, 8), (9, 15), (3, 3), (3, 7), (1, 2)])
def test_attention_is_the_dense_one_of_its_window(impl, fused, height, width):
    """Windows are smaller where the map is; padded tokens are keys, which the convolution makes something of."""
    layer, x = attention(impl, fused), a_map(height, width)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), dense(layer, x), rtol=0, atol=1e-12)


def test_feed_forward_is_of_each_token():
    layer, x = fill(FeedForward(8).double()), a_map(3, 5)
    with torch.no_grad():
        hidden = x @ layer.net[0].weight[..., 0, 0].T + layer.net[0].bias
        hidden = hidden / (1 + torch.exp(-1.702 * hidden))
        expected = hidden @ layer.net[2].weight[..., 0, 0].T + layer.net[2].bias
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


# Routes.


@pytest.mark.parametrize("train", [False, True])
def test_all_routes_have_the_same_logits_and_gradients(train):
    found = []
    for impl, fused in ROUTES:
        model, images = small(impl, fused).train(train), image(2, 64).requires_grad_()
        assert all(m.fused_attn == fused for m in model.modules() if hasattr(m, "fused_attn"))
        logits = model(images)
        (logits * torch.linspace(-1, 2, logits.numel(), dtype=logits.dtype).view(logits.shape)).sum().backward()
        found.append((logits, images.grad, {name: p.grad for name, p in model.named_parameters()}))
    assert all(grad.any() for grad in found[0][2].values())
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(found[2], found[0], rtol=0, atol=1e-10)


def test_the_reference_is_never_fused():
    with fused_attention(True):
        assert not any(m.fused_attn for m in CvT(**CVT_TINY, impl="reference").modules() if hasattr(m, "fused_attn"))


@pytest.mark.parametrize("impl", ["reference", "fast"])
def test_every_map_is_seen(impl):
    shapes = observe(full_size(impl, fused=False), image(1, 96).float(), "CvT", lambda seen: tuple(seen.p.shape))
    assert shapes == [(16, 1, 49, 49)] * 2 + [(4, 3, 49, 49)] * 2 + [(1, 6, 36, 36)] * 6 + [(1, 12, 9, 9)] * 2


# Training.


def run(model: nn.Module) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Features in training, gradients, and buffers after it, from the same random numbers and buffers."""
    fill(model).train().zero_grad()
    torch.manual_seed(0)
    features = model.forward_features(image(4, 64))
    features.square().sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return features.detach(), gradients, {name: b.clone() for name, b in model.named_buffers()}


def test_batch_norm_in_training_is_of_the_padded_map():
    layer, x = attention("fast", True).train(), a_map(8, 9)
    norm, before = layer.qkv.bn, (layer.qkv.bn.running_mean.clone(), layer.qkv.bn.running_var.clone())
    seen = F.conv2d(F.pad(x.permute(0, 3, 1, 2), (0, 5, 0, 6)), layer.qkv.dw.weight, padding=1, groups=8)
    mean, var = seen.mean(dim=(0, 2, 3)), seen.var(dim=(0, 2, 3))  # running ones are unbiased
    with torch.no_grad():
        out = layer(x)
        torch.testing.assert_close(norm.running_mean, 0.9 * before[0] + 0.1 * mean)
        torch.testing.assert_close(norm.running_var, 0.9 * before[1] + 0.1 * var)
        assert norm.num_batches_tracked == 1
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(seen.var(dim=(0, 2, 3), correction=0))
        torch.testing.assert_close(out, dense(layer, x), rtol=0, atol=1e-12)


def test_checkpointing_changes_nothing():
    """Running statistics neither: what is computed again is no second batch."""
    model = small(drop_path_rate=0.3)
    calls = []
    for module in model.modules():
        if isinstance(module, WindowAttention):
            module.register_forward_pre_hook(lambda *_: calls.append(1))
    plain = run(model)
    assert len(calls) == 6
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.num_batches_tracked.zero_()
    model.set_grad_checkpointing()
    torch.testing.assert_close(run(model), plain, rtol=0, atol=1e-12)
    assert len(calls) == 18
    assert all(m.momentum == 0.1 for m in model.modules() if isinstance(m, nn.BatchNorm2d))


def test_drop_path_rises_over_blocks():
    model = full_size(device="meta", drop_path_rate=0.11)
    found = [m.drop_prob for m in model.modules() if isinstance(m, DropPath)]
    expected = [rate for block in range(1, 12) for rate in [0.01 * block] * 2]  # attention and MLP; none in the first
    assert found == pytest.approx(expected, abs=1e-7)


def test_initial_weights():
    torch.manual_seed(0)
    for name, p in full_size(num_classes=10).named_parameters():
        if p.ndim == 1:
            assert (p == float(name.endswith("weight"))).all(), name
        else:
            assert p.std().item() == pytest.approx(0.02, rel=0.15), name


# What it takes.


@pytest.mark.parametrize(
    ("shape", "match"),
    [((1, 3, 62, 64), "multiples of 4"), ((1, 1, 64, 64), r"\(batch, 3, height, width\)"), ((3, 64, 64), "CvT takes")],
)
def test_other_images_are_refused(shape, match):
    with pytest.raises(ValueError, match=match):
        small()(torch.zeros(shape, dtype=torch.float64))


@every_route
@pytest.mark.parametrize("train", [False, True])
def test_meta_tensors_of_any_size_pass(impl, fused, train):
    model = full_size(impl, fused, "meta", in_chans=1, num_classes=7).train(train)
    for size in ((32, 32), (100, 64), (448, 448)):
        assert model(torch.empty(2, 1, *size, device="meta")).shape == (2, 7)


def test_fewer_stages_need_fewer_parameters():
    model = small()
    with torch.no_grad():
        _, maps = model.forward_intermediates(image(1, 64), [0, 1])
        assert [tuple(x.shape) for x in maps] == [(1, 8, 16, 16), (1, 12, 8, 8)]
        assert model.prune_intermediate_layers([0]) == [0]
        torch.testing.assert_close(model.forward_intermediates(image(1, 64), [0], intermediates_only=True), maps[:1])
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"stage0"}


def test_half_precision_stays_near():
    model, images = full_size(num_classes=5), image(1, 96).float()
    with torch.no_grad():
        exact = model(images)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(model(images).float(), exact, rtol=0, atol=0.02)
        torch.testing.assert_close(model.bfloat16()(images.bfloat16()).float(), exact, rtol=0, atol=0.02)

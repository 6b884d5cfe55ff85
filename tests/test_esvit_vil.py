"""ViL against a dense oracle and itself on other routes, in float64; its goldens are in test_esvit.py."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.attention import observe
from bench.model import fused_attention
from models.esvit import vil
from models.esvit.vil import VIL_2262, FullAttention, SparseAttention, ViL
from tests.detfill import fill, image
from tests.esvit import ROUTES, every_route, index

NEIGHBOURS = [(dy, dx) for dy, dx in product((-1, 0, 1), repeat=2) if (dy, dx) != (0, 0)]


def full_size(impl: str = "auto", fused: bool = True, device: str = "cpu", **words) -> ViL:
    with fused_attention(fused), torch.device(device):
        return ViL(**VIL_2262, impl=impl, **words).eval()


def small(impl: str = "auto", fused: bool = True, **words) -> ViL:
    """Three neighbours to draw, and blocks of 3, so that images of 64 px have inner ones: 6x6 of them, padded."""
    row = dict(embed_dims=(8, 12, 16, 24), depths=(2, 1, 2, 1), num_heads=(2, 3, 4, 4), window=3)
    with fused_attention(fused):
        model = ViL(**(VIL_2262 | row | {"num_classes": 5} | words), impl=impl)
    return fill(model.double().eval())


# The official code's numbers.


@pytest.mark.parametrize(("size", "fast"), [(224, 10_695_591_168), (96, 2_034_259_200)])
def test_flops_are_the_official_ones(size, fast):
    """The fast route has a projection of keys and values less in each sparse layer, and counts the product of class
    token's weights and values, which is officially pointwise."""
    official = index()["vil_2262"][f"torch_flop_counter_{size}"]
    for (impl, fused), expected in zip(ROUTES, (official, fast, fast), strict=True):
        with FlopCounterMode(display=False) as counter:
            full_size(impl, fused, "meta")(torch.empty(1, 3, size, size, device="meta"))
        assert counter.get_total_flops() == expected
    less = more = 0
    for stride, window, dim in ((4, 7, 96), (8, 7, 192)):
        tokens, blocks = (size // stride) ** 2, (-(-size // stride // window)) ** 2
        less += 2 * 2 * (1 + tokens) * dim * 2 * dim  # two layers, two FLOPs a product
        more += 2 * 2 * blocks * window**2 * dim
    assert fast == official - less + more


# Sparse attention, token by token.


def dense(layer: SparseAttention, x: Tensor, grid: tuple[int, int], offsets: list[tuple[int, int]]) -> Tensor:
    """What the layer should give, with the keys of each query picked one by one."""
    g, w, heads = layer.global_tokens, layer.window, layer.num_heads
    places = [(y, x) for y in range(grid[0]) for x in range(grid[1])]
    q, k, v = (
        y.unflatten(-1, (heads, -1)) for y in (layer.query(x), *layer.kv(x).chunk(2, dim=-1))
    )  # (B, tokens, heads, d)
    table = layer.local_relative_position_bias_table

    def attend(query: int, keys: list[int], biases: list[Tensor]) -> Tensor:
        logits = torch.einsum("bhd,bkhd->bkh", q[:, query], k[:, keys]) / q.shape[-1] ** 0.5 + torch.stack(biases)
        return torch.einsum("bkh,bkhd->bhd", logits.softmax(dim=1), v[:, keys]).flatten(1)

    rows = []
    for token in range(g):
        biases = [layer.g2g_relative_position_bias[:, token, key] for key in range(g)]
        biases += [layer.g2l_relative_position_bias[0, :, token]] * len(places)
        rows.append(attend(token, list(range(g + len(places))), biases))
    for number, (y, x) in enumerate(places):
        keys, biases = list(range(g)), [layer.g2l_relative_position_bias[1, :, key] for key in range(g)]
        for other, (y_, x_) in enumerate(places):
            if (y_ // w - y // w, x_ // w - x // w) in offsets:
                keys.append(g + other)
                biases.append(table[(y - y_ + 2 * w - 1) * (4 * w - 1) + x - x_ + 2 * w - 1])
        rows.append(attend(g + number, keys, biases))
    return layer.proj(torch.stack(rows, dim=1))


def sparse_layer(impl: str, fused: bool, global_tokens: int = 1, window: int = 7) -> SparseAttention:
    with fused_attention(fused):
        return fill(SparseAttention(8, 2, global_tokens, window, impl).double().eval())


def tokens_of(grid: tuple[int, int], global_tokens: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, global_tokens + grid[0] * grid[1], 8, generator=generator, dtype=torch.float64)


@every_route
@pytest.mark.parametrize(
    ("grid", "window", "global_tokens"),
    [((8, 8), 7, 1), ((7, 7), 7, 1), ((3, 2), 7, 1), ((9, 9), 3, 1), ((10, 5), 3, 1), ((8, 7), 3, 0), ((8, 7), 3, 2)],
)
def test_sparse_attention_is_the_dense_one_of_its_keys(impl, fused, grid, window, global_tokens):
    layer, x = sparse_layer(impl, fused, global_tokens, window), tokens_of(grid, global_tokens)
    with torch.no_grad():
        torch.testing.assert_close(layer(x, grid), dense(layer, x, grid, [(0, 0), *NEIGHBOURS]), rtol=0, atol=1e-12)


@every_route
@pytest.mark.parametrize("neighbour", range(1, 9))
def test_one_neighbour_is_the_dense_attention_of_two_blocks(impl, fused, neighbour):
    layer, grid = sparse_layer(impl, fused, window=3), (8, 7)
    x = tokens_of(grid)
    with torch.no_grad():
        expected = dense(layer, x, grid, [(0, 0), NEIGHBOURS[neighbour - 1]])
        torch.testing.assert_close(layer(x, grid, neighbour), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("global_tokens", [0, 1, 2])
def test_full_attention_is_the_dense_one(global_tokens):
    layer, g = fill(FullAttention(8, 2, global_tokens, 3, "reference").double().eval()), global_tokens
    bias = torch.empty(2, g + 9, g + 9, dtype=torch.float64)
    for a, b in product(range(g + 9), repeat=2):
        if a < g and b < g:
            bias[:, a, b] = layer.g2g_relative_position_bias[:, a, b]
        elif a < g:
            bias[:, a, b] = layer.g2l_relative_position_bias[0, :, a]
        elif b < g:
            bias[:, a, b] = layer.g2l_relative_position_bias[1, :, b]
        else:
            (y, x), (y_, x_) = divmod(a - g, 3), divmod(b - g, 3)
            bias[:, a, b] = layer.local_relative_position_bias_table[(y - y_ + 2) * 5 + x - x_ + 2]
    x = tokens_of((3, 3), g)
    with torch.no_grad():
        q, k, v = (y.unflatten(-1, (2, 4)) for y in layer.qkv(x).chunk(3, dim=-1))
        p = (torch.einsum("bqhd,bkhd->bhqk", q, k) / 2 + bias).softmax(dim=-1)
        expected = layer.proj(torch.einsum("bhqk,bkhd->bqhd", p, v).flatten(2))
        torch.testing.assert_close(layer.bias(9), bias, rtol=0, atol=0)
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("side", [6, 8, 28])
def test_biases_are_resized_as_by_the_official_factor(side):
    layer = fill(FullAttention(8, 2, 1, 14, "fast").double())
    own, resized = layer.bias(196), layer.bias(side**2)
    factor = (side**2 + 1e-12) / 196  # or rounding might lose a token
    expected = F.interpolate(own[None, :, 1:, 1:], scale_factor=factor, mode="bicubic")
    torch.testing.assert_close(resized[:, 1:, 1:], expected[0], rtol=0, atol=1e-9)
    assert torch.equal(resized[:, 0, :2], own[:, 0, :2])
    assert (resized[:, 1:, 0] == own[:, 1:2, 0]).all()


# Routes.


@pytest.mark.parametrize("neighbours", [None, [1, 8, 5]])
def test_all_routes_have_the_same_logits_and_gradients(neighbours):
    found = []
    for impl, fused in ROUTES:
        model, images = small(impl, fused), image(2, 64).requires_grad_()
        assert all(m.fused_attn == fused for m in model.modules() if hasattr(m, "fused_attn"))
        logits = model.forward_head(model.forward_features(images, neighbours=neighbours))
        (logits * torch.linspace(-1, 2, logits.numel(), dtype=logits.dtype).view(logits.shape)).sum().backward()
        found.append((logits, images.grad, {name: p.grad for name, p in model.named_parameters()}))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(found[2], found[0], rtol=0, atol=1e-10)


def test_the_reference_is_never_fused():
    with fused_attention(True):
        assert not any(m.fused_attn for m in ViL(**VIL_2262, impl="reference").modules() if hasattr(m, "fused_attn"))


@pytest.mark.parametrize("impl", ["reference", "fast"])
def test_every_map_is_seen(impl):
    shapes = observe(full_size(impl, fused=False), image(1, 96).float(), "ViL", lambda seen: tuple(seen.p.shape))
    sparse = [{(16, 3, 49, 442), (1, 3, 1, 577)}] * 2 + [{(4, 6, 49, 442), (1, 6, 1, 145)}] * 2
    assert [set(pair) for pair in zip(shapes[:8:2], shapes[1:8:2], strict=True)] == sparse
    assert shapes[8:] == [(1, 12, 37, 37)] * 6 + [(1, 24, 9, 9)] * 2


# Training.


def run(model: nn.Module, *arguments, **words) -> tuple[Tensor, dict[str, Tensor]]:
    """Features in training, and gradients, from the same random numbers."""
    model.zero_grad()
    torch.manual_seed(0)
    features = model.train().forward_features(*arguments, **words)
    features.square().sum().backward()
    return features.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_training_draws_a_neighbour_for_each_sparse_layer():
    model = small()
    assert model.sparse_layers == 3
    drawn, _ = run(model, image(2, 64))
    torch.manual_seed(0)
    numbers = torch.randint(1, 9, (3,)).tolist()
    given, _ = run(model, image(2, 64), neighbours=numbers)
    torch.testing.assert_close(drawn, given, rtol=0, atol=0)
    other, _ = run(model, image(2, 64), neighbours=[*numbers[:2], numbers[2] % 8 + 1])
    assert not torch.allclose(drawn, other)
    with torch.no_grad():
        torch.testing.assert_close(model.eval().forward_features(image(2, 64), neighbours=numbers), given)
        assert not torch.allclose(model.forward_features(image(2, 64)), given)


def test_eval_draws_nothing():
    model = small()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with torch.no_grad():
        model(image(1, 64))
    assert torch.equal(torch.get_rng_state(), before)
    run(model, image(1, 64))
    assert not torch.equal(torch.get_rng_state(), before)


def test_every_neighbour_is_drawn():
    torch.manual_seed(0)
    drawn = vil.draw(8000)
    assert sorted(set(drawn)) == list(range(1, 9))
    assert all(850 < drawn.count(number) < 1150 for number in range(1, 9))  # 5 standard deviations


@pytest.mark.parametrize("neighbours", [[1, 2], [1, 2, 3, 4], [0, 1, 2], [1, 2, 9], [1, 2, 3.0], []])
def test_other_neighbours_are_refused(neighbours):
    with pytest.raises(ValueError, match=r"3 layers of sparse attention, got neighbours=\[.*from 1 to 8"):
        small().forward_features(image(1, 64), neighbours=neighbours)


@pytest.mark.parametrize("neighbours", [None, [3, 6, 1]])
def test_checkpointing_changes_nothing(neighbours):
    model = small(drop_path_rate=0.3)
    calls = []
    for module in model.modules():
        if isinstance(module, SparseAttention):
            module.register_forward_pre_hook(lambda module, arguments: calls.append(arguments[2]))
    plain = run(model, image(4, 64), neighbours=neighbours)
    once = list(calls)
    model.set_grad_checkpointing()
    torch.testing.assert_close(run(model, image(4, 64), neighbours=neighbours), plain, rtol=0, atol=1e-12)
    assert len(once) == 3
    assert calls[3:] == [*once, *reversed(once)]


def test_biases_of_a_last_class_token_have_zero_gradients():
    """A stage's class token ends with it, so that what only the last attention's own query reads cannot learn."""
    model = small()
    _, gradients = run(model, image(2, 64))
    last = {f"layer{stage}.{number}.attn.g2g_relative_position_bias" for stage, number in ((1, 3), (2, 1), (3, 3))}
    assert gradients.keys() == {name for name, _ in model.named_parameters() if not name.startswith("head.")}
    assert {name for name, grad in gradients.items() if not grad.any()} == last


def test_drop_path_rises_over_blocks():
    model = full_size(device="meta", drop_path_rate=0.11)
    found = [m.drop_prob for m in model.modules() if isinstance(m, DropPath)]
    expected = [rate for block in range(1, 12) for rate in [0.01 * block] * 2]  # attention and MLP; none in the first
    assert found == pytest.approx(expected, abs=1e-7)


def test_initial_weights():
    torch.manual_seed(0)
    model = full_size(num_classes=10)
    for name, p in model.named_parameters():
        if "norm" in name:
            assert (p == float(name.endswith("weight"))).all()
        elif name.endswith(("0.proj.weight", "0.proj.bias")):
            assert p.std() > 0  # PyTorch's own
        elif name.endswith("bias") and "relative_position" not in name:
            assert not p.any()
        else:
            assert p.abs().max() <= 2
            assert p.numel() < 500 or p.std().item() == pytest.approx(0.02, rel=0.15), name


# What it takes.


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ((1, 3, 64, 96), "square images.*64x96"),
        ((1, 3, 48, 48), "multiples of 32"),
        ((1, 1, 64, 64), r"\(batch, 3, height, width\)"),
        ((3, 64, 64), "ViL takes images"),
    ],
)
def test_other_images_are_refused(shape, match):
    with pytest.raises(ValueError, match=match):
        small()(torch.zeros(shape, dtype=torch.float64))


@every_route
@pytest.mark.parametrize("train", [False, True])
def test_meta_tensors_of_any_size_pass(impl, fused, train):
    model = full_size(impl, fused, "meta", in_chans=1, num_classes=7).train(train)
    for size in (32, 96, 448):
        assert model(torch.empty(2, 1, size, size, device="meta")).shape == (2, 7)


def test_fewer_stages_need_fewer_parameters_and_neighbours():
    model = small()
    with torch.no_grad():
        _, maps = model.forward_intermediates(image(1, 64), [0, 1])
        assert model.prune_intermediate_layers([0]) == [0]
        assert model.sparse_layers == 2
        torch.testing.assert_close(model.forward_intermediates(image(1, 64), [0], intermediates_only=True), maps[:1])
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"layer1"}


def test_half_precision_stays_near():
    model, images = full_size(num_classes=5), image(1, 96).float()
    with torch.no_grad():
        exact = model(images)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(model(images).float(), exact, rtol=0, atol=0.02)
        torch.testing.assert_close(model.bfloat16()(images.bfloat16()).float(), exact, rtol=0, atol=0.02)


def test_it_runs_on_fake_tensors():
    from torch._subclasses.fake_tensor import FakeTensorMode

    model = small()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.autograd.set_multithreading_enabled(False):
        images = torch.empty(2, 3, 64, 64, dtype=torch.float64)
        assert model(images).shape == (2, 5)
        model.train()(images).sum().backward()
    with torch.no_grad():
        assert model.eval()(image(1, 64)).isfinite().all()  # nothing fake stayed behind

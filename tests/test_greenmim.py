"""GreenMIM against outputs and counts of its official code, and against other ways to compute the same."""

import json
import warnings
from math import prod
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.model import fused_attention
from models.greenmim import checkpoint_filter_fn
from models.greenmim.model import position_table
from models.greenmim.windows import blocks, coordinates, window_ids
from models.swin_classifier import to_classifier
from tests.detfill import fill, image, values

HERE = Path(__file__).parent
INDEX = json.loads((HERE / "goldens/greenmim/index.json").read_text())
# Golden -> the registered name and arguments.
GOLDENS = {
    "greenmim_swin_micro_w7_224": ("greenmim_swin_micro", {}),
    "greenmim_swin_tiny_w7_224": ("greenmim_swin_tiny", {}),
    "greenmim_swin_base_w7_224": ("greenmim_swin_base", {"window": 7}),
    "greenmim_swin_base_w6_192": ("greenmim_swin_base", {"img_size": 192}),
}
ROUTES = [("reference", "official"), ("reference", "search"), ("reference", "packed"), ("window", "official")]


def official_state(golden):
    """The names and shapes of the golden's list, filled."""
    _, *lines = (HERE / f"statedict/greenmim/{golden}.tsv").read_text().splitlines()
    state = {}
    for name, sizes, _, kind in (line.split("\t") for line in lines):
        shape = tuple(map(int, sizes.split("x")))
        filled = kind.startswith("param")
        state[name] = torch.from_numpy(np.asarray(values(name, shape))) if filled else torch.zeros(shape)
    return state


class Run:
    """A golden beside our model with the same weights, and its images."""

    def __init__(self, golden):
        self.golden = dict(np.load(HERE / f"goldens/greenmim/{golden}.npz"))
        self.name, self.words = GOLDENS[golden]
        self.state = official_state(golden)
        self.images = image(size=INDEX[golden]["input_size"])
        self.mask = torch.from_numpy(self.golden["mask"])
        self.model = self.build()

    def build(self, **words):
        model = timm.create_model(self.name, **self.words, **words).double().eval()
        model.load_state_dict(checkpoint_filter_fn(self.state, model))
        return model

    def check(self, actual, key):
        """Equal to a stored array, or where only a sample of it is stored to that and to its norm."""
        golden, actual = self.golden, actual.detach().numpy()
        assert actual.shape == tuple(golden[f"{key}_shape"])
        assert_allclose(np.linalg.norm(actual), golden[f"{key}_l2"], rtol=1e-9)
        expected = golden[key] if key in golden else golden[f"{key}_sample"]
        found = actual if key in golden else actual.flatten()[:: int(golden[f"{key}_stride"])]
        assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@pytest.fixture(scope="module")
def run(request):
    return Run(request.param)


def each(*goldens):
    return pytest.mark.parametrize("run", goldens, indirect=True, scope="module")


# Outputs.


@each(*GOLDENS)
def test_features_prediction_and_losses_equal_golden(run):
    for tag in ("aligned", "shuffled"):
        ids_restore = torch.from_numpy(run.golden[f"ids_restore_{tag}"])
        with torch.no_grad():
            out = run.model(run.images, run.mask, ids_restore)
            run.model.norm_pix_loss = False
            raw = run.model.loss(run.images, out["prediction"], run.mask)
            run.model.norm_pix_loss = True
        run.check(out["features"], "output")
        run.check(out["prediction"], f"pred_{tag}")
        assert out["loss"].item() == pytest.approx(float(run.golden[f"loss_normpix_{tag}"]), rel=1e-12)
        assert raw.item() == pytest.approx(float(run.golden[f"loss_rawpix_{tag}"]), rel=1e-12)


@each(*GOLDENS)
def test_stages_equal_golden(run):
    outs = []
    hooks = [stage.register_forward_hook(lambda *args: outs.append(args[2])) for stage in run.model.encoder.layers]
    with torch.no_grad():
        run.model.forward_features(run.images, run.mask)
    for hook in hooks:
        hook.remove()
    removed = run.mask.reshape(run.model.side, -1).numpy()
    for stage, (out, factor) in enumerate(zip(outs, (4, 2, 1, 1), strict=True), 1):
        run.check(out, f"stage{stage}_out")
        assert (coordinates(removed, factor) == run.golden[f"stage{stage}_coords"]).all()


@each("greenmim_swin_micro_w7_224")
def test_latents_are_aligned_unless_the_official_order_is_asked_for(run):
    with torch.no_grad():
        out = run.build()(run.images, run.mask)
    assert out["loss"].item() == pytest.approx(float(run.golden["loss_normpix_aligned"]), rel=1e-12)
    with pytest.raises(ValueError, match="ids_restore"):
        run.build(official_alignment=True)(run.images, run.mask)


@each("greenmim_swin_micro_w7_224", pytest.param("greenmim_swin_base_w6_192", marks=pytest.mark.slow))
@pytest.mark.parametrize(("impl", "grouping"), ROUTES)
def test_every_route_gives_the_golden(run, impl, grouping):
    with torch.no_grad():
        out = run.build(impl=impl, grouping=grouping)(run.images, run.mask)
    run.check(out["features"], "output")
    run.check(out["prediction"], "pred_aligned")


@pytest.mark.parametrize("name", ["greenmim_swin_micro", "greenmim_twins_large"])
@pytest.mark.parametrize("per_image", [False, True])
def test_routes_have_equal_gradients(name, per_image):
    small = {"embed_dim": 32, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8), "decoder": (64, 4)}
    words = small if name == "greenmim_twins_large" else {}
    found = []
    for impl, grouping in ROUTES:
        model = fill(timm.create_model(name, per_image=per_image, impl=impl, grouping=grouping, **words).double())
        inputs = model.sample_inputs(2, torch.Generator().manual_seed(0), "cpu", torch.float64)
        model(**inputs)["loss"].backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-9, atol=1e-12)


# Other ways to the same function.


def test_with_nothing_removed_it_is_timms_swin():
    model = fill(timm.create_model("greenmim_swin_tiny").double().eval())
    swin = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0).double().eval()
    swin.load_state_dict(to_classifier(model.state_dict(), swin))
    for module in swin.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    images = image()
    with torch.no_grad():
        expected = swin.forward_features(images).flatten(1, 2)
        for mask in (None, torch.zeros(49, dtype=torch.bool)):
            torch.testing.assert_close(model.forward_features(images, mask), expected, rtol=1e-9, atol=1e-9)


def test_mask_ratio_0_trains_at_a_loss_of_0():
    model = timm.create_model("greenmim_swin_micro", mask_ratio=0)
    out = model(**model.sample_inputs(2, torch.Generator().manual_seed(0), "cpu", torch.float32))
    out["loss"].backward()
    assert out["loss"].item() == 0
    assert out["features"].shape == (2, 49, 256)
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters() if p.requires_grad)


class DenseTwins:
    """Twins-SVT on all tokens, from the model's weights, in which removed ones are seen by none."""

    def __init__(self, model, removed):
        self.encoder = model.encoder
        self.cells = ~removed  # (7, 7)

    def __call__(self, images):
        net, x = self.encoder, images
        for stage in range(4):
            embed, factor = net.patch_embeds[stage], 8 >> stage
            seen = self.cells.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
            weight = embed.proj.weight if stage == 0 else embed.proj.weight.permute(0, 3, 1, 2)
            x = F.conv2d(x, weight, embed.proj.bias, stride=weight.shape[-1])
            x = embed.norm(x.permute(0, 2, 3, 1)) * seen[..., None]
            for i, block in enumerate(net.blocks[stage]):
                attention = self.everywhere if i % 2 else self.windows
                x = x + attention(block.attn, block.norm1(x), seen)
                x = (x + block.mlp(block.norm2(x))) * seen[..., None]
                if i == 0:
                    conv = net.pos_block[stage].proj[0]
                    x = conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) * seen[..., None]
            x = x.permute(0, 3, 1, 2)
        return net.norm(x.permute(0, 2, 3, 1))[:, self.cells]

    def windows(self, attn, x, seen):
        batch, side, _, dim = x.shape
        count = side // 7

        def cut(t):
            return t.unflatten(1, (count, 7)).unflatten(3, (count, 7)).transpose(2, 3).flatten(3, 4).flatten(0, 2)

        tokens, keys = cut(x), cut(seen[None, ..., None])[..., 0].repeat(batch, 1)
        q, k, v = attn.qkv(tokens).unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        out = self.attend(q, k, v, attn.scale, keys)
        out = attn.proj(out).unflatten(0, (batch, count, count)).unflatten(3, (7, 7)).transpose(2, 3)
        return out.reshape(batch, side, side, dim)

    def everywhere(self, attn, x, seen):
        batch, side, _, dim = x.shape
        keys = x.flatten(1, 2)
        if hasattr(attn, "sr"):
            weight = attn.sr.weight.permute(0, 3, 1, 2)
            keys = F.conv2d(x.permute(0, 3, 1, 2), weight, attn.sr.bias, stride=weight.shape[-1])
            keys = attn.norm(keys.flatten(2).transpose(1, 2))

        def heads(t):
            return t.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2)

        k, v = (heads(t) for t in attn.kv(keys).split(dim, -1))
        out = self.attend(heads(attn.q(x.flatten(1, 2))), k, v, attn.scale, self.cells.flatten().repeat(batch, 1))
        return attn.proj(out).reshape(batch, side, side, dim)

    @staticmethod
    def attend(q, k, v, scale, keys):
        logits = (q * scale @ k.transpose(-2, -1)).masked_fill(~keys[:, None, None], -torch.inf)
        return (logits.softmax(-1).nan_to_num() @ v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("visible", [1, 12, 30, 49])
def test_twins_is_dense_twins_in_which_removed_tokens_are_not_seen(visible):
    words = {"embed_dim": 32, "depths": (2, 2, 4, 2), "num_heads": (1, 2, 4, 8), "decoder": (64, 4)}
    model = fill(timm.create_model("greenmim_twins_large", **words).double().eval())
    images = image()
    masks = torch.stack([torch.randperm(49, generator=torch.Generator().manual_seed(i)) >= visible for i in range(2)])
    with torch.no_grad():
        expected = [DenseTwins(model, mask.view(7, 7))(one[None])[0] for one, mask in zip(images, masks, strict=True)]
        torch.testing.assert_close(model.forward_features(images, masks), torch.stack(expected), rtol=1e-9, atol=1e-9)


# Counts.


class Counted(nn.Module):
    """The encoder alone, or with the decoder's prediction."""

    def __init__(self, model, decodes, mask):
        super().__init__()
        self.model, self.decodes, self.mask = model, decodes, mask

    def forward(self, images):
        if self.decodes:
            return self.model(images, self.mask)["prediction"]
        return self.model.forward_features(images, self.mask)


@each(*GOLDENS)
@pytest.mark.parametrize("part", ["encoder", "encoder+decoder"])
def test_counts_are_the_official_ones(run, part):
    own = INDEX[next(golden for golden, one in GOLDENS.items() if one == (run.name, run.words))]
    with fused_attention(True):  # of the decoder, whose matrix products fvcore doesn't see then
        counted = Counted(timm.create_model(run.name, **run.words).eval(), part != "encoder", run.mask)
    images = torch.zeros(1, 3, own["input_size"], own["input_size"])
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        counted(images)
    assert flops.get_total_flops() == own[f"flops_torch_{part}"]
    found = fvcore_count(counted, images)
    assert found.by_operator() == own[f"by_operator_{part}"]
    assert found.total() == own[f"macs_fvcore_{part}"]


def fvcore_count(model, images):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.jit, and of what it traces
        from fvcore.nn import FlopCountAnalysis

        found = FlopCountAnalysis(model, images).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        with torch.no_grad():
            found.total()  # kept
    return found


@pytest.mark.parametrize("golden", GOLDENS)
def test_parameters_are_the_official_ones(golden):
    name, words = GOLDENS[golden]
    with torch.device("meta"):
        model = timm.create_model(name, **words)
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    assert sum(size for size, _ in sizes) == INDEX[golden]["params_total"]
    assert sum(size for size, trained in sizes if trained) == INDEX[golden]["params_trainable"]
    assert sum(p.numel() for p in model.encoder.parameters()) == INDEX[golden]["params_encoder"]


def closed_form(model, mask):
    """Multiply-accumulates of the encoder for an image: patch embedding of all tokens, blocks, merging."""
    encoder, removed = model.encoder, mask.view(1, model.side, model.side).numpy()
    plan = encoder.plan(removed)
    total = prod((encoder.sides[0], encoder.sides[0], 48, encoder.widths[0]))
    for stage, (width, depth) in enumerate(zip(encoder.widths, encoder.depths, strict=True)):
        for i in range(depth):
            layouts = plan["stages"][stage]["layouts"]
            groups, size = layouts[i % len(layouts)]["windows"].shape
            total += groups * (12 * size * width**2 + 2 * width * size**2)
        if stage < 3:
            total += int((~removed).sum()) * (8 >> stage) ** 2 * 2 * width**2
    return total


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *GOLDENS.values(),
        ("greenmim_swin_base", {"window": 14}),
        ("greenmim_swin_base", {"grouping": "search"}),
        ("greenmim_swin_base", {"grouping": "packed"}),
        *(("greenmim_swin_tiny", {"mask_ratio": ratio}) for ratio in (0, 0.5, 0.6, 0.85)),
    ],
)
def test_flops_follow_the_closed_form(name, words):
    with torch.device("meta"):
        model = timm.create_model(name, **words).eval()
    mask = model.sample_inputs(1, torch.Generator().manual_seed(1), "cpu", torch.float32)["mask"]
    images = torch.empty(1, 3, 32 * model.side, 32 * model.side, device="meta")
    plan = model.plan(images, mask)["plan"]
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        model.forward_features(images, mask.to("meta"), plan)
    assert flops.get_total_flops() == 2 * closed_form(model, mask)


# Geometry of windows.


@pytest.mark.parametrize(("side", "factor", "window"), [(7, 8, 7), (7, 4, 7), (7, 8, 14), (6, 8, 6), (6, 2, 6)])
def test_shifted_windows_are_those_of_swins_roll(side, factor, window):
    """Two tokens share a window where timm's roll brings them into one and its mask doesn't part them."""
    grid, shift = side * factor, window // 2
    block = timm.models.swin_transformer.SwinTransformerBlock(8, (grid, grid), 1, window_size=window, shift_size=shift)
    names = torch.arange(grid**2).view(grid, grid).roll((-shift, -shift), (0, 1))
    parts = names.unflatten(0, (grid // window, window)).unflatten(2, (-1, window)).transpose(1, 2)
    rolled = parts.flatten(2).flatten(0, 1)  # (windows, tokens)
    apart = block.attn_mask != 0  # (windows, tokens, tokens)
    ids = torch.from_numpy(window_ids(coordinates(np.zeros((side, side), bool), factor), window, shift))[rolled]
    assert ((ids[:, :, None] != ids[:, None, :]) == apart).all()
    assert len(ids.unique()) == (grid // window + 1) ** 2


def test_squares_are_of_visible_tokens_in_their_order():
    removed = np.random.default_rng(0).random((7, 7)) < 0.6
    coords = coordinates(removed, 8)
    squares = blocks(removed, 8, 4)
    corners = coords[squares[:, 0]]
    assert (corners % 4 == 0).all()
    assert len(squares) == 4 * (~removed).sum()
    offsets = np.stack(np.meshgrid(range(4), range(4), indexing="ij"), -1).reshape(-1, 2)
    assert (coords[squares] == corners[:, None] + offsets).all()


# Initial weights.


@pytest.mark.parametrize("side", [6, 7])
def test_positions_are_sines_and_cosines_of_column_then_row(side):
    table = position_table(side, 64)
    assert table.shape == (1, side**2, 64)
    assert table.dtype == torch.float32
    for row, column in ((0, 0), (2, 5), (5, 1)):
        expected = [
            wave(position / 10000 ** (j / 16))
            for position in (column, row)
            for wave in (np.sin, np.cos)
            for j in range(16)
        ]
        assert_allclose(table[0, row * side + column], expected, atol=1e-7)


def test_initial_weights_are_drawn_as_officially():
    torch.manual_seed(0)
    model = timm.create_model("greenmim_swin_micro")
    for name, p in model.named_parameters():
        module, kind = model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]
        if isinstance(module, nn.Linear | nn.Conv2d) and kind == "weight":
            bound = (6 / (p.shape[0] + p[0].numel())) ** 0.5
            assert p.abs().max() <= bound
            assert p.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
        elif isinstance(module, nn.Linear):
            assert not p.any()
        elif isinstance(module, nn.LayerNorm):
            assert (p == (kind == "weight")).all()
            assert module.eps == 1e-6
        elif kind in ("mask_token", "relative_position_bias_table"):
            assert p.std().item() == pytest.approx(0.02, rel=0.25)
    assert not model.decoder_pos_embed.requires_grad
    assert torch.equal(model.decoder_pos_embed, position_table(7, 64))


def test_decay_is_kept_from_tables_and_tokens():
    model = timm.create_model("greenmim_swin_micro")
    kept = model.no_weight_decay()
    assert {"mask_token", "encoder.layers.0.blocks.1.attn.relative_position_bias_table"} <= kept
    assert len(kept) == 1 + 8


def test_checkpointing_recomputes_twins_too():
    """As the contract's test, which is slow for a Twins of full size."""
    words = {"embed_dim": 32, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8), "decoder": (64, 4)}
    model = timm.create_model("greenmim_twins_large", **words)
    inputs = model.sample_inputs(2, torch.Generator().manual_seed(0), "cpu", torch.float32)
    gradients = []
    for saving in (False, True):
        model.zero_grad()
        model.set_grad_checkpointing(saving)
        model(**inputs)["loss"].backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad})
    torch.testing.assert_close(*gradients)

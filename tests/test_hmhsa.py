"""hMHSA and cFFN against outputs and counts of a reference written from the paper, and against timm's bases."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose
from torch.utils.flop_counter import FlopCounterMode

from bench.attention import capture
from bench.model import fused_attention
from models.hmhsa import checkpoint_filter_fn
from models.hmhsa.attention import HallucinatedAttention
from tests.detfill import image, values
from tests.small_hmhsa import BASES, PLAIN, on_meta

HERE = Path(__file__).parent
INDEX = json.loads((HERE / "goldens/hmhsa/index.json").read_text())
# Golden -> the registered name and arguments.
GOLDENS = {
    "hmhsa_deit_tiny": ("hmhsa_deit_tiny", {}),
    "hmhsa_only_deit_tiny": ("hmhsa_deit_tiny", {"compact": False}),
    "cffn_only_deit_tiny": ("hmhsa_deit_tiny", {"hallucinate": False}),
    "hmhsa_pvt_v2_b1": ("hmhsa_pvt_v2_b1", {}),
    "deit_tiny": ("hmhsa_deit_tiny", PLAIN),
    "pvt_v2_b1": ("hmhsa_pvt_v2_b1", PLAIN),
    "pvt_v2_b1_timm": ("hmhsa_pvt_v2_b1", PLAIN),
    "nextvit_small": ("hmhsa_nextvit_small", PLAIN),
    "nextvit_small_timm": ("hmhsa_nextvit_small", PLAIN),
}
OURS = ["hmhsa_deit_tiny", "hmhsa_only_deit_tiny", "cffn_only_deit_tiny", "hmhsa_pvt_v2_b1"]
# Percent of parameters, and of fvcore's MACs at 224 and at 384, that the deployed forms save.
SAVED = {
    "hmhsa_deit_tiny": (18.15, 18.46, 17.85),
    "hmhsa_deit_small": (18.81, 18.76, 18.05),
    "hmhsa_pvt_v2_b1": (13.26, 15.09, 15.16),
    "hmhsa_nextvit_small": (14.20, 11.79, 11.82),
}
every_model = pytest.mark.parametrize("name", BASES)


def official_state(golden):
    """The names and shapes of the golden's list, filled."""
    _, *lines = (HERE / f"statedict/hmhsa/{golden}.tsv").read_text().splitlines()
    state = {}
    for name, sizes, _, _ in (line.split("\t") for line in lines):
        shape = () if sizes == "scalar" else tuple(map(int, sizes.split("x")))
        counts = name.endswith("num_batches_tracked")
        state[name] = torch.zeros(shape) if counts else torch.from_numpy(np.asarray(values(name, shape)))
    return state


class Run:
    """A golden beside what our model gives for the same weights and images, on the eager path."""

    def __init__(self, golden):
        self.name, self.words = GOLDENS[golden]
        self.golden = dict(np.load(HERE / f"goldens/hmhsa/{golden}.npz"))
        self.state = official_state(golden)
        self.model = self.build()
        with torch.no_grad():
            self.logits = self.model(image())

    def build(self, **words):
        with fused_attention(False):
            model = timm.create_model(self.name, **self.words, **words).double().eval()
        model.load_state_dict(checkpoint_filter_fn(self.state, model))
        return model


@pytest.fixture(scope="module")
def run(request):
    return Run(request.param)


def each(*goldens):
    return pytest.mark.parametrize("run", goldens, indirect=True, scope="module")


def check(actual, expected):
    assert_allclose(actual.numpy(), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@each(*GOLDENS)
def test_logits_equal_golden(run):
    check(run.logits, run.golden["output"])


@each(*OURS)
def test_deployed_logits_equal_golden(run):
    deployed = run.build(branches=0)  # takes the training form's weights
    with torch.no_grad():
        check(deployed(image()), run.golden.get("output_deploy", run.golden["output"]))


@each("hmhsa_deit_tiny", "hmhsa_only_deit_tiny", "hmhsa_pvt_v2_b1")
def test_logits_of_the_query_axis_equal_golden(run):
    with torch.no_grad():
        check(run.build(axis="query")(image()), run.golden["output_query_axis"])


@each("hmhsa_deit_tiny", "hmhsa_pvt_v2_b1", "deit_tiny", "pvt_v2_b1", "nextvit_small")
def test_similarity_of_heads_equals_golden(run):
    per_image = [capture(run.model, one[None], run.name) for one in image()]
    means = np.mean([[m.similarity for m in maps] for maps in per_image], axis=0)
    assert_allclose(means, run.golden["ccs_blocks"], rtol=1e-9)


@each("hmhsa_deit_tiny", "hmhsa_pvt_v2_b1")
def test_first_maps_equal_golden(run):
    maps = []
    first = next(m for m in run.model.modules() if isinstance(m, HallucinatedAttention))
    handle = first.attn_drop.register_forward_pre_hook(lambda module, args: maps.append(args[0]))
    with torch.no_grad():
        run.model(image())
    handle.remove()
    assert maps[0].shape == tuple(run.golden["maps0_shape"])
    check(maps[0].flatten()[:: int(run.golden["maps0_stride"])], run.golden["maps0_sample"])


# Counts.


@pytest.mark.parametrize("golden", OURS)
def test_parameters_are_the_references(golden):
    name, words = GOLDENS[golden]
    for model, expected in (
        (on_meta(name, **words), INDEX[golden]["params_total"]),
        (on_meta(name, **words).deploy(), INDEX[golden]["params_deploy"]),
        (on_meta(name, branches=0, **words), INDEX[golden]["params_deploy"]),
    ):
        assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize("golden", OURS)
def test_torch_flops_are_the_references(golden):
    name, words = GOLDENS[golden]
    for form, model in (
        ("train_form", on_meta(name, impl="reference", **words)),
        ("deploy", on_meta(name, impl="reference", **words).deploy()),
    ):
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 224, 224, device="meta"))
        assert counter.get_total_flops() == INDEX[golden][f"{form}_torch_flops"]


def fvcore_count(name, size=224, **words):
    from fvcore.nn import FlopCountAnalysis

    with fused_attention(False):
        model = timm.create_model(name, **words).eval()
    if hasattr(model, "deploy") and words.get("branches", 0) == 0:
        model.deploy()
    count = FlopCountAnalysis(model, torch.zeros(1, 3, size, size))
    return count.unsupported_ops_warnings(False).uncalled_modules_warnings(False)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("golden", OURS)
def test_fvcore_macs_are_the_references(golden):
    name, words = GOLDENS[golden]
    count = fvcore_count(name, **words)
    assert count.total() == INDEX[golden]["deploy_fvcore_macs"]
    assert dict(count.by_operator()) == INDEX[golden]["deploy_fvcore_by_op"]
    assert fvcore_count(name, branches=2, **words).total() == INDEX[golden]["train_form_fvcore_macs"]


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("size", [224, pytest.param(384, marks=pytest.mark.slow)])
@every_model
def test_deployed_form_saves_what_the_reference_saves(name, size):
    parameters, macs, macs_384 = SAVED[name]
    base = BASES[name]
    counts = [sum(p.numel() for p in model.parameters()) for model in (on_meta(name, branches=0), on_meta(base))]
    assert round(100 * (1 - counts[0] / counts[1]), 2) == parameters
    word = {"img_size": size} if "deit" in name else {}
    counts = [fvcore_count(one, size, **word).total() for one in (name, base)]
    assert round(100 * (1 - counts[0] / counts[1]), 2) == (macs if size == 224 else macs_384)


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("hmhsa_deit_tiny", {102}),
        ("hmhsa_deit_small", {204}),
        ("hmhsa_pvt_v2_b1", {37, 75, 170, 273}),
        ("hmhsa_nextvit_small", {48, 96, 192, 384, 113, 227, 455}),
    ],
)
def test_inner_widths_are_the_references(name, widths):
    model = on_meta(name, branches=0)
    assert {x.shape[0] for key, x in model.state_dict().items() if key.endswith("reduce.weight")} == widths
    mlps = [m for m in model.modules() if hasattr(m, "fc1") and hasattr(m, "fc2")]
    assert all(list(dict(m.fc2.named_children())) == ["reduce", "restore"] for m in mlps)  # every FFN
    assert len(mlps) == {"hmhsa_pvt_v2_b1": 8, "hmhsa_nextvit_small": 20}.get(name, 12)


@pytest.mark.parametrize(("ratio", "width"), [(2 / 3, 102), (0.75, 115), (0.5, 76), (1, 153)])
def test_ratio_is_read_as_the_fraction_that_was_meant(ratio, width):
    assert on_meta("hmhsa_deit_tiny", branches=0, ratio=ratio).blocks[0].mlp.fc2.reduce.weight.shape == (width, 768)


def test_ratio_is_not_floored_below_a_whole_width():
    """7/10 of 240 * 720 / 960 = 180 is 126, and 125.99... in floating point."""
    model = on_meta(
        "hmhsa_deit_tiny", branches=0, hallucinate=False, ratio=0.7, embed_dim=240, num_heads=4, mlp_ratio=3
    )
    assert model.blocks[0].mlp.fc2.reduce.out_features == 126


# Sizes and errors.


@pytest.mark.parametrize("name", ["hmhsa_pvt_v2_b1", "hmhsa_nextvit_small"])
@pytest.mark.parametrize("axis", ["key", "query"])
def test_convolutional_bases_take_any_size(name, axis):
    model = on_meta(name, axis=axis)
    assert model(torch.empty(2, 3, 160, 256, device="meta")).shape == (2, 1000)


def test_deit_takes_another_size_when_told():
    model = on_meta("hmhsa_deit_tiny", num_classes=7)
    model.set_input_size((64, 96))
    assert model(torch.empty(2, 3, 64, 96, device="meta")).shape == (2, 7)


def test_official_position_table_is_resized_as_deit_does():
    """Bicubic, without antialias; the class token's row stays."""
    table = torch.randn(1, 197, 192)
    model = on_meta("hmhsa_deit_tiny", img_size=384)
    resized = checkpoint_filter_fn({"pos_embed": table}, model)["pos_embed"]
    grid = table[:, 1:].reshape(1, 14, 14, 192).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(24, 24), mode="bicubic").permute(0, 2, 3, 1).flatten(1, 2)
    torch.testing.assert_close(resized, torch.cat([table[:, :1], grid], dim=1))


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("hmhsa_deit_tiny", {"num_heads": 3}, r"halves the heads, and 3 can't be halved\. Use an even number"),
        ("hmhsa_deit_tiny", {"embed_dim": 96}, "3 can't be halved"),
        ("hmhsa_pvt_v2_b1", {"num_heads": (1, 2, 5, 8)}, "1 can't be halved"),
        ("hmhsa_nextvit_small", {"mix_block_ratio": 0.6}, "5 can't be halved"),
        ("hmhsa_deit_tiny", {"hallucinate": "ihh+chh"}, r"no hallucinate='ihh\+chh'.*'chh\+ihh', False"),
        ("hmhsa_deit_tiny", {"compact": "fc2"}, "no compact='fc2'.*'narrow', 'fc1'"),
        ("hmhsa_deit_tiny", {"axis": "keys"}, "no axis='keys'.*'key', 'query'"),
        ("hmhsa_deit_tiny", {"branches": -1}, "branches=-1: want a whole number, 0 for the deployed form"),
        ("hmhsa_deit_tiny", {"branches": True}, "branches=True"),
        ("hmhsa_deit_tiny", {"ratio": 0}, "ratio=0: want a number above 0"),
        ("hmhsa_deit_tiny", {"ratio": 1.5}, "ratio=1.5"),
        ("hmhsa_deit_tiny", {"ratio": "2/3"}, "ratio='2/3'"),
        ("hmhsa_deit_tiny", {"ratio": 0.001}, "ratio=0.001 leaves no channel between 768 and 192"),
        ("hmhsa_deit_tiny", {"hallucinate": False, "impl": "sdpa"}, "impl='sdpa' is a way to hallucinate"),
        ("hmhsa_deit_tiny", {"qk_norm": True}, "no qk_norm"),
        ("hmhsa_deit_tiny", {"scale_attn_norm": True}, "no scale_attn_norm"),
        ("hmhsa_deit_tiny", {"dynamic_img_size": True}, r"dynamic_img_size=True changes\. Use img_size"),
        ("hmhsa_pvt_v2_b1", {"linear": True}, "linear=True"),
    ],
)
def test_bad_arguments_are_refused_with_a_way_out(name, words, message):
    with pytest.raises(ValueError, match=message):
        on_meta(name, **words)


def test_grid_that_does_not_match_the_keys_is_refused():
    attention = on_meta("hmhsa_deit_tiny").blocks[0].attn
    with pytest.raises(ValueError, match=r"a 14x14 grid of keys, and got 17 tokens, 1 of them beside the grid\. Use"):
        attention(torch.empty(1, 17, 192, device="meta"))


def test_masked_attention_is_refused():
    block = on_meta("hmhsa_deit_tiny").blocks[0]
    with pytest.raises(ValueError, match="no masked attention"):
        block(torch.empty(1, 197, 192, device="meta"), is_causal=True)


def test_size_that_next_vits_pooling_does_not_divide_is_refused():
    """At 48x64 the second stage has 6x8 tokens, pooled by 16 in a row: 3 keys, which are no 1x2 grid."""
    with pytest.raises(ValueError, match="a 1x2 grid of keys, and got 3 tokens"):
        on_meta("hmhsa_nextvit_small")(torch.empty(1, 3, 48, 64, device="meta"))

"""hMHSA and cFFN against outputs and counts of a reference written from the paper, and against timm's bases."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose
from timm.utils import reparameterize_model
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from bench.attention import capture
from bench.build import Case
from bench.metrics import all_metrics
from bench.model import create, fused_attention
from bench.protocol import preset
from bench.spec import Spec
from models.hmhsa import checkpoint_filter_fn
from models.hmhsa.attention import HallucinatedAttention
from models.hmhsa.ffn import Branches
from tests.detfill import fill, image, values

HERE = Path(__file__).parent
INDEX = json.loads((HERE / "goldens/hmhsa/index.json").read_text())
PLAIN = {"hallucinate": False, "compact": False}
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
BASES = {
    "hmhsa_deit_tiny": "deit_tiny_patch16_224",
    "hmhsa_deit_small": "deit_small_patch16_224",
    "hmhsa_pvt_v2_b1": "pvt_v2_b1",
    "hmhsa_nextvit_small": "nextvit_small",
}
# Percent of parameters, and of fvcore's MACs at 224 and at 384, that the deployed forms save.
SAVED = {
    "hmhsa_deit_tiny": (18.15, 18.46, 17.85),
    "hmhsa_deit_small": (18.81, 18.76, 18.05),
    "hmhsa_pvt_v2_b1": (13.26, 15.09, 15.16),
    "hmhsa_nextvit_small": (14.20, 11.79, 11.82),
}
# Small models with a block of each kind, in which every argument matters.
SMALL = {
    "hmhsa_deit_tiny": {"depth": 1, "img_size": (64, 96)},
    "hmhsa_pvt_v2_b1": {"depths": (1, 1), "embed_dims": (64, 64), "sr_ratios": (2, 1), "mlp_ratios": (4, 4)},
    "hmhsa_nextvit_small": {},
}
HALLUCINATE = [True, "copy", "ihh", "chh", "chh+ihh"]
every_small = pytest.mark.parametrize("name", SMALL)
every_model = pytest.mark.parametrize("name", BASES)


def on_meta(name, **words):
    with torch.device("meta"):
        return timm.create_model(name, **words).eval()


def small(name, fused=True, **words):
    """A small model in float64, with reproducible weights that leave its logits moderate."""
    torch.manual_seed(0)
    with fused_attention(fused):
        model = timm.create_model(name, num_classes=10, **{**SMALL[name], **words}).double().eval()
    return model if "nextvit" in name else fill(model)


def small_images():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def gradients(model, images):
    out = model(images)
    (out * torch.linspace(-1, 2, out.numel(), dtype=out.dtype).reshape(out.shape)).sum().backward()
    return out.detach(), {name: p.grad for name, p in model.named_parameters()}


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


# Ablations.


@every_model
def test_plain_model_is_the_base_weight_for_weight(name):
    torch.manual_seed(0)
    ours = timm.create_model(name, **PLAIN)
    torch.manual_seed(0)
    base = timm.create_model(BASES[name])
    assert ours.impl == "reference"
    torch.testing.assert_close(ours.state_dict(), base.state_dict(), rtol=0, atol=0)
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(ours.eval()(images), base.eval()(images))
    assert ours.deploy() is ours
    assert ours.state_dict().keys() == base.state_dict().keys()


@every_small
def test_copied_maps_are_those_of_a_base_with_every_query_and_key_twice(name):
    """The base's attention and block are timm's own: an oracle for how ours are put together."""
    heads = {"hmhsa_deit_tiny": {"num_heads": 6}, "hmhsa_pvt_v2_b1": {"num_heads": (2, 2)}}
    ours = small(name, hallucinate="copy", compact=False)
    base = small(name, **PLAIN, **heads.get(name, {}))
    doubled = {}
    for key, x in ours.state_dict().items():
        _, _, owner = key.rpartition(".")[0].rpartition("attn.") if "attn." in key else key.partition("e_mhsa.")
        if owner.startswith("qkv"):
            q, k, v = x.split([len(x) // 4, len(x) // 4, len(x) // 2])
            x = torch.cat([q, q, k, k, v])
        elif owner.startswith("kv"):
            k, v = x.split([len(x) // 3, 2 * len(x) // 3])
            x = torch.cat([k, k, v])
        elif owner.split(".")[0] in ("q", "k"):
            x = torch.cat([x, x])
        doubled[key] = x
    base.load_state_dict(doubled)
    with torch.no_grad():
        torch.testing.assert_close(ours(small_images()), base(small_images()), rtol=1e-10, atol=1e-10)


@every_small
def test_identity_kernels_copy_the_real_maps(name):
    """The paper's Table 2 starts from copies: IHH with a centre of 1 and CHH as the identity are that."""
    copying, identity = small(name, hallucinate="copy"), small(name)
    identity.load_state_dict(copying.state_dict(), strict=False)
    with torch.no_grad():
        for module in identity.modules():
            if isinstance(module, HallucinatedAttention):
                module.halluc.ihh.weight.zero_()[:, 0, 1, 1] = 1
                module.halluc.chh.weight.copy_(torch.eye(module.num_heads // 2)[..., None, None])
        images = small_images()
        torch.testing.assert_close(identity(images), copying(images), rtol=1e-12, atol=1e-12)
    assert not [key for key in copying.state_dict() if ".halluc." in key]


@pytest.mark.parametrize(
    ("name", "stds"),
    [
        ("hmhsa_deit_tiny", {"ihh": 1 / 3 / 3**0.5, "chh": 1 / 3, "qkv": 0.02, "branches": 0.02}),
        ("hmhsa_pvt_v2_b1", {"ihh": (2 / 9) ** 0.5, "chh": (2 / 8) ** 0.5, "kv": 0.02, "branches": 0.02}),
        ("hmhsa_nextvit_small", {"ihh": 0.02, "chh": 0.02, "k": 0.02, "branches": 0.02}),
    ],
)
def test_new_layers_are_drawn_by_the_bases_rule(name, stds):
    """PyTorch's default in DeiT: uniform within 1 / sqrt(fan in), whose standard deviation is that over sqrt(3)."""
    torch.manual_seed(0)
    found = {}
    for key, x in timm.create_model(name).state_dict().items():
        for part in stds:
            if f".{part}." in key and key.endswith("weight") and x.ndim > 1:
                last_stage = name != "hmhsa_pvt_v2_b1" or part != "chh" or x.shape == (8, 8, 1, 1)
                found.setdefault(part, []).extend(x.flatten().tolist() if last_stage else [])
    assert {part: np.std(x) for part, x in found.items()} == pytest.approx(stds, rel=0.15)


@pytest.mark.parametrize("words", [{"branches": 0}, {"compact": "narrow"}], ids=["deployed", "narrow"])
@pytest.mark.parametrize("name", ["hmhsa_deit_tiny", "hmhsa_pvt_v2_b1", "hmhsa_nextvit_small"])
def test_new_ffn_layers_are_drawn_by_the_bases_rule(name, words):
    torch.manual_seed(0)
    for module in timm.create_model(name, **words).modules():
        if hasattr(module, "fc1"):
            weights = [p for key, p in module.named_parameters() if key.endswith("weight") and "dwconv" not in key]
            assert [p.std().item() for p in weights] == pytest.approx([0.02] * len(weights), rel=0.1)
            assert not any(p.any() for key, p in module.named_parameters() if key.endswith("bias"))


@pytest.mark.parametrize("hallucinate", HALLUCINATE)
def test_ablations_have_the_steps_that_they_name(hallucinate):
    state = on_meta("hmhsa_deit_tiny", hallucinate=hallucinate).state_dict()
    named = {"ihh", "chh"} if hallucinate is True else {*hallucinate.split("+")} - {"copy"}
    assert {key.split(".")[4] for key in state if ".halluc." in key} == named


def test_order_of_ihh_and_chh_matters():
    one, other = small("hmhsa_deit_tiny"), small("hmhsa_deit_tiny", hallucinate="chh+ihh")
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        assert not torch.allclose(one(small_images()), other(small_images()), rtol=1e-3)


def test_factorised_fc1_has_the_parameters_of_factorised_fc2():
    """Table 6, but for the bias of the side that is restored."""
    fc2, fc1 = on_meta("hmhsa_deit_tiny", branches=0), on_meta("hmhsa_deit_tiny", branches=0, compact="fc1")
    assert fc1.blocks[0].mlp.fc1.reduce.weight.shape == (102, 192)
    assert fc1.blocks[0].mlp.fc1.restore.weight.shape == (768, 102)
    assert isinstance(fc1.blocks[0].mlp.fc2, torch.nn.Linear)
    assert sum(p.numel() for p in fc1.parameters()) == sum(p.numel() for p in fc2.parameters())


@pytest.mark.parametrize(("name", "hidden"), [("hmhsa_deit_tiny", {640}), ("hmhsa_pvt_v2_b1", {427, 853, 1067, 1707})])
def test_narrow_ffn_has_five_sixths_of_the_hidden_units(name, hidden):
    """Table 5."""
    model = on_meta(name, compact="narrow")
    assert {m.fc1.out_features for m in model.modules() if hasattr(m, "fc1")} == hidden
    compact = on_meta(name, branches=0)
    counts = [sum(p.numel() for p in one.parameters()) for one in (model, compact)]
    assert counts[0] == pytest.approx(counts[1], rel=5e-3)
    assert not [m for m in model.modules() if isinstance(m, Branches)]


# Forms.


@pytest.mark.parametrize(
    ("name", "compact", "branches"),
    [
        *product(["hmhsa_deit_tiny", "hmhsa_pvt_v2_b1"], [True, "fc1"], [1, 2, 3]),
        ("hmhsa_nextvit_small", True, 2),
        ("hmhsa_nextvit_small", "fc1", 3),
    ],
)
def test_deploy_is_exact(name, compact, branches):
    torch.manual_seed(0)
    model = fill(timm.create_model(name, num_classes=10, compact=compact, branches=branches, **SMALL[name]).double())
    assert sum(isinstance(m, Branches) for m in model.modules())
    images = small_images()
    model.train()(images)  # running statistics of its own
    model.eval()
    with torch.no_grad():
        expected = model(images)
        assert model.deploy() is model
        actual = model(images)
    assert not any(isinstance(m, Branches) for m in model.modules())
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-11 * expected.abs().max().item())


@pytest.mark.parametrize("name", ["hmhsa_deit_tiny", "hmhsa_nextvit_small"])
def test_timms_reparameterization_deploys_too(name):
    model = small(name)
    images = small_images()
    with torch.no_grad():
        expected = model(images)
        actual = reparameterize_model(model)(images)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def test_deployed_module_keeps_its_type_and_stays_trainable():
    model = timm.create_model("hmhsa_deit_tiny", **SMALL["hmhsa_deit_tiny"]).to(torch.bfloat16).eval().deploy()
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m.training for m in model.modules())


def test_training_updates_the_statistics_over_all_tokens():
    branch = on_meta("hmhsa_deit_tiny").blocks[0].mlp.fc2.reduce.branches[0].to_empty(device="cpu")
    branch.norm.reset_running_stats()
    torch.nn.init.normal_(branch.weight)
    tokens = torch.randn(2, 5, 768)
    branch.train()(tokens)
    projected = tokens.flatten(0, 1) @ branch.weight.T
    torch.testing.assert_close(branch.norm.running_mean, 0.1 * projected.mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "forms"),
    [({}, ("training", "deployed")), ({"branches": 0}, ("deployed", "deployed")), ({"compact": False}, (None, None))],
)
def test_form_is_what_the_ffns_are(words, forms):
    model = on_meta("hmhsa_deit_tiny", **words)
    assert (model.form, model.deploy().form) == forms


@pytest.mark.parametrize("words", [{}, {"hallucinate": "chh+ihh", "compact": "narrow"}, {"compact": "fc1"}])
@pytest.mark.parametrize("name", ["hmhsa_deit_tiny", "hmhsa_pvt_v2_b1"])
def test_new_layers_are_of_the_type_that_the_model_is_asked_for(name, words):
    model = on_meta(name, dtype=torch.bfloat16, **words)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


# Routes.


@pytest.mark.parametrize(("hallucinate", "axis"), [*product(HALLUCINATE, ["key", "query"])])
@pytest.mark.parametrize("name", ["hmhsa_deit_tiny", "hmhsa_pvt_v2_b1"])
def test_every_route_has_the_outputs_and_gradients_of_the_reference(name, hallucinate, axis):
    check_routes(name, hallucinate, axis)


@pytest.mark.parametrize(
    ("hallucinate", "axis"), [(True, "key"), pytest.param("chh+ihh", "query", marks=pytest.mark.slow)]
)
def test_every_route_of_nextvit_has_the_outputs_and_gradients_of_the_reference(hallucinate, axis):
    check_routes("hmhsa_nextvit_small", hallucinate, axis)


def check_routes(name, hallucinate, axis):
    reference = small(name, fused=False, hallucinate=hallucinate, axis=axis, impl="reference")
    output, expected = gradients(reference, small_images())
    for impl, fused in [("maps", True), ("folded", True), ("folded", False), ("sdpa", True), ("sdpa", False)]:
        model = small(name, fused=fused, hallucinate=hallucinate, axis=axis, impl=impl)
        model.load_state_dict(reference.state_dict())
        actual, found = gradients(model, small_images())
        torch.testing.assert_close(actual, output, rtol=1e-9, atol=1e-11)
        for key, gradient in expected.items():
            scale = max(gradient.abs().max().item(), 1e-6)
            torch.testing.assert_close(found[key], gradient, rtol=1e-8, atol=1e-9 * scale, msg=f"{impl} {key}")


@pytest.mark.parametrize("impl", ["reference", "maps", "folded", "sdpa"])
def test_maps_of_all_heads_are_seen_whatever_the_route(impl):
    model = small("hmhsa_deit_tiny", fused=False, impl=impl)
    (seen,) = capture(model, small_images()[:1], "hmhsa_deit_tiny", closely=True)
    (expected,) = capture(small("hmhsa_deit_tiny", fused=False), small_images()[:1], "hmhsa_deit_tiny", closely=True)
    assert (seen.heads, seen.keys, seen.picture.grid) == (6, 25, (4, 6))
    torch.testing.assert_close(seen.matrix, expected.matrix, rtol=1e-9, atol=1e-9)


class Operators(TorchDispatchMode):
    """The names of all operators that ran."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(func.name())
        return func(*args, **(kwargs or {}))


def test_sdpa_stores_no_map():
    model = small("hmhsa_deit_tiny", impl="sdpa").float()
    with torch.no_grad(), Operators() as operators:
        model(small_images().float())
    fused = [name for name in operators.seen if "flash" in name]
    assert len(fused) == 2  # the real heads, the hallucinated heads
    assert not [name for name in operators.seen if "softmax" in name]


@pytest.mark.parametrize(
    ("fused", "device", "size", "impl"),
    [
        (True, "cpu", 224, "folded"),
        (True, "cpu", 384, "sdpa"),
        (True, "cuda:1", 224, "sdpa"),
        (False, "cuda", 384, "reference"),
    ],
)
def test_auto_chooses_by_attention_path_device_and_size(fused, device, size, impl):
    with fused_attention(fused):
        model = on_meta("hmhsa_deit_tiny", img_size=size)
    model.choose_impl(device, (size, size))
    assert model.impl == impl
    assert {m.impl for m in model.modules() if isinstance(m, HallucinatedAttention)} == {impl}


@pytest.mark.parametrize("name", ["hmhsa_pvt_v2_b1", "hmhsa_nextvit_small"])
def test_auto_stores_no_large_map_of_a_convolutional_base(name):
    model = on_meta(name)
    assert model.impl == ("sdpa" if torch.cuda.is_available() else "folded")  # at the size of its config
    model.choose_impl("cpu", (896, 896))
    assert model.impl == "sdpa"


def test_auto_of_deit_goes_by_the_size_that_it_was_built_for():
    assert on_meta("hmhsa_deit_tiny", img_size=448).impl == "sdpa"


@pytest.mark.parametrize("impl", ["reference", "maps", "folded", "sdpa"])
def test_macs_counted_on_meta_are_those_that_run(impl):
    spec = Spec("hmhsa_pvt_v2_b1", size=(64, 64), model_args=(("impl", impl),))
    model = create(spec, "cpu")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 64, 64))
    assert Case(spec, preset("quick")).impl == impl
    assert all_metrics()["macs"].measure(Case(spec, preset("quick"))).value == counter.get_total_flops() / 2


def test_a_route_that_was_asked_for_stays():
    model = on_meta("hmhsa_deit_tiny", impl="maps")
    model.choose_impl("cuda", (224, 224))
    assert model.impl == "maps"


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

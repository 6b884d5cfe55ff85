"""hMHSA and cFFN: the ablations of the paper's tables, and the training and deployed forms."""

from itertools import product

import numpy as np
import pytest
import timm
import torch
from timm.utils import reparameterize_model

from models.hmhsa.attention import HallucinatedAttention
from models.hmhsa.ffn import Branches
from tests.detfill import fill
from tests.small_hmhsa import BASES, HALLUCINATE, PLAIN, SMALL, on_meta, small, small_images

every_small = pytest.mark.parametrize("name", SMALL)
every_model = pytest.mark.parametrize("name", BASES)


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

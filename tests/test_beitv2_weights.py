"""Initial weights of BEiT v2's models against the official code's, and how optimizers are to treat parameters."""

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay

from tests.beitv2 import close, index, small_classifier, small_masked, small_tokenizer

# Initial weights.


def told(x: torch.Tensor) -> tuple[float, float]:
    return x.std().item(), x.abs().max().item()


def is_uniform(x: torch.Tensor, inputs: int) -> None:
    bound = inputs**-0.5
    std, largest = told(x)
    assert 0.98 * bound < largest <= bound
    assert std == pytest.approx(bound / 3**0.5, rel=0.05)


def test_initial_weights_of_the_classifier():
    torch.manual_seed(0)
    model = timm.create_model("beitv2_base", depth=3)
    for number, block in enumerate(model.blocks, start=1):
        for linear in (block.attn.qkv, block.mlp.fc1, block.attn.proj, block.mlp.fc2):
            by = (2 * number) ** 0.5 if linear in (block.attn.proj, block.mlp.fc2) else 1
            std, largest = told(linear.weight)
            assert std * by == pytest.approx(0.02, rel=0.01)
            assert 0.08 < largest * by < 0.14  # not truncated, nor the ±2 of an inverse at its bounds
            assert linear.bias is None or not linear.bias.any()
        assert not torch.cat([block.attn.q_bias, block.attn.v_bias]).any()
        assert not block.attn.relative_position_bias_table.any()
        assert torch.equal(torch.cat([block.gamma_1, block.gamma_2]), torch.full((1536,), 0.1))
        assert torch.equal(block.norm1.weight, torch.ones(768))
    assert told(model.cls_token)[0] == pytest.approx(0.02, rel=0.1)
    is_uniform(model.patch_embed.proj.weight, 768)
    is_uniform(model.patch_embed.proj.bias, 768)
    std, largest = told(model.head.weight)
    assert std == pytest.approx(2e-5, rel=0.01)
    assert largest < 14e-5
    assert not model.head.bias.any()
    assert model.blocks[0].norm1.eps == model.fc_norm.eps == 1e-6
    assert timm.create_model("beitv2_large", depth=1).blocks[0].gamma_2.eq(1e-5).all()


def agrees(ours: torch.Tensor, theirs: list[float], name: str) -> None:
    """With official (mean, deviation, largest); a smaller share of what is drawn the fewer numbers there are."""
    mean, std, largest = theirs
    if largest > 20 * std:  # a single ±2 of an inverse at its bounds, which ours don't have
        std = (std**2 - largest**2 / ours.numel()) ** 0.5
    if std == 0:
        assert torch.equal(ours, torch.full_like(ours, mean)), name
        return
    spread = 5 / ours.numel() ** 0.5
    assert ours.std().item() == pytest.approx(std, rel=spread), name
    assert abs(ours.mean().item()) < spread * std, name
    if largest < 2 * std:  # bounded, within which it nearly reaches the bounds
        assert ours.abs().max().item() == pytest.approx(largest, rel=max(0.002, 5 / ours.numel())), name
        assert ours.abs().max().item() <= largest * (1 + max(1e-4, 2 / ours.numel())), name


def test_initial_weights_of_the_masked_model_are_as_the_official_ones():
    """The layers of the CLS head are uniform, weights and biases: nothing initialises them."""
    torch.manual_seed(0)
    model = timm.create_model("beitv2_mim_base", depth=10, vocab_size=1000, shared_head=False)  # as drawing takes long
    state = model.state_dict()
    facts = index()["beitv2_mim_base_clspt"]["init_stats_mean_std_absmax_seed0"]
    for name, theirs in facts.items():
        agrees(state[name], theirs, name)
    second = facts["cls_pt_layers.0.attn.proj.weight"]
    agrees(state["cls_pt_layers.1.attn.proj.weight"], [x * (10 / 11) ** 0.5 for x in second], "second of the head")
    last = facts["blocks.0.mlp.fc2.weight"]
    agrees(state["blocks.9.mlp.fc2.weight"], [x * (1 / 10) ** 0.5 for x in last], "last block")
    agrees(state["cls_pt_lm_head.weight"], facts["lm_head.weight"], "separate head")
    assert not state["cls_pt_lm_head.bias"].any()
    assert not state["rel_pos_bias.relative_position_bias_table"].any()
    for name in ("blocks.5", "cls_pt_layers.1"):
        assert not torch.cat([state[f"{name}.attn.q_bias"], state[f"{name}.attn.v_bias"]]).any()
        assert state[f"{name}.gamma_1"].eq(0.1).all()
        assert state[f"{name}.norm2.weight"].eq(1).all()


def test_initial_weights_of_the_tokenizer_are_as_the_official_ones():
    torch.manual_seed(0)
    state = timm.create_model("beitv2_vqkd_base", depth=3).state_dict()
    facts = index()["vqkd_base_dec3_clip"]["init_stats_mean_std_absmax_seed0"]
    for name, theirs in facts.items():
        agrees(state[name], theirs, name)
    assert max(x.abs().max() for name, x in state.items() if "proj" in name) < 0.2  # officially one is 2 / √6
    close(state["quantize.embedding.weight"].norm(dim=1), torch.ones(8192), 1e-6)
    assert torch.equal(state["quantize.embedding.embed_avg"], state["quantize.embedding.weight"])
    for half in ("encoder", "decoder"):
        assert state[f"{half}.pos_embed"].std().item() == pytest.approx(0.02, rel=0.02)
        assert state[f"{half}.cls_token"].std().item() == pytest.approx(0.02, rel=0.1)
        assert not [name for name in state if name.startswith(half) and ("gamma" in name or "table" in name)]


# Optimizers.


@pytest.mark.parametrize("name", ["beitv2_base", "beitv2_mim_base"])
def test_layer_decay_goes_by_embedding_blocks_and_the_rest(name):
    """Scales are 0.65 to the 13th for the embedding, and less by one power a block; decayed is what has two axes, but
    for the class token."""
    with torch.device("meta"):
        model = timm.create_model(name)
    names = {p: name for name, p in model.named_parameters()}
    groups = param_groups_layer_decay(model, 0.05, model.no_weight_decay(), layer_decay=0.65)
    found = {names[p]: (group["lr_scale"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert found.keys() == set(names.values())
    for p, name in names.items():
        if name.startswith(("cls_token", "mask_token", "patch_embed")):
            layer = 0
        else:
            layer = 1 + int(name.split(".")[1]) if name.startswith("blocks.") else 13
        decayed = p.ndim > 1 and name != "cls_token"
        assert found[name] == (pytest.approx(0.65 ** (13 - layer)), 0.05 if decayed else 0), name
    assert found[next(n for n in found if n.endswith("bias_table"))][1] == 0.05


def test_names_that_are_not_decayed():
    assert small_classifier().no_weight_decay() == {"cls_token"}
    assert small_classifier(positions="absolute").no_weight_decay() == {"cls_token", "pos_embed"}
    assert small_masked().no_weight_decay() == {"cls_token"}
    assert small_tokenizer().no_weight_decay() == {
        "encoder.cls_token",
        "encoder.pos_embed",
        "decoder.cls_token",
        "decoder.pos_embed",
        "quantize.embedding.weight",
    }

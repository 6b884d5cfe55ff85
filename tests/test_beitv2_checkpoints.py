"""Official checkpoints of BEiT v2 on their way into our models: what is dropped, copied, resized, and what stays."""

import pytest
import timm
import torch

from models.beitv2 import MaskedModelling, TokenizerTraining, checkpoint_filter_fn
from models.beitv2.tables import relative_index, resize_positions, resize_table
from tests.beitv2 import LISTS, SMALL, close, pictures, small_classifier, small_masked, small_tokenizer, uneven_masks

SHARED = "rel_pos_bias.relative_position_bias_table"
OWN = "blocks.{}.attn.relative_position_bias_table"


def drawn(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Other numbers of the same shapes, float64."""
    draw = torch.Generator().manual_seed(0)
    return {name: torch.randn(x.shape, generator=draw, dtype=torch.float64) for name, x in state.items()}


def masked_checkpoint(**words) -> dict[str, torch.Tensor]:
    """As the official file: with the index of positions."""
    return drawn(small_masked(**words).state_dict()) | {"rel_pos_bias.relative_position_index": relative_index(4)}


def load(model, state, **words):
    before = dict(state)
    model.load_state_dict(checkpoint_filter_fn(state, model), **words)
    assert state.keys() == before.keys()
    assert all(state[name] is before[name] for name in state), "the filter changed its argument"
    return model


@pytest.mark.parametrize("heads", [{}, {"shared_head": False}, {"cls_head": False}])
def test_a_masked_model_becomes_a_classifier(heads):
    state, fresh = masked_checkpoint(**heads), small_classifier()
    model = load(small_classifier(), state)
    for name, x in model.state_dict().items():
        if name.startswith(("fc_norm.", "head.")):
            assert torch.equal(x, fresh.state_dict()[name]), f"{name} is not in the checkpoint, and stays"
        elif name.endswith("bias_table"):
            assert torch.equal(x, state[SHARED])
        else:
            assert torch.equal(x, state[name])
    assert torch.equal(model.blocks[2].gamma_2, state["blocks.2.gamma_2"])
    assert model.head.weight.any()


def test_it_computes_what_the_masked_model_did():
    """Tokens before the norms, of an image with nothing masked."""
    state = masked_checkpoint()
    theirs = load(small_masked(), state)
    ours = load(small_classifier(), state)
    final = []
    theirs.norm.register_forward_pre_hook(lambda module, args: final.append(args[0]))
    theirs(pictures())
    close(ours.forward_features(pictures()), final[0], 1e-12)


def test_at_another_size_every_blocks_table_is_the_shared_one_resized():
    state = masked_checkpoint()
    model = load(small_classifier(img_size=96), state)
    expected = resize_table(state[SHARED], 6)
    assert expected.shape == (124, 2)
    for block in model.blocks:
        assert torch.equal(block.attn.relative_position_bias_table, expected)
    assert model(pictures(size=96)).isfinite().all()
    smaller = load(small_classifier(img_size=48), state)
    assert torch.equal(smaller.blocks[1].attn.relative_position_bias_table, resize_table(state[SHARED], 3))


def test_with_class_token_pooling_the_norm_comes_along():
    state = masked_checkpoint()
    model = load(small_classifier(global_pool="token"), state)
    assert torch.equal(model.norm.weight, state["norm.weight"])
    assert torch.equal(model.norm.bias, state["norm.bias"])
    assert torch.equal(model.head.weight, small_classifier().head.weight)


def test_a_classifier_of_another_size():
    """224 to 384 px, as the official script: per table; all else as it is."""
    state = drawn(small_classifier().state_dict())
    state |= {f"blocks.{number}.attn.relative_position_index": relative_index(4) for number in range(3)}
    model = load(small_classifier(img_size=96), state)
    for name, x in model.state_dict().items():
        assert torch.equal(x, resize_table(state[name], 6) if name.endswith("bias_table") else state[name])
    tables = [state[OWN.format(number)] for number in range(3)]
    assert not torch.equal(tables[0], tables[1])


@pytest.mark.parametrize(("classes", "expected"), [(1000, "own"), (7, "fresh")])
def test_files_load_by_name(tmp_path, classes, expected):
    """Of masked modelling and of classification, the latter's classifier only for as many classes."""
    words = dict(SMALL, depth=3, num_classes=classes, pretrained=True)

    def created(state):
        torch.save({"model": {name: x.float() for name, x in state.items()}}, tmp_path / "file.pth")
        overlay = {"file": str(tmp_path / "file.pth")}
        return timm.create_model("beitv2_base", pretrained_cfg_overlay=overlay, **words)

    state = masked_checkpoint()
    model = created(state)
    assert torch.equal(model.blocks[1].mlp.fc1.weight, state["blocks.1.mlp.fc1.weight"].float())
    assert torch.equal(model.blocks[2].attn.relative_position_bias_table, state[SHARED].float())
    assert model.head.weight.shape == (classes, 32)
    assert model.head.weight.std() < 3e-5
    assert torch.equal(model.fc_norm.weight, torch.ones(32))

    state = drawn(small_classifier(num_classes=1000).state_dict())
    model = created(state)
    assert torch.equal(model.fc_norm.weight, state["fc_norm.weight"].float())
    if expected == "own":
        assert torch.equal(model.head.weight, state["head.weight"].float())
    else:
        assert model.head.weight.std() < 3e-5


@pytest.mark.parametrize(
    ("given", "into", "left"),
    [
        ({}, {"cls_head": False}, "cls_pt_"),
        ({"shared_head": False}, {}, ("cls_pt_norm.", "cls_pt_lm_head.")),
        ({"shared_head": False}, {"cls_head": False}, "cls_pt_"),
        ({}, {}, ()),
        ({"shared_head": False}, {"shared_head": False}, ()),
    ],
)
def test_heads_that_a_masked_model_has_not_are_left(given, into, left):
    state = masked_checkpoint(**given)
    model = load(small_masked(**into), state)
    assert model.state_dict().keys() == {n for n in state if not n.startswith(left or "-") and "index" not in n}
    assert all(torch.equal(x, state[name]) for name, x in model.state_dict().items())


def test_heads_that_a_checkpoint_has_not_are_missed():
    """Loading says so, and nothing is made up."""
    for given, into in (({"cls_head": False}, {}), ({}, {"shared_head": False})):
        with pytest.raises(RuntimeError, match="Missing key"):
            load(small_masked(**into), masked_checkpoint(**given))


def test_a_masked_model_of_another_size():
    state = masked_checkpoint()
    model = load(small_masked(img_size=96), state)
    assert torch.equal(model.rel_pos_bias.relative_position_bias_table, resize_table(state[SHARED], 6))
    assert model(pictures(size=96))["logits"].shape == (3, 36, 37)


def tokenizer_checkpoint() -> dict[str, torch.Tensor]:
    """As the official file of a training: with its teacher, its losses' and the normalisation of its input."""
    state = drawn(small_tokenizer().state_dict())
    state["quantize.embedding.initted"] = torch.ones(1)
    of_training = {
        "scaling_layer.shift": torch.zeros(1, 3, 1, 1),
        "scaling_layer.scale": torch.ones(1, 3, 1, 1),
        "teacher_model.visual.conv1.weight": torch.zeros(4, 3, 2, 2),
        "loss_weight": torch.zeros(1),
    }
    return state | of_training


def test_a_tokenizers_file():
    state = tokenizer_checkpoint()
    model = load(small_tokenizer(kmeans_init=True), state)
    assert all(torch.equal(x, state[name]) for name, x in model.state_dict().items())
    assert model.tokenize(pictures()).shape == (3, 16)
    fitted = checkpoint_filter_fn(state, small_tokenizer())
    assert {name.split(".")[0] for name in fitted} == {
        "encoder",
        "decoder",
        "quantize",
        "encode_task_layer",
        "decode_task_layer",
    }
    with pytest.raises(RuntimeError, match=r"Unexpected key.*teaching"):
        load(small_tokenizer(), state | {"encoder.teaching": torch.zeros(1)})


def test_a_tokenizer_without_a_decoder_leaves_it():
    state = tokenizer_checkpoint()
    model = load(small_tokenizer(decoder_depth=0), state)
    assert model.state_dict().keys() == {n for n in small_tokenizer().state_dict() if not n.startswith("decode")}
    assert torch.equal(model.tokenize(pictures()), load(small_tokenizer(), state).tokenize(pictures()))


def test_a_tokenizer_of_another_size():
    state = tokenizer_checkpoint()
    model = load(small_tokenizer(img_size=96), state)
    for half in ("encoder", "decoder"):
        assert torch.equal(model.state_dict()[f"{half}.pos_embed"], resize_positions(state[f"{half}.pos_embed"], 6))
    assert model.tokenize(pictures(size=96)).shape == (3, 36)


def test_steps_take_the_checkpoints_of_what_they_train():
    state = masked_checkpoint()
    step = MaskedModelling(small_masked(img_size=96), small_tokenizer(img_size=96))
    before = {name: x.clone() for name, x in step.targets.state_dict().items()}
    load(step, state)
    assert torch.equal(step.student.lm_head.weight, state["lm_head.weight"])
    assert torch.equal(step.student.rel_pos_bias.relative_position_bias_table, resize_table(state[SHARED], 6))
    torch.testing.assert_close(step.targets.state_dict(), before, rtol=0, atol=0)
    step = load(MaskedModelling(small_masked(cls_head=False), None), state)
    assert step(pictures(), uneven_masks(), torch.zeros(3, 16, dtype=torch.int64))["loss"].isfinite()

    state = tokenizer_checkpoint()
    teacher = torch.nn.Linear(2, 2).double()
    step = TokenizerTraining(small_tokenizer(kmeans_init=True), teacher)
    weight = teacher.weight.clone()
    load(step, state)
    assert torch.equal(step.tokenizer.decode_task_layer[0].weight, state["decode_task_layer.0.weight"])
    assert step.tokenizer.quantize.embedding.ready
    assert torch.equal(step.teacher.weight, weight)


@pytest.mark.parametrize(
    ("official", "name"),
    [
        ("beitv2_mim_base_clspt", "beitv2_base"),
        ("beitv2_mim_base_clspt_unshared", "beitv2_base"),
        ("beitv2_mim_base", "beitv2_base"),
        ("beitv2_mim_large_clspt", "beitv2_large"),
        ("beitv2_mim_base_clspt", "beitv2_mim_base"),
    ],
)
def test_official_names_of_masked_models_find_their_place(official, name):
    lines = (LISTS / f"{official}.tsv").read_text().splitlines()[1:]
    state = {}
    for key, sizes, dtype, _ in (line.split("\t") for line in lines):
        state[key] = torch.empty(tuple(map(int, sizes.split("x"))), dtype=getattr(torch, dtype), device="meta")
    with torch.device("meta"):
        model = timm.create_model(name)
    model.load_state_dict(checkpoint_filter_fn(state, model), assign=True)


def test_other_shapes_are_left_for_loading_to_tell():
    state = masked_checkpoint()
    with pytest.raises(RuntimeError, match=r"size mismatch for patch_embed\.proj\.weight"):
        load(small_classifier(in_chans=4), state)

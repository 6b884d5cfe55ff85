"""Whole pre-training steps of BEiT v2: where their targets come from, and what trains."""

import pytest
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn
from torch.utils._pytree import tree_map_only

from bench.sections import OTHER, Sections
from models.beitv2 import MaskedModelling, TokenizerTraining, pretraining
from models.beitv2.pretraining import Targets
from models.beitv2.teachers import Teacher
from tests.beitv2 import (
    ROUTES,
    close,
    each_route,
    gradients,
    pictures,
    small_masked,
    small_tokenizer,
    uneven_masks,
)
from tests.randomness import untouched

MEAN, STD = torch.tensor([IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD], dtype=torch.float64)[..., None, None]
MADE = {"beitv2_mim_base": MaskedModelling, "beitv2_vqkd_base": TokenizerTraining}
every_step = pytest.mark.parametrize("name", MADE)


class Mirror(nn.Module):
    """Stands for a teacher: the colours of each patch, and zeros."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen.append(images)
        patches = nn.functional.avg_pool2d(images, 16).flatten(2).transpose(1, 2)
        return nn.functional.pad(patches, (0, 509))


def masked_modelling(impl: str = "fast", online: bool = True, **words) -> MaskedModelling:
    """A small step, whose tokenizer gives many codes."""
    return MaskedModelling(small_masked(impl, **words), small_tokenizer(impl) if online else None).double()


def tokenizer_training(impl: str = "fast", online: bool = True, **words) -> TokenizerTraining:
    return TokenizerTraining(small_tokenizer(impl, **words), Mirror() if online else None)


STEPS = {"beitv2_mim_base": masked_modelling, "beitv2_vqkd_base": tokenizer_training}


def draw(module: nn.Module, batch: int = 3, seed: int = 0) -> dict[str, torch.Tensor]:
    return module.sample_inputs(batch, torch.Generator().manual_seed(seed), "cpu", torch.float64)


def normalised(images: torch.Tensor) -> torch.Tensor:
    return (images - MEAN) / STD


# Targets.


@each_route
@pytest.mark.parametrize("uneven", [False, True])
def test_codes_are_those_of_the_whole_image(impl, uneven):
    """By the tokenizer, of what the student sees with its normalisation undone."""
    module, images = masked_modelling(impl).train(), normalised(pictures())
    masks = uneven_masks() if uneven else uneven_masks()[:1].expand(3, 16)
    ids = small_tokenizer(impl).tokenize(pictures())
    assert ids[masks].unique().numel() > 2
    out = module(images, masks)
    by_hand = small_masked(impl)(images, masks, ids)
    assert out.keys() == by_hand.keys()
    close(out["loss"], by_hand["loss"], 1e-12)
    alone = masked_modelling(impl, online=False)
    close(alone(images, masks, ids)["loss"], by_hand["loss"], 1e-12)
    assert torch.equal(module(images, masks, ids[masks])["loss"], alone(images, masks, ids)["loss"])
    assert module.targets(images, None, module.plan(images, masks)["chosen"]).tolist() == ids[masks].tolist()


@each_route
def test_pictures_take_the_place_of_images_for_the_tokenizer(impl):
    module, images, masks = masked_modelling(impl), normalised(pictures()), uneven_masks()
    other = pictures().flip(-1)
    ids = small_tokenizer(impl).tokenize(other)
    close(module(images, masks, pictures=other)["loss"], module(images, masks, ids)["loss"], 1e-12)
    assert not torch.allclose(module(images, masks, pictures=other)["loss"], module(images, masks)["loss"])


def test_what_rounding_puts_beyond_a_picture_is_clipped():
    """Or the tokenizer would take all of the batch for numbers up to 255."""
    module, masks = masked_modelling(), uneven_masks()
    white = pictures()
    white[0, 0, 0, 0] = 1
    seen = []
    tokenize = module.targets.tokenizer.tokenize
    module.targets.tokenizer.tokenize = lambda images, queries: seen.append(images) or tokenize(images, queries)
    module(normalised(white) * (1 + 1e-9), masks)
    assert seen[0].max() == 1
    close(seen[0], white, 1e-7)
    module(normalised(2 * white - 0.5), masks)
    close(seen[1], (2 * white - 0.5).clamp(0, 1), 1e-9)


def test_the_fast_tokenizer_is_asked_for_masked_patches_alone():
    counts = {}
    for impl in ROUTES:
        module, rows = masked_modelling(impl), []
        module.targets.tokenizer.encode_task_layer.register_forward_hook(
            lambda m, args, out, rows=rows: rows.append(out)
        )
        module(normalised(pictures()), uneven_masks()[0])
        counts[impl] = rows[0].shape[1]
    assert counts == {"reference": 16, "fast": 5}


def test_features_are_the_teachers():
    for scale in (1, 255):  # to [-1, 1] from either
        module = tokenizer_training().train()
        out = module(scale * pictures())
        [seen] = module.teacher.seen
        close(seen, 2 * pictures() - 1, 1e-12)
        given = small_tokenizer().train()(scale * pictures(), Mirror()(2 * pictures() - 1))
        close(out["loss"], given["loss"], 1e-12)
        alone = tokenizer_training(online=False)
        close(alone(scale * pictures(), Mirror()(2 * pictures() - 1))["loss"], given["loss"], 1e-12)
        module(pictures(), torch.ones(3, 16, 512, dtype=torch.float64))
        assert len(module.teacher.seen) == 1, "a target that is given needs no teacher"


# What trains.


def test_the_tokenizer_is_frozen():
    module = masked_modelling("reference")
    assert not any(m.training for m in module.targets.modules()), "from the first"
    module.train()
    assert module.training and module.student.blocks[0].training
    assert not any(m.training for m in module.targets.modules())
    module.train(False).train(True)
    assert not module.targets.tokenizer.quantize.training
    before = {name: x.clone() for name, x in module.targets.tokenizer.state_dict().items()}
    found = gradients(module, module(**draw(module))["loss"])
    assert {name.split(".")[0] for name, p in module.named_parameters() if p.requires_grad} == {"student"}
    assert all((g is None) == name.startswith("targets.") for name, g in found.items())
    assert not hasattr(module, "after_step")
    moved = {name for name, x in module.targets.tokenizer.state_dict().items() if not torch.equal(x, before[name])}
    assert moved == {"quantize.cluster_size"}, "officially each step counts codes"


def test_the_teacher_is_frozen():
    with torch.device("meta"):
        module = pretraining("beitv2_vqkd_base").train()
    assert isinstance(module.teacher, Teacher)
    assert not any(m.training for m in module.teacher.modules())
    assert {name.split(".")[0] for name, p in module.named_parameters() if p.requires_grad} == {"tokenizer"}
    found = gradients(module := tokenizer_training().train(), module(**draw(module))["loss"])
    assert {name for name, g in found.items() if g is None} == {
        f"tokenizer.quantize.embedding.{name}" for name in ("weight", "embed_avg", "cluster_size")
    }


@every_step
@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize("saving", [False, True])
def test_the_fast_step_has_the_reference_gradients(name, online, saving):
    found = []
    for impl in ROUTES:
        module = STEPS[name](impl, online).train()
        assert module.impl == impl
        module.set_grad_checkpointing(saving and impl == "fast")
        loss = module(**draw(module))["loss"]
        found.append((loss.detach(), gradients(module, loss)))
    torch.testing.assert_close(*found, rtol=0, atol=1e-9)


@every_step
def test_checkpointing_is_asked_of_what_trains(name):
    module, calls = STEPS[name]().train(), []
    trained = module.student if name == "beitv2_mim_base" else module.tokenizer.encoder
    trained.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    module.set_grad_checkpointing()
    loss = module(**draw(module))["loss"]
    calls.clear()
    loss.backward()
    assert calls == [1]


@each_route
def test_the_codebook_moves_after_a_step_of_the_tokenizer(impl):
    module = tokenizer_training(impl).train()
    before = module.tokenizer.quantize.embedding.weight.clone()
    module(**draw(module))["loss"].backward()
    assert torch.equal(module.tokenizer.quantize.embedding.weight, before)
    module.after_step()
    assert not torch.equal(module.tokenizer.quantize.embedding.weight, before)
    close(module.tokenizer.quantize.cluster_size.sum(), torch.tensor(0.48, dtype=torch.float64), 1e-12)


@each_route
def test_the_first_step_starts_the_codebook(impl):
    module = tokenizer_training(impl, kmeans_init=True).train()
    inputs = draw(module)
    assert inputs["first_rows"].shape == (37,)
    assert inputs["first_rows"].unique().numel() == 37
    assert inputs["first_rows"].max() < 48
    torch.testing.assert_close(draw(module), inputs, rtol=0, atol=0)
    by_hand = small_tokenizer(impl, kmeans_init=True).train()
    loss = by_hand(inputs["images"], Mirror()(2 * inputs["images"] - 1), inputs["first_rows"])["loss"]
    close(module(**inputs)["loss"], loss, 1e-12)
    module.after_step()
    assert "first_rows" not in draw(module)
    assert module.tokenizer.quantize.embedding.initted.item() == 1
    module.eval()(**draw(module))


# Inputs.


@every_step
@pytest.mark.parametrize("online", [True, False])
def test_inputs_are_drawn_from_the_generator_alone(name, online):
    module = STEPS[name](online=online)
    with untouched():
        inputs = draw(module)
    torch.testing.assert_close(draw(module), inputs, rtol=0, atol=0)
    for key, x in draw(module, seed=1).items():
        assert not torch.equal(x, inputs[key]), key
    assert module.sample_inputs(1, None, "cpu", torch.bfloat16)["images"].dtype == torch.bfloat16
    expected = {"beitv2_mim_base": ["images", "mask", "target_ids"], "beitv2_vqkd_base": ["images", "target"]}[name]
    assert list(inputs) == (expected[:-1] if online else expected)
    assert inputs["images"].shape == (3, 3, 64, 64)
    if name == "beitv2_vqkd_base":
        assert 0 <= inputs["images"].min() < 0.01 < 0.99 < inputs["images"].max() <= 1
        if not online:
            assert inputs["target"].shape == (3, 16, 512)
            assert inputs["target"].std().item() == pytest.approx(1, abs=0.02)
        return
    shown = inputs["images"] * STD + MEAN
    assert -1e-6 < shown.min() < 0.01 < 0.99 < shown.max() < 1 + 1e-6
    assert inputs["mask"].shape == (3, 16)
    assert inputs["mask"].dtype == torch.bool
    assert inputs["mask"].sum(1).tolist() == [6, 6, 6]
    assert torch.equal(
        module.draw_masks(4, torch.Generator().manual_seed(3)),
        module.student.draw_masks(4, torch.Generator().manual_seed(3)),
    )
    if not online:
        ids = inputs["target_ids"]
        assert (ids.shape, ids.dtype) == ((3, 16), torch.int64)
        assert 0 <= ids.min() < 5 < 32 < ids.max() < 37


def test_images_of_other_channels():
    """They repeat the normalisation of three."""
    module = MaskedModelling(small_masked(in_chans=4), small_tokenizer(in_chans=4))
    inputs = draw(module)
    assert inputs["images"].shape == (3, 4, 64, 64)
    seen = []
    tokenize = module.targets.tokenizer.tokenize
    module.targets.tokenizer.tokenize = lambda images, queries: seen.append(images) or tokenize(images, queries)
    module(**inputs)
    order = [0, 1, 2, 0]
    close(seen[0], (inputs["images"] * STD[order] + MEAN[order]).clamp(0, 1), 1e-12)


@each_route
def test_a_plan_gives_the_same_and_spares_numbers(impl):
    module = masked_modelling(impl)
    inputs = draw(module) | {"mask": uneven_masks()}
    plan = module.plan(**inputs)
    assert torch.equal(module(**inputs, **plan)["loss"], module(**inputs)["loss"])
    nowhere = tree_map_only(torch.Tensor, lambda x: x.to("meta"), inputs | plan)
    assert module.to("meta")(**nowhere)["loss"].is_meta


def test_normalisation_is_exact_and_not_stored():
    targets = Targets(small_tokenizer())
    close(targets.mean, torch.tensor(IMAGENET_DEFAULT_MEAN, dtype=torch.float64).reshape(3, 1, 1), 0)
    close(targets.std, torch.tensor(IMAGENET_DEFAULT_STD, dtype=torch.float64).reshape(3, 1, 1), 0)
    assert all(name.startswith("tokenizer.") for name in targets.state_dict())


def test_arguments_that_make_no_sense_are_refused():
    module, images = masked_modelling(online=False), normalised(pictures())
    with pytest.raises(ValueError, match=r"no target_ids and no tokenizer.*targets='online'"):
        module(images, uneven_masks())
    with pytest.raises(ValueError, match="target_ids go from 40 to 40"):
        module(images, uneven_masks(), torch.full((3, 16), 40))
    with pytest.raises(ValueError, match="masks none of 48"):
        module(images, torch.zeros(3, 16, dtype=torch.bool), torch.zeros(3, 16, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"the images have shape \(3, 3, 48, 48\).*\(batch, 3, 64, 64\)"):
        masked_modelling()(images[..., :48, :48], uneven_masks())
    with pytest.raises(ValueError, match=r"the images have shape \(3, 2, 64, 64\).*\(batch, 3, 64, 64\)"):
        masked_modelling()(images[:, :2], uneven_masks())
    with pytest.raises(ValueError, match=r"no target and no teacher.*targets='online'"):
        tokenizer_training(online=False)(pictures())
    with pytest.raises(ValueError, match=r"the images have shape \(3, 3, 48, 48\).*\(batch, 3, 64, 64\)"):
        tokenizer_training()(pictures(size=48))
    with pytest.raises(ValueError, match=r"the target has shape"):
        tokenizer_training(online=False)(pictures(), torch.ones(3, 16, 5))


# Sections.


@every_step
@pytest.mark.parametrize("online", [True, False])
def test_sections_are_what_a_step_runs(name, online):
    """Every parameter is in a section, and it is that of what it is for; and of what is listed all of it or a module
    in it is called."""
    module = STEPS[name](online=online).train()
    sections = module.sections()
    frozen = "tokenizer" if name == "beitv2_mim_base" else "teacher"
    rest = {
        "beitv2_mim_base": ["encoder", "CLS head", "prediction"],
        "beitv2_vqkd_base": ["encoder", "quantizer", "decoder"],
    }
    assert list(sections) == [frozen, *rest[name]]
    assert (len(sections[frozen]) == 1) == online

    called = set()
    for listed in sections.values():
        for one in listed:
            for inner in one.modules():
                inner.register_forward_hook(lambda m, *_, one=one: called.add(one))
    module(**draw(module))
    assert called == {one for listed in sections.values() for one in listed}

    of = Sections(module).of
    owners = {n: of[module.get_submodule(n.rpartition(".")[0])] for n, p in module.named_parameters()}
    assert OTHER not in owners.values()
    starts = {
        "targets.": "tokenizer",
        "teacher.": "teacher",
        "student.cls_token": "encoder",
        "student.mask_token": "encoder",
        "student.blocks.": "encoder",
        "student.patch_embed.": "encoder",
        "student.rel_pos_bias.": "encoder",
        "student.cls_pt_layers.": "CLS head",
        "student.norm.": "prediction",
        "student.lm_head.": "prediction",
        "tokenizer.encoder.": "encoder",
        "tokenizer.encode_task_layer.": "encoder",
        "tokenizer.quantize.": "quantizer",
        "tokenizer.decoder.": "decoder",
        "tokenizer.decode_task_layer.": "decoder",
    }
    found = {start: {s for n, s in owners.items() if n.startswith(start)} for start in starts}
    assert all(sections_ <= {starts[start]} for start, sections_ in found.items())
    assert all(n.startswith(tuple(starts)) for n in owners)


@pytest.mark.parametrize("words", [{"cls_head": False}, {"shared_head": False}])
def test_sections_of_other_heads(words):
    module = masked_modelling(**words)
    sections = module.sections()
    student = module.student
    if words == {"cls_head": False}:
        assert sections["CLS head"] == []
        assert sections["prediction"] == [student.norm, student.lm_head]
    else:
        assert sections["CLS head"] == list(student.cls_pt_layers)
        assert sections["prediction"] == [student.norm, student.lm_head, student.cls_pt_norm, student.cls_pt_lm_head]


# By name.


@pytest.mark.parametrize("impl", [*ROUTES, "auto"])
def test_the_tokenizer_is_of_the_students_images_codes_and_route(impl):
    words = dict(img_size=64, in_chans=4, vocab_size=50, impl=impl, depth=2, early_layer=1, embed_dim=32, num_heads=2)
    with torch.device("meta"):
        module = pretraining("beitv2_mim_base", **words)
    tokenizer = module.targets.tokenizer
    assert (tokenizer.side, tokenizer.in_chans, tokenizer.vocab_size) == (4, 4, 50)
    assert tokenizer.impl == module.student.impl == ("fast" if impl == "auto" else impl)
    assert tokenizer.decoder_depth == 0
    assert tokenizer.quantize.embedding.ready
    assert (len(tokenizer.encoder.blocks), tokenizer.encoder.embed_dim) == (12, 768)


def test_targets_online_and_given():
    for name, kind in MADE.items():
        with torch.device("meta"):
            online, given = pretraining(name), pretraining(name, targets="given")
        assert isinstance(online, kind)
        assert isinstance(given, kind)
        other = (lambda m: m.targets) if kind is MaskedModelling else (lambda m: m.teacher)
        assert other(given) is None
        assert other(online) is not None
        with pytest.raises(ValueError, match=r"targets='offline'. Use one of: 'online', 'given'"):
            pretraining(name, targets="offline")
        with pytest.raises(ValueError, match="no maps of features"):
            pretraining(name, features_only=True)
    with torch.device("meta"):
        assert pretraining("beitv2_vqkd_base", teacher="dino", img_size=96).teacher.teacher == "dino"
        assert pretraining("beitv2_vqkd_base", img_size=96).teacher.img_size == 96
        assert pretraining("beitv2_mim_base", targets="given", features_only=False).targets is None
        with pytest.raises(ValueError, match=r"decoder_depth=0 learns nothing. Use decoder_depth=1 or 3"):
            pretraining("beitv2_vqkd_base", decoder_depth=0)
        assert pretraining("beitv2_base") is None


@pytest.mark.slow
@every_step
def test_full_size_steps_train(name):
    """Three steps on the same images: the loss falls, and what is frozen stays."""
    torch.manual_seed(0)
    module = pretraining(name).train()
    inputs = module.sample_inputs(2, torch.Generator().manual_seed(0), "cpu", torch.float32)
    trained = [p for p in module.parameters() if p.requires_grad]
    frozen = module.teacher if name == "beitv2_vqkd_base" else module.targets
    before = [p.clone() for p in frozen.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=3e-4)
    found = []
    for _ in range(3):
        loss = module(**inputs)["loss"]
        loss.backward()
        assert all(p.grad.isfinite().all() for p in trained)
        optimizer.step()
        optimizer.zero_grad()
        getattr(module, "after_step", lambda: None)()
        found.append(loss.item())
    assert found == sorted(found, reverse=True)
    assert all(torch.equal(p, q) for p, q in zip(before, frozen.parameters(), strict=True))

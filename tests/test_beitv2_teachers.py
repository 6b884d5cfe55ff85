"""The teachers of BEiT v2's tokenizers: CLIP's visual tower as the official code has it, DINO's ViT as timm has."""

import re
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import timm
import torch
from torch import nn

from bench.model import fused_attention
from models.beitv2.teachers import TEACHERS, WIDTHS, Teacher, official_state
from tests.detfill import fill, image, values

HERE = Path(__file__).parent
NUMBERS = {  # mean and deviation of each colour
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "dino": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
every_teacher = pytest.mark.parametrize("teacher", TEACHERS)


def clip_shapes():
    lines = (HERE / "statedict" / "beitv2" / "clip_vitb16_visual.tsv").read_text().splitlines()[1:]
    return {name: tuple(map(int, sizes.split("x"))) for name, sizes, *_ in (line.split("\t") for line in lines)}


def empty_clip(prefix=""):
    return {prefix + name: torch.empty(shape) for name, shape in clip_shapes().items()}


def small(teacher, fused=True):
    """Of two blocks and two by two patches, in float64, with weights that hang on names alone."""
    with fused_attention(fused), mock.patch("timm.create_model", partial(timm.create_model, depth=2)):
        return fill(Teacher(teacher, img_size=32).double())


def images(batch=2, size=32):
    """Within [-1, 1], float64."""
    return 2 * image(batch, size).sigmoid() - 1


def on_meta(teacher="clip", **words):
    with torch.device("meta"):
        return Teacher(teacher, **words)


@pytest.mark.parametrize("fused", [False, True])
def test_clip_gives_the_official_features(fused):
    golden = np.load(HERE / "goldens" / "beitv2" / "clip_vitb16_visual.npz")
    with fused_attention(fused):
        teacher = Teacher("clip").double()
    state = {name: torch.from_numpy(np.asarray(values(name, shape))) for name, shape in clip_shapes().items()}
    teacher.load_state_dict(official_state(state, teacher))
    features = teacher(images(size=224))
    assert features.shape == tuple(golden["output_shape"])
    sample = features.flatten()[:: int(golden["output_stride"])]
    torch.testing.assert_close(sample, torch.from_numpy(golden["output_sample"]), rtol=0, atol=1e-9)
    assert features.norm().item() == pytest.approx(golden["output_l2"].item(), rel=1e-12)


def test_clip_is_the_visual_tower_and_nothing_else():
    network = on_meta("clip").network
    assert sum(p.numel() for p in network.parameters()) == 86_192_640
    assert {norm.eps for norm in network.modules() if isinstance(norm, nn.LayerNorm)} == {1e-5}
    assert isinstance(network.norm_pre, nn.LayerNorm)
    assert network.patch_embed.proj.bias is None
    assert network.head.bias is None
    act, x = network.blocks[0].mlp.act, torch.linspace(-3, 3, 7)
    torch.testing.assert_close(act(x), x * torch.sigmoid(1.702 * x))


@every_teacher
def test_features_are_those_of_timms_tower_on_normalised_levels(teacher):
    """By definition: levels of 0 to 255, clipped; mean and deviation of the teacher's own training; every patch, last
    norm, and CLIP's projection."""
    module = small(teacher)
    x = 1.5 * images()  # some beyond 1
    mean, deviation = (torch.tensor(numbers, dtype=torch.float64)[:, None, None] for numbers in NUMBERS[teacher])
    levels = (127.5 * (x + 1)).clamp(0, 255)
    network = module.network
    tokens = network.norm_pre(network._pos_embed(network.patch_embed((levels / 255 - mean) / deviation)))
    for block in network.blocks:
        tokens = block(tokens)
    expected = network.norm(tokens[:, 1:])
    if teacher == "clip":
        expected = expected @ network.head.weight.T
    found = module(x)
    assert found.shape == (2, 4, WIDTHS[teacher]) == (2, 4, module.width)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_dino_is_timms_vit_without_its_classifier():
    module = small("dino")
    vit = timm.create_model("vit_base_patch16_224", img_size=32, depth=2).double()
    assert {norm.eps for norm in module.modules() if isinstance(norm, nn.LayerNorm)} == {1e-6}
    own = {name: x for name, x in vit.state_dict().items() if not name.startswith("head.")}
    module.load_state_dict(official_state(own, module))  # timm's names are the official ones
    mean, deviation = (torch.tensor(numbers, dtype=torch.float64)[:, None, None] for numbers in NUMBERS["dino"])
    with torch.no_grad():
        expected = vit.eval().forward_features((images() / 2 + 0.5 - mean) / deviation)[:, 1:]
    torch.testing.assert_close(module(images()), expected, rtol=0, atol=1e-12)


@every_teacher
def test_a_teacher_is_frozen(teacher):
    assert not any(part.training or p.requires_grad for part in small(teacher).modules() for p in part.parameters())
    around = nn.Sequential(small(teacher)).train()
    around.requires_grad_(True)  # what trains the rest of a module may do this
    [module] = around
    assert not any(part.training for part in module.modules())
    assert module.train() is module
    assert not module.training
    assert not around(images().requires_grad_()).requires_grad


@every_teacher
def test_explicit_attention_shows_its_maps_and_equals_the_fused(teacher):
    features, calls = [], []
    for fused in (False, True):
        module, names = small(teacher, fused), []
        for name, part in module.named_modules():
            if name.endswith("attn_drop"):
                part.register_forward_hook(lambda *_, name=name, names=names: names.append(name))
        features.append(module(images()))
        calls.append(names)
    torch.testing.assert_close(*features, rtol=0, atol=1e-12)
    assert calls == [["network.blocks.0.attn.attn_drop", "network.blocks.1.attn.attn_drop"], []]


@every_teacher
def test_norms_are_in_float32_under_autocast(teacher):
    module = small(teacher).float()
    seen = {nn.LayerNorm: [], nn.Linear: []}
    for part in module.modules():
        for kind, types in seen.items():
            if isinstance(part, kind):
                part.register_forward_hook(lambda part, x, out, types=types: types.extend((x[0].dtype, out.dtype)))
    x = images().float()
    plain = module(x)
    for types in seen.values():
        types.clear()
    with torch.autocast("cpu", torch.bfloat16):
        found = module(x)
    assert set(seen[nn.LayerNorm]) == {torch.float32}
    assert torch.bfloat16 in seen[nn.Linear]  # autocast is on
    assert torch.nn.functional.cosine_similarity(found.float(), plain, dim=-1).min() > 0.99


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_features_have_the_type_of_the_network(dtype):
    features = small("clip").to(dtype)(images().to(dtype))
    assert features.dtype == dtype
    assert features.isfinite().all()


@every_teacher
def test_normalisation_is_exact_in_float64(teacher):
    """Though the module was made in float32."""
    module = small(teacher)
    assert [x.flatten().tolist() for x in (module.shift, module.scale)] == list(map(list, NUMBERS[teacher]))


@pytest.mark.parametrize("prefix", ["", "visual."])
def test_official_names_arrive(prefix):
    state = empty_clip(prefix)
    text = {} if not prefix else {
        "positional_embedding": torch.empty(77, 512),
        "text_projection": torch.empty(512, 512),
        "logit_scale": torch.empty(()),
        "token_embedding.weight": torch.empty(49408, 512),
        "transformer.resblocks.0.attn.in_proj_weight": torch.empty(1536, 512),
        "ln_final.weight": torch.empty(512),
    }  # fmt: skip
    given = state | text
    before = dict(given)
    module = on_meta("clip")
    module.load_state_dict(official_state(given, module), assign=True)
    assert list(given) == list(before)
    assert all(given[name] is before[name] for name in given)
    network = module.network
    assert not any(p.is_meta for p in network.parameters())
    for found, name in [
        (network.patch_embed.proj.weight, "conv1.weight"),
        (network.norm_pre.bias, "ln_pre.bias"),
        (network.norm.weight, "ln_post.weight"),
        (network.blocks[3].attn.qkv.weight, "transformer.resblocks.3.attn.in_proj_weight"),
        (network.blocks[11].mlp.fc2.bias, "transformer.resblocks.11.mlp.c_proj.bias"),
    ]:
        assert found.data_ptr() == state[prefix + name].data_ptr()
    assert network.head.weight.data_ptr() == state[f"{prefix}proj"].data_ptr()  # transposed
    assert network.head.weight.shape == (512, 768)


@every_teacher
def test_checkpoints_hold_the_network_alone(teacher):
    module = on_meta(teacher)
    assert all(name.startswith("network.") for name in module.state_dict())


def test_positions_are_resized_for_other_images():
    module = on_meta("clip", img_size=384)
    module.load_state_dict(official_state(empty_clip(), module), assign=True)
    assert module.network.pos_embed.shape == (1, 577, 768)


def test_a_teacher_needs_no_values():
    with torch.device("meta"):
        assert Teacher("clip")(torch.empty(2, 3, 224, 224)).shape == (2, 196, 512)
        assert Teacher("dino", img_size=384)(torch.empty(2, 3, 384, 384)).shape == (2, 576, 768)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"teacher": "beit"}, "Teacher has no teacher='beit'. Use one of: 'clip', 'dino'."),
        ({"img_size": 0}, "Teacher has no img_size=0. Use a whole number from 16."),
        ({"img_size": 225}, "Teacher has no img_size=225. Use a multiple of 16."),
        ({"img_size": (224, 224)}, "Teacher has no img_size=(224, 224)."),
    ],
)
def test_what_makes_no_teacher_is_refused(words, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        on_meta(**({"teacher": "clip"} | words))


@pytest.mark.parametrize("shape", [(2, 3, 48, 48), (2, 1, 32, 32), (3, 32, 32)])
def test_images_of_another_shape_are_refused(shape):
    with (
        torch.device("meta"),
        pytest.raises(ValueError, match=re.escape(f"the images have shape {shape}; the teacher")),
    ):
        Teacher("clip", img_size=32)(torch.empty(shape))

"""Parameters, MACs and time by part, against counts by hand and a scripted clock."""

from collections import Counter
from functools import cache

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.build import Case
from bench.cost import Borders, crossings, parameters
from bench.metrics import all_metrics
from bench.names import default_size
from bench.parts import parts
from bench.protocol import preset
from bench.spec import Spec

DEIT = "deit_tiny_patch16_224"
PROTOCOL = preset("quick", 1)
FAMILIES = [
    DEIT,
    "beit_base_patch16_224",
    "cait_xxs24_224",
    "coat_tiny",
    "convnext_atto",
    "eva02_tiny_patch14_224",
    "efficientformer_l1",
    "levit_128s",
    "maxvit_tiny_tf_224",
    "mobilenetv3_small_050",
    "mobilevit_xxs",
    "nextvit_small",
    "pvt_v2_b1",
    "resnet18",
    "sgformer_s",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "twins_svt_small",
    "volo_d1_224",
    "xcit_nano_12_p8_224",
]


@cache
def measure(name, model, **kwargs):
    return all_metrics()[name].measure(Case(Spec(model, size=default_size(model), **kwargs), PROTOCOL))


def split(value):
    return {(stage, kind): number for stage, kind, number in value.details["parts"]}


def by(value, index):
    """Totals by stage (0) or kind (1)."""
    totals = Counter()
    for row in value.details["parts"]:
        totals[row[index]] += row[2]
    return dict(totals)


@pytest.mark.parametrize("attention", ["fused", "eager"])
def test_macs_of_deit_tiny_by_part_are_those_counted_by_hand(attention):
    tokens, width, depth = 197, 192, 12
    value = measure("macs", DEIT, attention=attention)
    assert split(value) == {
        ("stem", "embedding"): 196 * 3 * 16**2 * width,
        ("blocks", "attention"): depth * (tokens * width * 3 * width + 2 * tokens**2 * width + tokens * width**2),
        ("blocks", "FFN"): depth * 2 * tokens * width * 4 * width,
        ("head", "head"): width * 1000,
    }
    assert all(type(row) is list and type(row[2]) is int for row in value.details["parts"])


def test_parameters_of_deit_tiny_by_part_are_those_counted_by_hand():
    width, depth = 192, 12
    assert split(measure("params", DEIT)) == {
        ("stem", "embedding"): (3 * 16**2 + 1) * width + width + 197 * width,  # patches, class token, positions
        ("blocks", "norm"): depth * 2 * 2 * width,
        ("blocks", "attention"): depth * 4 * (width + 1) * width,
        ("blocks", "FFN"): depth * (2 * 4 * width**2 + 5 * width),
        ("head", "norm"): 2 * width,
        ("head", "head"): (width + 1) * 1000,
    }


@pytest.mark.parametrize("model", FAMILIES)
def test_parts_sum_to_the_whole_and_leave_next_to_nothing_over(model):
    for name in ("params", "macs"):
        value = measure(name, model)
        assert sum(split(value).values()) == value.value
        assert min(split(value).values()) > 0
        assert by(value, 1).get("other", 0) < 0.005 * value.value, name


@pytest.mark.parametrize("model", ["sgformer_s", "nextvit_small", "coat_tiny", "xcit_nano_12_p8_224"])
def test_macs_are_half_of_what_torch_counts(model):
    with torch.device("meta"):
        module = timm.create_model(model).eval().requires_grad_(False)
        images = torch.empty(1, 3, *default_size(model))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(images)
    assert measure("macs", model).value == counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("model", "stages"),
    [
        (DEIT, {"stem", "blocks", "head"}),
        ("swin_tiny_patch4_window7_224", {"stem", *(f"stage {i}" for i in (1, 2, 3, 4)), "head"}),
        ("sgformer_s", {"stem", *(f"stage {i}" for i in (1, 2, 3, 4)), "head"}),
        ("twins_svt_small", {*(f"stage {i}" for i in (1, 2, 3, 4)), "head"}),
        ("resnet18", {"stem", *(f"stage {i}" for i in (1, 2, 3, 4)), "head"}),
        ("hiera_tiny_224", {"stem", *(f"stage {i}" for i in (1, 2, 3, 4)), "head"}),  # one list of 12 blocks
        ("levit_128s", {"stem", "stage 1", "stage 2", "stage 3", "head"}),
        ("cait_xxs24_224", {"stem", "blocks", "blocks_token_only", "head"}),
        ("coat_tiny", {"stem", *(f"stage {i}" for i in (1, 2, 3, 4)), "parallel_blocks", "head"}),  # all of one width
    ],
)
def test_stages_are_found_in_the_tree(model, stages):
    assert set(by(measure("params", model), 0)) == stages


def test_stage_two_of_a_swin_is_the_second_of_its_layers():
    with torch.device("meta"):
        model = timm.create_model("swin_tiny_patch4_window7_224")
    own = sum(parameter.numel() for parameter in model.layers[1].parameters())
    assert by(measure("params", "swin_tiny_patch4_window7_224"), 0)["stage 2"] == own


def test_a_resnet_is_convolutions_norms_and_a_head():
    with torch.device("meta"):
        model = timm.create_model("resnet18")
    own = {
        "convolution": sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv2d)),
        "norm": sum(2 * m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d)),
        "head": 513 * 1000,
    }
    assert by(measure("params", "resnet18"), 1) == own
    assert by(measure("macs", "resnet18"), 1) == {"convolution": 1_814_073_344 - 512_000, "head": 512_000}


def kinds_of(model, *paths):
    known = parts(model)
    return [known[model.get_submodule(path)][1] for path in paths]


@pytest.mark.parametrize(
    ("model", "of"),
    [
        ("pvt_v2_b1", {"stages.0.blocks.0.mlp.dwconv": "FFN", "stages.0.blocks.0.attn.norm": "attention"}),
        ("pvt_v2_b1", {"stages.1.downsample.proj": "embedding", "stages.1.norm": "norm"}),
        ("swinv2_tiny_window8_256", {"layers.0.blocks.0.attn.cpb_mlp": "attention", "layers.1": "other"}),
        ("maxvit_tiny_tf_224", {"stages.0.blocks.0.attn_block.mlp.fc1": "FFN", "stem.conv1": "embedding"}),
        ("maxvit_tiny_tf_224", {"stages.0.blocks.0.conv.shortcut": "other", "stages.0.blocks.0.attn_block": "other"}),
        ("levit_128s", {"stages.1.downsample.attn_downsample": "attention", "stages.1.downsample.mlp": "FFN"}),
        ("cait_xxs24_224", {"blocks.0.attn.proj_l": "attention"}),  # talking heads are no classifier's
        ("convnext_atto", {"stem.0": "embedding", "head.norm": "head", "stages.0.blocks.0.conv_dw": "convolution"}),
        ("resnet50", {"layer2.0.downsample.0": "convolution", "conv1": "convolution", "fc": "head"}),
        ("mobilenetv3_small_050", {"conv_head": "convolution", "classifier": "head"}),
        ("tnt_s_legacy_patch16_224", {"blocks.0.norm_mlp_in": "norm", "blocks.0.mlp_in": "FFN"}),
    ],
)
def test_kinds_keep_what_is_inside_and_look_into_blocks(model, of):
    with torch.device("meta"):
        assert kinds_of(timm.create_model(model), *of) == list(of.values())


def test_parts_of_a_users_modules():
    layer = nn.TransformerEncoderLayer(16, 4, 32)
    model = nn.Sequential(nn.Conv2d(3, 16, 4), nn.Sequential(layer), nn.Linear(16, 5))
    assert kinds_of(model, "0", "1.0.self_attn.out_proj", "1.0.linear1", "1.0.norm1") == [
        "convolution", "attention", "FFN", "norm",
    ]  # fmt: skip
    assert set(parts(nn.Linear(3, 4)).values()) == {("model", "other")}
    assert parameters(nn.Linear(3, 4)) == {("model", "other"): 16}


class Branches(nn.Module):
    """Two containers of two blocks, all four with one FFN."""

    def __init__(self):
        super().__init__()
        self.mlp = nn.Linear(8, 8, bias=False)
        self.stages = nn.ModuleList(nn.Sequential(self.block(), self.block()) for _ in range(2))
        self.scale = nn.Parameter(torch.ones(8))

    def block(self):
        block = nn.Module()
        block.mlp = self.mlp
        return block


def test_shared_parameters_count_once_and_the_roots_own_are_embeddings():
    assert parameters(Branches()) == {("stem", "embedding"): 8, ("stages", "FFN"): 64}
    tied = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    tied[1].weight = tied[0].weight
    assert sum(parameters(tied).values()) == sum(p.numel() for p in tied.parameters()) == 64 + 16


class Clock:
    """Stands still until something takes its time."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Slow(nn.Module):
    def __init__(self, clock, seconds, inner=None):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.clock, self.seconds, self.inner = clock, seconds, inner

    def forward(self, x):
        self.clock.now += self.seconds
        return x if self.inner is None else self.inner(x)


class Block(nn.Module):
    """0.5 s of its own, 1 s of attention with 2 s of a norm inside, 4 s of FFN."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self.attn = Slow(clock, 1.0, inner=Slow(clock, 2.0))
        self.mlp = Slow(clock, 4.0)

    def forward(self, x):
        self.clock.now += 0.5
        return self.mlp(self.attn(x))


class Vit(nn.Module):
    def __init__(self, clock, depth=3):
        super().__init__()
        self.clock = clock
        self.patch_embed = Slow(clock, 8.0)
        self.blocks = nn.Sequential(*(Block(clock) for _ in range(depth)))
        self.head = Slow(clock, 16.0)

    def forward(self, x):
        x = self.patch_embed(x)
        for block in self.blocks:  # past the container's own hooks
            x = block(x)
        self.clock.now += 32.0
        return self.head(x)


BY_HAND = {
    ("model", "other"): 32.0,
    ("stem", "embedding"): 8.0,
    ("blocks", "other"): 1.5,
    ("blocks", "attention"): 9.0,
    ("blocks", "FFN"): 12.0,
    ("head", "head"): 16.0,
}


def timed(monkeypatch, **spec):
    clock = Clock()
    monkeypatch.setattr("bench.build.create", lambda spec, device: Vit(clock))
    case = Case(Spec("test_vit", size=(160, 160), **spec), PROTOCOL, clock)
    return all_metrics()["latency_parts"].measure(case), case


def test_each_part_has_the_time_that_it_took_itself(monkeypatch):
    value, case = timed(monkeypatch)
    assert split(value) == BY_HAND
    assert set(value.samples[0]) == {78.5}
    assert value.details["borders"] == 2 + 2 * (2 + 3 * 3)  # the model; embedding, head; three blocks and their parts
    assert value.note.startswith("with what taking 24 times a call costs")
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in case.model.modules())


class FakeEvent:
    """A CUDA event of a device whose clock is the test's."""

    waits = 0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self, stream):
        assert stream == "the stream of cuda:1"
        self.at = FakeEvent.clock()

    def elapsed_time(self, end):
        assert FakeEvent.waits, "read before the device was synchronised"
        return 1e3 * (end.at - self.at)


def test_on_a_gpu_events_are_read_after_one_wait_a_call(monkeypatch):
    clock = FakeEvent.clock = Clock()
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"the stream of {device}")
    monkeypatch.setattr(Case, "synchronize", lambda case: setattr(FakeEvent, "waits", FakeEvent.waits + 1))
    case = Case(Spec("test_vit", size=(160, 160), device="cuda:1"), PROTOCOL, clock)
    model = Vit(clock)
    vars(case).update(model=model, call=lambda: model(torch.zeros(1)), seconds_per_call=78.5)
    value = all_metrics()["latency_parts"].measure(case)
    assert split(value) == BY_HAND
    assert FakeEvent.waits == 1 + len(value.samples[0])


@pytest.mark.parametrize(("axis", "word"), [("compile", "default"), ("mode", "train"), ("mode", "pretrain")])
def test_what_cannot_be_split_is_skipped_with_its_reason(axis, word):
    value = measure("latency_parts", DEIT, **{axis: word})
    assert value.status == "skipped"
    assert "no borders" in value.note or "only the forward pass of mode infer" in value.note


def test_details_of_two_processes_have_one_shape(monkeypatch):
    value, _ = timed(monkeypatch)
    merged = all_metrics()["latency_parts"].combine([(1.0,) * 6] * 2, [""] * 2, [value.details] * 2)
    assert merged.details == value.details


def test_a_call_that_raises_leaves_no_hooks_and_is_forgotten():
    clock = Clock()
    model = Vit(clock)
    with Borders(crossings(model), clock) as borders:
        model.head.seconds = "never"
        with pytest.raises(TypeError):
            model(torch.zeros(1))
        borders.clear()
        model.head.seconds = 16.0
        model(torch.zeros(1))
        assert borders.split(lambda begin, end: end - begin) == BY_HAND
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())

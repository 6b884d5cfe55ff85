"""A training step by section and phase: products and bytes against counts by hand, time against a scripted clock."""

from functools import cache

import pytest
import timm
import torch
from torch import nn
from torch.utils.checkpoint import set_checkpoint_early_stop

from bench.build import Case
from bench.live_bytes import LiveBytes
from bench.metrics import all_metrics
from bench.model import create
from bench.names import default_size
from bench.protocol import preset
from bench.spec import Spec
from tests.clock import Clock, Take
from tests.pretraining import Taught

DEIT = "deit_tiny_patch16_224"
PROTOCOL = preset("quick", 1)
PATCHES, PIXELS = 16, 3 * 8**2  # of an image of 32 px
TAUGHT = dict(mode="pretrain", size=(32, 32))


@cache
def measure(name, model, clock=None, **words):
    case = Case(Spec(model, **({"size": default_size(model)} | words)), PROTOCOL, *([clock] if clock else []))
    return all_metrics()[name].measure(case)


def parts(value):
    found = {(section, phase): number for section, phase, number in value.details["parts"]}
    assert len(found) == len(value.details["parts"])
    return found


def test_products_of_a_frozen_and_a_trained_section_are_those_counted_by_hand():
    teacher, head = PIXELS * 24 + 24 * 8, 16 * 8
    value = measure("step_macs", "vitbench_taught", **TAUGHT, batch=4)
    assert parts(value) == {
        ("teacher", "forward"): PATCHES * teacher,
        ("student", "forward"): PATCHES * (PIXELS * 16 + 16 * 16),
        ("head", "forward"): PATCHES * head,
        ("head", "backward"): PATCHES * 2 * head,
        ("student", "backward"): PATCHES * (PIXELS * 16 + 2 * 16 * 16),  # no gradient of the images
    }
    assert value.value == sum(parts(value).values())
    assert (value.status, value.unit, value.note) == ("ok", "MAC", "")
    assert all(type(row) is list and type(row[2]) is int for row in value.details["parts"])


def test_what_is_computed_again_is_counted():
    once = measure("step_macs", "vitbench_taught", **TAUGHT)
    with set_checkpoint_early_stop(False):  # else it stops before a layer's product, which the backward pass needs not
        again = measure("step_macs", "vitbench_taught", **TAUGHT, model_args=(("again", True),))
    student = PATCHES * (PIXELS * 16 + 16 * 16)
    assert parts(again)["student", "backward"] == parts(once)["student", "backward"] + student
    assert again.value == once.value + student


@pytest.mark.parametrize("attention", ["fused", "eager"])
def test_a_vit_has_two_products_backward_for_one_forward_but_for_the_images(attention):
    value = measure("step_macs", DEIT, mode="train", attention=attention)
    images = 196 * 3 * 16**2 * 192
    assert value.value == 3 * 1_253_683_200 - images
    forward = {kind: n for (kind, phase), n in parts(value).items() if phase == "forward"}
    backward = {kind: n for (kind, phase), n in parts(value).items() if phase == "backward"}
    assert backward == {kind: 2 * n - (images if kind == "embedding" else 0) for kind, n in forward.items()}
    assert forward == kinds(measure("macs", DEIT))


def test_a_fused_kernel_counts_as_if_its_maps_were_stored(monkeypatch):
    """It computes them again in the backward pass, which would show on real tensors alone."""
    on_meta = measure("step_macs", "test_vit", mode="train")

    def refuse(spec, device):
        if device == "meta":
            raise RuntimeError("not on meta")
        return create(spec, device)

    monkeypatch.setattr("bench.metrics.step_macs.create", refuse)
    value = measure.__wrapped__("step_macs", "test_vit", mode="train")
    assert value.note == "counted on real tensors, since on meta: RuntimeError: not on meta"
    assert (value.value, value.details) == (on_meta.value, on_meta.details)


def kinds(value):
    totals = {}
    for _, kind, number in value.details["parts"]:
        totals[kind] = totals.get(kind, 0) + number
    return totals


@pytest.mark.parametrize(
    "model", ["convnext_atto", "mobilenetv3_small_050", "pvt_v2_b1", "resnet18", "sgformer_s", "nextvit_small"]
)
def test_gradients_of_convolutions_in_groups_take_what_the_convolutions_take(model):
    """Of depthwise ones too: twice the forward pass, but for the gradient of the images."""
    value, forward = measure("step_macs", model, mode="train"), measure("macs", model).value
    with torch.device("meta"):
        module, images = timm.create_model(model), torch.zeros(1, 3, *default_size(model))
    first = next(one for one in module.modules() if isinstance(one, nn.Conv2d))
    places = []
    first.register_forward_hook(lambda module, args, out: places.append(out[0, 0].numel()))
    module.eval()(images)
    assert value.value == 3 * forward - places[0] * first.weight.numel()
    assert value.note == ""


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_convolution_of_any_kind_has_its_formula(monkeypatch, transposed, groups):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            make = nn.ConvTranspose2d if transposed else nn.Conv2d
            self.first, self.second = nn.Conv2d(3, 4, 4, stride=4), make(4, 8, 3, stride=2, groups=groups)

        def forward(self, x):
            return self.second(self.first(x)).mean((2, 3))

    monkeypatch.setattr("bench.metrics.step_macs.create", lambda spec, device: Net().to(device))
    value = measure.__wrapped__("step_macs", "test_vit", mode="train", size=(32, 32))
    places = 8**2 if transposed else 3**2
    first, second = 8**2 * 3 * 4 * 4**2, places * 4 * 8 * 3**2 // groups
    assert value.value == 2 * first + 3 * second


def test_a_step_is_of_one_image_in_float32_whatever_is_asked():
    counts = {
        measure("step_macs", DEIT, mode="train", batch=batch, precision=precision, layout=layout).value
        for batch, precision, layout in ((1, "float32", "contiguous"), (3, "amp_float16", "channels_last"))
    }
    assert len(counts) == 1


def test_counts_of_a_case_leave_each_other_alone():
    def case():
        return Case(Spec("vitbench_taught", **TAUGHT), PROTOCOL), Case(Spec(DEIT, mode="train"), PROTOCOL)

    for one, other in zip(case(), case(), strict=True):
        names = ["macs", "step_macs", "params"]
        there = [all_metrics()[name].measure(one) for name in names]
        back = [all_metrics()[name].measure(other) for name in reversed(names)]
        assert there == back[::-1]


def test_a_step_that_asks_for_numbers_is_counted_on_real_tensors():
    by_hand = 9 * PIXELS * 16 + 16 * PIXELS  # of `tests.pretraining.Packed`; groups are gathered: all have gradients
    with_plan, without = (
        measure("step_macs", model, mode="pretrain", size=(32, 32))
        for model in ("vitbench_packed", "vitbench_planless")
    )
    assert (with_plan.value, with_plan.note) == (without.value, "")
    assert with_plan.value == 2 * by_hand + 16 * PIXELS  # no gradient of the images
    assert "counted on real tensors" in without.note


@pytest.mark.parametrize("name", ["step_macs", "step_time"])
def test_there_is_no_step_in_mode_infer(name):
    value = measure(name, "test_vit")
    assert (value.status, value.value) == ("skipped", None)
    assert value.note.endswith("in modes train and pretrain")


def test_a_compiled_step_has_no_borders():
    value = measure("step_time", "test_vit", mode="train", compile="default")
    assert (value.status, value.note) == ("skipped", "a compiled model has no borders")


@pytest.mark.parametrize("name", ["step_macs", "step_time"])
def test_a_model_without_such_a_step_is_skipped_with_its_reason(name):
    assert measure(name, "test_vit", mode="pretrain").note == "test_vit has no pre-training step"
    assert measure(name, "vitbench_normed", mode="train").note.endswith("so that training needs a batch above 1")


# Bytes


def weights(*modules):
    return 4 * sum(parameter.numel() for module in modules for parameter in module.parameters())


def test_bytes_of_a_step_are_those_counted_by_hand():
    """All gradients, their first layer's last, and the states are there at the peak; so little is stored that it is
    the gradients' peak."""
    module = Taught()
    value = measure("peak_live_bytes", "vitbench_taught", **TAUGHT, batch=1)
    found = parts(value)
    assert sum(found.values()) == value.value
    trained = {"student": module.student, "head": module.head}
    assert found["teacher", "weights"] == weights(module.teacher)
    assert not any(section == "teacher" and kind not in ("weights", "activations") for section, kind in found)
    for section, own in trained.items():
        assert found[section, "weights"] == found[section, "gradients"] == weights(own)
        steps = 4 * len([*own.parameters()])
        assert found[section, "optimizer"] == 2 * weights(own) + steps
    assert (found["other", "weights"], found["other", "optimizer"]) == (4 * 8, 2 * 4 * 8 + 4)
    assert found["other", "inputs"] == 4 * 3 * 32 * 32 + PATCHES


def test_bytes_of_a_forward_pass_are_those_of_who_made_them(monkeypatch):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide, self.narrow = nn.Linear(3 * 32 * 32, 5000, bias=False), nn.Linear(5000, 10, bias=False)
            self.register_buffer("table", torch.zeros(7))

        def sections(self):
            return {"wide": [self.wide], "narrow": [self.narrow]}

        def forward(self, x):
            return self.narrow(torch.relu(self.wide(x.flatten(1))))

    monkeypatch.setattr("bench.metrics.peak_live_bytes.create", lambda spec, device: Net().to(device))
    value = measure.__wrapped__("peak_live_bytes", "test_vit", size=(32, 32), batch=64)
    assert parts(value) == {
        ("wide", "weights"): 4 * 3 * 32 * 32 * 5000,
        ("narrow", "weights"): 4 * 5000 * 10,
        ("other", "weights"): 4 * 7,
        ("other", "inputs"): 4 * 64 * 3 * 32 * 32,
        ("wide", "activations"): 4 * 64 * 5000,
        ("other", "activations"): 4 * 64 * 5000,  # the root's relu
    }
    assert value.value == sum(parts(value).values())


@pytest.mark.parametrize("precision", ["float32", "amp_float16"])
@pytest.mark.parametrize(
    ("model", "mode"),
    [
        ("resnet10t", "infer"),
        ("resnet10t", "train"),
        ("coat_tiny", "train"),  # registers modules twice
        ("greenmim_swin_micro", "pretrain"),
        ("simmim_swin_micro", "pretrain"),
        ("vitbench_taught", "pretrain"),
        ("vitbench_planless", "pretrain"),  # on real tensors
    ],
)
def test_bytes_by_section_sum_to_the_whole(model, mode, precision):
    value = measure("peak_live_bytes", model, mode=mode, batch=2, precision=precision)
    assert sum(parts(value).values()) == value.value
    assert min(parts(value).values()) > 0
    assert {kind for _, kind in parts(value)} >= {"weights", "activations", "inputs"}
    assert ("optimizer" in {kind for _, kind in parts(value)}) == (mode != "infer")


def test_labels_of_storages_hold_from_their_beginning_and_for_the_peak_alone():
    now = ["a"]
    resident = torch.empty(25)  # 100 bytes
    with LiveBytes([resident], lambda: now[0]) as tracker:
        first = torch.zeros(50)
        now[0] = "b"
        second = first * 2
        peak = second + 1  # 700
        del first, peak
        now[0] = "c"
        third = torch.zeros(1)
        assert (tracker.live, tracker.peak) == (304, 700)
        assert tracker.at_peak() == {"a": 300, "b": 400}
        tracker.call(second, "renamed")
        tracker.call(third, "late")
        assert tracker.at_peak() == {"a": 300, "b": 200, "renamed": 200}
        highest = torch.zeros(200)  # 1104
        assert tracker.at_peak() == {"a": 100, "renamed": 200, "late": 4, "c": 800}
        del highest
        assert sum(tracker.at_peak().values()) == tracker.peak == 1104


# Time


def timed(monkeypatch, steps=(1.0,)):
    """step_time of a Taught whose student takes 1 s forward and 2 s backward a layer, its head 4 and 8, its teacher 16,
    the loss 32 and 64, the optimizer 128 and what comes after a step 256; the steps' lengths vary by `steps`."""
    clock = Clock()
    lengths = iter(())

    class Timed(Taught):
        def forward(self, images, mask):
            nonlocal lengths
            factor = next(lengths, None)
            if factor is None:
                lengths = iter(steps)
                factor = next(lengths)
            taking = {self.teacher: (16, 0), self.head: (4, 8), **dict.fromkeys(self.student, (1, 2))}

            def take(module, args, out):
                return Take.apply(out, clock, *(factor * seconds for seconds in taking[module]))

            hooks = [module.register_forward_hook(take, prepend=True) for module in taking]
            loss = Take.apply(super().forward(images, mask)["loss"], clock, factor * 32, factor * 64)
            for hook in hooks:
                hook.remove()
            return {"loss": loss}

        def after_step(self):
            clock.now += 256

    step = torch.optim.AdamW.step
    monkeypatch.setattr("bench.build.create", lambda spec, device: Timed())
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: (setattr(clock, "now", clock.now + 128), step(self)))
    case = Case(Spec("vitbench_taught", **TAUGHT), PROTOCOL, clock)
    return all_metrics()["step_time"].measure(case), case


BY_HAND = {
    ("other", "forward"): 32.0,
    ("teacher", "forward"): 16.0,
    ("student", "forward"): 2.0,
    ("head", "forward"): 4.0,
    ("other", "backward"): 64.0,
    ("head", "backward"): 8.0,
    ("student", "backward"): 4.0,
    ("all", "optimizer"): 128.0,
    ("all", "after step"): 256.0,
}


def test_each_section_has_the_time_that_it_took_in_both_passes(monkeypatch):
    value, case = timed(monkeypatch)
    assert parts(value) == BY_HAND
    assert set(value.samples[0]) == {sum(BY_HAND.values())}
    assert value.note.startswith(f"with what taking {value.details['borders']} times a step costs")
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in case.model.modules())


def test_parts_of_steps_are_medians(monkeypatch):
    value, _ = timed(monkeypatch, steps=(1.0, 3.0, 5.0, 3.0))
    assert len(set(value.samples[0])) == 3
    want = {label: seconds * (1 if label[0] == "all" else 3) for label, seconds in BY_HAND.items()}
    assert parts(value) == want
    merged = all_metrics()["step_time"].combine([(1.0,) * 6] * 2, [""] * 2, [value.details] * 2)
    assert merged.details == value.details

"""What a call is in each mode, for time and for memory."""

import pytest
import timm
import torch
from torch import nn

from bench.build import Case
from bench.live_bytes import LiveBytes
from bench.metrics import all_metrics
from bench.model import create
from bench.protocol import preset
from bench.spec import Spec
from bench.steps import sample, step

PROTOCOL = preset("quick", 1)
SMALL = dict(size=(160, 160), batch=2)
MASKED = dict(size=(32, 32), batch=2, mode="pretrain")


def measure(name, *args, **kwargs):
    return all_metrics()[name].measure(Case(Spec(*args, **kwargs), PROTOCOL))


def plain_training_steps(model, images, classes, steps):
    """The oracle: what mode `train` does, written out with PyTorch's plain AdamW."""
    labels = torch.randint(classes, (len(images),), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, foreach=False)
    model.train()
    for _ in range(steps):
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.state_dict()


def test_train_is_forward_cross_entropy_backward_and_adamw():
    case = Case(Spec("test_vit", mode="train", **SMALL), PROTOCOL)
    torch.manual_seed(PROTOCOL.seed)
    before, oracle = (timm.create_model("test_vit") for _ in range(2))
    torch.manual_seed(PROTOCOL.seed)
    oracle = timm.create_model("test_vit")
    [images], _ = case.inputs
    want = plain_training_steps(oracle, images, 1000, 3)
    for _ in range(3):
        case.call()
    assert case.model.training
    got = case.model.state_dict()
    for name in want:
        torch.testing.assert_close(got[name], want[name], rtol=1e-5, atol=1e-5)  # a step moves a weight by up to 1e-4
    assert not torch.equal(got["head.weight"], before.state_dict()["head.weight"])
    assert all(parameter.grad is None for parameter in case.model.parameters())


def test_infer_changes_nothing():
    case = Case(Spec("test_vit", **SMALL), PROTOCOL)
    before = {name: tensor.clone() for name, tensor in case.model.state_dict().items()}
    case.call()
    assert not case.model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in case.model.state_dict().items())


@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "amp_bfloat16", "amp_float16"])
@pytest.mark.parametrize("model", ["test_vit", "resnet10t"])  # batch norm has buffers that training moves
def test_predicted_peak_is_that_of_the_call_that_is_timed(model, mode, precision):
    spec = Spec(model, mode=mode, precision=precision, **SMALL)
    case = Case(spec, PROTOCOL)
    with LiveBytes([*case.model.parameters(), *case.model.buffers(), *case.inputs[0]]) as tracker:
        case.call()
        case.call()
    predicted = all_metrics()["peak_live_bytes"].measure(Case(spec, PROTOCOL))
    assert predicted.note == ""
    assert predicted.value == pytest.approx(tracker.peak, rel=1e-4)  # batch norm's saved statistics differ in type


def test_training_needs_weights_gradients_and_two_states_at_least():
    infer, train = (measure("peak_live_bytes", "test_vit", mode=mode, **SMALL).value for mode in ("infer", "train"))
    weights = 4 * sum(parameter.numel() for parameter in create(Spec("test_vit"), "meta").parameters())
    assert train > 4 * weights > infer


def test_a_model_without_class_scores_is_skipped_in_train():
    for name in ("latency", "peak_live_bytes"):
        value = measure(name, "test_vit", mode="train", model_args={"global_pool": ""}, **SMALL)
        assert value.status == "skipped", value
        assert value.note == "test_vit returns no class scores (batch, classes) to train on"


def test_a_model_without_a_classifier_is_skipped_in_train():
    value = measure("latency", "test_vit", mode="train", model_args={"num_classes": 0}, **SMALL)
    assert (value.status, value.note.partition(";")[0]) == ("skipped", "test_vit has no classifier to train")


def test_a_batch_that_is_too_small_for_batch_norm_is_skipped_in_train():
    value = measure("latency", "vitbench_normed", mode="train", size=(32, 32))
    assert (value.status, value.note) == (
        "skipped",
        "vitbench_normed normalises over the batch, so that training needs a batch above 1",
    )


def test_a_model_without_a_pretraining_step_is_skipped_in_pretrain():
    for name in ("params", "latency", "peak_live_bytes"):
        value = measure(name, "test_vit", mode="pretrain", **SMALL)
        assert (value.status, value.note) == ("skipped", "test_vit has no pre-training step")


@pytest.mark.parametrize("name", ["params", "macs", "macs_fvcore", "peak_live_bytes", "latency", "throughput"])
def test_pretrain_is_measured_through_the_contract(name):
    value = measure(name, "vitbench_masked", **MASKED)
    assert value.status == "ok", value.note
    assert value.value > 0


def test_pretrain_steps_with_the_modules_own_loss_and_after_step():
    case = Case(Spec("vitbench_masked", **MASKED), PROTOCOL)
    before = case.model.decoder.weight.clone()
    case.call()
    case.call()
    assert case.model.training
    assert case.model.steps == 2
    assert not torch.equal(case.model.decoder.weight, before)


@pytest.mark.parametrize(
    ("model", "words", "phases"),
    [
        ("test_vit", dict(mode="infer", **SMALL), ["forward"]),
        ("test_vit", dict(mode="train", **SMALL), ["forward", "backward", "optimizer"]),
        ("vitbench_masked", MASKED, ["forward", "backward", "optimizer", "after step"]),
    ],
)
def test_a_call_is_its_phases_one_by_one(model, words, phases):
    whole, single = (Case(Spec(model, **words), PROTOCOL) for _ in range(2))
    whole.call()
    seen = {}
    for phase, loss in single.call.phases():  # each as it begins
        weight = next(single.model.parameters())
        seen[phase] = loss is not None, weight.grad is not None, getattr(single.model, "steps", None)
    assert [*seen] == phases
    assert [phase for phase, (has_loss, _, _) in seen.items() if has_loss] == phases[1:2]
    assert [phase for phase, (_, has_gradients, _) in seen.items() if has_gradients] == phases[2:3]
    for one, other in zip(whole.model.parameters(), single.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert getattr(single.model, "steps", None) == getattr(whole.model, "steps", None)


def test_pretrain_draws_the_same_inputs_for_the_same_seed():
    spec = Spec("vitbench_masked", **MASKED)
    module = create(spec, "cpu")
    first, again, other = (sample(spec, module, 2, "cpu", seed)[1] for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["images"], other["images"])


def test_pretrain_options_are_the_constructors():
    module = create(Spec("vitbench_masked", mode="pretrain", size=(64, 64), model_args={"ratio": 0.25}), "cpu")
    assert (module.ratio, module.img_size, module.training) == (0.25, 64, True)


def test_float16_training_under_autocast_scales_its_loss():
    spec = Spec("test_vit", mode="train", precision="amp_float16", **SMALL)
    case = Case(spec, PROTOCOL)
    losses = []
    case.model.register_forward_hook(lambda module, inputs, output: losses.append(output.dtype))
    case.call()
    assert losses == [torch.float16]
    gradients = []
    case.model.head.weight.register_post_accumulate_grad_hook(lambda p: gradients.append(p.grad.abs().max().item()))
    case.call()
    plain = create(spec, "cpu").train()
    call = step(Spec("test_vit", mode="train", **SMALL), plain, case.inputs, 0)
    plain.head.weight.register_post_accumulate_grad_hook(lambda p: gradients.append(p.grad.abs().max().item()))
    call()
    assert gradients[0] > 1000 * gradients[1]


def test_first_call_is_the_one_before_the_warm_up():
    class Clock:
        now = 0.0

        def __call__(self):
            return self.now

    clock = Clock()
    case = Case(Spec("test_vit", **SMALL), PROTOCOL, clock=clock)
    durations = iter([5.0] + [0.25] * 100)

    def call():
        clock.now += next(durations)

    case.call = call
    assert case.seconds_per_call == 0.25
    value = all_metrics()["first_call"].measure(case)
    assert (value.value, value.samples, value.interval) == (5.0, ((5.0,),), None)

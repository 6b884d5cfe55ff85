"""What a training with EsViT's step needs: to stop and go on, validation in between, half precision, clear refusals."""

import copy

import pytest
import timm
import torch

from models.esvit import EsViT, checkpoint_filter_fn, pretraining
from models.esvit.multistage import IMPLS
from models.esvit.schedules import teacher_momentum
from tests.esvit import draw, small, tiny

every_route = pytest.mark.parametrize("impl", [impl for impl in IMPLS if impl != "auto"])


def test_schedule_goes_on_where_it_stopped():
    """The teacher's momentum is that of the step, though the step is no weight."""
    first, second = small(steps=10), small(steps=10)
    inputs = draw(first)
    for _ in range(4):
        first(**inputs)
        first.after_step()
    second.load_state_dict(first.state_dict())
    assert second.step == first.step == 4
    for module in (first, second, copy.deepcopy(first)):
        with torch.no_grad():
            for p in module.student.parameters():
                p.add_(1)
        before = [p.clone() for p in module.teacher.parameters()]
        module.after_step()
        share = 1 - teacher_momentum(4, 10)
        for t, was, s in zip(module.teacher.parameters(), before, module.student.parameters(), strict=True):
            torch.testing.assert_close(t, was + share * (s - was))


@every_route
def test_validation_between_steps_moves_no_centre(impl):
    module, other = small(impl).train(), small(impl).train()
    inputs = draw(module)
    for one in (module, other):
        one(**inputs)
    with torch.no_grad():
        module([2 + crop for crop in inputs["crops"]])
    for one in (module, other):
        one.after_step()
    assert torch.equal(module.center, other.center)
    assert module.center.any()
    centre = module.center.clone()
    module.after_step()  # nothing was said since
    assert torch.equal(module.center, centre)


@every_route
def test_centres_move_by_the_mean_of_all_passes_of_a_step(impl):
    modules = [small(impl).eval() for _ in range(3)]  # eval: batch norm is the same in each
    inputs = [draw(modules[0])["crops"], [crop + 1 for crop in draw(modules[0])["crops"]]]
    for module, passes in zip(modules, (inputs[:1], inputs[1:], inputs), strict=True):
        for crops in passes:
            module(crops)
        module.after_step()
    for name in ("center", "center_grid"):
        one, two, both = (module.get_buffer(name) for module in modules)
        torch.testing.assert_close(both, (one + two) / 2)


def test_centres_are_of_single_precision_under_autocast():
    for impl in ("reference", "fast"):
        module = small(impl).float().eval()
        crops = [crop.float() for crop in draw(module)["crops"]]
        with torch.autocast("cpu", torch.bfloat16):
            module(crops)["loss"].backward()
        total, passes = module._said["center"]
        assert (total.dtype, passes) == (torch.float32, 1)
        grads = [p.grad for p in module.student.parameters()]
        assert all(g is not None and g.dtype == torch.float32 and g.isfinite().all() for g in grads)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_both_routes_agree_under_autocast(dtype):
    """As near as half precision is."""
    found = []
    for impl in ("reference", "fast"):
        module = small(impl).float().eval()
        crops = [crop.float() for crop in draw(module)["crops"]]
        with torch.autocast("cpu", dtype):
            loss = module(crops)["loss"]
        (2.0**10 * loss).backward()
        found.append((loss.detach().float(), module.student.head_dense.last_layer.weight_v.grad))
    torch.testing.assert_close(*found, rtol=0.05, atol=0.02 * found[0][1].abs().max().item())


def test_a_teacher_becomes_a_backbone():
    module = pretraining("esvit_swin_tiny", out_dim=8)
    with torch.no_grad():
        module.teacher.backbone.norm.weight.fill_(3)
    model = timm.create_model("esvit_swin_tiny")
    model.load_state_dict(checkpoint_filter_fn(module.state_dict(), model))
    assert (model.norm.weight == 3).all()
    student = pretraining("esvit_swin_tiny", out_dim=8).student
    student.load_state_dict(checkpoint_filter_fn(module.state_dict(), student))
    assert (student.backbone.norm.weight == 3).all()


@pytest.mark.parametrize("number", [0, 1, True, 2.0])
def test_fewer_than_two_global_crops_are_refused_of_any_networks(number):
    with pytest.raises(ValueError, match=r"global_crops=.*from 2"):
        EsViT(tiny(), tiny(), [(32, 32)] * 2, global_crops=number)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"norm_last_layer": "maybe"}, r"norm_last_layer='maybe'.*False, True"),
        ({"loss": "view", "loss_weights": "paper"}, r"loss_weights='paper' weighs two losses"),
        ({"features_only": True}, "features_only out"),
        ({"steps": 0}, r"steps=0.*from 1"),
    ],
)
def test_arguments_without_a_meaning_are_refused(words, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        pretraining("esvit_swin_tiny", **words)


def test_one_tensor_is_no_list_of_crops():
    with pytest.raises(ValueError, match=r"list of crops, got one tensor of shape \(2, 3, 32, 32\)"):
        small()(torch.zeros(2, 3, 32, 32, dtype=torch.float64))


@pytest.mark.parametrize("words", [{"reg_tokens": 4}, {"class_token": False}, {"no_embed_class": True}])
def test_other_tokens_of_a_vit_are_refused(words):
    with pytest.raises(ValueError, match=r"EsViT's ViT has no .*Leave it out"):
        timm.create_model("esvit_deit_small", **words)

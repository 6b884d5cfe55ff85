"""Where masks fall, by a model's own word."""

import pytest
import torch

from bench.build import Case
from bench.metrics import all_metrics
from bench.model import create
from bench.protocol import preset
from bench.spec import Spec
from bench.steps import sample

PROTOCOL = preset("quick", 1)


def measure(model, **words):
    return all_metrics()["mask_occupancy"].measure(Case(Spec(model, **words), PROTOCOL))


def test_occupancy_of_masks_that_are_known():
    value = measure("vitbench_coded", size=(32, 32))
    rows = [[1.0, 0.25, 0, 0, 0], *([[0.0, 0.25, 0, 0, 0]] * 3)]
    assert (value.status, value.value, value.unit) == ("ok", 1.0, "1")
    assert value.details == {"masks": 2000, "removed": 2.0, "occupancy": rows}


@pytest.mark.parametrize(("model", "removed"), [("greenmim_swin_micro", 37), ("simmim_swin_micro", 30)])
def test_masks_that_are_drawn_evenly_fall_evenly(model, removed):
    value = measure(model, mode="pretrain", size=(224, 224))
    shares = torch.tensor(value.details["occupancy"], dtype=torch.float64)
    assert shares.shape == (7, 7)
    assert value.details["removed"] == pytest.approx(removed, abs=1e-9)
    assert shares.mean().item() == pytest.approx(removed / 49, abs=1e-9)
    assert value.value == pytest.approx((shares.max() - shares.min()).item(), abs=1e-12)
    error = (removed / 49 * (1 - removed / 49) / 2000) ** 0.5
    assert 2 * error < value.value < 8 * error  # of 49 samples of one share
    assert value == measure(model, mode="pretrain", size=(224, 224))


@pytest.mark.parametrize("model", ["greenmim_swin_micro", "simmim_swin_micro"])
@pytest.mark.parametrize("ratio", [0.3, 0.75])
def test_masks_are_those_that_a_step_draws(model, ratio):
    spec = Spec(model, mode="pretrain", size=(192, 192), model_args={"mask_ratio": ratio, "per_image": True})
    module = create(spec, "cpu")
    drawn = sample(spec, module, 5, "cpu", 3)[1]["mask"]
    generator = torch.Generator().manual_seed(3)
    if model.startswith("simmim"):  # draws its images first
        torch.randn(5, 3, 192, 192, generator=generator)
    masks = module.draw_masks(5, generator)
    assert (masks.shape, masks.dtype) == ((5, 6, 6), torch.bool)
    assert torch.equal(masks.flatten(1), drawn)


def test_a_model_without_masks_is_skipped_with_its_reason():
    for model, words in (("test_vit", dict(size=(160, 160))), ("esvit_deit_small", dict(mode="pretrain"))):
        value = measure(model, **words)
        assert (value.status, value.note) == ("skipped", f"{model} draws no masks")

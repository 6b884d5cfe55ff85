"""SimMIM against outputs and counts of its official code."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from numpy.testing import assert_allclose
from torch.utils.flop_counter import FlopCounterMode

from models.simmim import checkpoint_filter_fn
from tests.detfill import image
from tests.test_greenmim import fvcore_count, official_state

HERE = Path(__file__).parent
INDEX = json.loads((HERE / "goldens/greenmim/index.json").read_text())
# Golden -> the registered name and arguments.
GOLDENS = {
    "simmim_swin_micro_w7_224": ("simmim_swin_micro", {}),
    "simmim_swin_tiny_w7_224": ("simmim_swin_tiny", {}),
    "simmim_swin_base_w7_224": ("simmim_swin_base", {"img_size": 224}),
}
every_golden = pytest.mark.parametrize("golden", GOLDENS)


def check(actual, golden, key):
    """Equal to a stored array, or where only a sample of it is stored to that and to its norm."""
    actual = actual.numpy()
    assert actual.shape == tuple(golden[f"{key}_shape"])
    assert_allclose(np.linalg.norm(actual), golden[f"{key}_l2"], rtol=1e-9)
    expected = golden[f"{key}_sample"]
    assert_allclose(
        actual.flatten()[:: int(golden[f"{key}_stride"])], expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max()
    )


@every_golden
def test_features_prediction_and_loss_equal_golden(golden):
    name, words = GOLDENS[golden]
    stored = dict(np.load(HERE / f"goldens/greenmim/{golden}.npz"))
    model = timm.create_model(name, **words).double().eval()
    model.load_state_dict(checkpoint_filter_fn(official_state(golden), model))
    with torch.no_grad():
        out = model(image(), torch.from_numpy(stored["mask_grid"]).bool())
    check(out["features"], stored, "output")
    check(out["prediction"], stored, "rec")
    assert out["loss"].item() == pytest.approx(float(stored["loss"]), rel=1e-8)


class Part(torch.nn.Module):
    def __init__(self, model, mask, part):
        super().__init__()
        self.model, self.mask, self.part = model, mask, part

    def forward(self, images):
        if self.part == "encoder":
            return self.model.forward_features(images, self.mask)
        return self.model(images, self.mask)["prediction"]


@every_golden
@pytest.mark.parametrize("part", ["encoder", "encoder+decoder"])
def test_counts_are_the_official_ones(golden, part):
    name, words = GOLDENS[golden]
    counted = Part(timm.create_model(name, **words).eval(), torch.zeros(49, dtype=torch.bool), part)
    images = torch.zeros(1, 3, 224, 224)
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        counted(images)
    assert flops.get_total_flops() == INDEX[golden][f"flops_torch_{part}"]
    found = fvcore_count(counted, images)
    assert found.by_operator() == INDEX[golden][f"by_operator_{part}"]


@pytest.mark.parametrize(
    ("name", "words", "total", "encoder"),
    [
        ("simmim_swin_base", {}, 89_874_104, 86_725_304),
        ("simmim_swin_base", {"img_size": 224}, 89_892_152, 86_743_352),
        ("simmim_swin_large", {}, 199_881_204, 195_159_540),
        ("simmim_swin_tiny", {}, 29_881_818, 27_519_450),
        ("simmim_swin_micro", {}, 3_072_014, 2_282_510),
        ("greenmim_swin_large", {}, 200_799_444, 195_257_556),
        ("greenmim_swin_base", {"window": 14}, 92_197_688, 86_917_944),
        ("greenmim_twins_large", {}, 103_526_144, 98_246_400),
    ],
)
def test_parameters_are_the_official_ones(name, words, total, encoder):
    with torch.device("meta"):
        model = timm.create_model(name, **words)
    assert sum(p.numel() for p in model.parameters()) == total
    assert sum(p.numel() for p in model.encoder.parameters()) == encoder


def test_one_mask_for_all_images_is_the_same_mask_for_each():
    model = timm.create_model("simmim_swin_micro").double().eval()
    mask = torch.arange(49) % 3 > 0
    with torch.no_grad():
        shared, each = (model(image(), one) for one in (mask, mask.repeat(2, 1)))
    torch.testing.assert_close(shared, each, rtol=1e-12, atol=0)
    assert shared["loss"] > 0


def test_decay_is_kept_from_tables_and_the_mask_token():
    model = timm.create_model("simmim_swin_micro")
    kept = model.no_weight_decay()
    assert kept <= {name for name, _ in model.named_parameters()}
    assert len(kept) == 1 + 8

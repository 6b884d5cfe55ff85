"""BEiT v2 as `bench` measures it: what a tokenizer is given, whose a step's cost is, and what is refused before."""

import pytest
import torch

from bench.build import Case, check
from bench.errors import UsageError
from bench.metrics.codebook_usage import codebook_usage
from bench.metrics.params import params
from bench.metrics.peak_live_bytes import peak_live_bytes
from bench.metrics.step_macs import step_macs
from bench.protocol import preset
from bench.spec import Spec
from models.beitv2 import VQKD, pretraining

SMALL = {"embed_dim": 32, "num_heads": 2, "depth": 2}


def spec(model: str, mode: str = "pretrain", **arguments) -> Spec:
    given = tuple((SMALL | arguments).items())
    return Spec(model, mode=mode, batch=4, device="cpu", size=(64, 64), model_args=given)


def measured(metric, *words, **arguments):
    return metric(Case(spec(*words, **arguments), preset("quick", 1)))


def test_a_tokenizer_is_given_photographs_from_minus_1_to_1(monkeypatch, two_images):
    seen = []
    encode = VQKD.encode
    monkeypatch.setattr(VQKD, "encode", lambda self, images, *rest: seen.append(images) or encode(self, images, *rest))
    found = measured(codebook_usage, "beitv2_vqkd_base", "infer", decoder_depth=0, vocab_size=50)
    assert found.details["patches"] == 2 * 16
    for images in seen:
        assert -1 <= images.min() < -0.5
        assert 0.5 < images.max() <= 1


@pytest.mark.parametrize("impl", ["reference", "fast"])
def test_losses_of_codes_are_the_predictions_cost(impl):
    def shares(metric, codes):
        parts = measured(metric, "beitv2_mim_base", early_layer=1, impl=impl, targets="given", vocab_size=codes)
        found: dict[str, float] = {}
        for section, kind, number in parts.details["parts"]:
            if kind in ("activations", "forward", "backward"):
                found[section] = found.get(section, 0) + number
        return found

    for metric in (peak_live_bytes, step_macs):
        few, many = (shares(metric, codes) for codes in (100, 20_000))
        assert many["encoder"] == pytest.approx(few["encoder"], rel=0.1)
        assert many["prediction"] > 50 * few["prediction"]


def test_a_classifier_has_no_pre_training_step():
    assert params_of("beitv2_base").status == "skipped"
    assert params_of("beitv2_base").note == "beitv2_base has no pre-training step"


def params_of(model):
    from bench.metrics import select

    [metric] = select(["params"])
    assert metric.function is params
    return metric.measure(Case(spec(model), preset("quick", 1)))


def test_the_tokenizer_of_a_step_has_the_students_patches():
    words = SMALL | {"early_layer": 1, "img_size": 64, "patch_size": 8}
    with torch.device("meta"):
        module = pretraining("beitv2_mim_base", **words)
    assert module.targets.tokenizer.side == module.student.side == 8


@pytest.mark.parametrize(
    ("model", "arguments", "reason"),
    [
        ("beitv2_vqkd_base", {"in_chans": 1}, "3 channels in patches of 16.*in_chans=1.*targets='given'"),
        ("beitv2_vqkd_base", {"patch_size": 8}, "3 channels in patches of 16.*patch_size=8.*targets='given'"),
        ("beitv2_vqkd_base", {"decoder_depth": 2}, "decoder_depth=2.*Use one of: 0, 1, 3"),
        ("beitv2_vqkd_base", {"code_width": 0}, "code_width=0"),
        ("beitv2_mim_base", {"num_heads": 7}, "num_heads=7: embed_dim=32"),
        ("beitv2_mim_base", {"depth": 0}, "depth=0"),
        ("beitv2_mim_base", {"patch_size": 0}, "patch_size=0"),
        ("beitv2_mim_base", {"drop_path_rate": 2}, "drop_path_rate=2"),
        ("beitv2_mim_base", {"init_values": "abc"}, "init_values='abc'"),
        ("beitv2_mim_base", {"early_layer": 5}, "early_layer=5"),
        ("beitv2_mim_base", {"targets": "foo"}, "targets='foo'"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_measured(model, arguments, reason):
    with pytest.raises(UsageError, match=reason):
        check(spec(model, **({"early_layer": 1} if "mim" in model else {}) | arguments))

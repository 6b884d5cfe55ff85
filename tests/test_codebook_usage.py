"""Codes that a tokenizer uses, of small ones whose codes are known."""

import math

import pytest
import torch

from bench import photographs
from bench.build import Case
from bench.metrics import all_metrics
from bench.protocol import preset
from bench.spec import Spec
from tests.pretraining import Coded

PROTOCOL = preset("quick", 1)


def measure(model="vitbench_coded", **words):
    return all_metrics()["codebook_usage"].measure(Case(Spec(model, **({"size": (32, 32)} | words)), PROTOCOL))


def test_usage_of_codes_that_are_known():
    value = measure()
    assert (value.status, value.value, value.unit) == ("ok", 16 / 64, "1")
    assert {key: value.details[key] for key in ("codes", "patches", "counts")} == {
        "codes": 64, "patches": 6 * 16, "counts": [6] * 16,
    }  # fmt: skip
    assert value.details["perplexity"] == pytest.approx(16, rel=1e-12)
    assert value.details["per_image"] == dict.fromkeys(photographs._PACKAGED, 16)
    assert value.details["weights"].startswith("random weights (seed 0): says nothing")
    assert value.note == f"{value.details['images']}; {value.details['weights']}"


def test_codes_that_are_used_more_than_others(two_images):
    value = measure(model_args={"last": 3, "vocab_size": 4})
    assert value.value == 1.0
    assert value.details["counts"] == [26, 2, 2, 2]
    shares = [13 / 16, *[1 / 16] * 3]
    assert value.details["perplexity"] == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)), rel=1e-12)


def test_images_of_one_code_each(monkeypatch):
    """Each image has the code of its number: all images are looked at, and each once."""
    seen = []

    def tokenize(self, images):
        assert images.shape == (1, 3, 32, 32)
        assert not torch.is_grad_enabled()
        seen.append(images)
        return torch.full((1, 7), len(seen) - 1)

    monkeypatch.setattr(Coded, "tokenize", tokenize)
    value = measure(images="noise")
    assert len({image.mean().item() for image in seen}) == 6
    assert (value.value, value.details["counts"], value.details["patches"]) == (6 / 64, [7] * 6, 42)
    assert [*value.details["per_image"].values()] == [1] * 6
    assert "white noise" in value.details["images"]


@pytest.mark.parametrize(("last", "codes"), [(15, 15), (99, 10)])
def test_a_code_that_the_codebook_lacks_is_an_error(last, codes):
    value = measure(model_args={"vocab_size": codes, "last": last})
    assert (value.status, value.note) == (
        "failed",
        f"vitbench_coded gives a patch code 15, and its codebook (vocab_size) has codes 0 to {codes - 1}",
    )


def test_a_negative_code_is_an_error(monkeypatch):
    monkeypatch.setattr(Coded, "tokenize", lambda self, images: torch.tensor([[-1, 3]]))
    assert measure().note.startswith("vitbench_coded gives a patch code -1, and")


@pytest.mark.parametrize("size", [0, "many"])
def test_a_tokenizer_says_how_many_codes_it_has(size):
    value = measure(model_args={"vocab_size": size})
    assert (value.status, value.note) == (
        "failed",
        f"vitbench_coded has vocab_size={size!r}; a tokenizer says there how many codes it has",
    )


@pytest.mark.parametrize(
    ("model", "words", "says"),
    [
        ("test_vit", dict(size=(160, 160)), "test_vit makes no codes: it has no method tokenize(images)"),
        ("vitbench_coded", dict(mode="pretrain"), "images are looked at in mode infer"),
        ("vitbench_coded", dict(model_args={"in_chans": 1}), "photographs have 3 channels, and this model takes 1"),
    ],
)
def test_what_has_no_codes_of_photographs_is_skipped_with_its_reason(model, words, says):
    value = measure(model, **words)
    assert (value.status, value.note) == ("skipped", says)

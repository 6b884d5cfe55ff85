"""Where tokens go that are merged by significance: SG-Former's, and the metric of a small model of known maps."""

import pytest
import timm
import torch
from timm.models import register_model
from torch import nn

from bench import photographs
from bench.build import Case
from bench.metrics import all_metrics
from bench.protocol import preset
from bench.spec import Spec
from models.sgformer import RUNS, GuidedAttention

PROTOCOL = preset("quick", 1)


class Known(nn.Module):
    """Two blocks on a grid of 4 x 4 and one of 2 x 2, the same maps for every image: 16 tokens become 8, 4 become 2."""

    def __init__(self, peak=1.0, in_chans=3):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.peak = peak

    def forward(self, images):
        return images.mean((1, 2, 3))[:, None] * self.scale

    def reallocation(self, images):
        assert images.shape == (1, 3, 32, 32)
        assert not torch.is_grad_enabled()
        fine = torch.ones(1, 4, 4)
        fine[0, 0] = self.peak
        token = torch.tensor([[0] * 6 + [1] * 4 + [2, 3, 4, 5, 6, 7]]).view(1, 4, 4)
        coarse = {"name": "c", "significance": torch.ones(1, 2, 2), "token": torch.tensor([[[0, 0], [1, 1]]])}
        return [
            {"name": "a", "significance": fine, "token": token},
            {"name": "b", "significance": torch.ones(1, 4, 4), "token": token},
            coarse,
        ]


@register_model
def vitbench_known(pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **arguments):
    arguments.pop("num_classes", None)
    return Known(**arguments)


def measure(model="vitbench_known", **words):
    return all_metrics()["significance"].measure(Case(Spec(model, **({"size": (32, 32)} | words)), PROTOCOL))


def test_the_share_of_the_most_significant_quarter_is_a_mean_over_blocks_and_images():
    value = measure(model_args={"peak": 3.0})
    top = 4 * 3 / (4 * 3 + 12)
    assert (value.status, value.unit) == ("ok", "1")
    assert value.value == pytest.approx((top + 0.25 + 0.25) / 3, rel=1e-12)
    assert [(block["name"], block["value"]) for block in value.details["blocks"]] == [
        ("a", pytest.approx(top)), ("b", 0.25), ("c", 0.25),
    ]  # fmt: skip
    assert value.details["per_image"] == dict.fromkeys(photographs._PACKAGED, pytest.approx(value.value))
    assert value.note == f"{value.details['images']}; {value.details['weights']}"
    assert value.details["weights"].startswith("random weights (seed 0): says nothing")


def test_each_grid_has_the_maps_of_its_first_block_and_of_the_first_image():
    details = measure(model_args={"peak": 3.0}).details
    assert [one["name"] for one in details["maps"]] == ["a", "c"]
    assert details["maps"][0]["significance"] == [[3.0] * 4, [1.0] * 4, [1.0] * 4, [1.0] * 4]
    assert details["maps"][0]["length"] == [[6, 6, 6, 6], [6, 6, 4, 4], [4, 4, 1, 1], [1, 1, 1, 1]]
    assert details["maps"][1]["token"] == [[0, 0], [1, 1]]
    assert details["image"] == next(iter(photographs._PACKAGED))
    assert details["jpeg"]


@pytest.mark.parametrize(
    ("model", "words", "says"),
    [
        ("test_vit", dict(size=(160, 160)), "test_vit sorts no tokens by significance: it has no method reallocation("),
        ("vitbench_known", dict(mode="train"), "images are looked at in mode infer"),
    ],
)
def test_what_sorts_no_tokens_is_skipped_with_its_reason(model, words, says):
    value = measure(model, **words)
    assert value.status == "skipped"
    assert value.note.startswith(says)


@pytest.fixture(scope="module")
def sgformer():
    torch.manual_seed(0)
    return timm.create_model("sgformer_s").eval()


def test_sgformers_tokens_go_where_its_blocks_merge_them(sgformer):
    """Sorted, cut and counted by hand, of two images with maps of their own; the forward pass itself is unchanged."""
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        before = sgformer(images)
        found = sgformer.reallocation(images)
        assert torch.equal(sgformer(images), before)
    assert not any(module._forward_pre_hooks for module in sgformer.modules())
    names = [name for name, module in sgformer.named_modules() if isinstance(module, GuidedAttention)]
    assert [block["name"] for block in found] == names
    assert len(names) == 11
    for block in found:
        side = block["token"].shape[1]
        runs = RUNS[{56: 0, 28: 1, 14: 2}[side]]
        lengths = [run for share, run in runs for _ in range(int(share * side**2) // run)]
        for significance, token in zip(block["significance"].flatten(1), block["token"].flatten(1), strict=True):
            assert token.bincount().tolist() == lengths
            ranked = token[significance.argsort(stable=True)]
            assert torch.equal(ranked, ranked.sort().values)  # the less significant, the earlier


def test_merging_by_the_index_gives_the_merged_tokens():
    """What `reallocate` says, against what `merge` computes: with weights of one and no bias it adds up runs."""
    attention = GuidedAttention(8, 2, 28, RUNS[1], attn_drop=0.0, proj_drop=0.0).double()
    for i in range(1, 4):
        nn.init.ones_(getattr(attention, f"f{i}").weight)
        nn.init.zeros_(getattr(attention, f"f{i}").bias)
    x, significance = torch.randn(2, 784, 8).double(), torch.rand(2, 784).double()
    with torch.no_grad():
        merged = attention.merge(x, significance)
    token = attention.reallocate(significance)
    summed = torch.zeros_like(merged).scatter_add_(1, token.unsqueeze(-1).expand(-1, -1, 8), x)
    torch.testing.assert_close(summed, merged, rtol=1e-12, atol=1e-12)

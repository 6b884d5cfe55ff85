"""Times of EsViT's parts by both routes, beside each other: `make microbench`. Nothing is asserted of them."""

import pytest
import timm
import torch
import torch.nn.functional as F

from models.esvit import losses, pretraining
from models.esvit.swin import Block, window_mask

K, D = 65536, 256  # of the published heads
ROUTES = ["reference", "fast"]


@pytest.mark.parametrize("impl", ROUTES)
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(("large", "small"), [(49, 9), (196, 36)], ids=["four stages", "one stage"])
def test_region_loss(benchmark, impl, batch, large, small):
    """Forward and backward pass behind the bottlenecks, of two crops of 224 px and eight of 96; matches are given."""
    draw = torch.Generator().manual_seed(0)

    def rows(regions):
        return F.normalize(torch.randn(batch, regions, D, generator=draw), dim=-1)

    teacher = [rows(large) for _ in range(2)]
    student = [rows(regions).requires_grad_() for regions in 2 * [large] + 8 * [small]]
    weights = [torch.randn(K, D, generator=draw) / D**0.5 for _ in range(2)]
    weights[0].requires_grad_()
    centre = torch.zeros(1, K)
    matches = losses.match_regions(teacher, student, together=True)

    def reference():
        logits = losses.per_crop(lambda x: F.linear(x, weights[1]), teacher)
        wanted = [losses.distribution(x, centre, 0.04) for x in logits]
        own = losses.per_crop(lambda x: F.linear(x, weights[0]), student)
        return torch.stack([*losses.pair_losses(own, wanted, matches).values()]).mean()

    def fast():
        return losses.fused_loss(student, weights[0], teacher, weights[1], centre, 0.04, matches)

    form = {"reference": reference, "fast": fast}[impl]
    benchmark(lambda: torch.autograd.grad(form(), [weights[0], *student]))


@pytest.mark.parametrize("side", [56, 24])
@pytest.mark.parametrize("impl", ROUTES)
def test_shifted_swin_block(benchmark, impl, side):
    """Forward and backward pass in the first stage at 224 and 96 px; the reference makes its mask in each."""
    fast = impl == "fast"
    block = Block(96, 3, window=7, shift=3, drop_path=0.0, fused=fast)
    padded = side + -side % 7
    mask = window_mask(padded, padded, 7, 3, "cpu") if fast else None
    x = torch.randn(2, side, side, 96, requires_grad=True)
    benchmark(lambda: block(x, mask).sum().backward())


@pytest.mark.parametrize("neighbour", [None, 1], ids=["all nine", "one neighbour"])
@pytest.mark.parametrize("impl", ROUTES)
def test_sparse_attention_of_vil(benchmark, impl, neighbour):
    """Forward and backward pass in the first stage at 224 px; in training blocks attend to one neighbour."""
    attn = timm.create_model("esvit_vil_2262", impl=impl).layer1[1].attn
    x = torch.randn(2, attn.global_tokens + 56 * 56, attn.query.in_features, requires_grad=True)
    benchmark(lambda: attn(x, (56, 56), neighbour).sum().backward())


@pytest.mark.parametrize("impl", ROUTES)
def test_moving_average_of_the_teacher(benchmark, impl):
    benchmark(pretraining("esvit_swin_tiny", out_dim=K, impl=impl).after_step)

"""Times of BEiT v2's parts by both routes, beside each other: `make microbench`. Nothing is asserted of them."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.beitv2.attention import Attention, Block
from models.beitv2.losses import cross_entropy
from models.beitv2.masks import BlockMasks
from models.beitv2.quantizer import Quantizer
from models.beitv2.tables import relative_index

ROUTES = ["reference", "fast"]
TOKENS, MASKED = 197, 75


@pytest.mark.parametrize("impl", ROUTES)
@pytest.mark.parametrize("trains", [False, True], ids=["lookup", "training step"])
def test_quantizer(benchmark, impl, trains):
    """8 images of 196 patches against 8192 codes of width 32; in training with counts and sums."""
    torch.manual_seed(0)
    quantizer = Quantizer(8192, 32, impl=impl).train(trains)
    z = torch.randn(8, 196, 32)

    def step():
        quantizer(z)
        quantizer.after_step()

    with torch.set_grad_enabled(trains):
        benchmark(step)


@pytest.mark.parametrize("images", [2, 16])
@pytest.mark.parametrize("impl", ROUTES)
def test_prediction(benchmark, impl, images):
    """Forward and backward pass of one head's logits and loss, 75 masked patches an image."""
    torch.manual_seed(0)
    x = torch.randn(images * MASKED, 768, requires_grad=True)
    layer = torch.nn.Linear(768, 8192)
    ids = torch.randint(8192, (len(x),))

    def reference():
        return F.cross_entropy(layer(x), ids)

    def fast():
        return cross_entropy(x, layer.weight, layer.bias, ids)

    form = {"reference": reference, "fast": fast}[impl]
    benchmark(lambda: torch.autograd.grad(form(), [x, *layer.parameters()]))


@pytest.mark.parametrize("trains", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("impl", ROUTES)
def test_attention(benchmark, impl, trains):
    """ViT-B's, with a table of its own, on two images."""
    torch.manual_seed(0)
    attention, index = Attention(768, 12, 732, fused=impl == "fast"), relative_index(14)
    x = torch.randn(2, TOKENS, 768, requires_grad=trains)

    def call():
        out = attention(x, index)
        if trains:
            out.sum().backward()

    with torch.set_grad_enabled(trains):
        benchmark(call)


@pytest.mark.parametrize("asked", [TOKENS, MASKED + 1], ids=["every token", "masked ones"])
def test_last_block(benchmark, asked):
    """Forward and backward pass of ViT-B's last block, of all tokens and of those that the losses read."""
    torch.manual_seed(0)
    block = Block(768, 12, 0, fused=True, init_values=0.1)
    x = torch.randn(2, TOKENS, 768, requires_grad=True)
    queries = None if asked == TOKENS else torch.arange(asked).expand(2, -1)
    benchmark(lambda: block(x, queries=queries).sum().backward())


def test_block_wise_mask(benchmark):
    """One mask of 75 of 14x14 patches."""
    rng, choice = random.Random(0), np.random.RandomState(0)
    benchmark(BlockMasks().draw, rng, choice)

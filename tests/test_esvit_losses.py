"""EsViT's losses: the fused form against the plain one, in value, gradients, precision and what it keeps."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from models.esvit import losses


def rows(draw: torch.Generator, shapes, width):
    return [F.normalize(torch.randn(*shape, width, generator=draw, dtype=torch.float64), dim=-1) for shape in shapes]


@settings(deadline=None, max_examples=40)
@given(
    batch=st.integers(1, 3),
    teacher=st.lists(st.integers(1, 5), min_size=2, max_size=3),
    local=st.lists(st.integers(1, 4), max_size=3),
    region=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_fused_loss_is_the_mean_of_the_pairs(batch, teacher, local, region, seed):
    """Values and gradients, for views (row against row) and regions."""
    draw = torch.Generator().manual_seed(seed)
    if not region:
        teacher, local = [1] * len(teacher), [1] * len(local)
    width, K = 6, 11
    seen = rows(draw, [(batch, n) for n in teacher], width)
    own = [x.requires_grad_() for x in rows(draw, [(batch, n) for n in (*teacher, *local)], width)]
    W, theirs = (3 * torch.randn(K, width, generator=draw, dtype=torch.float64) for _ in range(2))
    W.requires_grad_()
    centre = torch.randn(1, K, generator=draw, dtype=torch.float64)
    matches = None
    if region:
        matches = {
            (t, s): torch.randint(teacher[t], (batch, own[s].shape[1]), generator=draw)
            for t, s in losses.pairs(len(seen), len(own))
        }
    wanted = [losses.distribution(x @ theirs.T, centre, 0.05) for x in seen]
    plain = torch.stack([*losses.pair_losses([x @ W.T for x in own], wanted, matches).values()]).mean()
    known = torch.autograd.grad(plain, [W, *own])
    fused = losses.fused_loss(own, W, seen, theirs, centre, 0.05, matches)
    torch.testing.assert_close(fused, plain, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(2 * fused, [W, *own]), [2 * x for x in known], rtol=1e-9, atol=1e-12)


class Logits(TorchDispatchMode):
    """How many rows the largest product with so many columns has."""

    def __init__(self, width: int):
        super().__init__()
        self.width, self.rows = width, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.mm.default and out.shape[1] == self.width:
            self.rows = max(self.rows, len(out))
        return out


def test_fused_loss_in_blocks(monkeypatch):
    """Of one row each, the same; also where a block holds less than a row."""
    draw = torch.Generator().manual_seed(0)
    seen, own = rows(draw, [(2, 3), (2, 3)], 6), rows(draw, [(2, 3), (2, 3), (2, 2)], 6)
    W = torch.randn(11, 6, generator=draw, dtype=torch.float64).requires_grad_()
    found = []
    matches = losses.match_regions(seen, own, together=True)
    for size, most in ((2**24, 16), (11, 1), (1, 1)):
        monkeypatch.setattr(losses, "BLOCK", size)
        with Logits(11) as logits:
            loss = losses.fused_loss(own, W, seen, W, torch.zeros(1, 11), 0.07, matches)
        assert logits.rows == most
        found.append((loss, *torch.autograd.grad(loss, W)))
    torch.testing.assert_close(found[1:], 2 * found[:1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("trained", [("rows",), ("weight",), ("rows", "weight")])
@pytest.mark.parametrize("asked", [True, False])
def test_fused_loss_has_the_gradients_that_are_asked_for(trained, asked):
    """Without any, three products of the heads' width: the student's logits, the teacher's, and its mean row of W."""
    draw = torch.Generator().manual_seed(0)
    seen, own = rows(draw, [(2, 1), (2, 1)], 6), rows(draw, [(2, 1)] * 3, 6)
    W, theirs = (torch.randn(11, 6, generator=draw, dtype=torch.float64) for _ in range(2))
    leaves = [*(own if "rows" in trained else []), *([W] if "weight" in trained else [])]
    for leaf in leaves:
        leaf.requires_grad_()
    centre = torch.randn(1, 11, generator=draw)
    with torch.set_grad_enabled(asked), FlopCounterMode(display=False) as flops:
        fused = losses.fused_loss(own, W, seen, theirs, centre, 0.07, None)
    assert fused.requires_grad == asked
    assert flops.get_total_flops() == 2 * 11 * 6 * (6 + 4 + 4 + asked * (6 + 6 + 4))
    if asked:
        q = [losses.distribution(x @ theirs.T, centre, 0.07) for x in seen]
        plain = torch.stack([*losses.pair_losses([x @ W.T for x in own], q, None).values()]).mean()
        torch.testing.assert_close(torch.autograd.grad(fused, leaves), torch.autograd.grad(plain, leaves))


def test_fused_loss_keeps_nothing_of_the_heads_width():
    """Beside the gradient of the last layer, of (K, D), that is."""
    draw = torch.Generator().manual_seed(0)
    seen, own = rows(draw, [(2, 3), (2, 3)], 6), rows(draw, [(2, 3), (2, 3), (2, 2)], 6)
    W = torch.randn(101, 6, generator=draw, dtype=torch.float64).requires_grad_()
    matches = losses.match_regions(seen, own, together=True)
    kept = {"fused": [], "plain": []}
    for form, shapes in kept.items():

        def keep(x, shapes=shapes):
            shapes.append(tuple(x.shape))
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            if form == "fused":
                losses.fused_loss(own, W, seen, W, torch.zeros(1, 101), 0.07, matches)
            else:
                wanted = [losses.distribution(x @ W.detach().T, 0, 0.07) for x in seen]
                losses.pair_losses([x @ W.T for x in own], wanted, matches)
    assert {shape for shape in kept["fused"] if 101 in shape} == {(101, 6)}
    assert {(2, 3, 101), (2, 2, 101)} <= set(kept["plain"])


@pytest.mark.parametrize(("dtype", "error"), [(torch.bfloat16, 0.02), (torch.float16, 0.002)])
def test_fused_loss_in_half_precision(dtype, error):
    """Gradients of a row are below what float16 holds, were they not scaled; a wide head, many rows."""
    draw = torch.Generator().manual_seed(0)
    seen, own = rows(draw, [(8, 49)] * 2, 32), rows(draw, [(8, 49)] * 4, 32)
    W = 0.1 * torch.randn(4096, 32, generator=draw, dtype=torch.float64)
    matches = losses.match_regions(seen, own, together=True)
    found = []
    for kind in (torch.float64, dtype):
        weight = W.to(kind, copy=True).requires_grad_()
        leaves = [x.to(kind, copy=True).requires_grad_() for x in own]
        loss = losses.fused_loss(
            leaves, weight, [x.to(kind) for x in seen], weight, torch.zeros(1, 4096), 0.07, matches
        )
        loss.backward(torch.tensor(2.0**16, dtype=loss.dtype))  # as a loss scaler does; float16 does not hold it
        found.append((loss.double(), weight.grad.double(), leaves[0].grad.double()))
    for exact, half in zip(*found, strict=True):
        assert (half - exact).norm() <= error * exact.norm()


def test_matches_are_of_highest_cosine_whatever_the_route():
    draw = torch.Generator().manual_seed(0)
    seen = [torch.randn(2, 5, 7, generator=draw) for _ in range(2)]
    own = [torch.randn(2, n, 7, generator=draw) for n in (5, 5, 3)]
    apart, together = (losses.match_regions(seen, own, together=word) for word in (False, True))
    assert list(apart) == [(0, 1), (0, 2), (1, 0), (1, 2)]
    for t, s in apart:
        known = F.cosine_similarity(own[s][:, :, None], seen[t][:, None], dim=-1).argmax(dim=2)
        assert torch.equal(apart[t, s], known)
        assert torch.equal(together[t, s], known)

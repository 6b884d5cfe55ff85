"""Cross-entropy of a linear layer's logits with ids, without storing the logits.

With W the layer, x a row and p = softmax(W x + b), the gradients of -log p[id] are (p - one-hot) W by x and
(p - one-hot) xᵀ by W: all there when the loss is, so they are computed in the forward pass, block by block of rows, by
the same products as in the plain way. PyTorch's own `linear_cross_entropy`, in chunks, does the same, but hides its
products from counters and can't run on tensors without numbers.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.products import add_product, autocast_dtype, row_blocks, without_autocast

BLOCK = 2**23  # logits of a block: 32 MB in float32


def cross_entropy(x: Tensor, weight: Tensor, bias: Tensor, ids: Tensor) -> Tensor:
    """Mean over rows x (R, D) of the cross-entropy of x weightᵀ + bias, weight (K, D), with ids (R,)."""
    if not torch.is_grad_enabled():
        return _cross_entropy(x, weight, bias, ids, trains=False)[0]
    loss: Tensor = _CrossEntropy.apply(x, weight, bias, ids)
    return loss


def _cross_entropy(
    x: Tensor, weight: Tensor, bias: Tensor, ids: Tensor, trains: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The mean; trains: and its gradients by x, weight and bias, in float32 or wider."""
    wide = torch.promote_types(x.dtype, torch.float32)
    narrow = autocast_dtype(x.device) or weight.dtype
    weight, bias = weight.to(narrow), bias.to(narrow)
    loss = x.new_zeros((), dtype=wide)
    by_weight, by_bias = (torch.zeros_like(one if trains else one[:0], dtype=wide) for one in (weight, bias))
    by_x = []
    with without_autocast(x.device):
        for rows, own in row_blocks(BLOCK // len(weight), x.to(narrow), ids):
            logits = F.linear(rows, weight, bias).to(wide)
            normaliser = logits.logsumexp(dim=1, keepdim=True)
            loss += (normaliser - logits.gather(1, own[:, None])).sum()
            if trains:
                error = logits.sub_(normaliser).exp_()
                error.scatter_add_(1, own[:, None], torch.full_like(own[:, None], -1, dtype=wide))
                by_bias += error.sum(dim=0)
                error = error.to(narrow)  # near 1, which half precision holds: divided by the number of rows in the end
                by_x.append((error @ weight).to(wide))
                add_product(by_weight, error, rows)
    if not trains:
        return loss / len(x), ()
    return loss / len(x), tuple(total / len(x) for total in (torch.cat(by_x), by_weight, by_bias))


class _CrossEntropy(torch.autograd.Function):
    """`_cross_entropy`, whose gradients are there when its value is."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        loss, gradients = _cross_entropy(*given, trains=True)
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [tensor.dtype for tensor in given[:3]]
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scaled = ((gradient * x).to(dtype) for x, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True))
        return *scaled, None

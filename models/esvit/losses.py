"""View and region loss, as the official code computes them and without anything of the heads' width stored.

A row of the student (a view, or a region) is compared with rows of the teacher: the views of other crops, or their most
similar regions. With W the student's last layer (K, 256), n the bottleneck of a row of the student, q the teacher's
distribution over K for the row that it is compared with, t the student's temperature:

    -<q, log softmax(W n / t)>  =  logsumexp(W n / t) - <q, W n> / t        since q sums to 1

reference: the left side for each pair of crops, q gathered by the match, all of width K stored for the backward pass.
fast: the right side. The first term is one a row, however many rows it is compared with; the second is, summed over all
rows of the student that are compared with a row of the teacher, <q, W S> / t, S being the weighted sum of their
bottlenecks. What both terms' gradients need is known in the forward pass, so they are computed there, block by block of
rows, and nothing of width K outlives its block. Each row of the teacher takes two products more than in the reference,
4 % of the arithmetic of a step of Swin-T.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.products import add_product, autocast_dtype, row_blocks, without_autocast

STUDENT_TEMPERATURE = 0.1
BLOCK = 2**23  # logits of a block in the fast form: 32 MB in float32; smaller ones read the last layer too often


def pairs(teachers: int, students: int) -> list[tuple[int, int]]:
    """Crops that are compared: each of the teacher's with each other of the student's."""
    return [(t, s) for t in range(teachers) for s in range(students) if t != s]


Matches = dict[tuple[int, int], Tensor]  # of a pair of crops: for each of the student's regions one of the teacher's


def match_regions(teacher: Sequence[Tensor], student: Sequence[Tensor], together: bool) -> Matches:
    """Of each region of the student (B, N, C) the most similar one of the teacher (B, T, C), by cosine: (B, N) a pair.

    together: one product for all crops of the student, in place of one a pair.
    """
    if not together:
        return {(t, s): _match(teacher[t], student[s]) for t, s in pairs(len(teacher), len(student))}
    every = torch.cat([x.detach() for x in student], dim=1)
    by_teacher = [_match(x, every).split([x.shape[1] for x in student], dim=1) for x in teacher]
    return {(t, s): by_teacher[t][s] for t, s in pairs(len(teacher), len(student))}


def _match(teacher: Tensor, student: Tensor) -> Tensor:
    student, teacher = (F.normalize(x.detach(), dim=-1, eps=1e-12) for x in (student, teacher))
    return (student @ teacher.transpose(1, 2)).argmax(dim=2)


def per_crop(head: Callable[[Tensor], Tensor], crops: Sequence[Tensor]) -> list[Tensor]:
    """`head` of the rows (B, N, C) of each crop, all in one product."""
    rows = head(torch.cat([x.flatten(0, 1) for x in crops]))
    parts = rows.split([x.shape[0] * x.shape[1] for x in crops])
    return [part.unflatten(0, x.shape[:2]) for part, x in zip(parts, crops, strict=True)]


def distribution(logits: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """The teacher's, centred and sharpened."""
    return ((logits - centre) / temperature).softmax(dim=-1)


def pair_losses(
    student: Sequence[Tensor], teacher: Sequence[Tensor], matches: Matches | None
) -> dict[tuple[int, int], Tensor]:
    """Reference: the cross-entropy of each pair of crops.

    student: logits (B, N, K) of each crop; teacher: distributions (B, T, K) of each; matches: of each pair, (B, N)
    among the T, or None where row stands against row.
    """
    losses = {}
    for t, s in pairs(len(teacher), len(student)):
        wanted = teacher[t]
        if matches is not None:
            wanted = wanted.gather(1, matches[t, s][..., None].expand(-1, -1, wanted.shape[-1]))
        log_p = (student[s] / STUDENT_TEMPERATURE).log_softmax(dim=-1)
        losses[t, s] = (-wanted * log_p).sum(dim=-1).mean()
    return losses


def fused_loss(
    student: Sequence[Tensor],
    student_weight: Tensor,
    teacher: Sequence[Tensor],
    teacher_weight: Tensor,
    centre: Tensor,
    temperature: float,
    matches: Matches | None,
) -> Tensor:
    """Fast: the mean of `pair_losses`, from bottlenecks student (B, N, D) and teacher (B, T, D) of each crop and both
    last layers (K, D)."""
    compared = pairs(len(teacher), len(student))
    wide = torch.promote_types(student[0].dtype, torch.float32)
    sums = [torch.zeros_like(x, dtype=wide) for x in teacher]
    shares = []  # of each crop of the student: what a row counts for in all its pairs together
    for s, own in enumerate(student):
        share = 1 / (len(compared) * own.shape[0] * own.shape[1])
        with_ = [t for t, other in compared if other == s]
        shares.append(torch.full(own.shape[:2], share * len(with_), device=own.device, dtype=wide))
        for t in with_:
            if matches is None:
                sums[t] = sums[t] + share * own.to(wide)
            else:
                index = matches[t, s][..., None].expand(-1, -1, own.shape[-1])
                sums[t] = sums[t].scatter_add(1, index, share * own.to(wide))
    rows = [torch.cat([x.flatten(0, 1) for x in xs]) for xs in (student, shares, teacher, sums)]
    given = (*rows, student_weight, teacher_weight.detach(), centre, temperature)
    if not torch.is_grad_enabled():
        return _cross_entropy(*given, trains=False)[0]
    loss: Tensor = _CrossEntropy.apply(*given)
    return loss


def _cross_entropy(
    student: Tensor,
    shares: Tensor,
    teacher: Tensor,
    sums: Tensor,
    weight: Tensor,
    teacher_weight: Tensor,
    centre: Tensor,
    temperature: float,
    trains: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Sum over the student's rows of share · logsumexp(W n / t), less that over the teacher's rows of <q, W S> / t.

    student (R, D), shares (R,), teacher and sums (T, D), weights (K, D), centre (1, K). trains: return the gradients by
    student, sums and weight too, in float32 or wider.
    """
    wide = torch.promote_types(student.dtype, torch.float32)
    narrow = autocast_dtype(student.device) or weight.dtype
    weight, teacher_weight = weight.to(narrow), teacher_weight.to(narrow)  # once, not at each product
    most = shares.max()  # gradients are summed of numbers near 1, which half precision holds, and scaled in the end
    loss = student.new_zeros((), dtype=wide)
    by_weight = torch.zeros_like(weight, dtype=wide) if trains else None
    by_student, by_sums = [], []
    with without_autocast(student.device):
        for own, share in row_blocks(BLOCK // len(weight), student, shares):
            logits = F.linear((own / STUDENT_TEMPERATURE).to(narrow), weight).to(wide)
            normaliser = logits.logsumexp(dim=1)
            loss += (share * normaliser).sum()
            if by_weight is not None:
                p = logits.sub_(normaliser[:, None]).exp_().to(narrow)
                relative = (share / most)[:, None]
                by_student.append((p @ weight).to(wide) * relative)
                add_product(by_weight, p, (own * relative).to(narrow))
        for own, summed in row_blocks(BLOCK // len(weight), teacher, sums):
            logits = F.linear(own.to(narrow), teacher_weight).to(wide)
            q = logits.sub_(centre).div_(temperature).softmax(dim=1).to(narrow)
            expected = (q @ weight).to(wide)  # of a row of the teacher: the mean row of W
            loss -= (expected * summed).sum() / STUDENT_TEMPERATURE
            if by_weight is not None:
                by_sums.append(expected / -STUDENT_TEMPERATURE)
                add_product(by_weight, q, (summed / -most).to(narrow))
    if by_weight is None:
        return loss, ()
    scale = most / STUDENT_TEMPERATURE
    return loss, (torch.cat(by_student) * scale, torch.cat(by_sums), by_weight * scale)


class _CrossEntropy(torch.autograd.Function):
    """`_cross_entropy`, whose gradients are there when its value is."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        loss, gradients = _cross_entropy(*given, trains=True)
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [given[number].dtype for number in (0, 3, 4)]
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scaled = ((gradient * x).to(dtype) for x, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True))
        by_student, by_sums, by_weight = scaled
        return by_student, None, None, by_sums, by_weight, None, None, None

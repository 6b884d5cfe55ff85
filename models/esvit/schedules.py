"""What changes in the course of training (spec, sections 7 and 8)."""

import math

from models.arguments import whole


def teacher_temperature(epoch: int, start: float = 0.04, end: float = 0.07, warmup: int = 30) -> float:
    """Of an epoch, the first being 0: linear from `start` in the first to `end` in the last of `warmup` epochs, then
    `end`."""
    return start + (end - start) * min(1.0, whole("epoch", epoch, 0, "EsViT") / (warmup - 1))


def teacher_momentum(step: int, steps: int, start: float = 0.996) -> float:
    """The teacher's own share in its average after a step, the first being 0: a cosine from `start` to 1."""
    return 1 + 0.5 * (start - 1) * (1 + math.cos(math.pi * min(step, steps) / steps))

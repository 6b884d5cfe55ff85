"""Codes that a tokenizer makes use of."""

import math
from typing import Protocol, cast

import torch
from torch import Tensor

from bench.attention import show
from bench.build import Case
from bench.errors import Skip, UsageError
from bench.metrics import Measurement, metric
from bench.model import offered
from bench.precision import autocast
from bench.tracing import on_meta


class Tokenizer(Protocol):
    """What has codes: `vocab_size` of them, and one for each patch (B, P) of images (B, C, H, W)."""

    vocab_size: int

    def tokenize(self, images: Tensor) -> Tensor: ...


@metric(unit="1", better="higher", stage="device")
def codebook_usage(case: Case) -> Measurement:
    """Share of a tokenizer's codes that some patch of the images gets, of all in its codebook.

    By the model's own word (`tokenize(images)`, `vocab_size`), images one at a time. At most patches / codes, and of
    random weights it means nothing. details: `weights`, `images` (where they come from), `codes` (how many there are),
    `patches` (that got one), `counts` (how often each used code occurs, falling), `perplexity` (exp of the entropy in
    nats of their distribution) and `per_image` (number of distinct codes). Raises Skip for a model that has no
    tokenizer and as `bench.attention.show`; UsageError for a code that its codebook lacks, and unreadable images.
    """
    if offered(case.once(on_meta), "tokenize", torch.empty(0)) is None:
        raise Skip(f"{case.spec.model} makes no codes: it has no method tokenize(images)")
    shown = case.once(show)
    size = getattr(shown.model, "vocab_size", None)
    if not isinstance(size, int) or size < 1:
        raise UsageError(f"{case.spec.model} has vocab_size={size!r}; a tokenizer says there how many codes it has")
    total = torch.zeros(size, dtype=torch.int64)
    distinct = {}
    for name, image in shown.each():
        with torch.no_grad(), autocast(case.spec):
            codes = cast(Tokenizer, shown.model).tokenize(image)
        counts = _occurrences(codes, size, case.spec.model)
        total += counts
        distinct[name] = int(counts.count_nonzero())
    used = total[total > 0]
    share = used.double() / used.sum()
    details = {
        "weights": shown.weights,
        "images": shown.images,
        "codes": size,
        "patches": int(used.sum()),
        "counts": used.sort(descending=True).values.tolist(),
        "perplexity": math.exp(-float((share * share.log()).sum())),
        "per_image": distinct,
    }
    return Measurement(len(used) / size, note=f"{shown.images}; {shown.weights}", details=details)


def _occurrences(codes: Tensor, size: int, model: str) -> Tensor:
    """How often each of `size` codes occurs."""
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= size:
        wrong = low if low < 0 else high
        raise UsageError(f"{model} gives a patch code {wrong}, and its codebook (vocab_size) has codes 0 to {size - 1}")
    return torch.bincount(codes.flatten().cpu(), minlength=size)

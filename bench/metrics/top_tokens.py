"""Number of regions at the top layer."""

import torch
from torch import nn

from bench.build import Case
from bench.errors import Skip, one_line
from bench.metrics import Measurement, metric
from bench.model import create, image_shape
from bench.regions import regions
from bench.tracing import on_meta


@metric(unit="1", better="neither", stage="static")
def top_tokens(case: Case) -> Measurement:
    """Number of regions of one image at the top layer: what a loss of regions has a row for.

    Tokens of no region (class token, registers) are not among them (`bench.regions`). Counted on `meta` tensors; on
    real ones where the model's code asks for numbers, and the note says so. Raises Skip in a mode other than `infer`,
    and what `bench.regions.regions` raises.
    """
    if case.spec.mode != "infer":
        raise Skip("regions are counted in mode infer")
    try:
        return Measurement(_count(case, case.once(on_meta), "meta"))
    except Skip:
        raise
    except Exception as error:
        torch.manual_seed(case.protocol.seed)
        number = _count(case, create(case.spec, "cpu"), "cpu")
        return Measurement(number, note=f"counted on real tensors, since on meta: {one_line(error)}")


def _count(case: Case, model: nn.Module, device: str) -> int:
    images = torch.zeros(image_shape(case.spec, 1), device=device)
    return regions(model, images, case.spec.model).features.shape[1]

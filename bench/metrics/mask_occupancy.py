"""Where random masks fall."""

import torch

from bench.build import Case
from bench.errors import Skip
from bench.metrics import Measurement, metric
from bench.model import offered
from bench.tracing import on_meta

_MASKS = 2000


@metric(unit="1", better="neither", stage="static")
def mask_occupancy(case: Case) -> Measurement:
    """How unevenly a model's random masks fall: the highest less the lowest share of masks that remove a cell.

    Of 2,000 masks, by the model's own word (`draw_masks(count, generator)`). Masks that fall evenly are not at 0: each
    share has a sampling error, of 0.01 at a share of 0.4. details: `masks`, `removed` (mean number of cells that a mask
    removes) and `occupancy` (rows of columns of shares). Raises Skip for a model that draws no masks.
    """
    drawing = offered(case.once(on_meta), "draw_masks", _MASKS, torch.Generator().manual_seed(case.protocol.seed))
    if drawing is None:
        raise Skip(f"{case.spec.model} draws no masks")
    times = drawing().sum(dim=0)
    return Measurement(
        (times.max() - times.min()).item() / _MASKS,
        details={
            "masks": _MASKS,
            "removed": times.sum().item() / _MASKS,
            "occupancy": [[number / _MASKS for number in row] for row in times.tolist()],
        },
    )

"""Pictures: tidy frame in, Pictures out; a file each. The door is `pictures`."""

from collections.abc import Collection, Mapping

import pandas as pd

from reports.figures.accuracy_throughput import draw as accuracy_throughput
from reports.figures.ccs_blocks import draw as ccs_blocks
from reports.figures.codebook_ranks import draw as codebook_ranks
from reports.figures.correspondences import draw as correspondences
from reports.figures.cost_argument import draw as cost_argument
from reports.figures.cost_shares import draw as cost_shares
from reports.figures.entropy_blocks import draw as entropy_blocks
from reports.figures.gallery import draw as gallery
from reports.figures.group_size import draw as group_size
from reports.figures.hallucination import draw as hallucination
from reports.figures.head_entropies import draw as head_entropies
from reports.figures.heat_maps import draw as heat_maps
from reports.figures.latency_batch import draw as latency_batch
from reports.figures.mask_occupancy import draw as mask_occupancy
from reports.figures.mask_ratio import draw as mask_ratio
from reports.figures.masked_windows import draw as masked_windows
from reports.figures.memory_batch import draw as memory_batch
from reports.figures.memory_size import draw as memory_size
from reports.figures.pareto import draw as pareto
from reports.figures.picture import Picture
from reports.figures.reduction_size import draw as reduction_size
from reports.figures.series import with_looks
from reports.figures.significance import draw as significance
from reports.figures.similarity import draw as similarity
from reports.figures.step_sections import draw as step_sections
from reports.style import styled

__all__ = ["Picture", "front", "pictures", "with_looks"]

_DRAW = (
    accuracy_throughput,
    latency_batch,
    memory_batch,
    memory_size,
    cost_shares,
    reduction_size,
    cost_argument,
    ccs_blocks,
    entropy_blocks,
    hallucination,
    similarity,
    gallery,
)
# What the section of a paper shows: of its own models, or of all that have it.
_OF_PAPERS = (
    (mask_ratio, "greenmim", False),
    (group_size, "greenmim", False),
    (masked_windows, "greenmim", False),
    (step_sections, "beitv2", False),
    (mask_occupancy, "beitv2", True),
    (codebook_ranks, "beitv2", True),
    (significance, "sgformer", True),
    (heat_maps, "esvit", True),
    (head_entropies, "esvit", True),
    (correspondences, "esvit", True),
)


@styled
def front(frame: pd.DataFrame) -> list[Picture]:
    """The picture that a report begins with; none where nothing was measured that it could show."""
    return pareto(frame)


@styled
def pictures(frame: pd.DataFrame, told: Mapping[str, Collection[str]] | None = None) -> list[Picture]:
    """All pictures that a report shows of all models, but for those of which no cell was asked, and for what the
    sections of papers show; told: their models, by paper. A model has one look in all."""
    frame, told = with_looks(frame), told or {}
    others = {paper: frame[~frame["model"].isin(list(models))] for paper, models in told.items()}
    rest = [(draw, others.get(paper, frame)) for draw, paper, whole in _OF_PAPERS if paper not in told or not whole]
    return [picture for draw, own in (*((draw, frame) for draw in _DRAW), *rest) for picture in draw(own)]

"""BEiT v2 (arXiv:2208.06366): a file an exhibit, in the paper's order."""

from collections.abc import Callable

from reports.papers.beitv2.codebook import codebook
from reports.papers.beitv2.masks import masks
from reports.papers.beitv2.models import models
from reports.papers.beitv2.steps import steps
from reports.papers.beitv2.throughput import throughput
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit

EXHIBITS: tuple[Callable[[Evidence], Exhibit], ...] = (models, masks, steps, throughput, codebook)

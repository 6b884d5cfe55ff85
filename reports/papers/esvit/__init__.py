"""EsViT (arXiv:2106.09785): a file an exhibit."""

from collections.abc import Callable

from reports.papers.esvit.architectures import architectures
from reports.papers.esvit.attention import attention
from reports.papers.esvit.correspondence import correspondence
from reports.papers.esvit.figure_1 import figure_1
from reports.papers.esvit.losses import losses
from reports.papers.esvit.table_1 import table_1
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit

EXHIBITS: tuple[Callable[[Evidence], Exhibit], ...] = (
    table_1,
    figure_1,
    architectures,
    losses,
    correspondence,
    attention,
)

"""hMHSA and cFFN (arXiv:2306.10875): a file an exhibit."""

from collections.abc import Callable

from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit
from reports.papers.hmhsa.ablations import ablations
from reports.papers.hmhsa.ccs import ccs
from reports.papers.hmhsa.galleries import galleries
from reports.papers.hmhsa.reductions import reductions
from reports.papers.hmhsa.shares import shares
from reports.papers.hmhsa.sizes import sizes
from reports.papers.hmhsa.throughput import throughput

EXHIBITS: tuple[Callable[[Evidence], Exhibit], ...] = (
    shares,
    reductions,
    ablations,
    ccs,
    galleries,
    sizes,
    throughput,
)

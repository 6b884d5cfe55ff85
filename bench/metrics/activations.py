"""fvcore's count of activations."""

from bench.build import Case
from bench.metrics import Measurement, metric
from bench.tracing import fvcore_total


@metric(unit="1", better="lower", stage="static")
def activations(case: Case) -> Measurement:
    """Elements that the matrix products and convolutions of one image's forward pass put out, as fvcore counts them.

    "Activations" of arXiv:2003.13678, which found them to follow running time better than FLOPs do; timm publishes
    them as macts. Always on the eager attention path, as `macs_fvcore`, traced on real CPU tensors at batch 1. The
    note lists operators that fvcore has no rule for.
    """
    return fvcore_total(case, "ActivationCountAnalysis")

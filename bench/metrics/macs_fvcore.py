"""fvcore's count, the one that many papers print as FLOPs."""

from bench.build import Case
from bench.metrics import Measurement, metric
from bench.tracing import fvcore_total


@metric(unit="MAC", better="lower", stage="static")
def macs_fvcore(case: Case) -> Measurement:
    """What fvcore traces on the eager attention path for one image: multiply-accumulates, norms counted in.

    Always the eager path, because fvcore drops `scaled_dot_product_attention` without a word that reaches the total.
    Traced on real CPU tensors at batch 1. The note lists operators that fvcore has no rule for.
    """
    return fvcore_total(case, "FlopCountAnalysis")

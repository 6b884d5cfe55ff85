"""fvcore's count, the one that many papers print as FLOPs."""

import logging
import warnings

import torch

from bench.build import Case, create, image_shape
from bench.metrics import Measurement, metric


@metric(unit="MAC", better="lower", stage="static")
def macs_fvcore(case: Case) -> Measurement:
    """What fvcore traces on the eager attention path for one image: multiply-accumulates, norms counted in.

    Always the eager path, because fvcore drops `scaled_dot_product_attention` without a word that reaches the total.
    Traced on real CPU tensors at batch 1. The note lists operators that fvcore has no rule for.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)  # fvcore traces through torch.jit
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        logging.getLogger("fvcore").setLevel(logging.ERROR)
        from fvcore.nn import FlopCountAnalysis

        torch.manual_seed(case.protocol.seed)
        model = create(case.spec, "cpu", attention="eager")
        analysis = FlopCountAnalysis(model, torch.randn(image_shape(case.spec, 1)))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        with torch.no_grad():
            total = int(analysis.total())
        unsupported = analysis.unsupported_ops()
    note = f"no rule for {', '.join(sorted(unsupported))}" if unsupported else ""
    return Measurement(total, note=note)

"""Peak of the CUDA allocator."""

import torch

from bench.build import Case
from bench.metrics import Measurement, metric


@metric(unit="B", better="lower", stage="memory", device="cuda")
def peak_memory(case: Case) -> Measurement:
    """Peak bytes that the CUDA allocator had handed out during a call, weights and images included.

    Taken in a pass of its own, the call after a warm one. The CUDA context and cached free blocks are not in it.
    """
    case.call()
    case.synchronize()
    torch.cuda.reset_peak_memory_stats(case.spec.device)
    before = torch.cuda.memory_allocated(case.spec.device)
    case.call()
    case.synchronize()
    peak = torch.cuda.max_memory_allocated(case.spec.device)
    reserved = torch.cuda.max_memory_reserved(case.spec.device)
    return Measurement(peak, note=f"{before} B before the call; reserved by the allocator: {reserved} B")

"""Model FLOPs utilisation."""

from dataclasses import replace

import torch

from bench.build import Case
from bench.errors import Skip
from bench.metrics import Measurement, metric
from bench.metrics.macs import count
from bench.metrics.throughput import windows
from bench.peaks import peak

_PASSES = {"infer": 1, "train": 3}  # forward passes' worth of FLOPs: a backward pass has two products for each one


@metric(unit="1", better="higher", stage="time")
def mfu(case: Case) -> Measurement:
    """Share of the device's peak FLOP/s that the model's own FLOPs make use of: 2 x `macs` x images a second / peak.

    As in arXiv:2204.02311, appendix B: what is recomputed does not count, and a training step is three forward
    passes. A sample is one of `throughput`'s windows. details: `peak` (FLOP/s of the precision) and its `source`.
    Raises Skip for a pre-training step, and where the peak is not known.
    """
    if case.spec.mode not in _PASSES:
        raise Skip("a pre-training step is not three forward passes, since it may run parts without gradients")
    if case.spec.device == "cpu":
        raise Skip("no peak known for a CPU")
    limit, source = peak(torch.cuda.get_device_name(case.spec.device), case.spec.precision)
    counted, measured = case.once(count), case.once(windows)
    flops = 2 * _PASSES[case.spec.mode] * (counted.value or 0)
    return replace(
        measured,
        samples=[flops * images / limit for images in measured.samples],
        note="; ".join(filter(None, [measured.note, counted.note])),
        details={"peak": limit, "source": source},
    )

"""Multiply-accumulates of a training step."""

from dataclasses import replace
from functools import partial

from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.build import Case
from bench.errors import Skip
from bench.metrics import Measurement, metric
from bench.metrics.macs import Counter, on_meta_or_real
from bench.model import create
from bench.sections import Sections, StepBorders
from bench.steps import step
from bench.tracing import one_image


@metric(unit="MAC", better="lower", stage="static")
def step_macs(case: Case) -> Measurement:
    """Multiply-accumulates of one image's training step, forward and backward: matrix products and convolutions.

    As `macs` counts them, and on `meta` too; what only the backward pass runs has torch's formulas as well. Attention
    counts as if its maps were stored: a fused kernel computes them twice. What gradient checkpointing computes again is
    in. Neither the optimizer nor what the module does after a step is. details: `parts`, [section, phase, number] each
    (`bench.sections`), phase forward or backward, which sum to the value. Raises Skip in mode `infer`.
    """
    if case.spec.mode == "infer":
        raise Skip("a step is counted in modes train and pretrain")
    return on_meta_or_real(case, partial(create, case.spec, "meta"), partial(_count, case))


def _count(case: Case, model: nn.Module, device: str) -> Measurement:
    inputs = one_image(case, model, device)
    spec = replace(case.spec, batch=1, precision="float32", layout="contiguous")
    call = step(spec, model, inputs, case.protocol.seed)
    counter = Counter()
    with sdpa_kernel(SDPBackend.MATH), counter, StepBorders(Sections(model).of, counter.macs) as borders:
        for phase in borders.follow(call.phases()):
            if phase == "optimizer":
                break
    return counter.measurement(borders)

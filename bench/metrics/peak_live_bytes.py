"""Peak of live tensors, predicted without running anything."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from bench.build import Case, autocast, create, image_shape, weight_dtype
from bench.errors import one_line
from bench.live_bytes import LiveBytes
from bench.metrics import Measurement, metric
from bench.spec import Spec


@metric(unit="B", better="lower", stage="static")
def peak_live_bytes(case: Case) -> Measurement:
    """Peak bytes of live tensors in one call, weights and images included, predicted with fake tensors.

    Follows the Spec's batch, precision, device and attention path, uncompiled. It misses scratch space inside
    operators, so it is a lower bound on `peak_memory`. Where the model's code asks for numbers it runs on real CPU
    tensors, and the note says so.
    """
    shape, dtype = image_shape(case.spec, case.spec.batch), weight_dtype(case.spec)
    try:
        model = create(case.spec, "meta")
        with FakeTensorMode():
            images = torch.empty(shape, dtype=dtype, device=case.spec.device)
            return Measurement(_peak(case.spec, _as_fake(model, dtype, case.spec.device), images))
    except Exception as error:
        torch.manual_seed(case.protocol.seed)
        on_cpu = replace(case.spec, device="cpu")  # autocast must be the CPU's too
        peak = _peak(on_cpu, create(on_cpu, "cpu").to(dtype), torch.randn(shape, dtype=dtype))
        return Measurement(peak, note=f"run on real CPU tensors, since on fake ones: {one_line(error)}")


def _peak(spec: Spec, model: nn.Module, images: Tensor) -> int:
    tracker = LiveBytes([*model.parameters(), *model.buffers(), images])
    with torch.no_grad(), autocast(spec), tracker:
        model(images)
    return tracker.peak


def _as_fake(model: nn.Module, dtype: torch.dtype, device: str) -> nn.Module:
    """`model` with tensors of `device` that hold no numbers; to be called inside FakeTensorMode."""
    fakes: dict[int, tuple[Tensor, Tensor]] = {}  # the original is kept too, lest its id is used again

    def fake(tensor: Tensor) -> Tensor:
        if id(tensor) not in fakes:
            kept = dtype if tensor.is_floating_point() else tensor.dtype
            empty = torch.empty(tensor.shape, dtype=kept, device=device)
            fakes[id(tensor)] = tensor, nn.Parameter(empty) if isinstance(tensor, nn.Parameter) else empty
        return fakes[id(tensor)][1]

    for module in model.modules():  # each once, where `_apply` would visit shared ones again
        kinds: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for tensors in kinds:
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = fake(tensor)
    return model

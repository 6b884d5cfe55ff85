"""Peak of live tensors, predicted without running anything."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map_only

from bench.build import Case
from bench.cost import rows
from bench.errors import BenchError, one_line
from bench.live_bytes import LiveBytes
from bench.metrics import Measurement, metric
from bench.model import create
from bench.precision import weight_dtype
from bench.sections import ALL, OTHER, Sections, StepBorders
from bench.spec import Spec
from bench.steps import Inputs, planned, sample, step


@metric(unit="B", better="lower", stage="static")
def peak_live_bytes(case: Case) -> Measurement:
    """Peak bytes of live tensors in one call, weights and inputs included, predicted with fake tensors.

    Follows the Spec's mode, batch, precision, device and attention path, uncompiled; a training step has its gradients
    and AdamW's states. It misses scratch space inside operators, so it is a lower bound on `peak_memory`. Where the
    model's code asks for numbers it runs on real CPU tensors, and the note says so. details: `parts`, [section, kind,
    bytes] each of what is alive at the peak (`bench.sections`), which sum to the value. Kinds are weights (buffers
    too), gradients (of weights alone), optimizer, inputs, and activations, which is all else.
    """
    spec, seed = case.spec, case.protocol.seed
    dtype = weight_dtype(spec)
    try:
        model = create(spec, "meta")
        with torch.device("cpu"):
            inputs = planned(model, sample(spec, model, spec.batch, "cpu", seed))
        with torch.autograd.set_multithreading_enabled(False), FakeTensorMode() as fake:  # no device behind them
            inputs = tree_map_only(Tensor, lambda tensor: fake.from_tensor(tensor).to(spec.device), inputs)
            return _peak(spec, _as_fake(model, dtype, spec.device), inputs, seed)
    except BenchError:  # a mode that the model has not, or weights that changed: the same on real tensors
        raise
    except Exception as error:
        torch.manual_seed(seed)
        on_cpu = replace(spec, device="cpu")  # autocast must be the CPU's too
        model = create(on_cpu, "cpu").to(dtype)
        found = _peak(on_cpu, model, sample(on_cpu, model, spec.batch, "cpu", seed), seed)
        return replace(found, note=f"run on real CPU tensors, since on fake ones: {one_line(error)}")


def _peak(spec: Spec, model: nn.Module, inputs: Inputs, seed: int) -> Measurement:
    sections = Sections(model)
    borders = StepBorders(sections.of, lambda: None)

    def label() -> tuple[str, str]:
        section, phase = borders.now or (OTHER, "forward")
        return OTHER if section == ALL else section, "optimizer" if phase == "optimizer" else "activations"

    given = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
    with LiveBytes([*model.parameters(), *model.buffers(), *given], label) as tracker, borders:
        for tensor in given:
            tracker.call(tensor, (OTHER, "inputs"))
        call = step(spec, model, inputs, seed)
        for _ in range(1 if spec.mode == "infer" else 2):  # the optimizer's states are there from the second step on
            for _ in borders.follow(call.phases()):
                _call_by_owner(tracker, sections, call.optimizer)
        _call_by_owner(tracker, sections, call.optimizer)
    parts = tracker.at_peak()
    return Measurement(tracker.peak, details={"parts": rows({part: size for part, size in parts.items() if size})})


def _call_by_owner(tracker: LiveBytes, sections: Sections, optimizer: torch.optim.Optimizer | None) -> None:
    """Have what belongs to weights called so: only now is it known which storages these are."""
    states = {} if optimizer is None else optimizer.state
    for tensor, section in reversed([*sections.tensors()]):  # the first owner has the last word
        tracker.call(tensor, (section, "weights"))
        if tensor.is_leaf and tensor.grad is not None:
            tracker.call(tensor.grad, (section, "gradients"))
        for state in states[tensor].values() if tensor in states else ():
            if isinstance(state, Tensor):
                tracker.call(state, (section, "optimizer"))


def _as_fake(model: nn.Module, dtype: torch.dtype, device: str) -> nn.Module:
    """`model` with tensors of `device` that hold no numbers; to be called inside FakeTensorMode."""
    fakes: dict[int, tuple[Tensor, Tensor]] = {}  # the original is kept too, lest its id is used again

    def fake(tensor: Tensor) -> Tensor:
        if id(tensor) not in fakes:
            kept = dtype if tensor.is_floating_point() else tensor.dtype
            empty = torch.empty(tensor.shape, dtype=kept, device=device)
            fakes[id(tensor)] = tensor, _like(tensor, empty)
        return fakes[id(tensor)][1]

    for module in model.modules():  # each once, where `_apply` would visit shared ones again
        kinds: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for tensors in kinds:
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = fake(tensor)
    return model


def _like(tensor: Tensor, empty: Tensor) -> Tensor:
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty

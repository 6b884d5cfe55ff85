"""One image through a case's model, for metrics that count what happens on the way."""

import logging
import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from bench.build import Case
from bench.metrics import Measurement
from bench.model import create
from bench.steps import Inputs, planned, sample


def on_meta(case: Case) -> nn.Module:
    """The case's model without numbers. For `case.once`: the metrics that share it must leave it as it is."""
    return create(case.spec, "meta")


def one_image(case: Case, model: nn.Module, device: str) -> Inputs:
    """Arguments of `model` for one image in float32, as `create` builds models; on `meta` with its plan."""
    spec = replace(case.spec, precision="float32", layout="contiguous")
    inputs = sample(spec, model, 1, "cpu", case.protocol.seed)
    if device == "meta":
        inputs = tree_map_only(Tensor, lambda tensor: tensor.to("meta"), planned(model, inputs))
    return inputs


def fvcore_total(case: Case, analysis: str) -> Measurement:
    """What fvcore's class `analysis` totals of one image's forward pass, on real CPU tensors and the eager attention
    path, where every product of attention is an operator that fvcore knows.

    The note lists operators that it has no rule for.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)  # fvcore traces through torch.jit
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        logging.getLogger("fvcore").setLevel(logging.ERROR)
        import fvcore.nn

        model, args, impl = case.once(_eager)
        traced = getattr(fvcore.nn, analysis)(model, args)
        traced.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        with torch.no_grad():
            total = int(traced.total())
        unsupported = traced.unsupported_ops()
    notes = [f"no rule for {', '.join(sorted(unsupported))}"] if unsupported else []
    if impl != case.impl:
        notes.insert(0, f"of impl={impl}, which explicit attention takes")
    return Measurement(total, note="; ".join(notes))


def _eager(case: Case) -> tuple[nn.Module, tuple[Any, ...], str | None]:
    """The case's model on the eager path and its arguments for one image, as fvcore can trace them; and its route."""
    torch.manual_seed(case.protocol.seed)
    model = create(case.spec, "cpu", attention="eager")
    impl = getattr(model, "impl", None)
    args, kwargs = one_image(case, model, "cpu")
    if not kwargs:
        return model, args, impl
    loss = _Loss(model, kwargs)
    return loss, loss.tensors, impl


class _Loss(nn.Module):
    """A pre-training module as torch.jit can trace it: tensors in, the loss out; other arguments stay as they are."""

    def __init__(self, module: nn.Module, kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.module = module
        self.train(module.training)
        self._leaves, self._structure = tree_flatten(kwargs)
        self.tensors = tuple(leaf for leaf in self._leaves if isinstance(leaf, Tensor))

    def forward(self, *tensors: Tensor) -> Tensor:
        given = iter(tensors)
        leaves = [next(given) if isinstance(leaf, Tensor) else leaf for leaf in self._leaves]
        loss: Tensor = self.module(**tree_unflatten(leaves, self._structure))["loss"]
        return loss

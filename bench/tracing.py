"""One image through a case's model, for metrics that count what happens on the way."""

import logging
import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from bench.build import Case
from bench.metrics import Measurement
from bench.model import create
from bench.steps import Inputs, sample


def on_meta(case: Case) -> nn.Module:
    """The case's model without numbers. For `case.once`: the metrics that share it must leave it as it is."""
    return create(case.spec, "meta")


def one_image(case: Case, model: nn.Module, device: str) -> Inputs:
    """Arguments of `model` for one image in float32, as `create` builds models."""
    spec = replace(case.spec, precision="float32", layout="contiguous")
    return sample(spec, model, 1, device, case.protocol.seed)


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

        torch.manual_seed(case.protocol.seed)
        model = create(case.spec, "cpu", attention="eager")
        impl = getattr(model, "impl", None)
        args, kwargs = one_image(case, model, "cpu")
        if kwargs:
            model = _Loss(model, kwargs)
            args = model.tensors
        traced = getattr(fvcore.nn, analysis)(model, args)
        traced.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        with torch.no_grad():
            total = int(traced.total())
        unsupported = traced.unsupported_ops()
    notes = [f"no rule for {', '.join(sorted(unsupported))}"] if unsupported else []
    if impl != case.impl:
        notes.insert(0, f"of impl={impl}, which explicit attention takes")
    return Measurement(total, note="; ".join(notes))


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

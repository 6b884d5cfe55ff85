"""Multiply-accumulates of matrix products and convolutions."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from bench.build import Case
from bench.cost import Borders, rows
from bench.errors import one_line
from bench.metrics import Measurement, metric
from bench.model import create
from bench.tracing import on_meta, one_image

# Operators that do no matrix product or convolution: they are not counted, and not worth a note.
# Pointwise operators, reductions and views are known by their tags.
_NO_MACS = {
    "_adaptive_avg_pool2d",
    "_log_softmax",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "_safe_softmax",
    "_softmax",
    "_to_copy",
    "_unsafe_index",
    "_unsafe_view",
    "_upsample_bicubic2d_aa",
    "_upsample_bilinear2d_aa",
    "adaptive_max_pool2d",
    "arange",
    "as_strided",
    "as_strided_",
    "avg_pool2d",
    "cat",
    "clone",
    "col2im",
    "constant_pad_nd",
    "copy_",
    "cumsum",
    "detach",
    "empty",
    "empty_like",
    "eye",
    "fill_",
    "flip",
    "full",
    "full_like",
    "gather",
    "hardswish",
    "hardswish_",
    "im2col",
    "index",
    "index_copy",
    "index_select",
    "lift_fresh",
    "linspace",
    "max_pool2d_with_indices",
    "native_batch_norm",
    "native_group_norm",
    "native_layer_norm",
    "new_zeros",
    "ones",
    "ones_like",
    "pixel_shuffle",
    "reflection_pad2d",
    "repeat",
    "roll",
    "scalar_tensor",
    "scatter",
    "scatter_add",
    "sort",
    "split_with_sizes_copy",
    "stack",
    "topk",
    "tril",
    "triu",
    "unsafe_split",
    "upsample_bicubic2d",
    "upsample_bilinear2d",
    "upsample_nearest2d",
    "zeros",
    "zeros_like",
}


@metric(unit="MAC", better="lower", stage="static")
def macs(case: Case) -> Measurement:
    """Multiply-accumulates of the matrix products and convolutions of one image's forward pass (torch's formulas).

    Half of what torch's `FlopCounterMode` counts at batch 1, whatever the mode: the same for fused and eager attention.
    Counted on `meta` tensors; on real ones where the model's code asks for numbers, and the note says so. details:
    `parts`, [stage, kind, number] each (`bench.parts`), which sum to the value.
    """
    return case.once(count)


def count(case: Case) -> Measurement:
    """The metric itself, for others to share by `case.once`."""
    try:
        return _count(case, case.once(on_meta), "meta")
    except Exception as error:
        torch.manual_seed(case.protocol.seed)
        found = _count(case, create(case.spec, "cpu"), "cpu")
        notes = [f"counted on real tensors, since on meta: {one_line(error)}", found.note]
        return replace(found, note="; ".join(filter(None, notes)))


def _count(case: Case, model: nn.Module, device: str) -> Measurement:
    args, kwargs = one_image(case, model, device)
    counter = Counter()

    def so_far() -> int:  # halved here and not in each part, so that the parts sum to half of the total
        return counter.flops // 2

    with torch.no_grad(), counter, Borders(model, so_far) as borders:
        model(*args, **kwargs)
    parts = borders.split(lambda begin, end: end - begin)
    unknown = sorted(str(op) for op in counter.others if not _free(op))
    note = f"operators without a FLOP rule: {', '.join(unknown)}" if unknown else ""
    return Measurement(so_far(), note=note, details={"parts": rows({part: n for part, n in parts.items() if n})})


class Counter(TorchDispatchMode):
    """Adds up the FLOPs of the operators that run, by torch's formulas, and keeps those that have none in `others`.

    `FlopCounterMode` without its table of modules, which takes a third of the time.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.others: set[Any] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = flop_registry.get(getattr(func, "overloadpacket", func))
        if formula is not None:
            result = func(*args, **kwargs)
            self.flops += formula(*args, **kwargs, out_val=result)
            return result
        if isinstance(func, HigherOrderOperator):  # runs what cannot be seen from here
            return NotImplemented
        if func not in self.others:
            with self:  # what it is made of may have formulas
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
            self.others.add(func)
        return func(*args, **kwargs)


def _free(op: Any) -> bool:
    """Whether an operator surely does no matrix product."""
    free = {torch.Tag.pointwise, torch.Tag.reduction, torch.Tag.inplace_view}
    if op.is_view or free & set(op.tags):
        return True
    return bool(op.namespace in ("aten", "prims") and op.overloadpacket.__name__ in _NO_MACS)

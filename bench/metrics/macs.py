"""Multiply-accumulates of matrix products and convolutions."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from bench.build import Case
from bench.cost import Borders, crossings, rows
from bench.errors import BenchError, one_line
from bench.metrics import Measurement, metric
from bench.model import create
from bench.tracing import on_meta, one_image

# Operators that do no matrix product or convolution: they are not counted, and not worth a note.
# Pointwise operators, reductions and views are known by their tags.
_NO_MACS = {
    "_adaptive_avg_pool2d",
    "_adaptive_avg_pool2d_backward",
    "_log_softmax",
    "_log_softmax_backward_data",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "_safe_softmax",
    "_softmax",
    "_softmax_backward_data",
    "_to_copy",
    "_unsafe_index",
    "_unsafe_view",
    "_upsample_bicubic2d_aa",
    "_upsample_bilinear2d_aa",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_backward",
    "arange",
    "as_strided",
    "as_strided_",
    "avg_pool2d",
    "avg_pool2d_backward",
    "bernoulli_",
    "cat",
    "clone",
    "col2im",
    "constant_pad_nd",
    "copy_",
    "cumsum",
    "detach",
    "embedding",
    "embedding_dense_backward",
    "empty",
    "empty_like",
    "eye",
    "fill_",
    "flip",
    "full",
    "full_like",
    "gather",
    "hardsigmoid_backward",
    "hardswish",
    "hardswish_",
    "hardswish_backward",
    "im2col",
    "index",
    "index_add",
    "index_add_",
    "index_copy",
    "index_copy_",
    "index_put",
    "index_put_",
    "index_select",
    "lift_fresh",
    "linspace",
    "masked_fill_",
    "max_pool2d_with_indices",
    "max_pool2d_with_indices_backward",
    "mse_loss",
    "mse_loss_backward",
    "native_batch_norm",
    "native_batch_norm_backward",
    "native_group_norm",
    "native_group_norm_backward",
    "native_layer_norm",
    "native_layer_norm_backward",
    "new_empty",
    "new_empty_strided",
    "new_zeros",
    "nll_loss_backward",
    "nll_loss_forward",
    "ones",
    "ones_like",
    "pixel_shuffle",
    "pixel_unshuffle",
    "randint",
    "reflection_pad2d",
    "reflection_pad2d_backward",
    "repeat",
    "roll",
    "scalar_tensor",
    "scatter",
    "scatter_",
    "scatter_add",
    "scatter_add_",
    "select_backward",
    "slice_backward",
    "sort",
    "split_with_sizes_copy",
    "stack",
    "topk",
    "tril",
    "triu",
    "unsafe_split",
    "upsample_bicubic2d",
    "upsample_bicubic2d_backward",
    "upsample_bilinear2d",
    "upsample_bilinear2d_backward",
    "upsample_nearest2d",
    "upsample_nearest2d_backward",
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
    return on_meta_or_real(case, lambda: case.once(on_meta), partial(_count, case))


def on_meta_or_real(
    case: Case, build: Callable[[], nn.Module], count: Callable[[nn.Module, str], Measurement]
) -> Measurement:
    """What `count(model, device)` finds of what `build` makes on `meta`; of a model on the CPU where that fails, and
    the note says so."""
    try:
        return count(build(), "meta")
    except BenchError:
        raise
    except Exception as error:
        torch.manual_seed(case.protocol.seed)
        found = count(create(case.spec, "cpu"), "cpu")
        notes = [f"counted on real tensors, since on meta: {one_line(error)}", found.note]
        return replace(found, note="; ".join(filter(None, notes)))


def _count(case: Case, model: nn.Module, device: str) -> Measurement:
    args, kwargs = one_image(case, model, device)
    counter = Counter()
    with torch.no_grad(), counter, Borders(crossings(model), counter.macs) as borders:
        model(*args, **kwargs)
    return counter.measurement(borders)


def _convolution_backward(out: Tensor, x: Tensor, weight: Tensor, *rest: Any, out_val: Any) -> int:
    """FLOPs of a convolution's gradients: as many as forward for that of its input, and for that of its weights."""
    *_, transposed, _, _, wanted = rest
    places = math.prod((x if transposed else out).shape[2:])
    return 2 * len(out) * places * weight.numel() * sum(map(bool, wanted[:2]))


# Where torch's formulas will not do: that of a convolution's gradients knows nothing of groups.
_FORMULAS = {torch.ops.aten.convolution_backward: _convolution_backward}


class Counter(TorchDispatchMode):
    """Adds up the FLOPs of the operators that run, by torch's formulas, and keeps those that have none in `others`.

    `FlopCounterMode` without its table of modules, which takes a third of the time.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.others: set[Any] = set()

    def macs(self) -> int:
        """Multiply-accumulates so far. Halved here and not in each part, so that parts sum to half of the total."""
        return self.flops // 2

    def measurement(self, borders: Borders[int]) -> Measurement:
        """The count, with its parts between borders at which `macs` was read, and the operators that may lack."""
        parts = borders.split(lambda begin, end: end - begin)
        unknown = sorted(str(op) for op in self.others if not _free(op))
        note = f"operators without a FLOP rule: {', '.join(unknown)}" if unknown else ""
        return Measurement(self.macs(), note=note, details={"parts": rows({part: n for part, n in parts.items() if n})})

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = getattr(func, "overloadpacket", func)
        formula = _FORMULAS.get(packet) or flop_registry.get(packet)
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

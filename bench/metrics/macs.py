"""Multiply-accumulates of matrix products and convolutions."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from bench.build import Case, create, image_shape
from bench.errors import one_line
from bench.metrics import Measurement, metric

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
    "index_select",
    "lift_fresh",
    "linspace",
    "max_pool2d_with_indices",
    "native_batch_norm",
    "native_group_norm",
    "native_layer_norm",
    "ones",
    "ones_like",
    "pixel_shuffle",
    "reflection_pad2d",
    "repeat",
    "roll",
    "scalar_tensor",
    "scatter",
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
    """Multiply-accumulates of the matrix products and convolutions of one image's forward pass (torch's counter).

    Half of what `FlopCounterMode` counts at batch 1: the same for fused and eager attention. Counted on `meta`
    tensors; on real ones where the model's code asks for numbers, and the note says so.
    """
    try:
        total, unknown = _count(case, "meta")
        note = ""
    except Exception as error:
        total, unknown = _count(case, "cpu")
        note = f"counted on real tensors, since on meta: {one_line(error)}"
    if unknown:
        note = "; ".join(filter(None, [note, f"operators without a FLOP rule: {', '.join(sorted(unknown))}"]))
    return Measurement(total // 2, note=note)


def _count(case: Case, device: str) -> tuple[int, set[str]]:
    """FLOPs at batch 1, and the operators that have no FLOP formula although they may do multiplications."""
    torch.manual_seed(case.protocol.seed)
    model = create(case.spec, device).requires_grad_(False)  # the counter would hook gradients, which views lack
    images = torch.empty(image_shape(case.spec, 1), device=device)
    if device != "meta":
        images.normal_()
    operators, counter = _Operators(), FlopCounterMode(display=False)
    with torch.no_grad(), operators, counter:
        model(images)
    return counter.get_total_flops(), {str(op) for op in operators.seen if not _counted_or_free(op)}


def _counted_or_free(op: Any) -> bool:
    free = {torch.Tag.pointwise, torch.Tag.reduction, torch.Tag.inplace_view}
    packet = op.overloadpacket
    if packet in flop_registry or op.is_view or free & set(op.tags):
        return True
    return bool(op.namespace in ("aten", "prims") and packet.__name__ in _NO_MACS)


class _Operators(TorchDispatchMode):
    """Remembers which operators ran."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[Any] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.add(func)
        return func(*args, **(kwargs or {}))

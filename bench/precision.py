"""Precision: one word of the Spec becomes PyTorch's types, autocast and switches, here and nowhere else."""

import contextlib
from typing import Any

import torch

from bench.errors import Skip
from bench.spec import Spec

_WEIGHTS = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_AUTOCAST = {"amp_bfloat16": torch.bfloat16, "amp_float16": torch.float16}


def weight_dtype(spec: Spec) -> torch.dtype:
    """The type in which weights and images are kept."""
    return _WEIGHTS.get(spec.precision, torch.float32)


def autocast(spec: Spec) -> contextlib.AbstractContextManager[Any]:
    """The autocast context that the Spec's precision names, or none. In inference without autocast's cache of cast
    weights, which PyTorch does not use in inference mode, so that it is off wherever the same call is traced in
    another.
    """
    if spec.precision not in _AUTOCAST:
        return contextlib.nullcontext()
    kind = torch.device(spec.device).type
    return torch.autocast(kind, _AUTOCAST[spec.precision], cache_enabled=spec.mode != "infer")


def loss_scaler(spec: Spec) -> torch.amp.GradScaler:
    """Scales the loss, as training in float16 under autocast needs; does nothing in other precisions."""
    return torch.amp.GradScaler(torch.device(spec.device).type, enabled=spec.precision == "amp_float16")


def set_switches(spec: Spec) -> None:
    """Set the process-wide switches that the precision fixes: TF32 on only for `tf32`; cuDNN picks its algorithms."""
    tf32 = spec.precision == "tf32"
    if tf32 and spec.device == "cpu":
        raise Skip("tf32 is a mode of NVIDIA GPUs, and this cell's device is the CPU")
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True

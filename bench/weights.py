"""Weights that are not random: timm's own, or a checkpoint file, which is data and never run as code."""

import hashlib
import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import timm
from timm.models import load_state_dict
from torch import Tensor, nn

from bench.errors import UsageError, one_line

RANDOM, PRETRAINED = "random", "pretrained"
_SHOWN = 3  # names of an error message


def identify(word: str, model: str) -> str:
    """`word` as the Spec keeps it: a file as `FILE@sha256`, by its first 12 digits, so that other content is another
    experiment.

    Raises UsageError if there is no such file, or no pretrained weights of `model`.
    """
    if word == RANDOM:
        return word
    if word == PRETRAINED:
        config = timm.get_pretrained_cfg(model) if timm.is_model(model) else None
        if config is None or not config.has_weights:
            raise UsageError(f"weights=pretrained: timm names no weights of {model}; give a file with --checkpoint")
        return word
    path = Path(os.path.normpath(word))  # one file, one spelling
    return f"{path}@{_digest(path)}"


def load(model: nn.Module, weights: str, rename: Callable[..., Mapping[str, Any]] | None) -> None:
    """Load `FILE@sha256` into `model`, on its device; on `meta` only names and shapes are compared.

    Wrapping keys (`model`, `state_dict_ema`, ...) are taken off. rename is the family's `checkpoint_filter_fn`, which
    maps official names to ours. Raises UsageError if the file changed or does not fit.
    """
    path, _, digest = weights.rpartition("@")
    if _digest(Path(path)) != digest:
        raise UsageError(f"{path} has changed since the run was planned")
    try:
        state = load_state_dict(path, weights_only=True)
    except Exception as error:
        raise UsageError(
            f"{path} is not a checkpoint (PyTorch's with plain weights, or safetensors): {one_line(error)}"
        ) from error
    if not state or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        held = f"; it holds {', '.join(map(str, list(state)[:_SHOWN]))}: save one of them" if state else ""
        raise UsageError(f"{path} is not a state dict: it should map parameter names to tensors{held}")
    try:
        if rename is not None:
            state = dict(rename(state, model))
        _compare(model, state)
        if not any(parameter.is_meta for parameter in model.parameters()):
            model.load_state_dict(state)
    except UsageError as error:
        raise UsageError(f"{path} does not fit {type(model).__name__}: {error}") from error
    except Exception as error:
        raise UsageError(f"{path} does not fit {type(model).__name__}: {one_line(error)}") from error


def _compare(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Raise UsageError naming what is missing, not known, or of another shape."""
    own = model.state_dict()
    shapes = [
        f"{name} is {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    for what, names in (
        ("missing", [name for name in own if name not in state]),
        ("not known", [name for name in state if name not in own]),
        ("of another shape", shapes),
    ):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise UsageError(f"{what}: {', '.join(names[:_SHOWN])}{more}")


def _digest(path: Path) -> str:
    try:
        found = path.stat()
        return _read_digest(path, found.st_mtime_ns, found.st_size)
    except OSError as error:
        raise UsageError(f"cannot read the checkpoint {path}: {error.strerror or error}") from error


@cache
def _read_digest(path: Path, modified: int, size: int) -> str:
    """The digest of the file's content, read again only when it was written to."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]

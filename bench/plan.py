"""From the words of a command line to cells, refusing early what could not be measured."""

import json
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

import torch

from bench import photographs
from bench.build import check
from bench.errors import UsageError
from bench.metrics import select
from bench.names import default_size, resolve
from bench.runner import Cell
from bench.spec import JsonScalar, parse
from bench.weights import identify


def plan(words: Sequence[str], model_args: Sequence[str] = (), checkpoint: str | None = None) -> list[Cell]:
    """The cells that the words ask for (grammar: `bench.spec`), every one of which can be built; model_args are the
    constructor's, `key=value` each; checkpoint is a file of weights, whose name may hold what the grammar may not.

    Raises UsageError on an unknown model, axis, value or metric, a size, argument or checkpoint that a model refuses,
    an absent device or folder.
    """
    request = parse(words)
    if not request.patterns:
        raise UsageError("no model named; as in: run_bench.py run sgformer_s 'deit_*_patch16_224' batch=1,8")
    metrics = tuple(metric.name for metric in select(request.metrics))
    for device in request.axes.get("device", ()):
        _require(device)
    arguments = _arguments(model_args)
    images = {word: photographs.identify(word) for word in request.axes.get("images", (photographs.PHOTOGRAPHS,))}
    if checkpoint is not None and "weights" in request.axes:
        raise UsageError("weights= is given twice: as an axis, and with --checkpoint")
    specs = [
        replace(
            spec,
            weights=identify(spec.weights if checkpoint is None else checkpoint, spec.model),
            images=images[spec.images],
            model_args=tuple(arguments.items()),
        )
        for spec in request.specs(resolve(request.patterns), default_size, default_device())
    ]
    for spec in {(spec.model, spec.mode == "pretrain", spec.size, spec.weights): spec for spec in specs}.values():
        check(spec)
    return [Cell(spec, metrics) for spec in specs]


def default_device() -> str:
    """`cuda` where PyTorch sees a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _arguments(words: Sequence[str]) -> dict[str, JsonScalar]:
    arguments: dict[str, JsonScalar] = {}
    for key, value in map(_argument, words):
        if key in arguments:
            raise UsageError(f"--model-arg {key} is given twice")
        arguments[key] = value
    return arguments


def _argument(word: str) -> tuple[str, JsonScalar]:
    """`key=value` of `--model-arg`: the value as JSON (numbers, true, false, null), else as it stands."""
    key, separator, text = word.partition("=")
    if not (separator and key.isidentifier()):
        raise UsageError(f"--model-arg {word}: want name=value, as in --model-arg drop_path_rate=0.1")
    if key in ("img_size", "pretrained"):
        instead = "the axis size" if key == "img_size" else "weights=pretrained"
        raise UsageError(f"--model-arg {word}: {key} is named by {instead}")
    try:
        value = json.loads({"True": "true", "False": "false", "None": "null"}.get(text, text))
    except (ValueError, RecursionError):
        value = text
    if isinstance(value, float) and not isfinite(value):
        value = text  # JSON's readers take NaN and Infinity, its writers here don't
    if not isinstance(value, str | int | float | bool | None):
        raise UsageError(f"--model-arg {word}: want one number, word, true, false or null")
    return key, value


def _require(device: str) -> None:
    kind, _, index = device.partition(":")
    count = torch.cuda.device_count()
    if kind == "cuda" and int(index or 0) >= count:
        raise UsageError(f"device={device}: PyTorch {torch.__version__} sees {count} CUDA devices here; use device=cpu")

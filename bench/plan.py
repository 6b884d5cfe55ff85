"""From the words of a command line to cells, refusing early what could not be measured."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import isfinite
from typing import Any

import torch

from bench import photographs
from bench.build import check
from bench.errors import UsageError
from bench.metrics import select
from bench.names import default_size, resolve
from bench.runner import Cell
from bench.spec import JsonScalar, parse
from bench.weights import identify

_COMMA = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')  # outside of double quotes: an even number of them follows


def plan(words: Sequence[str], model_args: Sequence[str] = (), checkpoint: str | None = None) -> list[Cell]:
    """The cells that the words ask for (grammar: `bench.spec`), every one of which can be built.

    model_args are the constructor's, `key=value` each; `key=value,value` are innermost of the product. checkpoint is a
    file of weights, whose name may hold what the grammar may not.

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
            model_args=tuple(zip(arguments, values, strict=True)),
        )
        for spec in request.specs(resolve(request.patterns), default_size, default_device())
        for values in product(*arguments.values())
    ]
    specs = list({spec.id: spec for spec in specs}.values())  # by id: true and 1 are equal, and two experiments
    built = {
        (spec.model, spec.mode == "pretrain", spec.size, spec.weights, repr(spec.model_args)): spec for spec in specs
    }
    for spec in built.values():
        check(spec)
    return [Cell(spec, metrics) for spec in specs]


def default_device() -> str:
    """`cuda` where PyTorch sees a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _arguments(words: Sequence[str]) -> dict[str, tuple[JsonScalar, ...]]:
    arguments: dict[str, tuple[JsonScalar, ...]] = {}
    for key, values in map(_argument, words):
        if key in arguments:
            raise UsageError(f"--model-arg {key} is given twice; write its values in one word, as in {key}=A,B")
        arguments[key] = values
    return arguments


def _argument(word: str) -> tuple[str, tuple[JsonScalar, ...]]:
    """`key=value` or `key=value,value` of `--model-arg`: each value as JSON (numbers, true, false, null), else as it
    stands; a word that holds a comma is written in the double quotes of JSON."""
    key, separator, text = word.partition("=")
    if not (separator and key.isidentifier()):
        raise UsageError(f"--model-arg {word}: want name=value, as in --model-arg drop_path_rate=0.1")
    if key in ("img_size", "pretrained"):
        instead = "the axis size" if key == "img_size" else "weights=pretrained"
        raise UsageError(f"--model-arg {word}: {key} is named by {instead}")
    if text.count('"') % 2:
        raise UsageError(f"--model-arg {word}: a double quote is not closed")
    whole = _value(text)  # as JSON commas may be its own
    texts = _COMMA.split(text) if isinstance(whole, str) and whole == text else [text]
    if len(texts) > 1 and "" in texts:
        raise UsageError(f"--model-arg {word}: a value is missing; write {key}=A,B")
    values = [_value(one) for one in texts]
    if not all(isinstance(value, str | int | float | bool | None) for value in values):
        raise UsageError(f"--model-arg {word}: want one number, word, true, false or null")
    return key, tuple(values)


def _value(text: str) -> Any:
    """`text` read as JSON, or itself where it is none."""
    try:
        value = json.loads({"True": "true", "False": "false", "None": "null"}.get(text, text))
    except (ValueError, RecursionError):
        return text
    # JSON's readers take NaN and Infinity, its writers here don't
    return text if isinstance(value, float) and not isfinite(value) else value


def _require(device: str) -> None:
    kind, _, index = device.partition(":")
    count = torch.cuda.device_count()
    if kind == "cuda" and int(index or 0) >= count:
        raise UsageError(f"device={device}: PyTorch {torch.__version__} sees {count} CUDA devices here; use device=cpu")

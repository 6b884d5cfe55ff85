"""Spec: what is measured, and the grammar that writes many of them in one line.

    sgformer_s 'deit_*_patch16_224' batch=1,8 size=224,448 precision=float32,amp_bfloat16 metrics=params,macs

Words without `=` are model names or patterns; words with it are axes, and the product of all axes is taken.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from itertools import product
from typing import Any

from bench.errors import UsageError
from bench.plain import Plain

MODES = ("infer", "train", "pretrain")
PRECISIONS = ("float32", "tf32", "bfloat16", "float16", "amp_bfloat16", "amp_float16")
ATTENTION = ("fused", "eager")
LAYOUTS = ("contiguous", "channels_last")
FORMS = ("auto", "training")
COMPILE = ("none", "default", "reduce-overhead", "max-autotune")

JsonScalar = str | int | float | bool | None


@dataclass(frozen=True)
class Spec(Plain):
    """One experiment. Two equal Specs are the same experiment, and have the same `id`.

    model is a registered name, or `package.module:function` or `file.py:function` for a user's own (`bench.plugins`).
    size is (height, width) in pixels. precision fixes weights, inputs, autocast and TF32 in one word.
    weights is `random` (the constructor's, seeded), `pretrained` (timm's) or a checkpoint, `FILE@sha256`; images is
    what attention is looked at on: `photographs`, `noise` or a folder. form says what is measured of a model that has
    a deployed form (`deploy()`): `auto` is that form in mode `infer`, `training` the model as it is constructed.
    model_args are constructor arguments beside `img_size`, kept sorted by name.
    """

    model: str
    mode: str = "infer"
    batch: int = 1
    size: tuple[int, int] = (224, 224)
    precision: str = "float32"
    device: str = "cpu"
    compile: str = "none"
    attention: str = "fused"
    layout: str = "contiguous"
    weights: str = "random"
    images: str = "photographs"
    form: str = "auto"
    model_args: tuple[tuple[str, JsonScalar], ...] = ()

    def __post_init__(self) -> None:
        height, width = self.size
        arguments = self.model_args.items() if isinstance(self.model_args, Mapping) else self.model_args
        object.__setattr__(self, "size", (height, width))
        object.__setattr__(self, "model_args", tuple(sorted((str(key), value) for key, value in arguments)))
        _positive("batch", self.batch)
        _positive("size", height)
        _positive("size", width)
        for axis, allowed in _CHOICES.items():
            _choice(axis, getattr(self, axis), allowed)
        object.__setattr__(self, "device", _device(self.device))

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {**dataclasses.asdict(self), "size": list(self.size), "model_args": dict(self.model_args)}

    @property
    def id(self) -> str:
        """12 hexadecimal digits of the SHA-256 of the canonical JSON.

        Fields at their default are left out of it, so that a field added later leaves old ids as they are.
        """
        default = Spec(self.model).to_dict()
        free = {key: value for key, value in self.to_dict().items() if key == "model" or value != default[key]}
        return hashlib.sha256(json.dumps(free, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]

    def __str__(self) -> str:
        default = Spec(self.model)
        words = [f"batch={self.batch}", f"size={format_size(self.size)}", f"precision={self.precision}"]
        words += [f"device={self.device}"]
        words += [
            f"{axis}={getattr(self, axis)}"
            for axis in ("mode", "compile", "attention", "layout", "weights", "images", "form")
            if getattr(self, axis) != getattr(default, axis)
        ]
        words += [f"{key}={value}" for key, value in self.model_args]
        return " ".join([self.model, *words])


def format_size(size: tuple[int, int]) -> str:
    """`224` for a square, `224x288` (height x width) for the rest: what the axis `size` reads."""
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


@dataclass(frozen=True)
class Request:
    """A parsed command line: model patterns, the values of each axis that was named, metric names (empty: all)."""

    patterns: tuple[str, ...]
    axes: Mapping[str, tuple[Any, ...]]
    metrics: tuple[str, ...] = ()

    def specs(
        self, models: Sequence[str], default_size: Callable[[str], tuple[int, int]], default_device: str
    ) -> list[Spec]:
        """The product of `models` and all axes, models outermost, without duplicates.

        default_size gives a model's own input size, taken where the axis `size` is not named.
        """
        specs: dict[Spec, None] = {}
        for model in models:
            axes = {**self.axes}  # in the order in which they were written
            axes.setdefault("size", (default_size(model),))
            axes.setdefault("device", (default_device,))
            for values in product(*axes.values()):
                specs[Spec(model, **dict(zip(axes, values, strict=True)))] = None
        return list(specs)


def parse(words: Sequence[str]) -> Request:
    """Read the grammar above. Raises UsageError naming the word and what is allowed."""
    patterns: list[str] = []
    axes: dict[str, tuple[Any, ...]] = {}
    metrics: tuple[str, ...] = ()
    for word in words:
        name, separator, text = word.partition("=")
        if not separator:
            patterns.append(word)
            continue
        if name in axes or (name == "metrics" and metrics):
            raise UsageError(f"{name}= is given twice; write its values in one word, as in {name}=A,B")
        values = text.split(",")
        if "" in values:
            raise UsageError(f"{word}: a value is missing; write {_EXAMPLES.get(name, f'{name}=A,B')}")
        if name == "metrics":
            metrics = tuple(dict.fromkeys(values))
        elif name in _PARSERS:
            axes[name] = tuple(_PARSERS[name](value) for value in values)
        else:
            allowed = (*_PARSERS, "metrics")
            raise UsageError(f"no axis {name!r}{hint(name, allowed)}; axes are {', '.join(allowed)}")
    return Request(tuple(patterns), axes, metrics)


def hint(word: str, known: Sequence[str]) -> str:
    """` (did you mean X?)`, or nothing, for an error message about `word`."""
    close = get_close_matches(word, known, n=3, cutoff=0.6)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def _positive(axis: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{axis}={value}: want a positive whole number, as in {_EXAMPLES[axis]}")


def _choice(axis: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{axis}={value}{hint(str(value), allowed)}: want one of {', '.join(allowed)}")


def _device(value: str) -> str:
    """`value` in its one spelling: the first GPU is `cuda`, which `cuda:0` means too."""
    kind, _, index = value.partition(":")
    if value in ("cpu", "cuda"):
        return value
    if kind == "cuda" and index.isdecimal() and index.isascii():
        return f"cuda:{int(index)}" if int(index) else "cuda"
    raise UsageError(f"device={value}: want cpu, cuda, or cuda:N for the N-th GPU")


def _whole(axis: str) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text) if text.isdecimal() and text.isascii() else text
        _positive(axis, value)
        return int(value)

    return read


def _size(text: str) -> tuple[int, int]:
    height, separator, width = text.partition("x")
    whole = _whole("size")
    return (whole(height), whole(width)) if separator else (whole(text), whole(text))


def _one_of(axis: str, allowed: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        _choice(axis, text, allowed)
        return text

    return read


_CHOICES = {
    "mode": MODES,
    "precision": PRECISIONS,
    "compile": COMPILE,
    "form": FORMS,
    "attention": ATTENTION,
    "layout": LAYOUTS,
}
_EXAMPLES = {
    "batch": "batch=1,8",
    "size": "size=224 or size=224x288 (height x width)",
    "metrics": "metrics=params,macs",
}
_PARSERS: dict[str, Callable[[str], Any]] = {
    "batch": _whole("batch"),
    "size": _size,
    "device": _device,
    "weights": str,  # files are looked for when planning
    "images": str,
    **{axis: _one_of(axis, allowed) for axis, allowed in _CHOICES.items()},
}
AXES = tuple(_PARSERS)

assert {*AXES, "model", "model_args"} == {field.name for field in fields(Spec)}

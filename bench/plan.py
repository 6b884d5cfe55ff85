"""From the words of a command line to cells, refusing early what could not be measured."""

from collections.abc import Sequence

import torch

from bench.build import check
from bench.errors import UsageError
from bench.metrics import select
from bench.names import default_size, resolve
from bench.runner import Cell
from bench.spec import parse


def plan(words: Sequence[str]) -> list[Cell]:
    """The cells that the words ask for (grammar: `bench.spec`), every one of which can be built.

    Raises UsageError on an unknown model, axis, value or metric, a size that a model refuses, an absent device.
    """
    request = parse(words)
    if not request.patterns:
        raise UsageError("no model named; as in: run_bench.py run sgformer_s 'deit_*_patch16_224' batch=1,8")
    metrics = tuple(metric.name for metric in select(request.metrics))
    for device in request.axes.get("device", ()):
        _require(device)
    specs = request.specs(resolve(request.patterns), default_size, default_device())
    for spec in {(spec.model, spec.size, spec.model_args): spec for spec in specs}.values():
        check(spec)
    return [Cell(spec, metrics) for spec in specs]


def default_device() -> str:
    """`cuda` where PyTorch sees a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _require(device: str) -> None:
    kind, _, index = device.partition(":")
    count = torch.cuda.device_count()
    if kind == "cuda" and int(index or 0) >= count:
        raise UsageError(f"device={device}: PyTorch {torch.__version__} sees {count} CUDA devices here; use device=cpu")

"""BEiT v2 in the tests: its goldens, weights that depend on official names alone, and small models of each kind."""

import json
import logging
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.model import fused_attention
from models.beitv2 import VQKD, Classifier, MaskedModel, checkpoint_filter_fn
from tests.detfill import fill, values

GOLDENS = Path(__file__).parent / "goldens" / "beitv2"
LISTS = Path(__file__).parent / "statedict" / "beitv2"
ROUTES = ["reference", "fast"]
each_route = pytest.mark.parametrize("impl", ROUTES)

SMALL = dict(img_size=64, embed_dim=32, num_heads=2)  # 4x4 patches


def close(ours: Any, theirs: Any, atol: float = 1e-9) -> None:
    """As near as goldens are held to, in float64."""
    torch.testing.assert_close(torch.as_tensor(ours), torch.as_tensor(theirs), rtol=0, atol=atol)


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDENS / f"{name}.npz") as file:
        return dict(file)


def check(ours: Tensor, known: dict[str, np.ndarray], key: str) -> None:
    """Equal to a stored tensor, or where only a sample of it is stored to that, and to its norm."""
    if key in known:
        close(ours, known[key])
        return
    assert list(ours.shape) == known[f"{key}_shape"].tolist()
    close(ours.flatten()[:: int(known[f"{key}_stride"])], known[f"{key}_sample"])
    torch.testing.assert_close(ours.norm(), torch.as_tensor(known[f"{key}_l2"]), rtol=1e-9, atol=0)


def check_first(ours: Tensor, known: dict[str, np.ndarray], key: str) -> None:
    """The same of the first image alone, where it saves half of the time."""
    count, *_ = shape = known[f"{key}_shape"].tolist()
    assert list(ours.shape) == [1, *shape[1:]]
    found = ours.flatten()[:: int(known[f"{key}_stride"])]
    assert len(found) >= len(known[f"{key}_sample"]) // count
    close(found, known[f"{key}_sample"][: len(found)])


@cache
def index() -> dict:
    return json.loads((GOLDENS / "index.json").read_text())


def official_state(name: str) -> dict[str, Tensor]:
    """The state dict of an official list, filled by name; buffers are left out."""
    state = {}
    for line in (LISTS / f"{name}.tsv").read_text().splitlines()[1:]:
        name, sizes, _, kind = line.split("\t")
        if kind.startswith("param"):
            state[name] = torch.from_numpy(np.asarray(values(name, tuple(map(int, sizes.split("x"))))))
    return state


def undrawn(name: str, **words: Any) -> nn.Module:
    """A model whose weights are about to be replaced: truncated normals of a hundred million numbers take long."""
    with mock.patch.object(nn.init, "trunc_normal_"):
        return timm.create_model(name, **words)


class Known:
    """A full-size model with the official list's weights, in float64, by each route; the two share the numbers."""

    def __init__(self, name: str, official: str, **words: Any):
        self.official, self.golden, self.facts = official, golden(official), index()[official]
        self.models = {}
        for impl in ROUTES:
            with fused_attention(impl == "fast"):
                self.models[impl] = undrawn(name, impl=impl, **words).double().eval().requires_grad_(False)
        first, second = self.models.values()
        fitted = checkpoint_filter_fn(official_state(official), first)
        found = first.load_state_dict(fitted, strict=False, assign=True)
        assert found.unexpected_keys == []
        assert all(key in dict(first.named_buffers()) for key in found.missing_keys)
        second.load_state_dict(first.state_dict(), assign=True)


def by_route(kind: Callable[[Known, str], Any]) -> tuple[Any, pytest.MarkDecorator]:
    """The fixture `passed`, kind(known, impl) of the module's `known`; and the mark that runs a test by each route."""

    @pytest.fixture(scope="module")
    def passed(request, known):
        return kind(known, request.param)

    return passed, pytest.mark.parametrize("passed", ROUTES, indirect=True, scope="module")


def small_classifier(impl: str = "fast", **words: Any) -> Classifier:
    small = {**SMALL, "depth": 3, "num_classes": 5, "init_values": 0.1, "impl": impl}
    with fused_attention(impl == "fast"):
        return fill(Classifier(**small | words).double().eval())


def small_masked(impl: str = "fast", **words: Any) -> MaskedModel:
    small = {**SMALL, "depth": 3, "early_layer": 2, "vocab_size": 37, "init_values": 0.1, "impl": impl}
    with fused_attention(impl == "fast"):
        return fill(MaskedModel(**small | words).double().eval())


def small_tokenizer(impl: str = "fast", **words: Any) -> VQKD:
    """With a codebook of unit rows, unless k-means is to start it."""
    small = {**SMALL, "depth": 2, "decoder_depth": 1, "vocab_size": 37, "code_width": 8, "impl": impl}
    with fused_attention(impl == "fast"):
        model = VQKD(**small | words).double().eval()
    codes = model.quantize.embedding.weight.clone()
    fill(model)
    if model.quantize.embedding.ready:
        with torch.no_grad():
            unit = F.normalize(model.quantize.embedding.weight, dim=1)
            model.quantize.embedding.weight.copy_(unit)
    else:
        model.quantize.embedding.weight.data.copy_(codes)
    return model


def uneven_masks() -> Tensor:
    """Of three images of 4x4 patches, with 5, 1 and 7 of them masked."""
    masks = torch.zeros(3, 16, dtype=torch.bool)
    for mask, patches in zip(masks, ([0, 3, 6, 9, 15], [2], [1, 4, 5, 8, 10, 11, 14]), strict=True):
        mask[patches] = True
    return masks


def pictures(batch: int = 3, size: int = 64, channels: int = 3) -> Tensor:
    """In [0, 1], float64."""
    draw = torch.Generator().manual_seed(1)
    return torch.rand(batch, channels, size, size, generator=draw, dtype=torch.float64)


def gradients(module: nn.Module, loss: Tensor) -> dict[str, Tensor | None]:
    module.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad for name, p in module.named_parameters()}


def flops(call: Any, *args: Any, **kwargs: Any) -> int:
    """As torch's FlopCounterMode counts a call: twice the multiply-accumulates of products."""
    with FlopCounterMode(display=False) as counter:
        call(*args, **kwargs)
    return counter.get_total_flops()


class _Called(nn.Module):
    """A call of a module's, as fvcore can trace it."""

    def __init__(self, owner: nn.Module, call: Any):
        super().__init__()
        self.owner, self.call = owner, call

    def forward(self, *tensors: Tensor) -> Any:
        return self.call(*tensors)


def traced(owner: nn.Module, call: Any, *tensors: Tensor) -> dict[str, int]:
    """What fvcore counts of `call(*tensors)`, by operator."""
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(_Called(owner, call).eval(), tensors)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        return {operator: int(count) for operator, count in analysis.by_operator().items()}


def filled(name: str, *shape: int) -> Tensor:
    """As detfill has a parameter of that name."""
    return torch.from_numpy(values(name, shape))


def as_rows(maps: Tensor) -> Tensor:
    """(B, d, h, w) -> (B, P, d)."""
    return maps.flatten(2).transpose(1, 2)


def as_maps(rows: Tensor) -> Tensor:
    """(B, P, d) -> (B, d, h, w) of 14x14 patches."""
    return rows.transpose(1, 2).unflatten(-1, (14, 14))


def scalar(known: dict[str, np.ndarray], key: str) -> Tensor:
    return torch.tensor(known[key].item(), dtype=torch.float64)


def unit(*shape: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(shape, generator=draw, dtype=torch.float64), dim=-1)


CODEBOOK = filled("quantize.embedding.weight", 8192, 32)

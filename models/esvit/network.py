"""A backbone with projection heads: what student and teacher both are."""

from collections.abc import Sequence
from itertools import groupby, islice
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HIDDEN, BOTTLENECK = 2048, 256


class WeightNormed(nn.Module):
    """Linear layer without bias, each of its rows of length weight_g: officially `torch.nn.utils.weight_norm`."""

    def __init__(self, dim: int, out_dim: int, frozen: bool):
        """frozen: rows keep length 1 (`norm_last_layer`)."""
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(out_dim, 1), requires_grad=not frozen)
        self.weight_v = nn.Parameter(nn.Linear(dim, out_dim, bias=False).weight.detach())

    @property
    def weight(self) -> Tensor:
        """(out_dim, dim)."""
        return self.weight_v * (self.weight_g / self.weight_v.norm(dim=1, keepdim=True))


class Head(nn.Module):
    """Features (..., C) -> bottleneck of length 1 (..., 256) -> logits (..., K) (spec, section 5)."""

    def __init__(self, dim: int, out_dim: int, norm_last_layer: bool):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, BOTTLENECK)
        )
        for layer in self.mlp[::2]:
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        self.last_layer = WeightNormed(BOTTLENECK, out_dim, frozen=norm_last_layer)

    @property
    def out_dim(self) -> int:
        return len(self.last_layer.weight_g)

    def bottleneck(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., 256), of length 1."""
        return F.normalize(self.mlp(x), dim=-1, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.bottleneck(x), self.last_layer.weight)


class Features(NamedTuple):
    """Of each crop. views: (B, C) each; regions: (B, N, C) each, N by the crop's size."""

    views: list[Tensor]
    regions: list[Tensor]


class Network(nn.Module):
    """backbone: with `forward_regions`; head: of view features; head_dense: of regions, None where no loss reads it."""

    def __init__(self, backbone: nn.Module, head: Head, head_dense: Head | None):
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.head_dense = head_dense

    @property
    def sparse_layers(self) -> int:
        """How many neighbours a pass of ViL needs in training; 0 of other backbones."""
        return getattr(self.backbone, "sparse_layers", 0)

    def forward(self, crops: Sequence[Tensor], neighbours: Sequence[Sequence[int]] | None = None) -> Features:
        """Features of crops (B, channels, H, W); consecutive ones of one size in one pass. neighbours: what ViL is
        given, a sequence a pass."""
        lengths = runs(crops)
        features = Features([], [])
        given = iter(crops)
        for number, length in enumerate(lengths):
            words = {} if neighbours is None else {"neighbours": neighbours[number]}
            view, regions = self.backbone.forward_regions(torch.cat(list(islice(given, length))), **words)
            features.views.extend(view.split(len(crops[0])))
            features.regions.extend(regions.split(len(crops[0])))
        return features


def runs(crops: Sequence[Tensor]) -> list[int]:
    """How many crops go through the backbone together: each time as many as follow each other with one size."""
    return [len(list(run)) for _, run in groupby(map(shape_of, crops))]


def shape_of(x: Tensor) -> tuple[int, ...]:
    """In numbers, also where torch.jit traces sizes as tensors, which compare as such."""
    return tuple(map(int, x.shape))

"""EsViT in the tests: its goldens, weights that depend on official names alone, and a step of a tiny backbone."""

import json
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.esvit import EsViT, network
from models.esvit.network import Head, Network
from tests.detfill import values

GOLDENS = Path(__file__).parent / "goldens" / "esvit"
LISTS = Path(__file__).parent / "statedict" / "esvit"
BACKBONES = {  # golden -> registered name and arguments
    "swin_tiny_w7": ("esvit_swin_tiny", {}),
    "swin_tiny_w14": ("esvit_swin_tiny", {"window": 14}),
    "vil_2262": ("esvit_vil_2262", {}),
    "cvt_tiny": ("esvit_cvt_tiny", {}),
    "deit_small_p16": ("esvit_deit_small", {}),
    "resnet50": ("esvit_resnet50", {}),
}

# (impl, whether attention may be fused): the ways through ViL and CvT
ROUTES = [("reference", False), ("fast", False), ("fast", True)]
every_route = pytest.mark.parametrize(("impl", "fused"), ROUTES, ids=["reference", "explicit", "fused"])


def close(ours: Tensor, theirs: object) -> None:
    """As near as goldens are held to, in float64."""
    torch.testing.assert_close(ours, torch.as_tensor(theirs), rtol=0, atol=1e-9)


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDENS / f"{name}.npz") as file:
        return dict(file)


@cache
def index(name: str = "index") -> dict:
    return json.loads((GOLDENS / f"{name}.json").read_text())


def official_state(path: Path) -> dict[str, Tensor]:
    """The state dict of an official list, filled by name; aliases and derived buffers are left out."""
    state = {}
    for line in path.read_text().splitlines()[1:]:
        name, sizes, _, kind = line.split("\t")
        if (kind.startswith("param") and "alias" not in kind) or name.endswith(("running_mean", "running_var")):
            shape = tuple(map(int, sizes.split("x")))
            state[name] = torch.from_numpy(np.asarray(values(name, shape)))
    return state


@torch.no_grad()
def fill_network(network: nn.Module, prefix: str = "") -> None:
    """Fill a student or teacher by official names, which know no `backbone.`."""
    tensors = dict(network.named_parameters())
    tensors |= {n: b for n, b in network.named_buffers() if n.endswith(("running_mean", "running_var"))}
    for name, tensor in tensors.items():
        official = prefix + name.removeprefix("backbone.")
        tensor.copy_(torch.from_numpy(np.asarray(values(official, tuple(tensor.shape)))))


def crops(batch: int, local: int) -> list[Tensor]:
    """Those of the goldens, float64: two of 224 px, then `local` of 96, from one generator."""
    draw = np.random.default_rng(0)
    sizes = [224, 224] + local * [96]
    return [torch.from_numpy(draw.standard_normal((batch, 3, size, size))) for size in sizes]


class Tiny(nn.Module):
    """Images of any size in patches of 8 px -> view and region features of width 16."""

    in_chans = 3

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 8, stride=8)
        self.norm = nn.BatchNorm2d(16)

    def check(self, images):
        if images.shape[-1] % 8:
            raise ValueError(f"Tiny takes sides that are multiples of 8, got {tuple(images.shape)}.")

    def forward_regions(self, images):
        self.check(images)
        regions = self.norm(self.conv(images)).flatten(2).transpose(1, 2)
        return regions.mean(dim=1), regions


def tiny(view=20, dense=20) -> Network:
    """Student or teacher, whose heads are as wide; with a hidden width that is drawn soon."""
    with mock.patch.object(network, "HIDDEN", 32):
        return Network(Tiny(), Head(16, view, False), Head(16, dense, False) if dense else None)


def small(impl="fast", sizes=(32, 32, 16, 16), dense=20, **words) -> EsViT:
    torch.manual_seed(0)
    return EsViT(tiny(dense=dense), tiny(dense=dense), [(size, size) for size in sizes], impl=impl, **words).double()


def draw(module: EsViT, batch=2):
    return module.sample_inputs(batch, torch.Generator().manual_seed(0), "cpu", torch.float64)

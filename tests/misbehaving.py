"""Models that go wrong in a worker, each in its own way; workers import this module to register them."""

import os
import signal
import sys
import time
from pathlib import Path

import torch
from timm.models import generate_default_cfgs, register_model
from torch import nn

default_cfgs = generate_default_cfgs(
    {
        name: {"input_size": (3, 32, 32), "num_classes": 10}
        for name in (
            "vitbench_killed",
            "vitbench_slow",
            "vitbench_raising",
            "vitbench_exiting",
            "vitbench_asking",
            "vitbench_telling",
            "vitbench_born_asking",
        )
    }
)


class Tiny(nn.Module):
    """A linear classifier of mean colours, which first does what it was told to, where it runs on real numbers."""

    def __init__(self, act):
        super().__init__()
        self.head = nn.Linear(3, 10)
        self.act = act

    def forward(self, x):
        if x.device.type != "meta" and type(x) is torch.Tensor:
            self.act()
        return self.head(x.mean(dim=(2, 3)))


def _killed():
    os.kill(os.getpid(), signal.SIGKILL)


def _slow():
    time.sleep(60)


def _raising():
    raise RuntimeError("this model is broken\nand has more to say")


def _telling():
    folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    files = [path.name for path in folder.rglob("*") if path.is_file()]
    raise RuntimeError(f"compiled code in {folder}, which holds {files}")


def _exiting():
    print("last words", file=sys.stderr, flush=True)
    os._exit(7)


@register_model
def vitbench_killed(pretrained=False, **kwargs):
    return Tiny(_killed)


@register_model
def vitbench_slow(pretrained=False, **kwargs):
    return Tiny(_slow)


@register_model
def vitbench_raising(pretrained=False, **kwargs):
    return Tiny(_raising)


@register_model
def vitbench_telling(pretrained=False, **kwargs):
    return Tiny(_telling)


@register_model
def vitbench_exiting(pretrained=False, **kwargs):
    return Tiny(_exiting)


class Asking(nn.Module):
    """Asks for a number, which neither meta nor fake tensors have."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 10)

    def forward(self, x):
        return self.head(x.mean(dim=(2, 3)) * float(x.abs().max().item() > 0))


@register_model
def vitbench_asking(pretrained=False, **kwargs):
    return Asking()


@register_model
def vitbench_born_asking(pretrained=False, **kwargs):
    rates = [rate.item() for rate in torch.linspace(0, 0.1, 3)]  # drop path rates, as many a repository writes them
    return nn.Sequential(nn.Flatten(), nn.Dropout(rates[1]), nn.Linear(3 * 32 * 32, 10))

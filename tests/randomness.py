"""The generators that a process shares: what draws from a seed of its own must leave them alone."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def untouched() -> Iterator[None]:
    """Fail if Python's, NumPy's or PyTorch's global generator moves meanwhile."""
    before = _states()
    yield
    assert _states() == before


def _states() -> tuple[object, ...]:
    legacy = np.random.get_bit_generator().state["state"]  # libraries may still draw from it
    return random.getstate(), legacy["key"].tolist(), legacy["pos"], torch.get_rng_state().tolist()

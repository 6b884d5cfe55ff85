"""Fill a model with numbers that depend only on parameter names and shapes, so two implementations can be compared.

Every parameter's values come from NumPy's PCG64 generator seeded with the CRC-32 of its state-dict name:
  ndim >= 2                     normal, scaled by 1 / sqrt(prod(shape[1:]))
  ndim < 2, name ends 'weight'  1 + 0.1 * normal         (norm scales)
  any other ndim < 2            0.1 * normal             (biases, tokens, layer scales)
Of the buffers only '*running_mean' (0.1 * normal) and '*running_var' (uniform on [0.5, 1.5)) are filled;
every other buffer keeps what the constructor computed.
"""

import zlib

import numpy as np
import torch


def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Float64 array of `shape` for the parameter or buffer called `name`."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape)
    normal = rng.standard_normal(shape)
    if len(shape) >= 2:
        return normal / np.sqrt(np.prod(shape[1:]))
    if name.endswith("weight"):
        return 1 + 0.1 * normal
    return 0.1 * normal


@torch.no_grad()
def fill(model: torch.nn.Module) -> torch.nn.Module:
    """Overwrite `model` in place (parameters and batch-norm statistics); returns it."""
    for name, p in model.named_parameters():
        p.copy_(torch.from_numpy(np.asarray(values(name, tuple(p.shape)))))
    for name, b in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            b.copy_(torch.from_numpy(np.asarray(values(name, tuple(b.shape)))))
    return model


def image(batch: int = 2, size: int = 224, channels: int = 3) -> torch.Tensor:
    """Float64 input (batch, channels, size, size), standard normal, seed 0."""
    return torch.from_numpy(np.random.default_rng(0).standard_normal((batch, channels, size, size)))

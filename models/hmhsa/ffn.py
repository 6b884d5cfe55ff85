"""cFFN: one of an FFN's two layers factorised through fewer channels (paper, section 3.3).

    fc2 (H -> C)  becomes  reduce (H -> d), restore (d -> C),  d = floor(t H C / (H + C)), nothing in between

In the training form each factor is a sum of parallel branches, a linear map and a batch norm each. Deployed, the
branches and norms of a factor are one linear map with a bias: the same function, exactly, in eval mode.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from timm.layers import trunc_normal_
from torch import Tensor, nn

from models.hmhsa.options import Options

EPS = 1e-5  # of the batch norms
Layer = nn.Linear | nn.Conv2d  # a linear map of tokens (B, N, C), or of the pixels of a map (B, C, H, W)


def layer_like(layer: Layer, in_dim: int, out_dim: int) -> Layer:
    """A linear layer, or 1x1 convolution, of the kind, device and type of `layer`."""
    where = {"device": layer.weight.device, "dtype": layer.weight.dtype}
    if isinstance(layer, nn.Conv2d):
        return nn.Conv2d(in_dim, out_dim, 1, **where)
    return nn.Linear(in_dim, out_dim, **where)


def fuse(weights: list[Tensor], norms: list[Mapping[str, Tensor]]) -> tuple[Tensor, Tensor]:
    """Weight and bias of a sum of branches: of each its weight (out, in, ...), and its norm's weight, bias,
    running_mean and running_var (out,)."""
    scales = [norm["weight"] / (norm["running_var"] + EPS).sqrt() for norm in norms]
    weight = sum(w * s.view(-1, *[1] * (w.ndim - 1)) for w, s in zip(weights, scales, strict=True))
    bias = sum(norm["bias"] - norm["running_mean"] * s for norm, s in zip(norms, scales, strict=True))
    return weight, bias


class Branch(nn.Module):
    """A linear map without bias, then batch norm over all tokens of the batch."""

    def __init__(self, like: Layer):
        super().__init__()
        self.weight = nn.Parameter(torch.empty_like(like.weight))
        where = {"device": like.weight.device, "dtype": like.weight.dtype}
        norm = nn.BatchNorm2d if isinstance(like, nn.Conv2d) else nn.BatchNorm1d
        self.norm = norm(len(like.weight), eps=EPS, **where)
        trunc_normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.ndim == 4:
            return self.norm(F.conv2d(x, self.weight))
        x = F.linear(x, self.weight)
        return self.norm(x.flatten(0, -2)).view_as(x)


class Branches(nn.Module):
    """The training form of one factor: the sum of parallel branches."""

    def __init__(self, like: Layer, count: int):
        super().__init__()
        self.branches = nn.ModuleList(Branch(like) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        first, *others = (branch(x) for branch in self.branches)
        return sum(others, first)

    @torch.no_grad()
    def fuse(self) -> Layer:
        """The deployed form: one layer with a bias. timm's `reparameterize_model` calls this as well."""
        weight, bias = fuse([one.weight for one in self.branches], [one.norm.state_dict() for one in self.branches])
        out_dim, in_dim = weight.shape[:2]
        kind = nn.Conv2d(1, 1, 1, device="meta") if weight.ndim == 4 else nn.Linear(1, 1, device="meta")
        layer = layer_like(kind, in_dim, out_dim)
        layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
        return layer.train(self.training)


class Factors(nn.Sequential):
    """What stands for one layer: `reduce`, then `restore`. Raises ValueError where no channel would be left between."""

    def __init__(self, layer: Layer, options: Options):
        super().__init__()
        out_dim, in_dim = layer.weight.shape[:2]
        inner = int(options.exact_ratio * in_dim * out_dim // (in_dim + out_dim))
        if inner < 1:
            raise ValueError(f"ratio={options.ratio!r} leaves no channel between {in_dim} and {out_dim}: want more.")
        for name, wide, narrow in (("reduce", in_dim, inner), ("restore", inner, out_dim)):
            factor = layer_like(layer, wide, narrow)
            self.add_module(name, Branches(factor, options.branches) if options.branches else factor)


def compact(mlp: nn.Module, options: Options) -> None:
    """Change an FFN of timm's, with layers `fc1` and `fc2` and perhaps a depthwise convolution `dwconv` between."""
    if options.compact == "narrow":
        hidden, dim = mlp.fc1.weight.shape[:2]
        hidden = round((1 + options.exact_ratio) / 2 * hidden)  # (1 + t) / 2 of the MACs, as cFFN has
        mlp.fc1, mlp.fc2 = layer_like(mlp.fc1, dim, hidden), layer_like(mlp.fc2, hidden, dim)
        if hasattr(mlp, "dwconv"):
            weight = mlp.dwconv.weight
            where = {"device": weight.device, "dtype": weight.dtype}
            mlp.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, **where)
    elif options.compact == "fc1":
        mlp.fc1 = Factors(mlp.fc1, options)
    elif options.compact:
        mlp.fc2 = Factors(mlp.fc2, options)


def deploy(model: nn.Module) -> None:
    """Put the deployed form in the place of every training form within `model`."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Branches):
                setattr(module, name, child.fuse())


def deploy_state(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with every factor in its deployed form; those that are already, and all else, stay."""
    deployed: dict[str, Tensor] = {}
    factors: dict[str, dict[str, dict[str, Tensor]]] = {}  # factor -> number of the branch -> name -> tensor
    for key, value in state_dict.items():
        factor, of_branch, rest = key.partition(".branches.")
        if of_branch:
            number, _, name = rest.partition(".")
            factors.setdefault(factor, {}).setdefault(number, {})[name] = value
        else:
            deployed[key] = value
    for factor, branches in factors.items():
        norms = [{name.removeprefix("norm."): x for name, x in one.items()} for one in branches.values()]
        weights = [one["weight"] for one in branches.values()]
        deployed[f"{factor}.weight"], deployed[f"{factor}.bias"] = fuse(weights, norms)
    return deployed

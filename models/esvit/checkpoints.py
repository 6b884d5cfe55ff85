"""State dicts of the official code: what is dropped, resized or renamed on the way into a model."""

import re

import torch.nn.functional as F
from torch import Tensor, nn

from models.esvit.network import Network
from models.esvit.vit import resize_positions

__all__ = ["checkpoint_filter_fn"]

PREFIX = re.compile(r"^(backbone\.)+")
HEADS = re.compile(r"^head(_dense)?\.(mlp|last_layer)\.")
DERIVED = re.compile(r"\.relative_position_index$")
ALIAS = re.compile(r"\.attn\.(query|kv|proj)_global\.")  # ViL: the same layers as without `_global`
TABLE = "relative_position_bias_table"


def checkpoint_filter_fn(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Fit an official state dict to a backbone, or to the student or teacher of a pre-training module (`Network`).

    Of a state dict of the whole module (`EsViT`) the teacher is taken, as for evaluation. Derived buffers and ViL's
    aliases are dropped; bias tables of other windows and positions of other images are resized bicubically, as the
    official loader does; a backbone takes no projection heads.
    """
    teacher = {name.removeprefix("teacher."): x for name, x in state_dict.items() if name.startswith("teacher.")}
    state_dict = teacher or state_dict
    state = {
        PREFIX.sub("", name): x for name, x in state_dict.items() if not DERIVED.search(name) and not ALIAS.search(name)
    }
    if isinstance(model, Network):
        state = {name if HEADS.match(name) else f"backbone.{name}": x for name, x in state.items()}
    else:
        state = {name: x for name, x in state.items() if not HEADS.match(name)}
    own = {name: x.shape for name, x in model.state_dict().items()}
    return {name: _fit(name, x, own.get(name)) for name, x in state.items()}


def _fit(name: str, x: Tensor, shape: tuple[int, ...] | None) -> Tensor:
    if shape is None or x.shape == shape:
        return x
    if name.endswith(TABLE):
        return _resize_table(x, round(shape[0] ** 0.5))
    if name.endswith("pos_embed"):
        side = round((shape[1] - 1) ** 0.5)
        return resize_positions(x, (side, side))
    return x


def _resize_table(table: Tensor, side: int) -> Tensor:
    """(s², heads) -> (side², heads)."""
    old = round(len(table) ** 0.5)
    maps = table.T.reshape(1, -1, old, old)
    return F.interpolate(maps, size=(side, side), mode="bicubic", align_corners=False).flatten(2)[0].T.contiguous()

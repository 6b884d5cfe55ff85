"""State dicts of the official code: what is dropped, resized or copied on the way into a model."""

import re
from math import isqrt

from torch import Tensor, nn

from models.beitv2.classifier import Classifier
from models.beitv2.mim import MaskedModel
from models.beitv2.pretraining import MaskedModelling, TokenizerTraining
from models.beitv2.tables import resize_positions, resize_table
from models.beitv2.vqkd import VQKD

__all__ = ["checkpoint_filter_fn"]

DERIVED = re.compile(r"(^|\.)relative_position_index$")
OF_TRAINING = re.compile(r"^(loss|teacher|scaling)")  # in files of a tokenizer
OF_DECODING = ("decoder.", "decode_task_layer.")
TABLE = "relative_position_bias_table"
SHARED = f"rel_pos_bias.{TABLE}"
OF_MASKED_MODEL = re.compile(r"^(mask_token$|lm_head\.|cls_pt_|rel_pos_bias\.)")
HEADS = {"shared": re.compile(r"^cls_pt_(norm|lm_head)\."), "none": re.compile(r"^cls_pt_")}


def checkpoint_filter_fn(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Fit an official state dict to a model of this family, or to the module of its pre-training step.

    Tables of relative positions and absolute positions are resized to the model's images. A checkpoint of masked
    modelling becomes a classifier: its shared table goes into every block, and norm and head, which it has not, stay as
    they are in `model`. What a step has beside student or tokenizer stays too.
    """
    if isinstance(model, MaskedModelling | TokenizerTraining):
        name = "student" if isinstance(model, MaskedModelling) else "tokenizer"
        inner = checkpoint_filter_fn(state_dict, model.get_submodule(name))
        return model.state_dict() | {f"{name}.{key}": x for key, x in inner.items()}
    state = {name: x for name, x in state_dict.items() if not DERIVED.search(name)}
    if isinstance(model, VQKD):
        unused = OF_DECODING if model.decoder is None else ()
        state = {name: x for name, x in state.items() if not (OF_TRAINING.match(name) or name.startswith(unused))}
    if isinstance(model, MaskedModel):
        missing = (
            HEADS["none"] if model.cls_pt_layers is None else HEADS["shared"] if model.cls_pt_norm is None else None
        )
        state = {name: x for name, x in state.items() if missing is None or not missing.match(name)}
    own = model.state_dict()
    if isinstance(model, Classifier) and SHARED in state:
        state = _as_classifier(state, own)
    return {name: _fit(name, x, own.get(name)) for name, x in state.items()}


def _as_classifier(state: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """A masked model's state dict as a classifier's; own: the classifier's as it is."""
    tables = {name: state[SHARED] for name in own if name.endswith(TABLE)}
    state = {name: x for name, x in state.items() if not OF_MASKED_MODEL.match(name)}
    norms = {name: x for name, x in state.items() if name.startswith("norm.") and name in own}
    kept = {name: x for name, x in own.items() if name.startswith(("fc_norm.", "head."))}
    return {name: x for name, x in state.items() if not name.startswith("norm.")} | tables | norms | kept


def _fit(name: str, x: Tensor, own: Tensor | None) -> Tensor:
    if own is None or x.shape == own.shape:
        return x
    if name.endswith(TABLE):
        return resize_table(x, (isqrt(len(own) - 3) + 1) // 2)
    if name.endswith("pos_embed"):
        return resize_positions(x, isqrt(own.shape[1] - 1))
    return x

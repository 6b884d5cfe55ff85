"""A pre-training checkpoint of GreenMIM or SimMIM as one of timm's Swin classifiers.

python -m models.swin_classifier pretrained.pth swin_base.safetensors --model swin_base_patch4_window7_224

The encoder's weights are taken, bias tables resized where windows differ; what a pre-training model lacks, the
classifier, keeps the initial weights of timm's model. timm's Swin normalises with eps 1e-5, as the official fine-tuning
does too.
"""

import argparse
import sys
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from timm.models import SwinTransformer, load_state_dict
from torch import Tensor, nn

from models.arguments import among
from models.masked.swin_names import MERGE_ORDERS, fit_bias_tables, swap_merge_order, timm_names, without_buffers

__all__ = ["to_classifier"]

PREFIX = "encoder."


def to_classifier(state_dict: dict[str, Tensor], model: nn.Module, merge_order: int = 2023) -> dict[str, Tensor]:
    """A state dict for `model`, a Swin of timm, from one of GreenMIM, SimMIM or the official fine-tuned classifier.

    merge_order: 2022 for a GreenMIM checkpoint of official code before b981012 (January 2023), whose merging reads the
    tokens of a square row by row. Raises ValueError if the state dict is none of a Swin, or of another width or depth.
    """
    among("merge_order", merge_order, MERGE_ORDERS, "GreenMIM")
    encoder = {name.removeprefix(PREFIX): x for name, x in state_dict.items() if name.startswith(PREFIX)}
    state = timm_names(without_buffers(encoder or state_dict))
    state.pop("mask_token", None)
    state = {name.replace("head.", "head.fc.", 1) if name in HEAD else name: x for name, x in state.items()}
    state = fit_bias_tables(state, model)
    state = swap_merge_order(state) if merge_order == 2022 else state
    own = model.state_dict()
    state |= {name: own[name] for name in own if name.startswith("head.") and name not in state}
    _check(state, own)
    return state


HEAD = ("head.weight", "head.bias")


def _check(state: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    odd = sorted(own.keys() ^ state.keys()) or [name for name in own if own[name].shape != state[name].shape]
    if odd:
        raise ValueError(
            f"the checkpoint doesn't fit the classifier: {odd[0]} is in one of them only, or of another shape there "
            f"({len(odd)} such names). Name a Swin of the same width and depths."
        )


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        return load_state_dict(str(path), weights_only=True)
    except Exception as error:  # of a file that is no checkpoint, readers raise what they like
        raise ValueError(f"{path} cannot be read as a checkpoint: {error}") from error


def main(words: list[str] | None = None) -> int:
    """The command above. Returns 2 where it cannot be done, with the reason in one line."""
    parser = argparse.ArgumentParser(
        prog="python -m models.swin_classifier", description="Turn a GreenMIM or SimMIM checkpoint into timm's Swin."
    )
    parser.add_argument("checkpoint", type=Path, help="PyTorch's format with plain weights, or safetensors")
    parser.add_argument("out", type=Path, help="the checkpoint to write (safetensors)")
    parser.add_argument("--model", default="swin_base_patch4_window7_224", help="a Swin of timm (default: %(default)s)")
    parser.add_argument("--img-size", type=int, help="its img_size, if not its own")
    parser.add_argument("--window", type=int, help="its window_size, if not its own")
    parser.add_argument(
        "--merge-order",
        type=int,
        choices=MERGE_ORDERS,
        default=2023,
        help="2022 for GreenMIM's checkpoints of that year",
    )
    asked = parser.parse_args(words)
    sizes = {"img_size": asked.img_size, "window_size": asked.window}
    try:
        if not timm.is_model(asked.model):
            raise ValueError(f"timm has no model {asked.model}")
        if not asked.out.parent.is_dir():
            raise ValueError(f"there is no folder {asked.out.parent}")
        torch.manual_seed(0)  # the classifier's weights
        model = timm.create_model(asked.model, **{name: size for name, size in sizes.items() if size is not None})
        if not isinstance(model, SwinTransformer):
            raise ValueError(f"{asked.model} is not a Swin of timm")
        state = to_classifier(_read(asked.checkpoint), model, asked.merge_order)
        save_file({name: x.contiguous() for name, x in state.items()}, asked.out)
    except (OSError, ValueError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(f"{asked.out}: for {asked.model} with img_size={model.patch_embed.img_size[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

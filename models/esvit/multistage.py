"""What Swin, ViL and CvT have in common: four stages, a norm, a mean, and what timm asks of a backbone."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from timm.layers import ClassifierHead
from timm.models import checkpoint
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from models.arguments import among, whole

IMPLS = ("auto", "reference", "fast")


def choose(impl: str) -> str:
    """The route that `impl` names; "auto" is "fast", which stores less."""
    among("impl", impl, IMPLS, "EsViT")
    return "fast" if impl == "auto" else impl


class Output(NamedTuple):
    """What follows a block. stage: 0 to 3; map: (B, h, w, C); cls: the stage's class token (B, C), where it has one."""

    stage: int
    map: Tensor
    cls: Tensor | None = None


class MultiStage(nn.Module):
    """Image (B, in_chans, H, W) -> map (B, H/32, W/32, C) -> mean -> head. Arguments of every multi-stage backbone:

    in_chans, num_classes (0: no head), global_pool ("avg", or "" to keep the map), drop_rate (before the head),
    drop_path_rate (of the last block; it rises linearly from 0 at the first), impl: one of IMPLS.

    A subclass has `blocks(images)`, which yields an Output after each block, and `keep_stages(number)`.
    """

    output_fmt = "NHWC"
    multiple = 4  # of an image's sides
    norm: nn.Module

    def __init__(
        self,
        widths: Sequence[int],
        in_chans: int = 3,
        num_classes: int = 0,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        impl: str = "auto",
    ):
        """widths: channels of each stage, at strides 4, 8, 16, 32."""
        super().__init__()
        self.impl = choose(impl)
        self.in_chans = in_chans
        self.num_stages = len(widths)
        self.num_features = self.head_hidden_size = widths[-1]
        self.feature_info = [
            {"num_chs": width, "reduction": 4 * 2**stage, "module": f"stage {stage + 1}"}
            for stage, width in enumerate(widths)
        ]
        self.grad_checkpointing = False
        self.num_classes = num_classes
        self.drop_rate = drop_rate
        self.head = ClassifierHead(widths[-1], num_classes, global_pool, drop_rate, input_fmt=self.output_fmt)

    def blocks(self, images: Tensor, **words) -> Iterator[Output]:
        """Run block by block. words: as for `forward_features`."""
        raise NotImplementedError

    def keep_stages(self, number: int) -> None:
        """Delete the stages behind the first so many, and what only they need."""
        raise NotImplementedError

    def call(self, block: nn.Module, *arguments) -> Tensor:
        """`block(*arguments)`, which is computed again in the backward pass where that was asked for."""
        return checkpoint(block, *arguments) if self.grad_checkpointing else block(*arguments)

    def check(self, images: Tensor) -> None:
        """Raise ValueError on images that the stages don't divide."""
        check_images(images, self.in_chans, self.multiple, type(self).__name__)

    def forward_features(self, images: Tensor, **words) -> Tensor:
        """(B, in_chans, H, W) -> (B, H/32, W/32, C), normalised. words: what ViL may be given. Raises ValueError on
        images of another kind."""
        for output in self.blocks(images, **words):
            last = output
        return self.norm(last.map)

    def forward_regions(self, images: Tensor, **words) -> tuple[Tensor, Tensor]:
        """(B, in_chans, H, W) -> the view's feature (B, C) and those of its regions (B, N, C), row-major."""
        regions = self.forward_features(images, **words).flatten(1, 2)
        return regions.mean(dim=1), regions

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map (B, h, w, C) -> logits (B, num_classes), or what the classifier reads if `pre_logits`."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def linear_features(self, images: Tensor, blocks: int = 4) -> Tensor:
        """What a linear probe reads of the last `blocks` blocks: (B, in_chans, H, W) -> (B, sum of their widths).

        Of each the class token where its stage has one, else the mean over the map; normalised in the last stage alone
        (official `forward_return_n_last_blocks`).
        """
        outputs: list[Tensor] = []
        for stage, x, cls in self.blocks(images):
            last = stage == self.num_stages - 1
            outputs.append(cls if cls is not None else (self.norm(x) if last else x).mean(dim=(1, 2)))
        return torch.cat(last_of(outputs, blocks), dim=1)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The maps (B, C, h, w) behind the stages in `indices` (the last n if int, all if None), with the final map,
        (B, h, w, C), before them unless `intermediates_only`. norm: normalise that of the last stage."""
        among("output_fmt", output_fmt, ["NCHW"], "EsViT")
        take, last = feature_take_indices(self.num_stages, indices)
        maps: dict[int, Tensor] = {}
        for stage, now, _ in self.blocks(x):
            if stop_early and stage > last:
                break
            maps[stage] = now
        final = max(maps)
        x = self.norm(maps[final]) if final == self.num_stages - 1 else maps[final]
        if norm:
            maps[final] = x
        taken = [maps[stage].permute(0, 3, 1, 2) for stage in take]
        return taken if intermediates_only else (x, taken)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove what the maps in `indices` don't need: later stages and, with them or if asked to, norm and head."""
        take, last = feature_take_indices(self.num_stages, indices)
        fewer = last + 1 < self.num_stages
        if fewer:
            self.keep_stages(last + 1)
            self.num_stages = last + 1
        if prune_norm or fewer:
            self.norm = nn.Identity()
        if prune_head or fewer:
            self.reset_classifier(0, "")
        return take

    def get_classifier(self) -> nn.Module:
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new linear classifier, or none if `num_classes` is 0."""
        self.num_classes = num_classes
        first = next(self.parameters())
        self.head.reset(num_classes, global_pool, device=first.device, dtype=first.dtype)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute blocks again in the backward pass instead of storing what they need."""
        self.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Nothing by name: the official recipe decays all that is not a bias and has two axes or more."""
        return set()


def check_images(images: Tensor, in_chans: int, multiple: int, name: str) -> None:
    """Raise ValueError unless they are (B, in_chans, H, W) with sides that are multiples of `multiple`."""
    if images.ndim != 4 or images.shape[1] != in_chans or any(side < 1 or side % multiple for side in images.shape[2:]):
        raise ValueError(
            f"{name} takes images (batch, {in_chans}, height, width) whose sides are multiples of {multiple}, got "
            f"{tuple(images.shape)}."
        )


def last_of(outputs: Sequence[Tensor], blocks: int) -> Sequence[Tensor]:
    """Of as many blocks as were asked for. Raises ValueError where there are fewer."""
    return outputs[-whole("blocks", blocks, 1, "this model", len(outputs)) :]


def draw_weights(module: nn.Module) -> None:
    """Initial weights of linear layers: truncated normal (official `_init_weights`); norms keep ones and zeros."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

"""The masked auto-encoder: an encoder on visible tokens, a decoder on all cells, the loss."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from models.arguments import among
from models.greenmim.encoder import NORM
from models.greenmim.plan import GROUPINGS, Plan
from models.greenmim.study import random_removed, study
from models.greenmim.swin import Swin
from models.greenmim.twins import Twins
from models.masked.masks import aligned, check_images, check_mask, draw, draw_images
from models.masked.options import CELL, cells, check_ratio, no_classes, window_size

IMPLS = ("auto", "reference", "window")
ENCODERS = {"swin": Swin, "twins": Twins}


class GreenMIM(nn.Module):
    """Green masked image modelling. Arguments of every variant:

    img_size: pixels along a side, a multiple of 32. window: tokens along a window's side; scales with the image if not
    given. mask_ratio: share of cells that `sample_inputs` removes, rounded so that at least that many are. per_image: a
    mask for each image, where the paper has one a batch. norm_pix_loss: targets are normalised, cell by cell.
    official_alignment: `sample_inputs` also draws the `ids_restore` by which the released code permutes visible latents
    among visible cells. grouping: how windows are packed into groups: "official", "search" (the paper's), "packed".
    impl: one of IMPLS. decoder: (width, heads) of its transformer, decoder_depth: its blocks.
    """

    def __init__(
        self,
        encoder: str,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        default: tuple[int, int],
        decoder: tuple[int, int] = (512, 16),
        decoder_depth: int = 1,
        img_size: int | tuple[int, int] | None = None,
        window: int | None = None,
        in_chans: int = 3,
        num_classes: int = -1,
        mask_ratio: float = 0.75,
        per_image: bool = False,
        norm_pix_loss: bool = True,
        official_alignment: bool = False,
        grouping: str = "official",
        impl: str = "auto",
    ):
        """default: the variant's own (img_size, window)."""
        super().__init__()
        self.side = cells(default[0] if img_size is None else img_size, "GreenMIM")
        window = window_size(window, default, self.side, "GreenMIM")
        among("grouping", grouping, GROUPINGS, "GreenMIM")
        among("impl", impl, IMPLS, "GreenMIM")
        self.num_classes = no_classes(num_classes, "GreenMIM")
        self.in_chans = in_chans
        self.mask_ratio = check_ratio(mask_ratio, "GreenMIM")
        if self.keep < 1:
            raise ValueError(f"mask_ratio={mask_ratio} leaves none of {self.length} cells visible. Use a lower one.")
        self.per_image = per_image
        self.norm_pix_loss = norm_pix_loss
        self.official_alignment = official_alignment
        self.impl = "reference" if impl == "auto" else impl
        if isinstance(decoder_depth, bool) or not isinstance(decoder_depth, int) or decoder_depth < 0:
            raise ValueError(f"GreenMIM has no decoder_depth={decoder_depth!r}. Use a whole number, 1 in the paper.")
        self.encoder = ENCODERS[encoder](self.side, window, in_chans, embed_dim, depths, num_heads, self.impl, grouping)
        self.num_features = self.encoder.widths[-1]
        width, heads = decoder
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_pos_embed = nn.Parameter(position_table(self.side, width), requires_grad=False)
        self.decoder_embed = nn.Linear(self.num_features, width)
        self.decoder_blocks = nn.ModuleList(
            Block(width, heads, qkv_bias=True, norm_layer=NORM) for _ in range(decoder_depth)
        )
        self.decoder_norm = NORM(width)
        self.decoder_pred = nn.Linear(width, CELL**2 * in_chans)
        self.apply(_init_weights)
        nn.init.normal_(self.mask_token, std=0.02)

    @property
    def length(self) -> int:
        """Cells of an image."""
        return self.side**2

    @property
    def keep(self) -> int:
        """Cells that `sample_inputs` leaves visible, rounded as the released code does: 0.8 of 25 leave 4."""
        return int(self.length * (1 - self.mask_ratio))

    def sample_inputs(
        self, batch: int, generator: torch.Generator | None, device: str | torch.device, dtype: torch.dtype
    ) -> dict[str, Tensor]:
        """Standard normal `images`, a `mask` as the paper draws it, and `ids_restore` where the official alignment is
        asked for."""
        shape = (batch, self.length) if self.per_image else (self.length,)
        mask, ids_restore = draw(self.length - self.keep, shape, generator)  # first: the same for batches of any size
        images = draw_images(batch, self.in_chans, self.side, generator)
        inputs = {"images": images.to(device, dtype), "mask": mask.to(device)}
        return inputs | ({"ids_restore": ids_restore.to(device)} if self.official_alignment else {})

    def draw_masks(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Masks as `sample_inputs` draws them, bool (count, rows, columns), True = removed."""
        mask, _ = draw(self.length - self.keep, (count, self.length), generator)
        return mask.unflatten(1, (self.side, self.side))

    @torch.compiler.disable  # host code on values
    def plan(self, images: Tensor, mask: Tensor | None = None, ids_restore: Tensor | None = None) -> dict[str, Plan]:
        """What `forward` derives on the host from the values of its inputs; given back to it, it looks at none.

        Raises ValueError on a mask without a visible cell, with other numbers of them from image to image, or that
        ids_restore doesn't fit.
        """
        removed = np.atleast_2d(np.array(self._mask(images, mask).tolist()))
        visible = (~removed).sum(axis=1)
        if visible.min() < 1:
            raise ValueError(f"the mask removes all {self.length} cells of an image; at least one must stay visible.")
        if visible.min() != visible.max():
            raise ValueError(
                f"the mask leaves {visible.min()} to {visible.max()} cells of an image visible; it must be as many of "
                "each."
            )
        if ids_restore is not None:
            _check_order(np.atleast_2d(np.array(ids_restore.tolist())), removed)
        return {"plan": self.encoder.plan(removed.reshape(-1, self.side, self.side))}

    def packing(self, masks: int) -> dict[str, Any]:
        """What padding costs, each number a mean over random masks (`models.greenmim.study`): `rows` that blocks of
        windows process for an image, and the `tokens` among them; `details`, the cost of attention over sizes of
        groups. No rows where `impl` has no groups. Of one mask for all images: with `per_image` all images take the
        largest size of groups, and padding is more."""
        rows = tokens = 0
        for seed in range(masks) if self.impl == "reference" else ():
            removed = random_removed(self.side, self.keep, seed)
            for blocks, own in self.encoder.uses(self.encoder.plan(removed[None])):
                rows += blocks * own["windows"].numel()
                tokens += blocks * int((own["windows"] >= 0).sum())
        encoder = self.encoder
        details = study(self.side, self.keep, encoder.window, encoder.widths, encoder.shifted, masks)
        return {"rows": rows / masks, "tokens": tokens / masks, "details": details}

    def forward_features(self, images: Tensor, mask: Tensor | None = None, plan: Plan | None = None) -> Tensor:
        """(B, in_chans, H, W) -> (B, visible cells, 8C), row-major. mask, plan: as for `forward`."""
        mask = self._mask(images, mask)
        plan = self.plan(images, mask)["plan"] if plan is None else plan
        plan = tree_map_only(Tensor, lambda index: index.to(images.device, non_blocking=True), plan)
        features = self.encoder(images, plan, rows=len(images) if mask.ndim == 1 else 1)
        return features.reshape(len(images), -1, self.num_features)

    def forward_decoder(self, features: Tensor, ids_restore: Tensor) -> Tensor:
        """(B, visible cells, 8C) -> (B, L, 32 · 32 · in_chans). ids_restore: as for `forward`."""
        x = self.decoder_embed(features)
        batch, visible, width = x.shape
        x = torch.cat([x, self.mask_token.to(x.dtype).expand(batch, self.length - visible, width)], dim=1)
        x = x.gather(1, ids_restore.expand(batch, self.length)[..., None].expand(-1, -1, width))
        x = x + self.decoder_pos_embed
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x))

    def loss(self, images: Tensor, prediction: Tensor, mask: Tensor) -> Tensor:
        """Mean squared error over the removed cells of all images; 0 where there are none. mask: (L,) or (B, L)."""
        target = self._patches(images)
        if self.norm_pix_loss:
            variance, mean = torch.var_mean(target, dim=-1, keepdim=True)
            target = (target - mean) / (variance + 1e-6).sqrt()
        error = (prediction - target).square().mean(dim=-1)  # (B, L)
        wide = torch.promote_types(error.dtype, torch.float32)  # sums of a batch are beyond what half precision counts
        return (error * mask).sum(dtype=wide) / mask.expand(error.shape).sum(dtype=wide).clamp(min=1)

    def forward(
        self,
        images: Tensor,
        mask: Tensor | None = None,
        ids_restore: Tensor | None = None,
        plan: Plan | None = None,
    ) -> dict[str, Tensor]:
        """Encode the visible cells, predict all, compare the removed ones.

        images (B, in_chans, H, W). mask, True = removed, of (L,) for all images or (B, L); without one nothing is
        removed, and the loss, of no cell, is 0. ids_restore, (L,) or (B, L): for each cell the place of what the
        decoder reads there among latents, then mask tokens; each latent's own cell if not given. plan: what `plan`
        returned for these inputs.

        Returns features (B, visible cells, 8C), prediction (B, L, 32 · 32 · in_chans), the pixels of a cell row-major
        and channels fastest, and loss (). Raises ValueError on images or a mask of another size, and as `plan`.
        """
        cells = self._mask(images, mask)
        if self.official_alignment and ids_restore is None and mask is not None:
            raise ValueError("official_alignment=True needs ids_restore beside the mask, as sample_inputs draws it.")
        if ids_restore is not None and ids_restore.shape not in ((self.length,), (len(images), self.length)):
            raise ValueError(
                f"ids_restore has shape {tuple(ids_restore.shape)}; want ({self.length},) or "
                f"({len(images)}, {self.length})."
            )
        plan = self.plan(images, cells, ids_restore)["plan"] if plan is None else plan
        features = self.forward_features(images, cells, plan)
        prediction = self.forward_decoder(features, aligned(cells) if ids_restore is None else ids_restore)
        return {"loss": self.loss(images, prediction, cells), "prediction": prediction, "features": features}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the encoder's blocks again in the backward pass instead of storing what they need."""
        self.encoder.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Bias tables and tokens, as in the official recipe (biases and norms are found by their dimension)."""
        return {name for name, _ in self.named_parameters() if "position_bias" in name or "token" in name}

    def _mask(self, images: Tensor, mask: Tensor | None) -> Tensor:
        check_images(images, self.in_chans, self.side)
        if mask is None:
            return torch.zeros(self.length, dtype=torch.bool, device=images.device)
        return check_mask(mask, self.side, len(images))

    def _patches(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, L, 32 · 32 · C)."""
        batch = len(images)
        cut = images.reshape(batch, self.in_chans, self.side, CELL, self.side, CELL)
        return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, self.length, -1)


def position_table(side: int, width: int) -> Tensor:
    """Sines and cosines of a cell's column, then of its row: (1, side², width), float32."""
    frequencies = 10000 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    rows, columns = (grid.flatten() for grid in torch.meshgrid(*2 * [torch.arange(side)], indexing="ij"))
    angles = [position[:, None] * frequencies for position in (columns, rows)]
    return torch.cat([wave(one) for one in angles for wave in (torch.sin, torch.cos)], dim=1)[None].float()


def _check_order(ids_restore: NDArray[np.int64], removed: NDArray[np.bool_]) -> None:
    """Visible cells must read latents, removed ones mask tokens, each once."""
    visible = (~removed).sum(axis=1, keepdims=True)
    once = (np.sort(ids_restore, axis=1) == np.arange(removed.shape[1])).all()
    if not once or not ((ids_restore >= visible) == removed).all():
        raise ValueError("ids_restore doesn't fit the mask: it must be a permutation that sorts visible cells first.")


def _init_weights(module: nn.Module) -> None:
    """As the whole auto-encoder is drawn officially, its encoder too; bias tables and spconv's layers stay as built."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight.view(len(module.weight), -1))

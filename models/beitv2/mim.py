"""Masked image modelling with a CLS bottleneck: tokens of masked patches are predicted twice, by the whole encoder and
by two layers that see early patches and the last class token, which has to bring the image along."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.arguments import among, whole
from models.beitv2 import losses
from models.beitv2.attention import EPS, RelativePositionBias
from models.beitv2.masks import BlockMasks, check_mask, draw_masks, masked_queries, masked_rows
from models.beitv2.trunk import NAME, Trunk, rescale

VOCABULARY = 8192  # codes
HEAD_LAYERS = 2
MASKED = 75 / 196  # of the patches (paper, section 3.1: about 40 %)


class Chosen(NamedTuple):
    """Which patches a mask removes. rows (M,): in (B · P); queries (B, m): in each image; real (M,): which of (B · m)
    are no filling, None for all."""

    rows: Tensor
    queries: Tensor
    real: Tensor | None

    def flat(self, x: Tensor) -> Tensor:
        """What belongs to the queries, (B, m, ...) -> (M, ...)."""
        x = x.flatten(0, 1)
        return x if self.real is None else x[self.real]


@torch.compiler.disable  # values of the mask decide the shapes
def choose(mask: Tensor) -> Chosen:
    """Raises ValueError if the mask (B, P) removes nothing."""
    rows, (queries, real) = masked_rows(mask), masked_queries(mask)
    return Chosen(rows, queries, None if real is None else masked_rows(real))


class Features(NamedTuple):
    """Normalised tokens (B, 1 + P, D), the class token first: of the encoder, and of the CLS head, if there is one."""

    encoder: Tensor
    head: Tensor | None


class Prediction(nn.Linear):
    """Features (R, D) -> logits (R, K); or, given ids (R,), their mean cross-entropy and the logits, of which `fast`
    keeps none."""

    def __init__(self, dim: int, codes: int, fast: bool):
        super().__init__(dim, codes)
        self.fast = fast

    def forward(self, x: Tensor, ids: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor | None]:
        if ids is not None and self.fast:
            return losses.cross_entropy(x, self.weight, self.bias, ids), None
        logits = super().forward(x)
        return logits if ids is None else (F.cross_entropy(logits, ids), logits)


class MaskedModel(Trunk):
    """Images and a mask -> codes of the masked patches. Arguments beside Trunk's:

    cls_head: predict also by way of the class token; shared_head: with the encoder's own norm and prediction.
    early_layer: the block (from 1) whose patches the CLS head starts from. masked: how many patches the masks drawn
    remove, 75 of 196 if not given. vocab_size: number of codes.
    """

    def __init__(
        self,
        early_layer: int,
        cls_head: bool = True,
        shared_head: bool = True,
        masked: int | None = None,
        vocab_size: int = VOCABULARY,
        num_classes: int = -1,
        init_values: float = 0.1,
        drop_path_rate: float = 0.0,
        depth: int = 12,
        **words: Any,
    ):
        super().__init__(
            depth=depth, init_values=init_values, drop_path_rate=drop_path_rate, positions="shared", **words
        )
        among("cls_head", cls_head, (True, False), NAME)
        among("shared_head", shared_head, (True, False), NAME)
        if num_classes != -1:
            raise ValueError(
                f"{NAME}'s masked model has no classifier, got num_classes={num_classes!r}. Load its checkpoint into "
                "beitv2_base or beitv2_large instead."
            )
        self.num_classes = num_classes
        self.vocab_size = whole("vocab_size", vocab_size, 2, NAME)
        self.early_layer = whole("early_layer", early_layer, 1, NAME, depth - 1 if cls_head else depth)
        self.masks = _masks(self.side, masked)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.embed_dim))
        self.rel_pos_bias = RelativePositionBias(self.rows, self.num_heads)
        self.norm = nn.LayerNorm(self.embed_dim, eps=EPS)
        self.lm_head = Prediction(self.embed_dim, vocab_size, self.impl == "fast")
        self.cls_pt_layers = self.cls_pt_norm = self.cls_pt_lm_head = None
        if cls_head:
            most = max(depth, early_layer + HEAD_LAYERS) - 1
            rates = [drop_path_rate * (early_layer + number) / most for number in range(HEAD_LAYERS)]
            self.cls_pt_layers = nn.ModuleList(self.block(rate, rows=0) for rate in rates)
            if not shared_head:
                self.cls_pt_norm = nn.LayerNorm(self.embed_dim, eps=EPS)
                self.cls_pt_lm_head = Prediction(self.embed_dim, vocab_size, self.impl == "fast")
        self._draw_weights()

    def forward_features(self, images: Tensor, mask: Tensor | None = None) -> Features:
        """images (B, in_chans, H, W); mask (B, P), True where the mask token stands for a patch. Raises ValueError on
        images or a mask of another size."""
        found = self._features(images, self._mask(images, mask), None)
        return Features(*(None if x is None else norm(x) for x, (norm, _) in zip(found, self._heads(), strict=True)))

    def forward(
        self,
        images: Tensor,
        mask: Tensor | None = None,
        target_ids: Tensor | None = None,
        chosen: Chosen | None = None,
    ) -> dict[str, Tensor]:
        """Predict the codes of masked patches.

        images (B, in_chans, H, W); mask bool (B, P) or (B, g, g), True = masked, M of them; target_ids int64 (B, P),
        the codes of all patches, or (M,), of the masked ones. chosen: what `plan` returns.

        Returns logits (M, K) and with a CLS head logits_cls (M, K); with target_ids also loss (), the sum of patch_loss
        and cls_loss, means over masked patches, and then only the reference returns logits. Without a mask nothing is
        masked and logits are those of all patches, (B, P, K). Raises ValueError on images, a mask or ids of another
        shape, ids that no code has, and ids where nothing is masked.
        """
        if mask is None:
            if target_ids is not None:
                raise ValueError("there are target_ids and no mask: the loss is of masked patches. Give a mask.")
            features = self.forward_features(images)
            found = [
                predict(x[:, 1:]) for x, (_, predict) in zip(features, self._heads(), strict=True) if x is not None
            ]
            return dict(zip(("logits", "logits_cls"), found, strict=False))
        mask = self._mask(images, mask)
        if chosen is None:
            chosen = choose(mask)
            if target_ids is not None:
                check_range(target_ids, self.vocab_size)
        ids = None if target_ids is None else masked_ids(target_ids, mask, chosen)
        fast = self.impl == "fast"
        found = self._features(images, mask, chosen.queries if fast else None)
        out: dict[str, Tensor] = {}
        for kind, x, (norm, predict) in zip(("patch", "cls"), found, self._heads(), strict=True):
            if x is None:
                continue
            x = chosen.flat(norm(x)) if fast else norm(x)[:, 1:].flatten(0, 1)[chosen.rows]
            if ids is None:
                logits = predict(x)
            else:
                out[f"{kind}_loss"], logits = predict(x, ids)
            if logits is not None:
                out["logits" if kind == "patch" else "logits_cls"] = logits
        if ids is not None:
            out["loss"] = out["patch_loss"] + out["cls_loss"] if "cls_loss" in out else out["patch_loss"]
        return out

    def plan(self, images: Tensor, mask: Tensor | None = None, target_ids: Tensor | None = None) -> dict[str, Any]:
        """What `forward` derives from the numbers of its arguments, as a further argument."""
        if mask is None:
            return {}
        chosen = choose(check_mask(mask, self.side, len(images), self.patch_size))
        if target_ids is not None:
            check_range(target_ids, self.vocab_size)
        return {"chosen": chosen}

    def draw_masks(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Block-wise masks, bool (count, g, g), True = masked."""
        return draw_masks(self.masks, count, generator)

    def _features(self, images: Tensor, mask: Tensor | None, queries: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Tokens (B, 1 + P, D) of the encoder and of the CLS head, before norms; with queries (B, m) only those patches
        of each, (B, m, D), without the class token."""
        self.check(images)
        x = self.patch_embed(images)
        if mask is not None:
            shown = mask[..., None].to(x.dtype)
            x = x * (1 - shown) + self.mask_token * shown
        bias = self.rel_pos_bias(self.index)
        last, asked, early = None, None, None
        if queries is not None:
            last = asked = 1 + queries
            if self.cls_pt_layers is not None:  # which starts from the last class token
                last = F.pad(asked, (1, 0))
        for number, after in enumerate(self.after_blocks(self.tokens(x), bias, last), start=1):
            x = after
            if number == self.early_layer:
                early = x
        if self.cls_pt_layers is None:
            return x, None
        assert early is not None
        y = torch.cat([x[:, :1], early[:, 1:]], dim=1)
        for layer in self.cls_pt_layers:
            y = self.run(layer, y, bias, asked if layer is self.cls_pt_layers[-1] else None)
        return x if queries is None else x[:, 1:], y

    def _heads(self) -> list[tuple[nn.Module, nn.Module]]:
        """Norm and prediction of the encoder's features and of the CLS head's."""
        own = (self.norm, self.lm_head)
        return [own, own if self.cls_pt_norm is None else (self.cls_pt_norm, self.cls_pt_lm_head)]

    def _mask(self, images: Tensor, mask: Tensor | None) -> Tensor | None:
        self.check(images)
        return None if mask is None else check_mask(mask, self.side, len(images), self.patch_size)

    @torch.no_grad()
    def _draw_weights(self) -> None:
        """Initial weights: a normal of deviation 0.02 truncated at one deviation, so that 0.0108 is left of it; but the
        layers of the CLS head keep PyTorch's own, as officially."""
        narrow = dict(std=0.02, a=-0.02, b=0.02)
        tokens = [self.cls_token, self.mask_token]
        heads = [self.lm_head, *([self.cls_pt_lm_head] if self.cls_pt_lm_head is not None else [])]
        layers = [m for m in self.blocks.modules() if isinstance(m, nn.Linear)]
        for layer in (self.patch_embed.proj, *layers, *heads):
            nn.init.trunc_normal_(layer.weight, **narrow)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        for token in tokens:
            nn.init.trunc_normal_(token, **narrow)
        rescale(self.blocks)
        if self.cls_pt_layers is not None:
            rescale(self.cls_pt_layers, before=self.early_layer)


def _masks(side: int, masked: int | None) -> BlockMasks:
    """Of a grid's patches `masked`, or the paper's share; blocks of at least 16, where as many are masked."""
    masked = max(1, round(MASKED * side**2)) if masked is None else whole("masked", masked, 1, NAME, side**2)
    return BlockMasks((side, side), masked, least=min(16, masked))


@torch.compiler.disable  # looks at values
def check_range(ids: Tensor, codes: int) -> None:
    """Raise ValueError on ids that no code has."""
    if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= codes):
        raise ValueError(
            f"target_ids go from {int(ids.min())} to {int(ids.max())}; there are {codes} codes, 0 to {codes - 1}. "
            "Use the tokenizer that the model was built for."
        )


def masked_ids(ids: Tensor, mask: Tensor, chosen: Chosen) -> Tensor:
    """Codes (M,) of the masked patches, of all (B, P) or of them alone (M,). Raises ValueError on other shapes."""
    if ids.is_floating_point() or ids.dtype == torch.bool or ids.shape not in (mask.shape, chosen.rows.shape):
        raise ValueError(
            f"target_ids are {ids.dtype} of shape {tuple(ids.shape)}; want whole numbers of shape "
            f"{tuple(mask.shape)}, the codes of all patches, or {tuple(chosen.rows.shape)}, of the masked ones."
        )
    return (ids if ids.ndim == 1 else ids.flatten()[chosen.rows]).long()

"""The classifier, which is also the tokenizer's encoder and decoder: mean over patches, norm, linear head."""

from typing import Any

import torch
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from models.arguments import among
from models.beitv2.attention import EPS
from models.beitv2.trunk import NAME, Trunk, rescale

POOLS = ("avg", "token", "")
INIT_SCALE = 0.001  # of the head's initial weights


class Classifier(Trunk):
    """Images (B, in_chans, H, W) -> tokens (B, 1 + P, D) -> mean over patches -> norm -> logits (B, num_classes).

    num_classes (0: no head), global_pool ("avg"; "token", the class token of normalised tokens; "" for none), drop_rate
    (before the head). The other arguments are Trunk's.
    """

    def __init__(self, num_classes: int = 1000, global_pool: str = "avg", drop_rate: float = 0.0, **words: Any):
        super().__init__(**words)
        among("global_pool", global_pool, POOLS, NAME)
        self.global_pool = global_pool
        self.drop_rate = drop_rate
        token = global_pool == "token"
        self.norm = nn.LayerNorm(self.embed_dim, eps=EPS) if token else nn.Identity()
        self.fc_norm = nn.Identity() if token else nn.LayerNorm(self.embed_dim, eps=EPS)
        self.head_drop = nn.Dropout(drop_rate)
        self.num_classes = num_classes
        self.head = self._new_head()
        self.feature_info = [
            {"num_chs": self.embed_dim, "reduction": self.patch_size, "module": f"blocks.{number}"}
            for number in range(len(self.blocks))
        ]
        self._draw_weights()

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, 1 + P, D), the class token first; normalised with class-token pooling alone.
        Raises ValueError on images of another size."""
        return self.norm(self.after_last(x))

    def forward_patches(self, x: Tensor, queries: Tensor | None = None) -> Tensor:
        """(B, in_chans, H, W) -> normalised patches (B, P, D); or (B, m, D), those at queries (B, m) alone, which the
        last block then computes nothing else for."""
        patches = self.after_last(x)[:, 1:] if queries is None else self.after_last(x, 1 + queries)
        return self.fc_norm(self.norm(patches))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Tokens (B, 1 + P, D) -> logits (B, num_classes), or what the classifier reads if `pre_logits`."""
        if self.global_pool:
            x = x[:, 0] if self.global_pool == "token" else x[:, 1:].mean(dim=1)
        x = self.head_drop(self.fc_norm(x))
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Patches behind the blocks in `indices` (the last n if int, all if None), (B, D, g, g) or (B, P, D) by
        output_fmt; each with the class token (B, 1, D) if return_prefix_tokens. The final tokens come before them
        unless `intermediates_only`. norm: normalise each as at the end of the model."""
        among("output_fmt", output_fmt, ("NCHW", "NLC"), NAME)
        take, last = feature_take_indices(len(self.blocks), indices)
        self.check(x)
        found = []
        for number, after in enumerate(self.after_blocks(self.tokens(self.patch_embed(x)))):
            x = after
            if number in take:
                y = self.fc_norm(self.norm(x)) if norm else x
                patches = y[:, 1:]
                if output_fmt == "NCHW":
                    patches = patches.transpose(1, 2).unflatten(-1, (self.side, self.side))
                found.append((patches, y[:, :1]) if return_prefix_tokens else patches)
            if stop_early and number == last:
                break
        return found if intermediates_only else (self.norm(x), found)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove what the maps in `indices` don't need: later blocks, and if asked to, norms and head."""
        take, last = feature_take_indices(len(self.blocks), indices)
        self.blocks = self.blocks[: last + 1]
        if prune_norm:
            self.norm = nn.Identity()
        if prune_head:
            self.fc_norm = nn.Identity()
            self.reset_classifier(0, "")
        return take

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new linear classifier, or none if `num_classes` is 0. Raises ValueError if the norm of another kind of
        pooling would be needed."""
        if global_pool is not None:
            among("global_pool", global_pool, POOLS, NAME)
            if global_pool and global_pool != ("avg" if isinstance(self.norm, nn.Identity) else "token"):
                raise ValueError(
                    f"global_pool={global_pool!r} needs a norm in another place than this model has it. Build one with "
                    f"global_pool={global_pool!r}."
                )
            self.global_pool = global_pool
        self.num_classes = num_classes
        like = self.cls_token
        self.head = self._new_head().to(like.device, like.dtype)
        _draw_head(self.head)

    def _new_head(self) -> nn.Module:
        return nn.Linear(self.embed_dim, self.num_classes) if self.num_classes > 0 else nn.Identity()

    def _draw_weights(self) -> None:
        """Initial weights: normal, of deviation 0.02; officially truncated at 100 deviations, that is, not. The patch
        embedding keeps PyTorch's own."""
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for token in (self.cls_token, self.pos_embed):
            if token is not None:
                nn.init.normal_(token, std=0.02)
        rescale(self.blocks)
        _draw_head(self.head)


@torch.no_grad()
def _draw_head(head: nn.Module) -> None:
    if isinstance(head, nn.Linear):
        nn.init.normal_(head.weight, std=0.02 * INIT_SCALE)
        nn.init.zeros_(head.bias)

"""What the classifier, the masked model and both halves of the tokenizer have in common: patches and blocks."""

from collections.abc import Iterator

import torch
from timm.layers import use_fused_attn
from timm.models import checkpoint
from torch import Tensor, nn

from models.arguments import among, whole
from models.beitv2.attention import Block
from models.beitv2.tables import relative_index

IMPLS = ("auto", "reference", "fast")
NAME = "BEiT v2"


def route(impl: str) -> str:
    """The route that `impl` names; "auto" is "fast", but where explicit attention is asked for, as by counts of the
    paper's design and captures of maps."""
    among("impl", impl, IMPLS, NAME)
    return ("fast" if use_fused_attn() else "reference") if impl == "auto" else impl


class PatchEmbed(nn.Module):
    """Images (B, in_chans, H, W) -> patches (B, P, D), row-major."""

    def __init__(self, in_chans: int, dim: int, patch_size: int):
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class Trunk(nn.Module):
    """Patch embedding, class token, and blocks, for images of one size. Arguments:

    img_size (pixels along a side, or two equal ones), patch_size, in_chans, embed_dim, depth, num_heads; init_values
    (of the layer scales, 0 for none), drop_path_rate (of the last block; it rises linearly from 0 at the first), impl:
    one of IMPLS. positions: "block", a table of relative biases in each block; "shared", one for all blocks; or
    "absolute", an embedding that is added to the tokens.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        init_values: float = 0.0,
        drop_path_rate: float = 0.0,
        positions: str = "block",
        impl: str = "auto",
    ):
        super().__init__()
        among("positions", positions, ("block", "shared", "absolute"), NAME)
        for word, number in dict(patch_size=patch_size, in_chans=in_chans, depth=depth, num_heads=num_heads).items():
            whole(word, number, 1, NAME)
        if whole("embed_dim", embed_dim, 1, NAME) % num_heads:
            raise ValueError(f"{NAME} has no num_heads={num_heads}: embed_dim={embed_dim} is no multiple of it.")
        if not isinstance(drop_path_rate, int | float) or not 0 <= drop_path_rate < 1:
            raise ValueError(f"{NAME} has no drop_path_rate={drop_path_rate!r}. Use a number from 0 to below 1.")
        if isinstance(init_values, bool) or not isinstance(init_values, int | float):
            raise ValueError(f"{NAME} has no init_values={init_values!r}. Use a number, 0 for no scales.")
        self.impl = route(impl)
        self.side = _side(img_size, patch_size)
        self.patch_size, self.in_chans = patch_size, in_chans
        self.embed_dim = self.num_features = self.head_hidden_size = embed_dim
        self.num_heads, self.init_values = num_heads, init_values
        self.num_prefix_tokens = 1
        self.grad_checkpointing = False
        relative = positions != "absolute"
        self.rows = (2 * self.side - 1) ** 2 + 3 if relative else 0
        self.register_buffer("index", relative_index(self.side) if relative else None, persistent=False)
        self.patch_embed = PatchEmbed(in_chans, embed_dim, patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = None if relative else nn.Parameter(torch.zeros(1, 1 + self.side**2, embed_dim))
        own = self.rows if positions == "block" else 0
        self.blocks = nn.ModuleList(
            self.block(drop_path_rate * number / max(1, depth - 1), own) for number in range(depth)
        )

    def block(self, drop_path: float, rows: int) -> Block:
        """A new block like the others."""
        fused = self.impl == "fast" and bool(use_fused_attn())
        return Block(self.embed_dim, self.num_heads, rows, fused, self.init_values, drop_path)

    def check(self, images: Tensor) -> None:
        """Raise ValueError unless they are (B, in_chans, H, W) of the size that the model was built for."""
        side = self.side * self.patch_size
        if images.ndim != 4 or images.shape[1:] != (self.in_chans, side, side):
            raise ValueError(
                f"the images have shape {tuple(map(int, images.shape))}; the model was built for (batch, "
                f"{self.in_chans}, {side}, {side}). Build it with another img_size or in_chans."
            )

    def tokens(self, patches: Tensor) -> Tensor:
        """Patches (B, P, D) -> tokens (B, 1 + P, D), the class token first, with absolute positions where there are."""
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        return x if self.pos_embed is None else x + self.pos_embed

    def run(self, block: nn.Module, x: Tensor, bias: Tensor | None = None, queries: Tensor | None = None) -> Tensor:
        """`block` on x; it is computed again in the backward pass where that was asked for."""
        call = (x, self.index, bias, queries)
        return checkpoint(block, *call) if self.grad_checkpointing else block(*call)

    def after_blocks(self, x: Tensor, bias: Tensor | None = None, queries: Tensor | None = None) -> Iterator[Tensor]:
        """What follows each block, (B, N, D). queries (B, m): what the last block is asked for, (B, m, D)."""
        for block in self.blocks:
            x = self.run(block, x, bias, queries if block is self.blocks[-1] else None)
            yield x

    def after_last(self, images: Tensor, queries: Tensor | None = None) -> Tensor:
        """Images (B, in_chans, H, W) -> what follows the last block, (B, 1 + P, D), or (B, m, D) of the tokens at
        queries (B, m) alone. Raises ValueError on images of another size."""
        self.check(images)
        x = self.tokens(self.patch_embed(images))
        for after in self.after_blocks(x, queries=queries):
            x = after
        return x

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute blocks again in the backward pass instead of storing what they need."""
        self.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Class token and absolute positions. Tables of relative positions and the mask token are decayed, as
        officially; what has one axis is left to the optimizer's rule."""
        return {name for name in ("cls_token", "pos_embed") if getattr(self, name) is not None}

    def group_matcher(self, coarse: bool = False) -> dict:
        """Groups for layer-wise decay of the learning rate (timm): embedding and tokens, each block, the rest."""
        stem = r"^cls_token|^mask_token|^pos_embed|^patch_embed"
        return {"stem": stem, "blocks": r"^blocks\.(\d+)"}


@torch.no_grad()
def rescale(blocks: nn.ModuleList, before: int = 0) -> None:
    """Divide what each block adds by the root of twice its number, which starts at before + 1."""
    for number, block in enumerate(blocks, start=before + 1):
        block.attn.proj.weight.div_((2 * number) ** 0.5)
        block.mlp.fc2.weight.div_((2 * number) ** 0.5)


def _side(img_size: int | tuple[int, int], patch_size: int) -> int:
    """Patches along a side."""
    height, width = img_size if isinstance(img_size, tuple | list) else (img_size, img_size)
    if isinstance(height, bool) or not isinstance(height, int) or height != width or height < 1 or height % patch_size:
        below = max(int(max(height, width)) // patch_size, 1) * patch_size
        raise ValueError(
            f"{NAME} takes square images whose side is a multiple of {patch_size} (a patch), got {height}x{width}. "
            f"Use a side of {below} or {below + patch_size}."
        )
    return height // patch_size

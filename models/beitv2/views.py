"""The paper's augmentation: of a picture one view, as student and tokenizer see it, and the mask of its patches; and
the crops that the tokenizer is trained on.

The numbers are those of BEiT v2 (arXiv:2208.06366; github.com/microsoft/unilm, beit2). Views are a function of image
and generator; PyTorch's global generator, which torchvision draws from, is left as it was. Threads of one process share
that one: let processes draw side by side, as DataLoader's workers do.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor
from torchvision.transforms import (
    ColorJitter,
    Compose,
    InterpolationMode,
    RandomHorizontalFlip,
    RandomResizedCrop,
    ToTensor,
)
from torchvision.transforms.functional import normalize

from models.arguments import whole
from models.beitv2.masks import BlockMasks, draw_masks
from models.pictures import each, rgb, seeded

_PATCH = 16


class Views(NamedTuple):
    """One picture, or with a first axis of them several, as a step of pre-training takes it."""

    student: Tensor  # float32 (3, size, size), normalised by ImageNet's mean and deviation
    tokenizer: Tensor  # the same pixels in [0, 1]
    mask: Tensor  # bool (rows, columns), True = masked


class PretrainingViews:
    """From an image to its Views: colours jittered, flipped in half of the draws, and a crop of 20 to 100 % of the
    area, its aspect ratio 3/4 to 4/3, resized by bicubic interpolation.

        views = PretrainingViews()(image, 0)                # a seed, or a generator that draws one
        views = PretrainingViews().batch(images, 0)         # a batch's

    Student and tokenizer get the same pixels: the paper resizes the box of the crop once for each, to the same size.
    """

    def __init__(self, size: int = 224, blocks: BlockMasks | None = None) -> None:
        """size is in pixels; blocks draws the masks of (size / 16)² patches, and None is the paper's, for 224. Raises
        ValueError for a size without such a grid, or blocks of another."""
        side, rest = divmod(whole("size", size, _PATCH, "PretrainingViews"), _PATCH)
        if rest:
            raise ValueError(f"PretrainingViews has no size={size!r}. Use a multiple of {_PATCH}.")
        self.blocks = BlockMasks() if blocks is None else blocks
        if self.blocks.grid != (side, side):
            raise ValueError(
                f"PretrainingViews of size={size!r} have {side}x{side} patches, and the masks are of "
                f"{self.blocks.grid[0]}x{self.blocks.grid[1]}. Give blocks=BlockMasks(({side}, {side}), ...)."
            )
        self._transform = Compose(
            [
                ColorJitter(0.4, 0.4, 0.4),
                RandomHorizontalFlip(0.5),
                RandomResizedCrop(size, (0.2, 1.0), interpolation=InterpolationMode.BICUBIC),
                ToTensor(),
            ]
        )

    def __call__(self, image: Image.Image, generator: torch.Generator | int) -> Views:
        """The views of one image of any mode (made RGB by Pillow). generator gives one seed for all that is drawn; an
        int is the seed of a new one.

        Raises ValueError if `image` is no PIL image, or has no pixels.
        """
        image = rgb(image)
        with seeded(generator):
            pixels = self._transform(image)
            [mask] = draw_masks(self.blocks, 1, None)
        return Views(normalize(pixels, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD), pixels, mask)

    def batch(self, images: Iterable[Image.Image], generator: torch.Generator | int) -> Views:
        """The views of several images, stacked. The generator gives each image a seed in turn.

        Raises ValueError as a call does, and if there are no images.
        """
        return Views(*map(torch.stack, zip(*each(self, images, generator), strict=True)))


class TokenizerCrop:
    """From an image to what the tokenizer is trained on, float32 (3, size, size) in [0, 1]: a crop of 8 to 100 % of
    the area, its aspect ratio 3/4 to 4/3, resized by bicubic interpolation, flipped in half of the draws.

    Called as PretrainingViews is, and raises what that does; size is in pixels.
    """

    def __init__(self, size: int = 224) -> None:
        whole("size", size, 1, "TokenizerCrop")
        self._transform = Compose(
            [
                RandomResizedCrop(size, (0.08, 1.0), interpolation=InterpolationMode.BICUBIC),
                RandomHorizontalFlip(0.5),
                ToTensor(),
            ]
        )

    def __call__(self, image: Image.Image, generator: torch.Generator | int) -> Tensor:
        """The crop of one image."""
        image = rgb(image)
        with seeded(generator):
            return self._transform(image)

    def batch(self, images: Iterable[Image.Image], generator: torch.Generator | int) -> Tensor:
        """The crops of several images, (B, 3, size, size)."""
        return torch.stack(each(self, images, generator))

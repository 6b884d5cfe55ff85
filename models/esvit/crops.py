"""The paper's augmentation: of an image, two large crops and several small ones, each changed at random.

The rows of numbers below are those of EsViT (arXiv:2106.09785; github.com/microsoft/esvit). Solarising inverts levels
from 128 on, Pillow's own threshold.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from PIL import Image, ImageFilter
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor
from torchvision.transforms import (
    ColorJitter,
    Compose,
    InterpolationMode,
    Normalize,
    RandomApply,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomSolarize,
    ToTensor,
)

from models.arguments import whole
from models.pictures import each, rgb, seeded

_SOLARISED_FROM = 128


@dataclass(frozen=True)
class Recipe:
    """How a crop is drawn, in the order in which it is done. A single number is the probability of its change.

    scale is the range of the crop's share of the image's area, its aspect ratio 3/4 to 4/3 (torchvision's own); colour
    has the strengths of the jitter: brightness, contrast, saturation, hue; radius (pixels of the crop) is the range of
    the blur's standard deviation. Raises ValueError if a probability or the scale isn't within 0 and 1.
    """

    scale: tuple[float, float]
    blur: float
    solarise: float = 0.0
    flip: float = 0.5
    jitter: float = 0.8
    colour: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)
    grey: float = 0.2
    radius: tuple[float, float] = (0.1, 2.0)

    def __post_init__(self) -> None:
        for name in ("flip", "jitter", "grey", "blur", "solarise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)!r} is no probability. Use a number from 0 to 1.")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale={self.scale!r} is no range of shares. Use two from above 0 to 1, the lower first.")

    def transform(self, size: int) -> Compose:
        """From an RGB image to a crop (3, size, size); it draws from PyTorch's global generator."""
        return Compose(
            [
                RandomResizedCrop(size, self.scale, interpolation=InterpolationMode.BICUBIC),
                RandomHorizontalFlip(self.flip),
                RandomApply([ColorJitter(*self.colour)], self.jitter),
                RandomGrayscale(self.grey),
                RandomApply([_Blur(self.radius)], self.blur),
                RandomSolarize(_SOLARISED_FROM, self.solarise),
                ToTensor(),
                Normalize(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
            ]
        )


GLOBAL_1 = Recipe(scale=(0.4, 1.0), blur=1.0)
GLOBAL_2 = Recipe(scale=(0.4, 1.0), blur=0.1, solarise=0.2)
LOCAL = Recipe(scale=(0.05, 0.4), blur=0.5)


class MultiCrop:
    """From an image to its crops [global 1, global 2, ..., local 1, ...], float32 (3, size, size) each, normalised by
    ImageNet's mean and deviation.

        crops = MultiCrop()(image, 0)                  # a seed, or a generator that draws one
        module(crops=MultiCrop().batch(images, 0))     # each crop (B, 3, size, size)

    Sizes are in pixels. The paper has two global crops; more take the recipe of the second.
    Crops are a function of image and generator; PyTorch's global generator, which torchvision draws from, is left as
    it was. Threads of one process share that one: let processes draw side by side, as DataLoader's workers do.
    """

    def __init__(
        self,
        global_size: int = 224,
        local_size: int = 96,
        local_crops: int = 8,
        global_crops: int = 2,
        recipes: tuple[Recipe, Recipe, Recipe] = (GLOBAL_1, GLOBAL_2, LOCAL),
    ) -> None:
        """recipes are those of global 1, global 2, and every local crop. Raises ValueError for sizes and numbers that
        make no crops."""
        whole("global_size", global_size, 1, "MultiCrop")
        whole("local_size", local_size, 1, "MultiCrop")
        whole("global_crops", global_crops, 2, "MultiCrop")
        whole("local_crops", local_crops, 0, "MultiCrop")
        first, second, local = recipes
        self._transforms = [
            first.transform(global_size),
            *(second.transform(global_size) for _ in range(global_crops - 1)),
            *(local.transform(local_size) for _ in range(local_crops)),
        ]

    def __call__(self, image: Image.Image, generator: torch.Generator | int) -> list[Tensor]:
        """The crops of one image of any mode (made RGB by Pillow: transparency is dropped, and levels above 255 are
        clipped). generator gives one seed for all of them; an int is the seed of a new one.

        Raises ValueError if `image` is no PIL image, or has no pixels.
        """
        image = rgb(image)
        with seeded(generator):
            return [transform(image) for transform in self._transforms]

    def batch(self, images: Iterable[Image.Image], generator: torch.Generator | int) -> list[Tensor]:
        """The crops of several images, stacked: (B, 3, size, size) each. The generator gives each image a seed in turn.

        Raises ValueError as a call does, and if there are no images.
        """
        return [torch.stack(alike) for alike in zip(*each(self, images, generator), strict=True)]


class _Blur:
    """Gaussian blur of a random deviation (Pillow calls it radius)."""

    def __init__(self, radius: tuple[float, float]) -> None:
        self.radius = radius

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(torch.empty(1).uniform_(*self.radius).item()))

"""Pictures to look at: photographs that installed packages carry, white noise, or a folder. Nothing is downloaded."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.errors import UsageError, one_line

PHOTOGRAPHS, NOISE = "photographs", "noise"
_PACKAGED = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
}
_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_MARGIN = 256 / 224  # of the resized image to its crop
_NOISE_SEED = 0  # the same six for every model of a size


def identify(images: str) -> str:
    """`images` as the Spec keeps it: a folder as `FOLDER@digest` of its images' names and contents, so that other
    images are another experiment.

    Raises UsageError if `images` is neither `photographs`, `noise`, nor a folder that holds images.
    """
    if images in (PHOTOGRAPHS, NOISE):
        return images
    folder, digest = Path(os.path.normpath(images)), hashlib.sha256()
    for path in _files(folder):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(_bytes(path)).digest())
    return f"{folder}@{digest.hexdigest()[:12]}"


def origin(images: str) -> str:
    """What the images are, in a phrase for notes, from the Spec's word. Raises UsageError as `identify` does."""
    if images == PHOTOGRAPHS:
        return f"{len(_PACKAGED)} photographs of scikit-image and scikit-learn"
    if images == NOISE:
        return f"{len(_PACKAGED)} images of white noise"
    folder, _, digest = images.rpartition("@")
    number = len(_files(Path(folder)))
    return f"{number} image{'s' if number > 1 else ''} of the folder {Path(folder).name} ({digest})"


def load(
    images: str, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]
) -> Iterator[tuple[str, Tensor]]:
    """Names and images (3, *size), one at a time: cropped from the middle and normalised; noise is standard normal.

    Raises UsageError as `identify` does, for a file that is no image, and for a folder that was changed since.
    """
    if images == NOISE:
        yield from _noise(size)
        return
    for name, picture in pictures(images, size, mean, std):
        yield name, normalised(picture, mean, std)


def pictures(
    images: str, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]
) -> Iterator[tuple[str, Image.Image]]:
    """Names and RGB pictures of what `load` loads, before it is normalised. Noise is what has to be shown for the
    model to get it: times `std`, plus `mean`, as far as a picture can hold that.

    Raises what `load` does.
    """
    if images == NOISE:
        yield from ((name, as_picture(plain(image, mean, std))) for name, image in _noise(size))
        return
    yield from ((name, _crop(_read(path), size)) for name, path in _paths(images).items())


def normalised(picture: Image.Image, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """An RGB picture as models take it, (3, height, width) in float32."""
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
    return (pixels - _by_channel(mean)) / _by_channel(std)


def plain(image: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """A normalised image (3, height, width) as it was before, from 0 to 1."""
    return (image * _by_channel(std) + _by_channel(mean)).clamp(0, 1)


def as_picture(image: Tensor) -> Image.Image:
    """An image (3, height, width) from 0 to 1 as an RGB picture, rounded to 256 levels."""
    return Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy())


def _by_channel(numbers: Sequence[float]) -> Tensor:
    return torch.tensor(numbers).view(3, 1, 1)


def _noise(size: tuple[int, int]) -> Iterator[tuple[str, Tensor]]:
    generator = torch.Generator().manual_seed(_NOISE_SEED)
    for number in range(len(_PACKAGED)):
        yield f"noise {number + 1}", torch.randn(3, *size, generator=generator)


def _paths(images: str) -> dict[str, Path]:
    if images == PHOTOGRAPHS:
        return {name: _inside(package) / file for name, (package, file) in _PACKAGED.items()}
    folder = images.rpartition("@")[0]
    if identify(folder) != images:
        raise UsageError(f"the images of {folder} have changed since the run was planned")
    return {path.name: path for path in _files(Path(folder))}


def _inside(package: str) -> Path:
    """Folder of an installed package, which is not imported: these are slow to import and used for their files only."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UsageError(f"images={PHOTOGRAPHS} needs the package {package}, which is not installed")
    return Path(found.submodule_search_locations[0])


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"images={folder}: no such folder; want {PHOTOGRAPHS}, {NOISE} or a folder of images")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not files:
        raise UsageError(f"images={folder}: the folder holds no image ({', '.join(_SUFFIXES)})")
    return files


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the image {path}: {error.strerror or error}") from error


def _read(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except Exception as error:  # Pillow's readers raise errors of many kinds
        raise UsageError(f"cannot read the image {path}: {one_line(error)}") from error


def _crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize (bicubic) until the image covers `size` with a margin, then crop its centre: for a square, the usual
    shorter side of 256 for a crop of 224. The other side is rounded to the nearest; torchvision rounds it down, which
    moves the trained ViT-S/14's CCS of one photograph by up to 0.005."""
    height, width = (round(side * _MARGIN) for side in size)
    if height * image.width >= width * image.height:
        width = round(height * image.width / image.height)
    else:
        height = round(width * image.height / image.width)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    top, left = round((height - size[0]) / 2), round((width - size[1]) / 2)
    return image.crop((left, top, left + size[1], top + size[0]))

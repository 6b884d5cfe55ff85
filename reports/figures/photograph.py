"""Photographs in pictures, and maps of patches drawn over them."""

import base64
import io

import numpy as np
from matplotlib import colormaps
from PIL import Image

from reports.style import MAP_COLOURS

_OPAQUE = 0.65  # of the map over the photograph, whose outlines stay visible


def opened(jpeg: str) -> tuple[np.ndarray, np.ndarray]:
    """A base64 JPEG as RGB (height, width, 3), 0 to 255, and as grey (height, width), 0 to 1."""
    with Image.open(io.BytesIO(base64.b64decode(jpeg))) as image:
        return np.asarray(image.convert("RGB")), np.asarray(image.convert("L")) / 255


def overlay(weights: np.ndarray, grey: np.ndarray, kept: np.ndarray | None = None) -> np.ndarray:
    """RGB, 0 to 1, of a map (rows, columns) over a grey photograph, on the scale from 0 to its largest weight; each
    patch is a plain area, and where it isn't `kept` (rows, columns) the photograph alone."""
    pale = 0.2 + 0.6 * grey[..., None]  # so that brightness is the map's
    rows, columns = (
        np.arange(pixels) * cells // pixels for pixels, cells in zip(grey.shape, weights.shape, strict=True)
    )
    place = rows[:, None], columns
    shares = weights / (weights.max() or 1.0)
    drawn = _OPAQUE * colormaps[MAP_COLOURS](shares)[place][..., :3] + (1 - _OPAQUE) * pale
    return drawn if kept is None else np.where(kept[place][..., None], drawn, pale)

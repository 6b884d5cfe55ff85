"""Constructor arguments that GreenMIM and SimMIM share, checked. All raise ValueError naming value and way out."""

from typing import Any

CELL = 32  # pixels along a side of what a mask removes or keeps whole: a token of the last stage
FACTORS = (8, 4, 2, 1)  # tokens along a cell's side, by stage


def cells(img_size: int | tuple[int, int], name: str) -> int:
    """Cells along an image's side; the image must be a square of whole cells."""
    height, width = img_size if isinstance(img_size, tuple | list) else (img_size, img_size)
    if not isinstance(height, int) or height != width or height <= 0 or height % CELL:
        below = int(max(height, width, CELL)) // CELL * CELL
        raise ValueError(
            f"{name} takes square images whose side is a multiple of {CELL} (a mask's cell), got {height}x{width}. "
            f"Use a side of {below} or {below + CELL}."
        )
    return height // CELL


def window_size(window: int | None, default: tuple[int, int], side: int, name: str) -> int:
    """`window`, or where it is None that of default = (img_size, window), scaled to images of `side` cells: 7 at 224 px
    is 6 at 192, and no less than 2. It must divide every stage's grid that is larger than it."""
    img_size, own = default
    window = max(2, own * CELL * side // img_size) if window is None else window
    grids = [side * factor for factor in FACTORS]
    fit = [one for one in range(2, grids[0] + 1) if all(grid <= one or grid % one == 0 for grid in grids)]
    if isinstance(window, bool) or not isinstance(window, int) or window not in fit:
        raise ValueError(
            f"window={window!r} doesn't divide {name}'s grids at {CELL * side} px. "
            f"Use one of {', '.join(map(str, fit))}."
        )
    return window


def check_ratio(ratio: float, name: str) -> float:
    """The share of cells that are removed."""
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio < 1:
        raise ValueError(f"{name} has no mask_ratio={ratio!r}. Use a number from 0 (nothing removed) to below 1.")
    return ratio


def no_classes(num_classes: int, name: str) -> int:
    """What timm's constructors say of a model without a classifier."""
    if num_classes != -1:
        raise ValueError(
            f"{name} is a pre-training model and has no classifier, got num_classes={num_classes!r}. Convert its "
            "checkpoint to a timm Swin instead: python -m models.swin_classifier"
        )
    return num_classes


def no_feature_maps(words: dict[str, Any], name: str) -> None:
    """timm's features_only asks for a map of every stage, which visible tokens don't make."""
    if words.get("features_only"):
        raise ValueError(f"{name} has no feature maps by stage; its forward_features gives those of the last.")

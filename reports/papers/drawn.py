"""An exhibit's own pictures: those that a figure draws of its models, or one that says why there is none."""

from collections.abc import Callable, Collection
from dataclasses import replace

import pandas as pd

from reports.baselines import untagged
from reports.figures import Picture


def drawn(
    paper: str, draw: Callable[[pd.DataFrame], list[Picture]], frame: pd.DataFrame, none: Picture
) -> list[Picture]:
    """What `draw` makes of a frame, or `none`; names begin with the paper's, so that no other picture has them."""
    return [replace(picture, name=f"{paper}_{picture.name}") for picture in draw(frame) or [none]]


def of_models(frame: pd.DataFrame, models: Collection[str]) -> pd.DataFrame:
    """The rows of these registered models, of any weights and arguments."""
    return frame[frame["model"].map(untagged).isin(list(models)).astype(bool)]

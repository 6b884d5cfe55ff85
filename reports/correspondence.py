"""Which regions of two views of an image correspond: what was measured of models beside what EsViT's paper prints."""

import pandas as pd

from reports.attention import looked
from reports.baselines import untagged
from reports.claims import load
from reports.format import heading, number, scale
from reports.roster import PAPER
from reports.tables import CORRESPONDENCE

ACCURACY, DISTANCE = CORRESPONDENCE

# Which claims are of a model that is built alike; they are of trained weights.
_PRINTED = {
    "esvit_deit_small": ("DINO DeiT-S (monolithic), L_V",),
    "esvit_swin_tiny": ("EsViT Swin-T, L_V", "EsViT Swin-T, L_V+L_R"),
}
_CLAIMED = {ACCURACY: "correspondence_accuracy", DISTANCE: "correspondence_distance_error"}


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a series, as words: weights, images, grid, accuracy and distance, published beside measured."""
    rows = looked(frame, *CORRESPONDENCE)
    return pd.DataFrame([_row(str(label), own) for label, own in rows.groupby("series", sort=False)])


def _row(label: str, own: pd.DataFrame) -> dict[str, str]:
    details = {row["metric"]: row["details"] for row in own.to_dict("records")}
    first = own["details"].iloc[0]
    grid = details.get(ACCURACY, {}).get("grid")
    row = {"model": label, "weights": first["weights"], "images": first["images"]}
    row["grid"] = " x ".join(map(str, grid)) if grid else "-"
    for metric, unit in ((ACCURACY, "1"), (DISTANCE, "px")):
        shown = scale(metric, unit)
        value = own.loc[own["metric"] == metric, "value"]
        title = heading(metric, unit).removeprefix("correspondence ")
        row[title] = number(value.iloc[0] * shown.factor, shown.digits) if len(value) else "-"
        row[f"{title}, published"] = _published(untagged(own["model"].iloc[0]), metric)
    return row


def _published(model: str, metric: str) -> str:
    """What the paper prints of models built like `model`: `0.66 L_V, confirmed; 0.91 L_V+L_R, confirmed`."""
    claims = load()
    claims = claims[(claims["paper"] == PAPER) & (claims["metric"] == _CLAIMED[metric])]
    rows = claims[claims["model"].isin(_PRINTED.get(model, ()))].to_dict("records")
    return "; ".join(f"{one['value']} {one['model'].rpartition(', ')[2]}, {one['confidence']}" for one in rows) or "-"

"""EsViT's appendix C.7: which regions of two views of an image correspond."""

import pandas as pd

from reports.attention import looked, warning
from reports.figures import Picture
from reports.figures.correspondences import draw
from reports.format import heading, number, scale
from reports.papers.drawn import drawn
from reports.papers.evidence import Evidence
from reports.papers.exhibit import NONE, Exhibit, Table, table
from reports.tables import CORRESPONDENCE

_TEXT = """
An image and its view, flipped and grey: of the ten regions whose features match best, accuracy is the share that match
exactly the place where they were, distance how far off the match is on average. The paper's are of trained weights and
50,000 images of ImageNet's validation set, so nothing measured here stands beside them. Grids of different size are not
strictly comparable: on a finer one neighbours are nearer, and there are more of them.
"""
_PUBLISHED = ("DINO DeiT-S (monolithic), L_V", "EsViT Swin-T, L_V", "EsViT Swin-T, L_V+L_R")
_CLAIMED = {"accuracy": "correspondence_accuracy", "distance (px)": "correspondence_distance_error"}
_UNITS = {"correspondence_accuracy": "1", "correspondence_distance": "px"}
_NONE = Picture("correspondences", "Regions that correspond", "Not drawn: no record has `correspondence_accuracy`.")


def correspondence(evidence: Evidence) -> Exhibit:
    """What the paper prints; what was measured, of any model and weights; the matches of one photograph."""
    rows = looked(evidence.frame, *CORRESPONDENCE)
    ours = [_row(str(label), own) for label, own in rows.groupby("series", sort=False)]
    return Exhibit(
        "esvit-correspondence",
        "Correspondence of regions",
        "EsViT, appendix C.7",
        f"{warning(rows)}{_TEXT.strip()}",
        (_published(evidence), *([table(ours, "Measured here")] if ours else [])),
        tuple(drawn("esvit", draw, evidence.frame, _NONE)),
    )


def _published(evidence: Evidence) -> Table:
    return table(
        [
            {
                "model and losses": printed,
                **{name: evidence.pair(evidence.claim(printed, metric)) for name, metric in _CLAIMED.items()},
            }
            for printed in _PUBLISHED
        ],
        "The paper's",
    )


def _row(label: str, own: pd.DataFrame) -> dict[str, str]:
    """A series: its weights and images, its grid, and each metric that it has."""
    found = {row["metric"]: row for row in own.to_dict("records")}
    details = next(iter(found.values()))["details"]
    grid = next((row["details"]["grid"] for row in found.values() if "grid" in row["details"]), ())
    row = {"model": label, "weights": details["weights"], "images": details["images"]}
    row["grid"] = " x ".join(map(str, grid)) or NONE
    for metric, unit in _UNITS.items():
        shown = scale(metric, unit)
        title = heading(metric, unit).removeprefix("correspondence ")
        row[title] = number(found[metric]["value"] * shown.factor, shown.digits) if metric in found else NONE
    return row

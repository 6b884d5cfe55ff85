"""How attention looks: CCS and entropy of each model, with where its weights and the images come from."""

from collections.abc import Iterator
from statistics import fmean
from typing import Any

import pandas as pd

from reports.format import number
from reports.frame import IDENTITY, series, varying
from reports.tables import escape

METRICS = ("ccs", "entropy")
RANDOM = "Random weights: no statement about a trained model, no comparison with the paper"
_ALIKE = ("mode", "batch", "attention", "layout", "compile")  # maps are read in eval mode, eagerly, image by image
_LEVELS = {"copy": "copy", "chh": "CHH", "ihh_chh": "IHH + CHH", "free": "free"}  # of `hallucination`
_VALUE = "ihh_chh"  # the level that its value is of
_IMAGES = 8  # as columns of a table; more are in the CSV only


def looked(frame: pd.DataFrame, *metrics: str) -> pd.DataFrame:
    """The rows of `metrics` that hold a number, once a series, which `_ALIKE` don't tell apart."""
    rows = frame[frame["metric"].isin(metrics) & (frame["status"] == "ok")]
    return rows.assign(series=series(rows, *_ALIKE)).drop_duplicates(["series", "metric"])


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a series, as words; empty if nothing was looked at."""
    rows = looked(frame, *METRICS)
    keys = [name for name in varying(rows) if name not in (*_ALIKE, "weights", "images", "impl")]
    return pd.DataFrame([_row(own, keys) for _, own in rows.groupby("series", sort=False)])


def _row(own: pd.DataFrame, keys: list[str]) -> dict[str, str]:
    first = own.iloc[0]
    row = {"model": first["model"], **{name: str(first[name]) for name in keys}}
    row |= {"weights": first["details"]["weights"], "images": first["details"]["images"]}
    row |= dict.fromkeys(("CCS", "CCS of all pairs", "entropy (bit)", "relative entropy", "blocks without CCS"), "-")
    for _, one in own.iterrows():
        blocks = one["details"]["blocks"]
        if one["metric"] == "ccs":
            alone = sum(block["ccs"] is None for block in blocks)
            row["CCS"], row["CCS of all pairs"] = number(one["value"], 3), number(one["details"]["all_pairs"], 3)
            row["blocks without CCS"] = f"{alone} of {len(blocks)}"
        else:
            row["entropy (bit)"] = number(one["value"], 3)
            row["relative entropy"] = number(fmean(fmean(block["relative"]) for block in blocks), 3)
    return row


def per_image(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a series and metric, a column an image, as words; series with too many images for a table are left out."""
    rows = []
    for _, one in looked(frame, *METRICS).iterrows():
        images: dict[str, float] = one["details"]["per_image"]
        if len(images) <= _IMAGES:
            words = {name: number(value, 3) for name, value in images.items()}
            rows.append(
                {"model": one["series"], "metric": "CCS" if one["metric"] == "ccs" else "entropy (bit)", **words}
            )
    return pd.DataFrame(rows).fillna("-")


def hallucination(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a series, as words: what is explained of half of the heads, means over blocks; empty if nobody asked."""
    rows = []
    for _, one in looked(frame, "hallucination").iterrows():
        details = one["details"]
        levels = {words: number(details["levels"][level], 3) for level, words in _LEVELS.items()}
        choices = {words: number(details[words], 3) for words in ("paper", "best", "worst")}
        fitted = sum(block["why"] == "" for block in details["blocks"])
        blocks = {"blocks": f"{fitted} of {len(details['blocks'])}", "held out": "yes" if details["held_out"] else "no"}
        origin = {of: details[of] for of in ("weights", "images")}
        rows.append({"model": one["series"], **origin, **levels, **choices, **blocks})
    return pd.DataFrame(rows)


def numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """All numbers, a row each: what identifies the value, then of (image, block, head, level or choice), name and
    value. A block without a value has an empty one."""
    return pd.DataFrame(
        [
            {**{column: one[column] for column in IDENTITY}, "of": of, "name": name, "value": value}
            for one in looked(frame, *METRICS, "hallucination").to_dict("records")
            for of, name, value in _numbers(one["details"])
        ]
    )


def _numbers(details: dict[str, Any]) -> Iterator[tuple[str, str, float | None]]:
    for name, value in details.get("per_image", {}).items():
        yield "image", name, value
    for block in details["blocks"]:
        name = block["name"]
        if "ccs" in block:
            yield "block", name, block["ccs"]
        elif "entropy" in block:
            for number, value in enumerate(block["entropy"], 1):
                yield "head", f"{name} head {number}", value
        else:
            yield "block", name, block["median"][_VALUE] if block["why"] == "" else None
            for level, value in block.get("median", {}).items():
                yield "level", f"{name} {level}", value
            for number, value in enumerate(block.get("choices", ()), 1):
                yield "choice", f"{name} choice {number}", value


def warning(rows: pd.DataFrame) -> str:
    """What must be said, in bold, of those `rows` whose weights are random; nothing if none are."""
    whose = _random(rows)
    return "" if whose is None else f"**{RANDOM}**{whose}. "


def tag(rows: pd.DataFrame) -> str:
    """The same in two words, for a caption; `warning` stands once at the head of the section."""
    whose = _random(rows)
    return "" if whose is None else f"**Random weights**{whose}. "


def _random(rows: pd.DataFrame) -> str | None:
    """None if no weights are random; which series' are, in brackets, or nothing if all are."""
    random = rows[rows["weights"] == "random"]
    if random.empty:
        return None
    return "" if len(random) == len(rows) else f" ({escape(', '.join(dict.fromkeys(random['series'])))})"


def origins(rows: pd.DataFrame) -> str:
    """Where the weights and images of `rows` come from, as Markdown."""
    found = {of: "; ".join(dict.fromkeys(details[of] for details in rows["details"])) for of in ("weights", "images")}
    return escape(f"Weights: {found['weights']}. Images: {found['images']}.")

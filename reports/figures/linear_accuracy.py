"""Published linear accuracy against measured throughput and parameters, of the rows of EsViT's tables."""

from typing import Any

import pandas as pd

from reports.figures.picture import Picture, conditions, legend, names, panels, plain_log
from reports.format import scale
from reports.peers import SAME, beside, count, speeds
from reports.roster import PEERS, PRINTED_1, PRINTED_ELSEWHERE, TABLE_1, Entry, number_of, published
from reports.self_supervised import inferred
from reports.style import look_of

_NAME, _TITLE = "linear_accuracy", "Published linear accuracy against what was measured"
# Without the row that was fine-tuned, and not probed.
_ENTRIES = tuple(one for one in (*PRINTED_1, *PRINTED_ELSEWHERE) if one.model and "fine-tuned" not in one.printed)
_SPEED, _SIZE = "measured throughput (images/s)", "measured parameters (M)"


def draw(frame: pd.DataFrame) -> list[Picture]:
    """A panel each for throughput and parameters, a point a row of the tables: colour by method, marker by model."""
    if not inferred(frame[frame["metric"].isin(["throughput", "params"])]):
        return []
    every = beside(speeds(frame, _ENTRIES), PEERS[0])
    speed = _one_setting(every)
    sizes = pd.concat([count(frame, one, "params").assign(printed=one.printed) for one in _ENTRIES])
    sizes = sizes.assign(value=sizes["value"] * scale("params", "1").factor)
    points = {title: rows for title, rows in ((_SPEED, speed), (_SIZE, sizes)) if not rows.empty}
    if not points:
        return [Picture(_NAME, _TITLE, "Not drawn: neither throughput nor parameters were measured at 224 px.")]
    figure, found = panels(list(points), "", "published linear accuracy (%)", share=False)
    looks = _looks()
    for title, rows in points.items():
        axes, numbers = found[title], {row["printed"]: row for row in rows.to_dict("records")}
        for one in _ENTRIES:
            if (row := numbers.get(one.printed)) is not None:
                ends = [[row["value"] - row["low"]], [row["high"] - row["value"]]] if pd.notna(row["low"]) else None
                look = {"linestyle": "none", "markersize": 5, "label": _label(one), **looks[one.printed]}
                axes.errorbar(row["value"], number_of(published(one)["linear"]), xerr=ends, **look)
        axes.set_title("", loc="left")
        axes.set_xlabel(title)
        axes.set_xscale("log")
        plain_log(axes.xaxis)
        axes.margins(0.12)
    figure.set_figheight(figure.get_figheight() + 1.0)
    legend(figure, *found.values())
    shown = dict.fromkeys(name for rows in points.values() for name in rows["printed"])
    return [
        Picture(
            _NAME,
            _TITLE,
            "Linear accuracy on ImageNet-1K is as published in EsViT's tables 1, 4 and 5, of both losses where a row "
            "has them, and not measured here. Throughput and parameters are measured, throughput with its 95 % "
            "interval. A model has as many points as published rows. Both x axes are logarithmic."
            f"{_said(speed, every)}",
            f"Scatter plots of published linear accuracy over {names(points)} for {names(shown)}.",
            figure,
        )
    ]


def _one_setting(rows: pd.DataFrame) -> pd.DataFrame:
    """Of `peers.beside` the rows of the setting with most entries."""
    settings = [own for _, own in rows.groupby(SAME, sort=False)]
    return max(settings, key=lambda own: own["printed"].nunique(), default=rows)


def _said(speed: pd.DataFrame, every: pd.DataFrame) -> str:
    """Sentences on how the throughput was measured, and what was chosen."""
    if speed.empty:
        return ""
    batches = names(str(batch) for batch in sorted(speed["batch"].unique()))
    chosen = " One setting, that with most models; all in [values.csv](values.csv)." if len(every) > len(speed) else ""
    return (
        f" {conditions(speed)} Batch {batches}: the largest at which DINO's ViT-B/8 was measured too, else the largest."
        f"{chosen}"
    )


def _label(one: Entry) -> str:
    return one.printed if one.source == TABLE_1 else f"EsViT, {one.printed}"


def _looks() -> dict[str, dict[str, Any]]:
    """A colour a method, and in it a marker a row."""
    methods: dict[str, list[str]] = {}  # method -> its rows
    for one in _ENTRIES:
        methods.setdefault(_label(one).partition(",")[0], []).append(one.printed)
    return {
        printed: look_of(colour, marker)
        for colour, rows in enumerate(methods.values())
        for marker, printed in enumerate(rows)
    }

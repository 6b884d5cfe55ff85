"""Memory over the batch with the view loss alone and with the region loss too. A panel a model."""

import pandas as pd
from matplotlib.axes import Axes

from reports.arguments import read, without
from reports.baselines import STAGES, untagged
from reports.figures.picture import Picture, conditions, legend, log_x, log_y, names, panels
from reports.format import name, scale
from reports.frame import measured, series
from reports.style import all_looks
from reports.tables import MEMORY

_NAME, _TITLE = "losses_batch", "Memory of a step with and without the region loss"
_BOTH, _VIEW = "view+region", "view"  # of the argument `loss`, the first where it isn't said
_LOOKS = {_BOTH: ("-", "full"), _VIEW: ("--", "none")}
_MODELS = 4


def draw(frame: pd.DataFrame) -> list[Picture]:
    """The better metric of memory of which any model has both losses, at two batches or more."""
    rows = frame[(frame["mode"] == "pretrain") & frame["model"].map(untagged).isin(list(STAGES))]
    rows = rows[rows["metric"].isin(MEMORY)]
    if rows["batch"].nunique() < 2:
        return []
    found = {metric: _both(measured(rows, metric)) for metric in MEMORY}
    metric = next((metric for metric, points in found.items() if not points.empty), None)
    if metric is None:
        missing = "Not drawn: no model's memory was measured with both losses at two batches."
        return [] if _both(rows).empty else [Picture(_NAME, _TITLE, missing)]
    points = found[metric]
    shown = scale(metric, "B")
    models = sorted(points["model"].unique(), key=lambda model: (STAGES[untagged(model)], model))[:_MODELS]
    titles = {model: f"{model}, {STAGES[untagged(model)]}" for model in models}
    figure, drawn = panels(list(titles.values()), "batch (images)", f"{name(metric)} ({shown.unit})")
    looks = dict(zip(dict.fromkeys(points["route"]), all_looks(), strict=False))
    for _, own in points.groupby(["model", "route", "loss"], sort=False):
        model, route, loss = own[["model", "route", "loss"]].iloc[0]
        if model in titles:
            own = own.sort_values("batch")
            line, fill = _LOOKS[loss]
            label = " ".join(filter(None, (f"{loss} loss", route)))
            look = {**looks[route], "linestyle": line, "fillstyle": fill}
            drawn[titles[model]].plot(own["batch"], own["value"] * shown.factor, label=label, **look)
    _scale(list(drawn.values()), points)
    legend(figure, *drawn.values())
    return [
        Picture(
            _NAME,
            _TITLE,
            f"{name(metric).capitalize()} of a step of pre-training with the view loss alone (dashed) and with the "
            "region loss too, all panels on one scale, both axes logarithmic, so that a quotient is a distance. A "
            "mono-stage model has more regions at the top, and the region loss has a row of logits for each. "
            f"{conditions(points)}",
            f"Lines of memory over batch with both losses for {names(models)}.",
            figure,
        )
    ]


def _both(points: pd.DataFrame) -> pd.DataFrame:
    """The rows of models that have both losses at two batches; columns beside: loss, route (what else tells lines
    apart)."""
    loss = [str(read(words).get("loss", _BOTH)) for words in points["arguments"]]
    rest = points.assign(arguments=[without(words, "loss") for words in points["arguments"]])
    route = series(rest.assign(model=""), "batch").str.strip()
    points = points.assign(loss=loss, route=route)
    points = points[points["loss"].isin(list(_LOOKS))].drop_duplicates(["model", "route", "loss", "batch"], keep="last")
    line = points.groupby(["model", "route", "loss"])["batch"].transform("nunique")
    points = points[line > 1]
    return points[points.groupby(["model", "route"])["loss"].transform("nunique") == len(_LOOKS)]


def _scale(drawn: list[Axes], points: pd.DataFrame) -> None:
    """The same logarithmic axes in all panels."""
    for axes in drawn:
        log_x(axes, {batch: str(batch) for batch in sorted(points["batch"].unique())})
        log_y(axes)
    bottom, top = min(axes.get_ylim()[0] for axes in drawn), max(axes.get_ylim()[1] for axes in drawn)
    for axes in drawn:
        axes.set_ylim(bottom, top)

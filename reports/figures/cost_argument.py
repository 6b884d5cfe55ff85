"""Cost over an argument of the constructor: what training costs with more branches, say. A picture an argument."""

import pandas as pd

from reports.arguments import numbers, without
from reports.figures.mask_ratio import MASK_RATIO
from reports.figures.picture import Picture, asides, conditions, errorbar, file_names, legend, names, panels
from reports.figures.series import lines
from reports.format import name
from reports.frame import CELL, series
from reports.reductions import CHANGE, changes
from reports.style import BASE_LINE

_COSTS = ("params", "macs", "peak_live_bytes", "latency")


def draw(frame: pd.DataFrame) -> list[Picture]:
    """A panel a cost, a line a series, of each argument that is a number and has two values or more in a series; the
    mask ratio has a picture of its own."""
    asked = frame[frame["metric"].isin(_COSTS)]
    arguments = dict.fromkeys(key for one in asked["arguments"] for key in numbers(one) if key != MASK_RATIO)
    swept = {argument: rows for argument in arguments if not (rows := _swept(asked, argument)).empty}
    called = zip(file_names("cost_argument", swept), swept.items(), strict=True)
    against = changes(frame)
    return [_picture(against, file, argument, rows) for file, (argument, rows) in called]


def _picture(against: pd.DataFrame, file: str, argument: str, rows: pd.DataFrame) -> Picture:
    words = argument.replace("_", " ")
    title = f"Cost over {names([words])}"
    points = [own for _, own in rows[rows["status"] == "ok"].groupby("series", sort=False)]
    points = [_relative(own, against, argument) for own in points if own["place"].nunique() > 1]
    if not points:
        return Picture(file, title, f"Not drawn: no cost was measured at two values of {names([words])}.")
    drawn = pd.concat(points)
    titles = [name(cost) for cost in _COSTS if cost in set(drawn["metric"])]
    figure, found = panels(titles, words, "quotient")
    aside = asides(drawn["place"], len(points))
    for i, (label, own, look) in enumerate(lines(drawn)):
        for cost, curve in own.sort_values("place").groupby("metric", sort=False):
            errorbar(found[name(str(cost))], curve["place"] + aside[i], curve, label=label, **look)
    for axes in found.values():
        axes.axhline(1, **BASE_LINE)
        axes.set_xticks(sorted(drawn["place"].unique()))
    legend(figure, *found.values())
    return Picture(
        file,
        title,
        "Each cost as a quotient: of the base's where all of a line was measured of the base too, else of the line's "
        "own at its first value; the legend says which, and the dashed line is what is divided by. Latency with an "
        "interval of the quotients of both 95 % intervals' bounds. Each panel has a scale of its own; lines stand a "
        f"little aside of each other. {conditions(drawn)}",
        f"Lines of {names(found)} over {names([words])} for {names(drawn['model'])}.",
        figure,
    )


def _swept(rows: pd.DataFrame, argument: str) -> pd.DataFrame:
    """The rows of series with two values of `argument` or more. Columns: place (the value), series without it."""
    places = [numbers(one).get(argument) for one in rows["arguments"]]
    rows = rows.assign(place=pd.Series(places, index=rows.index, dtype=float)).dropna(subset=["place"])
    rest = [without(one, argument) for one in rows["arguments"]]
    rows = rows.assign(series=series(rows.assign(arguments=rest)))
    return rows[rows.groupby("series")["place"].transform("nunique") > 1]


def _relative(own: pd.DataFrame, found: pd.DataFrame, argument: str) -> pd.DataFrame:
    """A series' rows with value, low and high divided by the base's, or by those of its first place."""
    key = [*CELL, "metric"]
    for _, base in found.groupby("base"):
        both = own.merge(base.drop_duplicates(key)[[*key, "against", *CHANGE]], on=key, how="left")
        if both["change_percent"].notna().all():
            value, low, high = (1 + both[one] / 100 for one in CHANGE)
            against = both["against"].iloc[0]
            against = against if both["against"].nunique() == 1 else without(against, argument)  # the base has it too
            break
    else:
        both, place = own, own["place"].min()
        first = both[both["place"] == place].drop_duplicates("metric").set_index("metric")
        first = first[first["value"] > 0]
        value = both["value"] / both["metric"].map(first["value"])
        elsewhere = both["place"] != place  # where it is divided by itself, the quotient is 1 and nothing else
        low = (both["low"] / both["metric"].map(first["high"])).where(elsewhere)
        high = (both["high"] / both["metric"].map(first["low"])).where(elsewhere)
        against = f"{argument}={place:g}"
    line = f"{own['series'].iloc[0]} against {against}"
    return both.assign(value=value, low=low, high=high, series=line).dropna(subset=["value"])

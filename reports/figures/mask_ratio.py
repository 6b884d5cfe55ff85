"""Time and memory of a step over the mask ratio, beside the steps that encode masked tokens too."""

import pandas as pd

from reports.arguments import numbers, without
from reports.baselines import BASES, GREENMIM, models_of, untagged
from reports.figures.picture import Picture, conditions, errorbar, legend, names, panels
from reports.figures.series import ladders, lines, one_of, with_series
from reports.format import scale
from reports.frame import CELL, latest, measured, series
from reports.reductions import changes
from reports.tables import MEMORY

MASK_RATIO = "mask_ratio"  # the argument
DEFAULT = 0.75  # of GreenMIM, where it is not said; a test holds it against the models
_NAME, _TITLE = "mask_ratio", "A step over the mask ratio"
_TIMES = ("latency", "throughput")
_PANELS = {
    "latency": "time a step",
    "throughput": "throughput",
    "peak_memory": "peak memory",
    "peak_live_bytes": "peak memory, predicted",
}
_DASHES = ("--", ":", "-.")  # of a model's bases
_LINES = (
    "Horizontal lines: a step of SimMIM at the same batch, with its interval, whose cost doesn't depend on its mask "
    "ratio; 192 px is its own recipe. "
)


def draw(frame: pd.DataFrame) -> list[Picture]:
    """A panel each for time and memory, a line a series of two mask ratios or more; horizontal lines are bases."""
    asked = _placed(frame[frame["metric"].isin(_PANELS)])
    if ladders(asked, MASK_RATIO).empty:
        return []
    time = _first(asked, _TIMES)
    same = asked if time.empty else asked[_cells(asked).isin(_cells(time))]
    points = with_series(_shown(pd.concat([time, _first(same, MEMORY)], ignore_index=True)), MASK_RATIO)
    if points.empty:
        return [Picture(_NAME, _TITLE, "Not drawn: neither time nor memory was measured at two mask ratios.")]
    bases = _bases(frame, points)
    found = {metric: points.loc[points["metric"] == metric, "unit"].iloc[0] for metric in points["metric"].unique()}
    titles = {metric: f"{_PANELS[metric]} ({scale(metric, unit).unit})" for metric, unit in found.items()}
    figure, drawn = panels(list(titles.values()), "mask ratio", "")
    for label, own, look in lines(points):
        for metric, curve in own.sort_values(MASK_RATIO).groupby("metric", sort=False):
            errorbar(drawn[titles[str(metric)]], curve[MASK_RATIO], curve, label=label, **look)
    for row in bases.to_dict("records"):
        axes, colour = drawn[titles[row["metric"]]], row["look"]["color"]
        axes.axhline(row["value"], color=colour, linestyle=_DASHES[row["base"] % len(_DASHES)], label=row["series"])
        if pd.notna(row["low"]):
            axes.axhspan(row["low"], row["high"], color=colour, alpha=0.12, linewidth=0)
    for axes in drawn.values():
        ratios = sorted(points[MASK_RATIO].unique())
        axes.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios], fontsize=8)
        axes.set_ylim(0, 1.05 * axes.get_ylim()[1])  # a line at the very top is half of one
    legend(figure, *drawn.values())
    return [
        Picture(
            _NAME,
            _TITLE,
            "Points: measured, with the 95 % interval of times; at 0 the encoder has all tokens. "
            f"{'' if bases.empty else _LINES}{conditions(points)}{one_of(asked, MASK_RATIO)}",
            f"Lines of {names(titles.values())} over the mask ratio for {names(points['model'])}.",
            figure,
        )
    ]


def _placed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of models that have a mask ratio, in a column of its own and no longer among the arguments."""
    masked = dict.fromkeys(models_of(GREENMIM), DEFAULT)
    ratios = [
        numbers(words).get(MASK_RATIO, masked.get(untagged(model), float("nan")))
        for model, words in zip(rows["model"], rows["arguments"], strict=True)
    ]
    rest = [without(words, MASK_RATIO) for words in rows["arguments"]]
    rows = rows.assign(arguments=rest, **{MASK_RATIO: pd.Series(ratios, index=rows.index, dtype=float)})
    return rows.dropna(subset=[MASK_RATIO])


def _first(rows: pd.DataFrame, metrics: tuple[str, ...]) -> pd.DataFrame:
    """The series of two mask ratios or more of the first of `metrics` that has any; of cells that differ only in
    whether they say the default, the latest."""
    found = (ladders(measured(rows, metric), MASK_RATIO) for metric in metrics)
    own = next((own for own in found if not own.empty), None)
    return rows.iloc[:0] if own is None else latest(own, ["series", MASK_RATIO])


def _bases(frame: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """The numbers of other models that `points` are compared with, as rows with a series each."""
    rows = changes(frame[frame["metric"].isin(points["metric"])])
    others = [
        BASES[untagged(model)][base].model != untagged(model) for model, base in rows[["model", "base"]].to_numpy()
    ]
    rows = rows[_cells(rows).isin(_cells(points)) & pd.Series(others, index=rows.index, dtype=bool)]
    columns = {f"base_{one}": one for one in ("value", "low", "high")}
    rows = rows.drop(columns=columns.values()).rename(columns=columns)
    rows = rows.assign(model=rows["against"], arguments="")
    return _shown(rows.assign(series=series(rows))).drop_duplicates(["series", "metric"])


def _shown(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with numbers in the units in which they are shown."""
    factors = [scale(*each).factor for each in zip(rows["metric"], rows["unit"], strict=True)]
    return rows.assign(**{column: rows[column] * factors for column in ("value", "low", "high")})


def _cells(rows: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(rows[CELL])

"""What a model's parameters, MACs and time are made of."""

import pandas as pd
from matplotlib.figure import Figure

from reports import shares
from reports.figures.choice import left_out
from reports.figures.picture import Picture, names
from reports.style import FILLS

_NAME, _TITLE = "cost_shares", "What the cost is made of"
_MOST = 12  # bars of a panel; of more those that were timed are drawn


def draw(frame: pd.DataFrame) -> list[Picture]:
    """A panel a cost, a bar a series (12 at most), a fill a kind of module."""
    rows = shares.by_kind(frame)
    if rows.empty:
        return []
    costs = [cost for cost in shares.COSTS.values() if rows[cost].notna().any()]
    first = rows.sort_values(shares.COSTS["latency_parts"], key=pd.Series.isna, kind="stable")
    known = list(rows["series"].unique())
    few = list(first["series"].unique())[:_MOST]
    series = [one for one in known if one in few]
    rows = rows[rows["series"].isin(series)]
    kinds = [kind for kind in shares.KINDS if kind in set(rows["kind"])]
    figure = Figure(figsize=(6.4, 1.1 + len(costs) * (0.35 + 0.22 * len(series))), layout="constrained")
    for axes, cost in zip(figure.subplots(len(costs), sharex=True, squeeze=False)[:, 0], costs, strict=True):
        wide = rows.pivot(index="series", columns="kind", values=cost).reindex(index=series).fillna(0.0)
        left = pd.Series(0.0, index=series)
        told = set(rows.loc[rows[cost].notna(), "series"])
        for place, name in enumerate(series):  # in order, so that the file has the same bytes each time
            if name not in told:
                axes.text(0.01, place, "not measured", va="center", fontsize=8)
        for kind in kinds:
            colour, hatch = FILLS[shares.KINDS.index(kind)]
            axes.barh(series, wide[kind], left=left, color=colour, hatch=hatch, edgecolor="white", label=kind)
            left = left + wide[kind]
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_title(cost, loc="left", fontsize=9)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0, labelsize=8)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_xlabel("share of the whole (%)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    batch = rows["batch"].dropna().unique()
    timed = f" Time: of calls with hooks, at batch {names(f'{one:.0f}' for one in batch)}." if len(batch) else ""
    return [
        Picture(
            _NAME,
            _TITLE,
            "Share of each kind of module. MACs: matrix products and convolutions, torch's counter, so that norms and "
            f"activation functions have none.{timed} Every part is in [parts.csv](parts.csv)."
            f"{left_out([one for one in known if one not in few], _MOST)}",
            f"Stacked bars of the shares of {names(costs)} by kind of module for {names(series)}.",
            figure,
        )
    ]

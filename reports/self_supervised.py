"""EsViT's tables 1 and 4 with what was measured here beside, as words."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from reports.baselines import ESVIT, models_of, untagged
from reports.claims import load
from reports.format import cell, factor, number, scale
from reports.frame import varying
from reports.peers import SAME, SHARE, beside, count, speeds
from reports.roster import DEIT, PEERS, PRINTED_1, PRINTED_4, SAID, Entry, claims_of, entry, number_of, published
from reports.tables import CORRESPONDENCE

Row = dict[Any, Any]  # of the tidy frame: column -> value


def own(frame: pd.DataFrame) -> pd.Series:
    """Which rows are of models that the section speaks of: EsViT's, and those asked for correspondences."""
    asked = frame.loc[frame["metric"].isin(CORRESPONDENCE), "model"]
    return frame["model"].map(untagged).isin(models_of(ESVIT)) | frame["model"].isin(asked)


def inferred(frame: pd.DataFrame) -> bool:
    """Whether a model of EsViT's was measured in mode infer, so that the tables have something to say."""
    rows = frame[(frame["mode"] == "infer") & (frame["size"] == "224")]
    return bool(rows["model"].map(untagged).isin(models_of(ESVIT)).any())


def models(frame: pd.DataFrame) -> pd.DataFrame:
    """Table 1, a row a row of it and setting: parameters, accuracies, throughput at the largest batch with ViT-B/8."""
    if not inferred(frame):
        return pd.DataFrame()
    rows = beside(speeds(frame, PRINTED_1), PEERS[0])
    keys = [name for name in varying(rows) if name in SAME]
    return pd.DataFrame(
        [
            {
                "Table 1": one.printed,
                "here": one.here,
                **_beside("params (M)", said.get("params"), _count(frame, one, "params")),
                "linear (%)": said.get("linear", "-"),
                "k-NN (%)": said.get("kNN", "-"),
                **_beside("throughput (img/s)", said.get("throughput"), _speed(speed)),
                **_setting(speed, keys),
            }
            for one in PRINTED_1
            for said in [published(one)]
            for speed in _settings(rows, one)
        ]
    )


def ratios(frame: pd.DataFrame) -> pd.DataFrame:
    """Each model of table 1 against its peers: parameters as the peer's divided by its own, throughput as its own
    divided by the peer's, published and measured at the largest batch of both; a row a model, peer and setting.

    Of those that were both measured, and those that the paper's text compares.
    """
    if not inferred(frame):
        return pd.DataFrame()
    found = []
    every = speeds(frame, PRINTED_1)
    keys = [name for name in varying(every) if name in SAME]
    for peer in PEERS:
        other, rows = entry(peer), beside(every, peer)
        for one in PRINTED_1:
            said = SAID.get((one.printed, peer), {})
            paired = [] if one.printed in PEERS else _settings(rows[rows["share"].notna()], one)
            for speed in paired:
                if said or speed is not None:
                    found.append(_ratio(frame, one, other, speed, keys) | {"the paper's words": _words(said)})
    return pd.DataFrame(found)


def _ratio(frame: pd.DataFrame, one: Entry, other: Entry, speed: Row | None, keys: Sequence[str]) -> Row:
    mine, theirs = ({key: number_of(text) for key, text in published(each).items()} for each in (one, other))
    counts = [count(frame, each, "params")["value"] for each in (one, other)]
    fewer = counts[1].iloc[0] / counts[0].iloc[0] if all(map(len, counts)) else float("nan")
    share = [float("nan")] * 3 if speed is None else [speed[name] for name in SHARE]
    none = "-" if other.model else "no such model here"
    return {
        "model": one.printed,
        "against": other.printed,
        **_beside("fewer params", factor(theirs["params"] / mine["params"]), factor(fewer) or none),
        **_beside("throughput", factor(mine["throughput"] / theirs["throughput"]), factor(*share) or none),
        **_setting(speed, keys),
    }


def architectures(frame: pd.DataFrame) -> pd.DataFrame:
    """Table 4, a row a row of it and setting: parameters, MACs, regions at the top, throughput, and that as a share of
    DeiT-S's at the largest batch of both."""
    if not inferred(frame):
        return pd.DataFrame()
    rows = beside(speeds(frame, PRINTED_4), DEIT)
    keys = [name for name in varying(rows) if name in SAME]
    deit = number_of(published(entry(DEIT))["throughput"])
    found = []
    for one in PRINTED_4:
        said = published(one)
        for speed in _settings(rows, one):
            share = [] if speed is None or one.printed == DEIT else [speed[name] for name in SHARE]
            found.append(
                {
                    "Table 4": one.printed,
                    "here": one.here,
                    **_beside("params (M)", said.get("params"), _count(frame, one, "params")),
                    f"MACs ({scale('macs', 'MAC').unit})": _count(frame, one, "macs"),
                    **_beside("top tokens", _tokens(one), _count(frame, one, "top_tokens")),
                    "linear (%)": said.get("linear", "-"),
                    "k-NN (%)": said.get("kNN", "-"),
                    **_beside("throughput (img/s)", said.get("throughput"), _speed(speed)),
                    **_beside(
                        "of DeiT-S", factor(number_of(said.get("throughput")) / deit), factor(*share) if share else "-"
                    ),
                    **_setting(speed, keys),
                }
            )
    return pd.DataFrame(found)


def origins() -> pd.DataFrame:
    """Where the numbers of both tables, and those of the text on them, were read; a row a source."""
    claims = claims_of("Table 1", "Table 4", "Table 5", "Sec. 2.2", "Sec. 4.1", "abstract / Sec. 1")
    rows = claims.groupby("source", sort=False).agg(
        numbers=("id", "count"),
        provenance=("provenance", lambda words: "; ".join(dict.fromkeys(words))),
        confidence=("confidence", lambda words: ", ".join(dict.fromkeys(words))),
    )
    return rows.reset_index().rename(columns={"provenance": "read in"})


def _tokens(one: Entry) -> str | None:
    """The paper's length of the sequence at the top, which section 2.2 gives for two kinds of Transformers."""
    kind = {DEIT: "ViT/DeiT patch 16", "ResNet-50": ""}.get(one.printed, "4-stage ViT (Swin etc.)")
    claims = claims_of("Sec. 2.2")
    return next(iter(claims.loc[claims["model"] == kind, "value"]), None)


def _settings(rows: pd.DataFrame, one: Entry) -> list[Row | None]:
    """The rows of `beside` of an entry, or [None]: it has a line in a table all the same."""
    return [*rows[rows["printed"] == one.printed].to_dict("records")] or [None]


def _beside(name: str, said: str | None, measured: str) -> dict[str, str]:
    return {f"{name}, published": said or "-", f"{name}, measured": measured or "-"}


def _setting(speed: Row | None, keys: Sequence[str]) -> dict[str, str]:
    """The batch, and what else tells settings apart."""
    return {key: "-" if speed is None else str(speed[key]) for key in ("batch", *keys)}


def _count(frame: pd.DataFrame, one: Entry, metric: str) -> str:
    row = count(frame, one, metric)
    if row.empty:
        return "-"
    value, unit = row[["value", "unit"]].iloc[0]
    shown = scale(metric, unit)
    return number(value * shown.factor, shown.digits)


def _speed(speed: Row | None) -> str:
    return "" if speed is None else cell(*(speed[one] for one in ("metric", "unit", "value", "low", "high")))


def _words(said: dict[str, str]) -> str:
    """Claims by their ids, as `params 3.5x fewer, throughput 10x at least`."""
    claims = load().set_index("id")
    words = []
    for what, number_ in said.items():
        value, unit = (str(claims.loc[number_, column]) for column in ("value", "unit"))
        words.append(" ".join([what, f"{value}x", *unit.split(" ")[1:]]))
    return ", ".join(words)

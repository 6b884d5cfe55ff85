"""BEiT v2's models and what a step of their pre-training costs, published beside what was measured here, as words."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from reports import codebook, steps
from reports.baselines import STEP_PARTS, untagged
from reports.format import cell, change, factor, number, scale
from reports.frame import measured, varying
from reports.peers import SAME
from reports.reductions import changes
from reports.reductions import table as changes_table
from reports.roster_beitv2 import (
    BASE,
    CLASSIFIERS,
    ENTRIES,
    MACS,
    PARAMS,
    TOP_1,
    Entry,
    claims_of,
    speaks_of,
    throughputs,
)

_COSTS = ("macs", "step_macs", "peak_live_bytes", "peak_memory", "step_time", "throughput")
_UNITS = {"M": 1e6, "G": 1e9, "params": 1.0}  # of claims, as numbers
_SETTING = [*(axis for axis in SAME if axis != "size"), "batch", "arguments"]

Row = dict[Any, Any]  # of the tidy frame, or of claims: column -> value


def section(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The tables of the section, by the names that its template has for them; empty ones where nothing was measured."""
    own = frame[frame["model"].map(speaks_of).astype(bool)]
    usage = codebook.table(frame)
    if own.empty and usage.empty:
        return {}
    cells = steps.cells(own)
    counted = _counted(frame)
    return {
        "models": models(frame) if counted else pd.DataFrame(),
        "claims": claims(frame) if counted else pd.DataFrame(),
        "costs": costs(frame),
        "frozen": steps.frozen(cells),
        "steps": steps.table(cells),
        "throughput": throughput(frame),
        "usage": usage,
        "usage_claims": codebook.published() if len(usage) else pd.DataFrame(),
    }


def models(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a published model and model here that stands for it: parameters and MACs published beside measured, and
    accuracies as published."""
    return pd.DataFrame([_model(frame, entry, name) for entry in ENTRIES for name in _standing(frame, entry)])


def claims(frame: pd.DataFrame) -> pd.DataFrame:
    """Where the numbers of `models` were read, and by how much those measured here differ; a row a claim."""
    return pd.DataFrame(
        [
            {
                "model": entry.printed,
                "of": _NAMES[metric],
                "published": f"{claim['value']} {claim['unit']}",
                "measured": _value(frame, entry, metric),
                "difference": _difference(frame, entry, metric, claim),
                "conditions": claim["conditions"] or "-",
                "source": claim["source"],
                "read in": claim["provenance"],
                "confidence": claim["confidence"],
                "id": claim["id"],
            }
            for entry in ENTRIES
            for metric, said in entry.claims.items()
            for claim in claims_of(said)
        ]
    )


def costs(frame: pd.DataFrame) -> pd.DataFrame:
    """What each part of a step changes of the same step without it, in percent; a row a part, cell and base."""
    rows = pd.concat([changes(frame, bases).assign(part=part) for part, bases in STEP_PARTS.items()])
    return changes_table(rows[rows["metric"].isin(_COSTS)], "part")


def throughput(frame: pd.DataFrame) -> pd.DataFrame:
    """Throughputs of classifiers as shares of the smallest's: a row a file of timm's, and a setting measured here."""
    rows = _speeds(frame)
    if rows.empty:
        return pd.DataFrame()
    keys = [key for key in varying(rows) if key in _SETTING and key != "batch"]
    here = [_measured(own, keys) for _, own in rows.groupby([*_SETTING, "whose"], sort=False)]
    return pd.DataFrame([*here, *(_published(own) | dict.fromkeys(keys, "-") for own in _files())])


_NAMES = {PARAMS: "params", MACS: "MACs (fvcore)", TOP_1: "top-1"}


def _counted(own: pd.DataFrame) -> bool:
    """Whether a number that the tables of models have was asked of any of them."""
    wanted = [({*entry.claims} | ({"macs"} if MACS in entry.claims else set()), entry) for entry in ENTRIES]
    return any(
        _held(own, entry, model)["metric"].isin(metrics).any()
        for metrics, entry in wanted
        for model in entry.models.values()
    )


def _held(frame: pd.DataFrame, entry: Entry, model: str) -> pd.DataFrame:
    """The rows of the frame of a model that stands for an entry: as it is without arguments."""
    rows = frame[(frame["mode"] == entry.mode) & (frame["size"] == entry.size) & (frame["arguments"] == "")]
    return rows[rows["model"].map(untagged) == model]


def _standing(frame: pd.DataFrame, entry: Entry) -> list[str]:
    """The models of an entry that were measured; the first where none was: it has a line all the same."""
    found = [model for model in entry.models.values() if not _held(frame, entry, model).empty]
    return found or [*entry.models.values()][:1]


def _model(frame: pd.DataFrame, entry: Entry, model: str) -> Row:
    own = _held(frame, entry, model)
    row = {"published": entry.printed, "here": model if len(own) else f"{model}: not measured"}
    row["params, published"] = _said(entry, PARAMS)
    row[f"params ({scale(PARAMS, '1').unit}), measured"] = _count(own, PARAMS)
    row["MACs, published"] = _said(entry, MACS)
    for metric, name in (("macs", "MACs"), (MACS, _NAMES[MACS])):
        row[f"{name} ({scale(metric, 'MAC').unit}), measured"] = _count(own, metric)
    return row | {"top-1, published": _said(entry, TOP_1)}


def _count(own: pd.DataFrame, metric: str) -> str:
    """A number that is the same on all devices; why there is none, where it was asked for."""
    found = measured(own, metric)
    if len(found):
        value, unit = found[["value", "unit"]].iloc[-1]
        shown = scale(metric, unit)
        return number(value * shown.factor, shown.digits)
    asked = own.loc[own["metric"] == metric, "status"]
    return f"- ({asked.iloc[-1]})" if len(asked) else "-"


def _said(entry: Entry, metric: str) -> str:
    """`86.5 M; 86.53 M (timm's, secondary)`."""
    notes = entry.claims.get(metric, {})
    words = []
    for claim in claims_of(notes):
        marks = [notes[claim["id"]], "" if claim["confidence"] == "confirmed" else claim["confidence"]]
        mark = ", ".join(filter(None, marks))
        words.append(f"{claim['value']} {claim['unit']}{f' ({mark})' if mark else ''}")
    return "; ".join(words) or "-"


def _found(frame: pd.DataFrame, entry: Entry, metric: str) -> pd.DataFrame:
    """The number of an entry's first model that has it, as a row of the frame."""
    rows = [measured(_held(frame, entry, model), metric).iloc[-1:] for model in entry.models.values()]
    return next((row for row in rows if len(row)), rows[0])


def _value(frame: pd.DataFrame, entry: Entry, metric: str) -> str:
    found = _found(frame, entry, metric)
    return number(found["value"].iloc[0], 1) if len(found) else "-"  # all digits of a count


def _difference(frame: pd.DataFrame, entry: Entry, metric: str, claim: Row) -> str:
    """From the published number to ours, in percent."""
    found = _found(frame, entry, metric)
    if found.empty:
        return "-"
    return change(100 * (found["value"].iloc[0] / (float(claim["value"]) * _UNITS[claim["unit"]]) - 1), decimals=3)


def _speeds(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of throughput of classifiers. Columns beside the frame's: build, whose (models those are)."""
    rows = measured(frame, "throughput")
    rows = rows[rows["mode"] == "infer"]
    found = [
        rows[(rows["model"].map(untagged) == model) & (rows["size"] == entry.size)].assign(build=build, whose=whose)
        for build, entry in CLASSIFIERS.items()
        for whose, model in entry.models.items()
    ]
    return pd.concat(found).drop_duplicates(["build", "whose", *_SETTING], keep="last")


def _measured(own: pd.DataFrame, keys: Sequence[str]) -> Row:
    """A setting's line; own: its rows of `_speeds`."""
    rows: dict[str, Row] = {row["build"]: row for row in own.to_dict("records")}
    first = own.iloc[0]
    base = rows.get(BASE)
    words = "-" if base is None else cell(*(base[one] for one in ("metric", "unit", "value", "low", "high")))
    shares = {build: "-" if base is None else _share(rows.get(build), base) for build in CLASSIFIERS if build != BASE}
    origin = f"measured, {', '.join(dict.fromkeys(map(untagged, own['model'])))}"
    line = {"of": origin, "batch": str(first["batch"]), f"{BASE} (img/s)": words, **shares}
    return line | {"confidence": "-", "claims": "-"} | {key: first[key] or "-" for key in keys}


def _share(row: Row | None, base: Row) -> str:
    """A throughput as a share of the base's, with the quotients of the bounds of both intervals."""
    if row is None:
        return "-"
    return factor(row["value"] / base["value"], row["low"] / base["high"], row["high"] / base["low"])


def _files() -> Iterator[pd.DataFrame]:
    for _, own in throughputs().groupby("source", sort=False):
        yield own


def _published(own: pd.DataFrame) -> Row:
    """A file's line; own: its rows of `throughputs`."""
    rows: dict[str, Row] = {row["build"]: row for row in own.to_dict("records")}
    base = float(rows[BASE]["value"])
    shares = {
        build: factor(float(rows[build]["value"]) / base) if build in rows else "-"
        for build in CLASSIFIERS
        if build != BASE
    }
    batches = [re.search(r"batch (\d+)", rows[build]["conditions"]) for build in CLASSIFIERS if build in rows]
    return {
        "of": f"published, other hardware: {own['conditions'].iloc[0].partition(',')[0]}",
        "batch": ", ".join(dict.fromkeys(batch[1] for batch in batches if batch)),
        f"{BASE} (img/s)": number(base, scale("throughput", "img/s").digits),
        **shares,
        "confidence": ", ".join(dict.fromkeys(own["confidence"])),
        "claims": f"{own['id'].min()} to {own['id'].max()}",
    }

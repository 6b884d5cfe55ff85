"""report.md with its pictures and tables, from records alone."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pandas as pd
from jinja2 import Environment as Templates
from jinja2 import PackageLoader, StrictUndefined

from bench.environment import Environment
from bench.errors import UsageError
from bench.protocol import Protocol
from bench.record import Record
from reports import (
    attention,
    codebook,
    correspondence,
    epochs,
    grouping,
    leftovers,
    losses,
    reductions,
    self_supervised,
    shares,
    speedups,
    steps,
    tables,
    tokenized,
)
from reports.baselines import BEITV2, ESVIT, GREENMIM, models_of, untagged
from reports.claims import published_top1
from reports.figures import Picture, pictures
from reports.format import bytes_, number
from reports.frame import CELL, latest, to_csv, to_frame
from reports.style import save


def write(records: Sequence[Record], folder: Path) -> Path:
    """Write report.md, CSV files and the pictures into `folder`; returns the path of report.md.

    results.csv and values.csv are always there; parts.csv, steps.csv and attention.csv where a value was split,
    reductions.csv where a base was measured too. What an earlier report wrote there and this one doesn't is removed
    (`reports.leftovers`).

    Raises UsageError if the folder cannot be written to.
    """
    everything = to_frame(records)
    frame = latest(everything)
    drawn = pictures(frame)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = ["report.md", "results.csv", "values.csv"]
        for picture in drawn:
            if picture.figure:
                written += save(picture.figure, folder, picture.name)
        tables.exact(frame).to_csv(folder / "results.csv", index=False)
        to_csv(frame, folder / "values.csv")
        for name, rows in _csv(frame).items():
            if not rows.empty:
                to_csv(rows, folder / name)
                written.append(name)
        page = folder / "report.md"
        page.write_text(render(records, frame, drawn, superseded=len(everything) - len(frame)), encoding="utf-8")
        leftovers.note(folder, written)
    except OSError as error:
        raise UsageError(f"cannot write the report to {folder}: {error.strerror or error}") from error
    return page


def _csv(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The tables of numbers that not every report has, by the names of their files."""
    return {
        "parts.csv": shares.parts(frame),
        "attention.csv": attention.numbers(frame),
        "steps.csv": steps.parts(frame),
        "reductions.csv": reductions.exact(reductions.changes(frame)),
    }


def summary(records: Sequence[Record]) -> str:
    """The table of results alone, as Markdown."""
    return tables.to_markdown(tables.results(tables.main_rows(latest(to_frame(records)))))


def render(records: Sequence[Record], frame: pd.DataFrame, drawn: Sequence[Picture], superseded: int) -> str:
    """The page's text."""
    templates = Templates(
        loader=PackageLoader("reports"), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    main = tables.main_rows(frame)
    timed = frame.loc[frame["metric"] == "throughput", "model"]
    published = published_top1()
    published = published[published["name"].isin(timed)].drop(columns="model")
    changes = reductions.changes(frame)
    times = sorted(record.time for record in records)
    return templates.get_template("report.md.j2").render(
        models=frame["model"].unique(),
        cells=frame[CELL].drop_duplicates().shape[0],
        begun=times[0][:16].replace("T", " "),
        ended=times[-1][:16].replace("T", " "),
        failed=(frame["status"] == "failed").sum(),
        skipped=(frame["status"] == "skipped").sum(),
        superseded=superseded,
        environments=[_markdown(_describe(environments)) for environments in _distinct(records)],
        codes=sorted({record.environment.code for record in records}),
        constant=", ".join(f"{name} {tables.escape(word)}" for name, word in tables.constant(main).items()),
        results=_markdown(tables.results(main)),
        memory={title: _markdown(table) for title, table in tables.memory(frame).items()},
        step_parts=not steps.parts(frame).empty,
        latencies=_markdown(tables.latencies(main)),
        shares=_markdown(shares.against_time(frame)),
        attention=_markdown(attention.table(frame)),
        warning=attention.warning(attention.looked(frame, *attention.METRICS)),
        images=_markdown(attention.per_image(frame)),
        against=_markdown(reductions.table(changes)),
        against_timed=bool(set(changes["metric"]) - set(reductions.COUNTS)),
        against_forms=changes["form"].any(),
        against_masked=changes["model"].map(untagged).isin(models_of(GREENMIM)).any(),
        against_published=_markdown(reductions.published(frame, changes)),
        against_view_loss=changes["model"].map(untagged).isin(models_of(ESVIT)).any(),
        against_step_parts=changes["model"].map(untagged).isin(models_of(BEITV2)).any(),
        unpaired={model: [f"`{words}`" for words in cells] for model, cells in reductions.unpaired(frame).items()},
        masked=frame["model"].map(untagged).isin(models_of(GREENMIM)).any(),
        epochs=_markdown(epochs.table(frame)),
        epoch_images=epochs.IMAGES,
        steps=_markdown(speedups.table(frame, changes)),
        grouping=_markdown(grouping.table(frame)),
        hallucination=_markdown(attention.hallucination(frame)),
        esvit=_esvit(frame, changes),
        beitv2=_beitv2(frame),
        pictures=[(picture, "" if picture.table is None else _markdown(picture.table)) for picture in drawn],
        published=_markdown(published),
        problems=_markdown(tables.problems(frame)),
        remarks=_markdown(tables.remarks(frame)),
        protocols=[_sentence(protocol) for protocol in dict.fromkeys(record.protocol for record in records)],
    )


def _esvit(frame: pd.DataFrame, changes: pd.DataFrame) -> dict[str, str]:
    """The parts of the section on self-supervised models, by the names that its template has for them."""
    seen = attention.looked(frame, *tables.CORRESPONDENCE)
    parts = {
        "models": self_supervised.models(frame),
        "ratios": self_supervised.ratios(frame),
        "architectures": self_supervised.architectures(frame),
        "origins": self_supervised.origins() if self_supervised.inferred(frame) else pd.DataFrame(),
        "losses": losses.table(changes),
        "correspondence": correspondence.table(frame),
    }
    return {name: _markdown(part) for name, part in parts.items()} | {"correspondence_warning": attention.warning(seen)}


def _beitv2(frame: pd.DataFrame) -> dict[str, str]:
    """The parts of the section on tokenized pre-training, likewise."""
    parts = {name: _markdown(part) for name, part in tokenized.section(frame).items()}
    return parts | {"usage_warning": attention.warning(attention.looked(frame, codebook.METRIC))} if parts else parts


def _markdown(table: pd.DataFrame) -> str:
    return "" if table.empty else tables.to_markdown(table)


def _distinct(records: Sequence[Record]) -> list[list[Environment]]:
    """The environments of the records by fingerprint, in the order of time."""
    found: dict[str, list[Environment]] = {}
    for record in sorted(records, key=lambda record: datetime.fromisoformat(record.time)):
        found.setdefault(record.environment.fingerprint, []).append(record.environment)
    return list(found.values())


def _describe(alike: Sequence[Environment]) -> pd.DataFrame:
    """Environments of one fingerprint as a table of two columns."""
    environment = alike[-1]
    state = environment.state
    codes = dict.fromkeys(f"commit {one.commit or 'unknown'}, measuring code {one.code}" for one in alike)
    facts = {
        "environment": environment.fingerprint,
        "CPU": f"{environment.cpu}, {environment.cores} logical cores, {environment.threads} threads used",
        "memory": bytes_(environment.memory),
        "GPU": "none used"
        if environment.gpu is None
        else f"{environment.gpu}, {bytes_(environment.gpu_memory or 0)}, driver {environment.driver}",
        "system": f"{environment.system}, Python {environment.python}",
        "packages": ", ".join(f"{name} {version}" for name, version in environment.packages.items()),
        "code": "; ".join(codes),
        "state at the last cell": ", ".join(f"{name} {_state(name, value)}" for name, value in state.items()),
    }
    return pd.DataFrame({"fact": facts.keys(), "value": facts.values()})


def _state(name: str, value: object) -> str:
    if name.endswith("clock") and isinstance(value, float):
        return f"{value * 1e-9:.2f} GHz"
    if isinstance(value, float):
        return number(value, 3)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _sentence(protocol: Protocol) -> str:
    fields = dataclasses.asdict(protocol)
    name = fields.pop("preset")
    return f"Preset `{name}`: " + ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in fields.items()) + "."

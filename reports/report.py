"""report.md with its pictures and tables, from records alone."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from bench.errors import UsageError
from bench.record import Record
from reports import attention, epochs, html, leftovers, pareto, reductions, shares, steps, tables
from reports.claims import published_top1
from reports.figures import Picture, front, pictures
from reports.frame import CELL, latest, to_csv, to_frame
from reports.ledger import ledger
from reports.ledger.about import models_of
from reports.ledger.judging import frame_of
from reports.methods import methods
from reports.papers import section
from reports.papers.evidence import Evidence
from reports.papers.exhibit import LEGEND
from reports.papers.section import Section
from reports.style import save
from reports.tables import compact
from reports.templating import templates


def write(records: Sequence[Record], folder: Path) -> Path:
    """Write report.md, report.html, CSV files and the pictures into `folder`; returns the path of report.md.

    report.html is the same in one file, with tables to sort and a chart to explore. results.csv and values.csv are
    always there; parts.csv, steps.csv and attention.csv where a value was split, reductions.csv where a base was
    measured too, ledger.csv and ledger.json where there is something of a paper. What an earlier report wrote there and
    this one doesn't is removed (`reports.leftovers`).

    Raises UsageError if the folder cannot be written to.
    """
    everything = to_frame(records)
    frame = latest(everything)
    judged = ledger.rows(records)
    sections = section.sections(Evidence(frame_of(records), judged))
    shown = section.pictures(sections)
    seen = {(one.title, one.alt) for one in shown}  # which says of which models it is
    told = {one.paper: models_of(one.paper, frame) for one in sections}
    drawn = [one for one in pictures(frame, told) if (one.title, one.alt) not in seen]
    first = front(frame)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = ["report.md", "report.html", "results.csv", "values.csv"]
        for name, figure in _figures((*first, *shown, *drawn)).items():
            written += save(figure, folder, name)
        tables.exact(frame).to_csv(folder / "results.csv", index=False)
        to_csv(frame, folder / "values.csv")
        for name, rows in _csv(frame).items():
            if not rows.empty:
                to_csv(rows, folder / name)
                written.append(name)
        if sections:
            written += [path.name for path in ledger.write_data(judged, folder)]
        page = folder / "report.md"
        text = render(records, frame, sections, first, drawn, superseded=len(everything) - len(frame))
        page.write_text(text, encoding="utf-8")
        (folder / "report.html").write_text(html.page(text, folder, pareto.chart(frame)), encoding="utf-8")
        leftovers.note(folder, written)
    except OSError as error:
        raise UsageError(f"cannot write the report to {folder}: {error.strerror or error}") from error
    return page


def _figures(every: Iterable[Picture]) -> dict[str, Figure]:
    """What there is to save, by file name. ValueError if two would overwrite each other."""
    found: dict[str, Figure] = {}
    for picture in every:
        if picture.name in found:
            raise ValueError(f"two pictures are called {picture.name}: {picture.title}")
        if picture.figure:
            found[picture.name] = picture.figure
    return found


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


def render(
    records: Sequence[Record],
    frame: pd.DataFrame,
    sections: Sequence[Section],
    first: Sequence[Picture],
    drawn: Sequence[Picture],
    superseded: int,
) -> str:
    """The page's text."""
    times = sorted(record.time for record in records)
    return (
        templates()
        .get_template("report.md.j2")
        .render(
            models=frame["model"].unique(),
            cells=frame[CELL].drop_duplicates().shape[0],
            begun=times[0][:16].replace("T", " "),
            ended=times[-1][:16].replace("T", " "),
            failed=(frame["status"] == "failed").sum(),
            skipped=(frame["status"] == "skipped").sum(),
            superseded=superseded,
            codes=sorted({record.environment.code for record in records}),
            sections=sections,
            first=first,
            **_summary(sections),
            **_results(frame, drawn),
            **methods(records, frame),
        )
    )


def _summary(sections: Sequence[Section]) -> dict[str, str]:
    """What stands first, of the papers that have a section."""
    judged = [row for one in sections for row in one.rows]
    return {
        "claims_line": ledger.line(judged),
        "verdicts": compact(ledger.summary(judged)),
        "marks": LEGEND,
        "headlines": compact(section.headlines(sections)),
        **ledger.BOUNDS,
    }


def _results(frame: pd.DataFrame, drawn: Sequence[Picture]) -> dict[str, Any]:
    """The tables and pictures of all models."""
    main = tables.main_rows(frame)
    timed = frame.loc[frame["metric"] == "throughput", "model"]
    published = published_top1()
    changes = reductions.changes(frame)
    return {
        "constant": ", ".join(f"{name} {tables.escape(word)}" for name, word in tables.constant(main).items()),
        "results": compact(tables.results(main)),
        "memory": {title: compact(table) for title, table in tables.memory(frame).items()},
        "step_parts": not steps.parts(frame).empty,
        "latencies": compact(tables.latencies(main)),
        "shares": compact(shares.against_time(frame)),
        "attention": compact(attention.table(frame)),
        "warning": attention.warning(attention.looked(frame, *attention.METRICS)),
        "images": compact(attention.per_image(frame)),
        "against": compact(reductions.table(changes)),
        "against_timed": bool(set(changes["metric"]) - set(reductions.COUNTS)),
        "unpaired": {
            model: [tables.code(words) for words in cells] for model, cells in reductions.unpaired(frame).items()
        },
        "epochs": compact(epochs.table(frame)),
        "epoch_images": epochs.IMAGES,
        "hallucination": compact(attention.hallucination(frame)),
        "pictures": drawn,
        "published": compact(published[published["name"].isin(timed)].drop(columns="model")),
    }

"""What a person sees while a run goes on: which cell, which metric, how many, how long still."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from bench.metrics import select
from bench.protocol import Protocol
from bench.record import Record
from bench.runner import Cell

_START_UP = 5.0  # s, to start a worker and import PyTorch in it
_STATIC = 0.5  # s, a static metric


class Board:
    """An Observer that draws a bar on a terminal, and writes a line a cell anywhere."""

    def __init__(self, console: Console, cells: Sequence[Cell], protocol: Protocol) -> None:
        self._console = console
        self._protocol = protocol
        self._cells = len(cells)
        self._done = 0
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[done]}/{task.fields[cells]} {task.description}"),
            BarColumn(bar_width=24),
            _TimeLeft(),
            console=console,
            refresh_per_second=1,  # a faster one would take time from what is measured
            transient=True,
            disable=not console.is_terminal,
        )
        total = sum(expected_seconds(cell, protocol) for cell in cells)
        self._task = self._progress.add_task("", total=total, done=0, cells=self._cells, at=0.0)
        self._cell: Cell | None = None
        self._said: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, cell: Cell) -> None:
        self._cell = cell
        self._progress.update(self._task, description=escape(str(cell.spec)))

    def measuring(self, metric: str) -> None:
        assert self._cell is not None
        self._progress.update(self._task, description=escape(f"{self._cell.spec}: {metric}"))

    def end(self, record: Record, kept: bool) -> None:
        assert self._cell is not None
        self._done += 1
        [task] = self._progress.tasks
        expected = expected_seconds(self._cell, self._protocol)
        if kept:  # took no time, so it must not count as pace
            self._progress.update(self._task, total=(task.total or 0.0) - expected, done=self._done)
        else:
            self._progress.update(self._task, advance=expected, done=self._done, at=task.elapsed or 0.0)
        counts = Counter(value.status for value in record.values)
        words = ", ".join(f"{counts[status]} {status}" for status in ("ok", "skipped", "failed") if counts[status])
        mark = "[red]x[/]" if record.failed else "[dim]=[/]" if kept else "[green]v[/]"
        kept_words = " [dim](recorded before)[/]" if kept else ""
        self._console.print(f"{mark} {self._done}/{self._cells} {escape(str(record.spec))}: {words}{kept_words}")
        for value in record.values:
            if value.status == "failed":
                self._console.print(f"    [red]{value.metric} failed:[/] {escape(value.note)}")
            elif value.status == "skipped" and (value.metric, value.note) not in self._said:
                self._said.add((value.metric, value.note))  # the same for many cells
                self._console.print(f"    [dim]{value.metric} skipped:[/] {escape(value.note)}")


class _TimeLeft(ProgressColumn):
    """The time left, from the expected times, corrected by how long the cells done took against theirs."""

    def render(self, task: Task) -> Text:
        elapsed = task.elapsed or 0.0
        pace = task.fields["at"] / task.completed if task.completed else 1.0
        left = max(0.0, pace * (task.total or 0.0) - elapsed)
        return Text(f"about {timedelta(seconds=round(left))} left")


def expected_seconds(cell: Cell, protocol: Protocol) -> float:
    """A rough guess of a cell's time (s), for the time left and the dry run; the truth depends on the machine."""
    metrics = [metric for metric in select(cell.metrics) if metric.applies(cell.spec.device)]
    stages = [metric.stage for metric in metrics]
    seconds = _STATIC * stages.count("static")
    seconds += _START_UP * len({"device", "memory"} & {*stages})
    if "time" in stages:
        once = _START_UP + protocol.warmup_time + protocol.max_time * stages.count("time")
        seconds += once * protocol.processes
    return seconds

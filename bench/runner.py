"""The runner: cells in, records out, one flushed line as soon as a cell is done."""

import contextlib
import getpass
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol as Interface
from typing import Self

from filelock import FileLock, Timeout

from bench import jsonl, plugins
from bench.environment import Environment, capture
from bench.metrics import Metric, select
from bench.protocol import Protocol
from bench.record import Record, Value
from bench.spec import Spec
from bench.worker import Answer, Worker


@dataclass(frozen=True)
class Cell:
    """What is asked of one Spec: the metrics, by name, in the order in which the record holds them."""

    spec: Spec
    metrics: tuple[str, ...]


class Observer(Interface):
    """Hears of a run's progress."""

    def begin(self, cell: Cell) -> None:
        """A cell is begun."""

    def measuring(self, metric: str) -> None:
        """A metric of it is begun."""

    def end(self, record: Record, kept: bool) -> None:
        """A cell is done; kept if its record was in the file already."""


def run(
    cells: Sequence[Cell],
    protocol: Protocol,
    path: Path,
    observer: Observer,
    register: Sequence[str] = (),
    resume: bool = False,
) -> list[Record]:
    """Measure every cell and append its record to `path`; returns the records, in the order of the cells.

    resume keeps a record of the file instead of measuring where Spec, Protocol, metrics with their versions,
    environment fingerprint and measuring code are the same and nothing failed. Raises RecordsError, before anything
    is measured, if the file is not one of ours or cannot be written to.
    """
    present = jsonl.prepare(path)  # before hours are spent on what could not be written
    records = []
    with _Bench(protocol, observer, register) as bench:
        for cell in cells:
            observer.begin(cell)
            kept = recorded(cell, protocol, present, register) if resume else None
            record = kept or bench.measure(cell)
            if kept is None:
                jsonl.append(path, record)
            records.append(record)
            observer.end(record, kept is not None)
    return records


def recorded(cell: Cell, protocol: Protocol, records: Sequence[Record], register: Sequence[str]) -> Record | None:
    """The latest record that is this very cell, measured here by this code without failure; None if there is none."""
    here = capture(cell.spec.device, protocol.threads, plugins.sources(register, cell.spec.model))
    asked = {(metric.name, metric.version) for metric in select(cell.metrics)}
    for record in reversed(records):
        if (
            record.spec == cell.spec
            and record.protocol == protocol
            and {(value.metric, value.version) for value in record.values} == asked
            and record.environment.fingerprint == here.fingerprint
            and (record.environment.code, record.environment.plugins) == (here.code, here.plugins)
            and not record.failed  # what failed is tried again, in a record of its own
        ):
            return record
    return None


class _Bench:
    """Holds the worker that all static metrics share; workers for the rest come and go."""

    def __init__(self, protocol: Protocol, observer: Observer, register: Sequence[str]) -> None:
        self.protocol = protocol
        self.observer = observer
        self.register = register
        self._static: Worker | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._static is not None:
            self._static.__exit__(kind, error, trace)

    def measure(self, cell: Cell) -> Record:
        """One cell, each stage in its own pass. A worker that dies leaves its metrics `failed`, with the cause."""
        time = datetime.now(UTC).isoformat(timespec="seconds")
        metrics = select(cell.metrics)
        values = {
            metric.name: metric.missing("skipped", f"needs a {metric.device} device, and this is {cell.spec.device}")
            for metric in metrics
            if not metric.applies(cell.spec.device)
        }
        answers: list[Answer] = []
        for stage, processes in (("static", 1), ("device", 1), ("memory", 1), ("time", self.protocol.processes)):
            of_stage = [metric for metric in metrics if metric.stage == stage and metric.name not in values]
            if of_stage:
                ask = self._ask_static if stage == "static" else self._ask_fresh
                asked: list[Answer] = []
                while len(asked) < processes and all(answer.sound for answer in asked):
                    asked.append(ask(cell.spec, [metric.name for metric in of_stage]))
                values |= {metric.name: _merge(metric, asked) for metric in of_stage}
                answers += asked
        in_force = next((answer.in_force for answer in reversed(answers) if answer.in_force), {})
        return Record(
            spec=cell.spec,
            protocol=self.protocol,
            environment=self._environment(cell.spec, answers),
            values=tuple(values[metric.name] for metric in metrics),
            time=time,
            impl=in_force.get("impl"),
            form=in_force.get("form"),
        )

    def _ask_static(self, spec: Spec, metrics: list[str]) -> Answer:
        if self._static is not None and not self._static.alive:
            self._static.close()
            self._static = None
        self._static = self._static or Worker(self.register)
        return self._static.ask(spec, metrics, self.protocol, self.observer.measuring)

    def _ask_fresh(self, spec: Spec, metrics: list[str]) -> Answer:
        with self._device(spec.device), Worker(self.register) as worker:
            return worker.ask(spec, metrics, self.protocol, self.observer.measuring)

    @contextlib.contextmanager
    def _device(self, device: str) -> Iterator[None]:
        """Hold `device` against all other runs of this user on this machine, waiting for it if need be."""
        name = f"vitbench-{getpass.getuser()}-{device.replace(':', '-')}.lock"
        lock = FileLock(Path(tempfile.gettempdir()) / name)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            self.observer.measuring(f"waiting for another run to leave {device}")
            lock.acquire(poll_interval=1.0)
        try:
            yield
        finally:
            lock.release()

    def _environment(self, spec: Spec, answers: Sequence[Answer]) -> Environment:
        """What the last pass saw, since the switches of timing are set there; the parent's view if none answered."""
        seen = [answer.environment for answer in answers if answer.environment]
        if seen:
            return seen[-1]
        return capture(spec.device, self.protocol.threads, plugins.sources(self.register, spec.model))


def _merge(metric: Metric, answers: Sequence[Answer]) -> Value:
    """One Value from one answer a process: samples are joined; the first that is not `ok` speaks for all."""
    values = [
        answer.values.get(metric.name) or metric.missing("failed", answer.death or "the worker did not answer")
        for answer in answers
    ]
    for number, value in enumerate(values, 1):
        if value.status == "failed" and len(values) > 1:
            return metric.missing("failed", f"process {number} of {len(values)}: {value.note}")
        if value.status != "ok" or len(values) == 1:
            return value
    samples = [process for value in values for process in value.samples]
    return metric.combine(samples, [value.note for value in values], [value.details for value in values])

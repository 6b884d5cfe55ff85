"""Calls of many settings, timed in turn: what greenmim/steps.py and esvit/steps.py share.

All settings of a group live in one process and make one call each a round, in an order that turns, so that what the
machine drifts goes into all of them alike. A quotient is the median over rounds of the quotients within a round.
"""

import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from bench import environment
from bench.build import Case
from bench.metrics import Measurement
from bench.metrics.peak_live_bytes import peak_live_bytes
from bench.protocol import preset
from bench.spec import Spec
from bench.statistics import median_interval

importlib.import_module("models")  # registers the zoo with timm

Record = dict[str, Any]


def measure(
    specs: Sequence[Spec], rounds: int, metrics: Sequence[Callable[[Case], Measurement]] = (peak_live_bytes,)
) -> Iterator[Record]:
    """A record a setting: its Spec, the route in force, the time (s) of its call in each round, and the metrics' values
    in their units, by name. In 0 rounds nothing is run but what the metrics run."""
    protocol = preset("quick", threads=1)
    cases = [Case(spec, protocol) for spec in specs]
    for case in cases if rounds else ():
        _ = case.first_call
    times: list[list[float]] = [[] for _ in cases]
    for round_ in range(rounds):
        turn = round_ % len(cases)
        for place in [*range(turn, len(cases)), *range(turn)]:
            begin = time.perf_counter()
            cases[place].call()
            times[place].append(time.perf_counter() - begin)
    for case, own in zip(cases, times, strict=True):
        spec = case.spec
        found = {metric.__name__: metric(case) for metric in metrics}
        yield {
            "model": spec.model,
            "mode": spec.mode,
            "batch": spec.batch,
            "size": spec.size[0],
            "arguments": dict(spec.model_args),
            "impl": case.impl,
            "seconds": own,
            **{name: measurement.value for name, measurement in found.items()},
            "notes": {name: measurement.note for name, measurement in found.items() if measurement.note},
        }


def setting(record: Record) -> str:
    """A record's Spec in words, but for its batch."""
    words = [f"`{record['model']}`", f"{record['size']} px"]
    words += [f"`{key}={value}`" for key, value in record["arguments"].items()]
    words += ["a classifier's step"] if record["mode"] == "train" else []
    return ", ".join(words)


def multiple(record: Record, base: Record) -> str:
    """The median quotient of a record's times to those of `base`, its 95 % interval beside it: below six rounds, the
    range. Plain 1 for the base itself."""
    if record is base:
        return "1"
    quotients = [own / other for own, other in zip(record["seconds"], base["seconds"], strict=True)]
    low, high = median_interval(quotients) or (min(quotients), max(quotients))
    return f"{statistics.median(quotients):.2f} ({low:.2f} to {high:.2f})"


def markdown(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; its cells are written as they are."""
    first, *others = (f"| {' | '.join(map(str, row))} |" for row in (headings, *rows))
    return "\n".join([first, "|---" * len(headings) + "|", *others])


def run(
    words: list[str],
    file: Path,
    usage: str | None,
    measured: Callable[[], Iterable[Record]],
    table: Callable[[list[Record]], str],
) -> int:
    """The command `measure`, which writes what is measured to `file`, or `table`, which prints it; an exit code. Any
    other words print `usage` and return 2."""
    if words == ["measure"]:
        torch.set_num_threads(1)
        machine = environment.capture("cpu", threads=1).to_dict()
        with file.open("w") as lines:
            for record in measured():
                lines.write(json.dumps(record | {"environment": machine}) + "\n")
                lines.flush()
        return 0
    if words == ["table"]:
        print(table(read(file)))
        return 0
    print(usage, file=sys.stderr)
    return 2


def read(file: Path) -> list[Record]:
    """The records of a file, in the order in which they were measured."""
    return [json.loads(line) for line in file.read_text().splitlines()]

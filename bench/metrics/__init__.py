"""Metrics: one file each. A metric is a function of a built Case; registering it here is all that adding one takes.

    @metric(unit="1", better="lower", stage="static")
    def params(case: Case) -> int: ...

The function returns a number or a Measurement, raises Skip where it does not apply, and may raise anything else:
the runner writes it down as `failed`.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal, TypeVar, get_args

from bench.build import Case
from bench.errors import Skip, UsageError, one_line
from bench.record import Value
from bench.spec import hint
from bench.statistics import summarise

Stage = Literal["static", "device", "memory", "time"]
Better = Literal["lower", "higher", "neither"]
F = TypeVar("F", bound=Callable[..., "Measurement | float | int"])


@dataclass(frozen=True)
class Measurement:
    """A number that a metric found, or the samples that it is the median of (then value is None), a remark, and what
    the number is made of (JSON values)."""

    value: float | int | None = None
    samples: Sequence[float] = ()
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """name (a noun without its unit), unit (SI or a count), which direction is better if any, and how it is measured.

    stage: `static` metrics are deterministic, need neither the device nor a quiet machine, and share a worker. Each
    cell's `device` metrics (which run the model, but not against a clock), `memory` and `time` metrics have fresh
    workers of their own. device: the kind of device that it needs, None for any.
    version goes up whenever the number changes its meaning.
    """

    name: str
    unit: str
    better: Better
    stage: Stage
    device: str | None
    version: int
    function: Callable[[Case], "Measurement | float | int"]

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (self.function.__doc__ or "").strip().splitlines()[0]

    def applies(self, device: str) -> bool:
        """Whether it can be measured on `device`."""
        return self.device in (None, device.partition(":")[0])

    def measure(self, case: Case) -> Value:
        """The Value of `case` in this process. Whatever the function raises becomes a status with its reason."""
        try:
            return self._value(self.function(case))
        except Skip as reason:
            return self.missing("skipped", one_line(reason))
        except Exception as error:
            return self.missing("failed", one_line(error))

    def _value(self, found: "Measurement | float | int") -> Value:
        measured = found if isinstance(found, Measurement) else Measurement(found)
        if measured.samples:
            return self.combine([tuple(measured.samples)], [measured.note], [measured.details])
        return Value(
            self.name, self.unit, measured.value, note=measured.note, version=self.version, details=measured.details
        )

    def combine(
        self, samples: Sequence[Sequence[float]], notes: Sequence[str], details: Sequence[Mapping[str, Any]]
    ) -> Value:
        """One Value from the samples of several processes; numbers in their details become their medians."""
        estimate, interval = summarise(samples)
        return Value(
            self.name,
            self.unit,
            estimate,
            samples=tuple(tuple(process) for process in samples),
            interval=interval,
            note="; ".join(dict.fromkeys(note for note in notes if note)),
            version=self.version,
            details=_median(details),
        )

    def missing(self, status: Literal["skipped", "failed"], reason: str) -> Value:
        """The Value of a case that was not measured."""
        return Value(self.name, self.unit, None, status=status, note=reason, version=self.version)


def _median(alike: Sequence[Any]) -> Any:
    """One JSON value of the shape of all `alike`: medians where they hold numbers, the first one's words."""
    first = alike[0]
    if isinstance(first, Mapping):
        return {key: _median([one[key] for one in alike]) for key in first}
    if isinstance(first, (list, tuple)):
        return [_median(items) for items in zip(*alike, strict=True)]
    numbers = isinstance(first, (int, float)) and not isinstance(first, bool)
    return median(alike) if numbers and len(alike) > 1 else first


_METRICS: dict[str, Metric] = {}


def metric(*, unit: str, better: Better, stage: Stage, device: str | None = None, version: int = 1) -> Callable[[F], F]:
    """Register the decorated function under its own name."""

    def register(function: F) -> F:
        name = function.__name__
        if name in _METRICS:
            raise ValueError(f"metric {name!r} is registered twice")
        _METRICS[name] = Metric(name, unit, better, stage, device, version, function)
        return function

    return register


def all_metrics() -> dict[str, Metric]:
    """Every metric by name: static ones first, each stage in alphabetical order."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    stages = get_args(Stage)
    return dict(sorted(_METRICS.items(), key=lambda item: (stages.index(item[1].stage), item[0])))


def select(names: Sequence[str]) -> list[Metric]:
    """The metrics of these names; all for none. Raises UsageError on an unknown name."""
    known = all_metrics()
    for name in names:
        if name not in known:
            raise UsageError(f"no metric {name!r}{hint(name, list(known))}; metrics are {', '.join(known)}")
    return [known[name] for name in names] if names else list(known.values())

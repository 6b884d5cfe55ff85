"""Value and Record: what was measured of one Spec, and everything needed to read it years later.

    {"schema": 2, "time": "2026-11-21T05:10:00+00:00", "spec": {...}, "protocol": {...}, "environment": {...},
     "impl": "reference", "values": [{"metric": "macs", "unit": "MAC", "value": 1253683200, ...}, ...]}

Schema 1: the first. Schema 2: `details` of values; `weights` and `images` in the spec. Both are read.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Self, get_args

from bench.environment import Environment
from bench.plain import Plain
from bench.protocol import Protocol
from bench.spec import Spec

SCHEMA = 3
_READ = (1, 2, 3)

Status = Literal["ok", "skipped", "failed"]


@dataclass(frozen=True)
class Value(Plain):
    """One metric of one Spec, in SI units and never rounded.

    samples holds the raw samples, one tuple a process; interval is the 95 % confidence interval of `value`, None
    where it has none (deterministic metrics, too few samples). A value that is not `ok` is None and its note says why.
    details is what the number is made of, as JSON values: docs/architecture.md lists it for each metric that has any.
    """

    metric: str
    unit: str
    value: float | int | None
    samples: tuple[tuple[float, ...], ...] = ()
    interval: tuple[float, float] | None = None
    status: Status = "ok"
    note: str = ""
    version: int = 1
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise ValueError(f"{self.metric}: no status {self.status!r}; want one of {', '.join(get_args(Status))}")
        if self.status == "ok" and (self.value is None or not math.isfinite(self.value)):
            raise ValueError(f"{self.metric}: {self.value} is not a measured number")
        if self.status != "ok" and (self.value is not None or not self.note):
            raise ValueError(f"{self.metric}: a {self.status} value is None and says why in its note")
        object.__setattr__(self, "samples", tuple(tuple(process) for process in self.samples))
        object.__setattr__(self, "interval", None if self.interval is None else (self.interval[0], self.interval[1]))


@dataclass(frozen=True)
class Record:
    """All values of one Spec. time is when the cell was begun (ISO 8601, UTC); impl the model's route in force.

    form is `deployed` or `training`, None for a model that has no deployed form.
    """

    spec: Spec
    protocol: Protocol
    environment: Environment
    values: tuple[Value, ...]
    time: str
    impl: str | None = None
    form: str | None = None
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        datetime.fromisoformat(self.time)  # raises ValueError or TypeError
        if not self.values:
            raise ValueError("a record without values")

    def __getitem__(self, metric: str) -> Value:
        """The value of `metric`; KeyError if it was not asked for."""
        for value in self.values:
            if value.metric == metric:
                return value
        raise KeyError(metric)

    @property
    def failed(self) -> bool:
        """Whether any value failed."""
        return any(value.status == "failed" for value in self.values)

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {
            "schema": self.schema,
            "time": self.time,
            "id": self.spec.id,
            "spec": self.spec.to_dict(),
            "protocol": self.protocol.to_dict(),
            "environment": self.environment.to_dict(),
            "impl": self.impl,
            "form": self.form,
            "values": [value.to_dict() for value in self.values],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`. Raises an exception of some kind on whatever is not a record."""
        if data["schema"] not in _READ:
            raise ValueError(f"schema {data['schema']!r}, where this version reads {' and '.join(map(str, _READ))}")
        return cls(
            spec=Spec.from_dict(data["spec"]),
            protocol=Protocol.from_dict(data["protocol"]),
            environment=Environment.from_dict(data["environment"]),
            values=tuple(Value.from_dict(value) for value in data["values"]),
            time=data["time"],
            impl=None if data["impl"] is None else str(data["impl"]),
            form=None if data.get("form") is None else str(data["form"]),
        )

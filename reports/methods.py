"""How, where and by what code it was measured, and what was not: the last part of a report."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime

import pandas as pd

from bench.environment import Environment
from bench.protocol import Protocol
from bench.record import Record
from reports import tables
from reports.format import bytes_, number
from reports.tables import compact


def methods(records: Sequence[Record], frame: pd.DataFrame) -> dict[str, str | list[str]]:
    """The words that the template has for it."""
    return {
        "environments": [compact(_describe(environments)) for environments in _distinct(records)],
        "problems": compact(tables.problems(frame)),
        "remarks": compact(tables.remarks(frame)),
        "protocols": [_sentence(protocol) for protocol in dict.fromkeys(record.protocol for record in records)],
    }


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

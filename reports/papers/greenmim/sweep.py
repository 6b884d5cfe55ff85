"""A step over an argument of the model's constructor: what its values cost against the default."""

from collections.abc import Sequence

import pandas as pd

from reports.figures import Picture
from reports.figures.cost_argument import draw
from reports.figures.picture import file_names
from reports.papers.drawn import drawn
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Table
from reports.papers.greenmim.steps import (
    BODIES,
    COSTS,
    DEFAULTS,
    TableRow,
    altered,
    family,
    plain,
    relative,
    step,
    tables_of,
)


def tables(evidence: Evidence, argument: str, values: Sequence[float]) -> tuple[Table, ...]:
    """A Table a body, a row a value: its costs as multiples of the default's."""
    known, others = plain(evidence), [value for value in values if value != DEFAULTS[argument]]
    name = argument.replace("_", " ")

    def rows(model: str) -> list[TableRow]:
        found = relative(known, "ratio", [altered(model, argument, value) for value in others], step(model))
        costs = {
            value: {f"{cost} (x)": evidence.pair(None, one) for cost, one in own.items()}
            for value, own in zip(others, found, strict=True)
        }
        default = {f"{cost} (x)": "1" for cost in COSTS}
        return [
            {name: f"{value:g}{'' if value in costs else ', the default'}", **costs.get(value, default)}
            for value in values
        ]

    return tables_of({body: rows(f"greenmim_{own}") for body, own in BODIES.items()})


def pictures(evidence: Evidence, argument: str) -> tuple[Picture, ...]:
    """Cost over the argument, of GreenMIM's models alone: other papers' models have arguments of that name too."""
    [name] = file_names("cost_argument", [argument])
    missing = f"Not drawn: no cost of a GreenMIM was recorded at two values of `{argument}`."

    def own(frame: pd.DataFrame) -> list[Picture]:
        return [one for one in draw(frame) if one.name == name]

    none = Picture(name, f"Cost over {argument.replace('_', ' ')}", missing)
    return tuple(drawn("greenmim", own, family(evidence.frame), none))

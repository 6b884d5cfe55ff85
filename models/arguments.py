"""Checks of constructor arguments that every family shares. All raise ValueError naming value and way out."""

from collections.abc import Iterable
from operator import index
from typing import Any


def among(argument: str, value: object, allowed: Iterable[object], name: str) -> None:
    """Refuse a value that isn't one of `allowed`."""
    if value not in (allowed := list(allowed)):
        raise ValueError(f"{name} has no {argument}={value!r}. Use one of: {', '.join(map(repr, allowed))}.")


def whole(argument: str, value: Any, least: int, name: str, most: int | None = None) -> int:
    """`value`, if it is a whole number from `least`, to `most` where there is one; a bool is none."""
    number = None if isinstance(value, bool) or not hasattr(value, "__index__") else index(value)
    if number is None or number < least or (most is not None and number > most):
        up_to = "" if most is None else f" to {most}"
        raise ValueError(f"{name} has no {argument}={value!r}. Use a whole number from {least}{up_to}.")
    return number

"""Checks of constructor arguments that every family shares. All raise ValueError naming value and way out."""

from collections.abc import Iterable


def among(argument: str, value: object, allowed: Iterable[object], name: str) -> None:
    """Refuse a value that isn't one of `allowed`."""
    if value not in (allowed := list(allowed)):
        raise ValueError(f"{name} has no {argument}={value!r}. Use one of: {', '.join(map(repr, allowed))}.")

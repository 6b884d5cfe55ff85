"""The frame's column `arguments`, `name=value name=value`, read."""

from math import isfinite


def read(arguments: str) -> dict[str, float | str]:
    """Name -> value: a number where it is finite and one, so that `0` and `0.0` are equal; else the word."""
    return {name: _value(text) for name, _, text in (word.partition("=") for word in arguments.split())}


def numbers(arguments: str) -> dict[str, float]:
    """Those that are numbers."""
    return {name: value for name, value in read(arguments).items() if isinstance(value, float)}


def without(arguments: str, *names: str) -> str:
    """The words of the others."""
    return " ".join(word for word in arguments.split() if word.partition("=")[0] not in names)


def _value(text: str) -> float | str:
    try:
        value = float(text)
    except ValueError:
        return text
    return value if isfinite(value) else text

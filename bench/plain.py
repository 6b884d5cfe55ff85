"""Plain: dataclasses that are stored as JSON and read back with their types checked."""

import dataclasses
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints


class Plain:
    """A dataclass that JSON holds exactly."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        assert dataclasses.is_dataclass(self)
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`. Raises TypeError on a missing, unknown or ill-typed field."""
        one = cls(**data)
        for name, hint in get_type_hints(cls).items():
            if not _fits(getattr(one, name), hint):
                raise TypeError(f"{cls.__name__}.{name} cannot be {str(getattr(one, name))[:40]!r}")
        return one


def _fits(value: Any, hint: Any) -> bool:
    """Whether `value` is of the annotated type; an int passes as a float, a bool as neither."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        wanted = [arguments[0]] * len(value) if arguments[1:] == (...,) else arguments
        return len(value) == len(wanted) and all(map(_fits, value, wanted))
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            _fits(key, arguments[0]) and _fits(content, arguments[1]) for key, content in value.items()
        )
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return isinstance(value, hint)

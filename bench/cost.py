"""Where a model's cost sits: parameters by part, and whatever grows while it runs (MACs, time) by part.

    with Borders(model, read) as borders:        wherever a part calls another, note what `read` returns
        model(images)
        borders.split(lambda a, b: b - a)        {("stage 1", "attention"): ..., ...}

What grows between two borders belongs to the part that ran between them, and not to the one that called it: the
parts (`bench.parts`) add up to the whole.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from torch import nn

from bench.parts import Part, part_of_parameter, parts

Mark = TypeVar("Mark")


def parameters(model: nn.Module) -> dict[Part, int]:
    """Number of parameters of each part that has any; a shared one counts where it is registered first."""
    known = parts(model)
    split: dict[Part, int] = {}
    seen = set()
    for module in known:
        for name, parameter in module.named_parameters(recurse=False):
            if parameter not in seen:
                seen.add(parameter)
                part = part_of_parameter(name, module, model, known)
                split[part] = split.get(part, 0) + parameter.numel()
    return split


def rows(split: Mapping[Part, float]) -> list[list[Any]]:
    """`split` as JSON values: [stage, kind, number] each."""
    return [[stage, kind, number] for (stage, kind), number in split.items()]


class Borders(Generic[Mark]):
    """Notes `read()` wherever a forward pass of `model` goes from one part to another, while it is entered."""

    def __init__(self, model: nn.Module, read: Callable[[], Mark]) -> None:
        self._read = read
        self._hooked = _hooked(model)
        self._stack: list[Part] = []
        self._handles: list[Any] = []
        self.marks: list[tuple[Part | None, Mark]] = []  # the part that begins there; None where the model ends

    def __enter__(self) -> Self:
        for module, part in self._hooked.items():
            self._handles.append(module.register_forward_pre_hook(partial(self._enter, part)))
            self._handles.append(module.register_forward_hook(self._leave))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def clear(self) -> None:
        """Forget what was noted, before another call."""
        self.marks.clear()
        self._stack.clear()

    def split(self, difference: Callable[[Mark, Mark], float]) -> dict[Part, float]:
        """What each part spent, in the order of the model's modules; 0 for one that did not run."""
        spent: dict[Part, float] = dict.fromkeys(self._hooked.values(), 0)
        for (part, begin), (_, end) in zip(self.marks, self.marks[1:], strict=False):
            if part is not None:
                spent[part] += difference(begin, end)
        return spent

    def _enter(self, part: Part, module: nn.Module, args: Any) -> None:
        if not self._stack or self._stack[-1] != part:
            self.marks.append((part, self._read()))
        self._stack.append(part)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        left = self._stack.pop()
        now = self._stack[-1] if self._stack else None
        if now != left:
            self.marks.append((now, self._read()))


def _hooked(model: nn.Module) -> dict[nn.Module, Part]:
    """Modules that may be called from another part: those at a border, and the items of containers, since those are
    often iterated over rather than called. As few as possible: hooks cost time."""
    known = parts(model)
    found = {model: known[model]}
    for parent, (_, kind) in known.items():
        iterated = kind == "other" and isinstance(parent, (nn.ModuleList, nn.ModuleDict, nn.Sequential))
        for child in parent.children():
            if iterated or known[child] != known[parent]:
                found[child] = known[child]
    return {module: part for module, part in known.items() if module in found}

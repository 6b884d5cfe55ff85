"""Where a model's cost sits: parameters by part, and whatever grows while it runs (MACs, time) by part.

    with Borders(crossings(model), read) as borders:    wherever a part calls another, note what `read` returns
        model(images)
        borders.split(lambda a, b: b - a)               {("stage 1", "attention"): ..., ...}

What grows between two borders belongs to the part that ran between them, and not to the one that called it: the
parts (`bench.parts`) add up to the whole. Of a step with a backward pass: `bench.sections`.
"""

from collections.abc import Callable, Iterable, Mapping
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
    """Notes `read()` wherever a forward pass goes from a module with one label to one with another, while entered."""

    def __init__(self, labels: Mapping[nn.Module, Any], read: Callable[[], Mark]) -> None:
        """labels: of the modules that are watched, any hashable value each. A module that is not among them has the
        label of what calls it."""
        self._read = read
        self._labels = labels
        self._stack: list[Any] = []
        self._handles: list[Any] = []
        self.marks: list[tuple[Any, Mark]] = []  # the label that begins there; None where the model ends

    def __enter__(self) -> Self:
        for module, label in self._labels.items():
            self._handles.append(module.register_forward_pre_hook(partial(self._enter, label)))
            # also where it raises: gradient checkpointing ends a forward pass that it repeats so
            self._handles.append(module.register_forward_hook(self._leave, always_call=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    @property
    def now(self) -> Any:
        """The label in force; None outside of all modules."""
        return self._stack[-1] if self._stack else None

    def clear(self) -> None:
        """Forget what was noted, before another call."""
        self.marks.clear()
        self._stack.clear()

    def split(self, difference: Callable[[Mark, Mark], float]) -> dict[Any, float]:
        """What each label spent, in the order of the modules; 0 for one that was never in force."""
        spent: dict[Any, float] = dict.fromkeys(self._expected(), 0)
        for (label, begin), (_, end) in zip(self.marks, self.marks[1:], strict=False):
            if label is not None:
                spent[label] = spent.get(label, 0) + difference(begin, end)
        return spent

    def _expected(self) -> Iterable[Any]:
        return self._labels.values()

    def _enter(self, label: Any, module: nn.Module, args: Any) -> None:
        self._stack.append(label)
        self._note()

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._stack.pop()
        self._note()

    def _note(self) -> None:
        """A mark, if another label is in force than at the last one."""
        now = self.now
        if not self.marks or self.marks[-1][0] != now:
            self.marks.append((now, self._read()))


def crossings(model: nn.Module) -> dict[nn.Module, Part]:
    """Modules that may be called from another part, and their parts: those at a border, and the items of containers,
    since those are often iterated over rather than called. As few as possible: hooks cost time."""
    known = parts(model)
    found = {model: known[model]}
    for parent, (_, kind) in known.items():
        iterated = kind == "other" and isinstance(parent, (nn.ModuleList, nn.ModuleDict, nn.Sequential))
        for child in parent.children():
            if iterated or known[child] != known[parent]:
                found[child] = known[child]
    return {module: part for module, part in known.items() if module in found}

"""Which section of a module is at work at each moment of a step, forward and backward.

    with StepBorders(Sections(module).of, read) as borders:
        for phase in borders.follow(step.phases()):     each phase as it begins
            ...
        borders.split(lambda a, b: b - a)               {("encoder", "forward"): ..., ("encoder", "backward"): ..., ...}

A module says itself what its sections are, by a method `sections()`: their names, and the modules of each. Where it
has none they are the kinds of `bench.parts`.

Autograd numbers its nodes as the forward pass makes them, and runs them in falling order. So each belongs to the
section that ran when it was made, whatever became of its tensor, and few need a hook: those at which the section
changes.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from bench.cost import Borders, Mark
from bench.model import offered
from bench.parts import part_of_parameter, parts
from bench.steps import Phase, Phases

OTHER = "other"  # what is in no section
ALL = "all"  # of phases that no section runs


class Sections:
    """of: the section of each module of `module`, that of the nearest of itself and its ancestors that is listed.

    Raises ValueError if `module.sections()` lists a module that is not its own, or one in two sections.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        told = offered(module, "sections")
        self._parts = None if told else parts(module)
        self.of: dict[nn.Module, str] = {one: kind for one, (_, kind) in (self._parts or {}).items()}
        if told:
            listed = _listed(told(), module)
            self._descend(module, OTHER, listed)

    def tensors(self) -> Iterator[tuple[Tensor, str]]:
        """Parameters and buffers, each with its owner's section; a shared one more than once, its first owner first."""
        for owner, section in self.of.items():
            for name, tensor in chain(owner.named_parameters(recurse=False), owner.named_buffers(recurse=False)):
                if self._parts is not None:
                    _, section = part_of_parameter(name, owner, self._module, self._parts)
                yield tensor, section

    def _descend(self, module: nn.Module, section: str, listed: Mapping[nn.Module, str]) -> None:
        if module not in self.of:
            self.of[module] = listed.get(module, section)
            for child in module.children():
                self._descend(child, self.of[module], listed)


def _listed(sections: Mapping[str, Iterable[nn.Module]], module: nn.Module) -> dict[nn.Module, str]:
    """Module to section, checked."""
    own, listed = set(module.modules()), dict[nn.Module, str]()
    for section, modules in sections.items():
        for one in modules:
            if one not in own:
                raise ValueError(
                    f"{type(module).__name__}.sections() lists a {type(one).__name__} in {section!r} that is none of "
                    "its modules. List modules that it owns."
                )
            if listed.setdefault(one, section) != section:
                raise ValueError(
                    f"{type(module).__name__}.sections() lists a {type(one).__name__} in {listed[one]!r} and in "
                    f"{section!r}. A module is in one section."
                )
    return listed


class StepBorders(Borders[Mark]):
    """Borders of a step: labels are (section, phase), and (`ALL`, phase) of phases that no section runs.

    What gradient checkpointing computes again belongs to the backward pass of the module that is run again.
    """

    def __init__(self, sections: Mapping[nn.Module, str], read: Callable[[], Mark]) -> None:
        super().__init__(sections, read)
        self._phase: Phase | None = None
        self._behind = OTHER  # outside of all modules: in the backward pass, the section of the node that runs
        self._made: list[tuple[int, str]] = []  # the number of the first node that a section may make, and the section

    def follow(self, phases: Phases) -> Iterator[Phase]:
        """Go through the phases of one step, each of which runs when the next is asked for."""
        self.clear()
        for phase, loss in phases:
            if loss is not None:
                self._begin(None)  # to look back is no part of the step
                self._look_back(loss)
            self._begin(phase)
            yield phase
        self._begin(None)

    @property
    def now(self) -> tuple[str, Phase] | None:
        """(section, phase); None outside of all phases."""
        if self._phase in ("optimizer", "after step"):
            return ALL, self._phase
        return self._phase and (super().now or self._behind, self._phase)

    def clear(self) -> None:
        super().clear()
        self._phase, self._behind = None, OTHER
        self._made.clear()

    def _expected(self) -> Iterable[Any]:
        return ()  # a frozen section has no backward pass

    def _begin(self, phase: Phase | None) -> None:
        self._phase = phase
        self._note()

    def _note(self) -> None:
        super()._note()
        if self._phase == "forward":
            section = super().now or OTHER
            if not self._made or self._made[-1][1] != section:
                self._made.append((torch.autograd._get_sequence_nr(), section))

    def _look_back(self, loss: Tensor) -> None:
        """Have the backward pass note where it goes from the nodes of one section to those of another."""
        first = [number for number, _ in self._made]
        before = self._behind
        for number, node in sorted(_nodes(loss), key=lambda pair: pair[0], reverse=True):
            _, section = self._made[bisect_right(first, number) - 1]
            if section != before:
                node.register_prehook(partial(self._turn, section))
                before = section

    def _turn(self, section: str, gradients: Any) -> None:
        self._behind = section
        self._note()


def _nodes(loss: Tensor) -> list[tuple[int, Node]]:
    """The numbered nodes that a backward pass from `loss` runs. A leaf's has no number of its own: it is run as soon as
    its gradient is there."""
    found, left = dict[Node, int](), [loss.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in found and node.next_functions:
            found[node] = node._sequence_nr()
            left += [one for one, _ in node.next_functions]
    return [(number, node) for node, number in found.items()]

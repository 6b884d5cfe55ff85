"""Which section is at work, forward and backward, where modules take a scripted time in both passes."""

from collections import Counter
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

from bench import sections
from bench.parts import parts
from bench.sections import Sections, StepBorders
from tests.clock import Clock, Take
from tests.pretraining import Taught


class Slow(nn.Module):
    """Takes its time before what is inside, and again after it. One that is passed by is not called: only what is
    inside is. A frozen one has no backward pass. A weighty one has a parameter, whose gradient is made on the way."""

    def __init__(self, clock, seconds, back, inside=(), section=None, passed_by=False, frozen=False, skip=False):
        super().__init__()
        self.clock, self.seconds, self.back = clock, seconds, back
        self.inside = nn.ModuleList(inside)
        self.section, self.passed_by, self.frozen, self.skip = section, passed_by, frozen, skip
        self.weight = nn.Parameter(torch.ones(1), requires_grad=not frozen)

    def forward(self, x):
        with torch.no_grad() if self.frozen else nullcontext():
            y = self.call(x)
        return x + y if self.frozen or self.skip else y

    def call(self, x):
        x = Take.apply(x, self.clock, self.seconds, self.back) * self.weight
        for one in self.inside:
            for module in one.inside if one.passed_by else [one]:
                x = module(x)
        return Take.apply(x, self.clock, self.seconds, self.back)


class Told(Slow):
    """The root, which says what its sections are: those that its modules were given."""

    def sections(self):
        told = {}
        for module in self.modules():
            if isinstance(module, Slow) and module.section:
                told.setdefault(module.section, []).append(module)
        return told


def phases(module, x):
    """A step's phases, as `bench.steps` has them; the optimizer and what comes after take 1000 and 2000."""
    yield "forward", None
    loss = module(x).sum()
    yield "backward", loss
    loss.backward()
    yield "optimizer", None
    module.clock.now += 1000
    yield "after step", None
    module.inside[0](x)  # whatever it calls is nobody's section
    module.clock.now += 2000


def spent(module, times=1):
    with StepBorders(Sections(module).of, module.clock) as borders:
        for _ in range(times):
            assert [*borders.follow(phases(module, torch.ones(1, requires_grad=True)))] == [
                "forward",
                "backward",
                "optimizer",
                "after step",
            ]
            split = borders.split(lambda begin, end: end - begin)
    return {label: seconds for label, seconds in split.items() if seconds}


def by_hand(module, section="other", frozen=False, found=None):
    """What each section takes of a step, as `Slow.call` runs it."""
    found = Counter() if found is None else found
    section = module.section or section
    frozen = frozen or module.frozen
    if not module.passed_by:
        found[section, "forward"] += 2 * module.seconds
        found[section, "backward"] += 0 if frozen else 2 * module.back
    for one in module.inside:
        by_hand(one, section, frozen, found)
    return found


def test_each_section_has_its_time_in_both_passes():
    clock = Clock()
    inner = Slow(clock, 8, 16, section="quantizer")
    encoder = Slow(clock, 2, 4, [inner], section="encoder")
    frozen = Slow(clock, 1, 512, section="teacher", frozen=True)
    module = Told(clock, 128, 256, [frozen, encoder, Slow(clock, 32, 64, section="head")])
    want = {
        ("teacher", "forward"): 2,
        ("encoder", "forward"): 4,
        ("encoder", "backward"): 8,
        ("quantizer", "forward"): 16,
        ("quantizer", "backward"): 32,
        ("head", "forward"): 64,
        ("head", "backward"): 128,
        ("other", "forward"): 256,
        ("other", "backward"): 512,
        ("all", "optimizer"): 1000,
        ("all", "after step"): 2000 + 2,  # the frozen one, called once more
    }
    assert spent(module) == want
    assert spent(module, times=3) == want
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in module.modules())


def test_to_look_for_the_borders_of_the_backward_pass_is_no_part_of_a_step(monkeypatch):
    clock, nodes = Clock(), sections._nodes
    module = Told(clock, 1, 2, [Slow(clock, 4, 8, section="a")])
    before = spent(module)
    monkeypatch.setattr(sections, "_nodes", lambda loss: (setattr(clock, "now", clock.now + 5000), nodes(loss))[1])
    assert spent(module) == before


def modules(clock):
    """Trees of modules, some with sections of their own, some frozen, some passed by."""
    words = dict(
        section=st.sampled_from([None, None, "a", "b", "c"]),
        passed_by=st.booleans(),
        frozen=st.sampled_from([False, False, False, True]),
        skip=st.booleans(),
        seconds=st.integers(1, 50),
        back=st.integers(1, 50),
    )
    leaf = st.builds(Slow, clock=st.just(clock), **(words | {"passed_by": st.just(False)}))
    return st.recursive(
        leaf,
        lambda inside: st.builds(Slow, clock=st.just(clock), inside=st.lists(inside, min_size=1, max_size=3), **words),
        max_leaves=8,
    )


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_whatever_the_tree_each_section_has_what_its_modules_take(data):
    clock = Clock()
    inside = data.draw(st.lists(modules(clock), min_size=1, max_size=3))
    for one in inside:
        for module in one.modules():
            if isinstance(module, Slow) and module.passed_by:
                module.frozen = False  # its forward, which would freeze, does not run
                for child in module.inside:  # one level is passed by; deeper ones are called
                    child.passed_by = False
    module = Told(clock, data.draw(st.integers(1, 50)), data.draw(st.integers(1, 50)), inside)
    found = {label: seconds for label, seconds in spent(module).items() if label[0] != "all"}
    assert found == {label: seconds for label, seconds in by_hand(module).items() if seconds}


class Remembering(nn.Module):
    """Hands on what it made through an attribute, and makes more of it after its own output."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self.first, self.second = nn.Linear(1, 1), nn.Linear(1, 1)
        self.inside = [lambda x: x]

    def sections(self):
        return {"first": [self.first], "second": [self.second]}

    def forward(self, x):
        kept = {}
        self.first.register_forward_hook(lambda module, args, out: kept.update(x=Take.apply(out, self.clock, 1, 2)))
        out = self.first(x)
        aside = Take.apply(out, self.clock, 4, 8)  # is no argument of any module
        y = self.second(out)
        return Take.apply(y + aside + kept["x"], self.clock, 16, 32)


def test_what_goes_past_the_modules_belongs_to_who_made_it():
    clock = Clock()
    module = Remembering(clock)
    with StepBorders(Sections(module).of, clock) as borders:
        for _ in borders.follow(phases(module, torch.ones(1, 1))):
            pass
    split = borders.split(lambda begin, end: end - begin)
    assert (split["other", "forward"], split["other", "backward"]) == (4 + 16 + 1, 8 + 32 + 2)
    assert split["first", "backward"] == split["second", "backward"] == 0


class Again(nn.Module):
    """Blocks of two sections, computed again in the backward pass."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self.inside = nn.ModuleList([Slow(clock, 1, 2), Slow(clock, 4, 8), Slow(clock, 16, 32)])

    def sections(self):
        return {"a": [self.inside[0], self.inside[2]], "b": [self.inside[1]]}

    def forward(self, x):
        x = x.requires_grad_()
        both = nn.Sequential(*self.inside[:2])
        return self.inside[2](checkpoint(both, x, use_reentrant=False))


def test_what_is_computed_again_is_its_modules_backward_pass():
    module = Again(Clock())
    found = spent(module)
    assert (found["a", "forward"], found["b", "forward"]) == (2 + 32, 8)
    again = found["a", "backward"] - (4 + 64), found["b", "backward"] - 16
    assert again in ((2, 8), (2, 4))  # PyTorch may stop where nothing more is needed
    assert spent(module) == found


def test_without_its_word_the_sections_are_kinds_of_parts():
    class Plain(Taught):
        sections = None

    module = Plain()
    assert Sections(module).of == {one: kind for one, (_, kind) in parts(module).items()}
    owned = {id(tensor): section for tensor, section in Sections(module).tensors()}
    assert owned[id(module.scale)] == "embedding"  # as `params` has it


def test_tensors_belong_to_the_section_of_their_owner():
    module = Taught()
    module.student.register_buffer("table", torch.zeros(3))
    owned = {id(tensor): section for tensor, section in Sections(module).tensors()}
    assert {owned[id(one)] for one in module.teacher.parameters()} == {"teacher"}
    assert owned[id(module.student[0].weight)] == owned[id(module.student.table)] == "student"
    assert owned[id(module.scale)] == "other"
    assert len(owned) == len([*module.parameters(), *module.buffers()])


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (lambda self: {"a": [nn.Linear(1, 1)]}, r"Taught.sections\(\) lists a Linear in 'a' that is none of its mod"),
        (lambda self: {"a": [self.head], "b": [self.head]}, r"lists a Linear in 'a' and in 'b'. A module is in one"),
    ],
)
def test_sections_that_make_no_sense_are_refused(monkeypatch, told, says):
    monkeypatch.setattr(Taught, "sections", told)
    with pytest.raises(ValueError, match=says):
        Sections(Taught())


def test_somebodys_own_sections_are_left_alone(monkeypatch):
    monkeypatch.setattr(Taught, "sections", lambda self, page: page)
    module = Taught()
    assert {*Sections(module).of.values()} <= {kind for _, kind in parts(module).values()}

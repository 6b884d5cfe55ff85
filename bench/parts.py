"""What each module is there for: its part (stage, kind), read from the tree of any model, by no model's name.

kind: decided by the words of attribute and class names, from the root down, and kept by all that is inside:

    attention      attn, attention, mhsa, ...                 its projections, norms and convolutions too
    FFN            mlp, ffn, feedforward, ...                 likewise; linear layers beside attention in a block with
                                                              no such name (torch's TransformerEncoderLayer)
    embedding      patch, embed, stem, pos, downsample, ...; tokens and whatever parameter the root itself owns
    head           what `pretrained_cfg["classifier"]` names; attributes called head, classifier, fc
    norm           a layer whose class is called so, outside of the above
    convolution    likewise
    other          the rest: activations, residual sums, scales

A module that holds both attention and an FFN is a block, whatever its name (`attn_blocks`, LeViT's `downsample`), and
is looked into; so is an embedding that holds either. A network with neither embeds nothing: a ResNet's stem and
shortcuts are convolutions.

stage: members of the families of numbered modules (`layers.0`, `layers.1`, or `layer1`, `layer2`) nearest to the root
that hold at least a twentieth of the parameters each. Numbered attributes are a stage each; a container's neighbours of
the same width are one, so that all blocks of a ViT are. Several stages are called "stage 1" and so on, a single one as
its container ("blocks"). Smaller families beside one, of its length, are numbered with it (`patch_embed1`). What is
registered before all stages is "stem", after them "head", and what holds them "model". A container's stages of one
width but several resolutions are not told apart.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from torch import nn

Part = tuple[str, str]

_ATTENTION = {"attn", "attns", "attention", "attentions", "mha", "mhca", "mhsa", "mla", "msa"}
_FFN = {"ffn", "ffns", "cffn", "feed", "feedforward", "mlp", "mlps"}
_EMBEDDING = {"embd", "embed", "embeds", "embedding", "embeddings", "merging", "patch", "pos", "position", "positional"}
_EMBEDDING |= {"stem"}
_HEAD = {"head", "heads", "classifier", "classifiers"}
_SHARE = 1 / 20  # of the parameters, that a family of stages has at least: stems are numbered too


@cache
def _words(name: str) -> frozenset[str]:
    """`cls_attn_blocks2` -> cls, attn, blocks; `ConvMLPBlock` -> conv, mlp, block."""
    return frozenset(word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name))


def parts(model: nn.Module) -> dict[nn.Module, Part]:
    """The part of each module of `model`, in order of registration; one that is registered twice has its first."""
    kinds = _Kinds(model)
    stages = _stages(model, kinds)
    return {
        module: ("head" if kinds.of[module] == "head" else stages[module], kinds.of[module])
        for module in model.modules()
    }


def part_of_parameter(name: str, owner: nn.Module, root: nn.Module, known: dict[nn.Module, Part]) -> Part:
    """The part of the parameter called `name` that `owner` itself holds: its owner's, unless it is an embedding."""
    stage, kind = known[owner]
    if kind != "other" or not any(root.children()):
        return stage, kind
    if owner is root:
        return "stem", "embedding"
    return stage, "embedding" if _words(name) & (_EMBEDDING | {"token", "tokens"}) else kind


class _Kinds:
    """The kind of each module of a model, in `of`."""

    def __init__(self, model: nn.Module) -> None:
        self._sizes: dict[nn.Module, int] = {}
        self._held: dict[nn.Module, frozenset[str]] = {}
        self._look_into("", model)
        config = getattr(model, "pretrained_cfg", None) or {}
        named = config.get("classifier") or ()
        self._classifiers = {named} if isinstance(named, str) else set(named)
        self._transforms = bool(self._held[model])
        self.of = {model: "other"}
        self._descend(model, "")

    def size(self, module: nn.Module) -> int:
        """Number of parameters in `module`."""
        return self._sizes[module]

    def _look_into(self, name: str, module: nn.Module) -> frozenset[str]:
        """Note what is in `module`; return which of attention and FFN it is or holds."""
        held = frozenset[str]().union(*(self._look_into(*child) for child in module.named_children()))
        own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        self._sizes[module] = own + sum(self._sizes[child] for child in module.children())
        self._held[module] = held
        return held | {self._transform(name, module)} - {""}

    def _transform(self, name: str, module: nn.Module) -> str:
        if not self._sizes[module] or self._layer(module) == "norm":
            return ""
        words = _words(name) | _words(type(module).__name__)
        return "attention" if words & _ATTENTION else "FFN" if words & _FFN else ""

    def _layer(self, module: nn.Module) -> str:
        """norm or convolution, for a class called so that holds its parameters itself."""
        if any(self._sizes[child] for child in module.children()):
            return ""
        words = _words(type(module).__name__)
        return "norm" if "norm" in words else "convolution" if "conv" in words else ""

    def _descend(self, parent: nn.Module, path: str) -> None:
        for name, module in parent.named_children():
            if module not in self.of:
                inherited = self.of[parent]
                self.of[module] = inherited if inherited != "other" else self._kind(path + name, module, parent)
                self._descend(module, f"{path}{name}.")

    def _kind(self, path: str, module: nn.Module, parent: nn.Module) -> str:
        """The kind that `module` has by itself."""
        name, layer = path.rpartition(".")[2], self._layer(module)
        held = self._held[module]
        if path in self._classifiers:
            return "head"
        if not self._sizes[module] or len(held) == 2:
            return "other"
        if layer == "norm":
            return layer
        if name == "fc" or (_words(name) & _HEAD and layer != "convolution"):
            return "head"
        if transform := self._transform(name, module):
            return transform
        words = _words(name) | _words(type(module).__name__)
        embeds = (self._transforms and words & _EMBEDDING) or (self._held[parent] and "downsample" in words)
        if embeds and not held:
            return "embedding"
        if "linear" in words and self._lacks_ffn(parent):
            return "FFN"
        return layer or "other"

    def _lacks_ffn(self, block: nn.Module) -> bool:
        children = {self._transform(*child) for child in block.named_children()}
        return "attention" in children and "FFN" not in self._held[block]


@dataclass(frozen=True)
class _Family:
    """Two or more numbered modules of one owner: items of a `container`, or attributes like `layer1`, `layer2`."""

    name: str
    owner: nn.Module
    members: list[nn.Module]
    container: nn.Module | None

    @property
    def in_one_go(self) -> bool:
        """Whether nothing can run between its members."""
        return isinstance(self.container, nn.Sequential)

    def stages(self) -> list[str]:
        """The stage of each member."""
        runs: list[int] = []
        width = None
        for member in self.members:
            own = _width(member) or width
            runs.append(runs[-1] + (own != width or self.container is None) if runs else 1)
            width = own
        return [f"stage {run}" if runs[-1] > 1 else self.name for run in runs]


def _width(module: nn.Module) -> tuple[int, int] | None:
    """What a stage's channels show in: the commonest length of its parameters and that of the last. None without."""
    lengths = [parameter.shape[0] for parameter in module.parameters() if parameter.ndim]
    return (Counter(lengths).most_common(1)[0][0], lengths[-1]) if lengths else None


def _families(module: nn.Module, path: str, kinds: _Kinds) -> Iterator[_Family]:
    """The families nearest to `module`, whose own path is given; what has a kind is not looked into."""
    numbered: dict[str, list[nn.Module]] = {}
    for name, child in module.named_children():
        numbered.setdefault(name.rstrip("0123456789") if name[-1].isdigit() else "", []).append(child)
    alone = numbered.pop("", [])
    for prefix, members in numbered.items():
        if len(members) > 1:
            yield _Family(path + prefix, module, members, None)
        else:
            alone += members
    for name, child in module.named_children():
        items = dict(child.named_children())
        if child not in alone:
            continue
        if len(items) > 1 and all(item.isdigit() for item in items):
            yield _Family(path + name, module, list(items.values()), child)
        elif kinds.of[child] == "other":
            yield from _families(child, f"{path}{name}.", kinds)


def _stages(model: nn.Module, kinds: _Kinds) -> dict[nn.Module, str]:
    """The stage of each module."""
    families = list(_families(model, "", kinds))
    large = [one for one in families if sum(map(kinds.size, one.members)) >= _SHARE * kinds.size(model)]
    stages: dict[nn.Module, str] = {}
    for family in large:
        names = family.stages()
        beside = [
            one
            for one in families
            if one.owner is family.owner and len(one.members) == len(names) and one not in large and not one.in_one_go
        ]
        for one in [family, *(beside if len(set(names)) > 1 else [])]:
            for member, name in zip(one.members, names, strict=True):
                stages |= {module: name for module in member.modules() if module not in stages}
        if len(set(names)) == 1 and family.container is not None:
            stages.setdefault(family.container, names[0])
    return _fill(model, stages, {member for family in large for member in family.members})


def _fill(model: nn.Module, stages: dict[nn.Module, str], members: set[nn.Module]) -> dict[nn.Module, str]:
    """All of the modules: those that `stages` lacks are before, between or after the `members` of stages."""
    order = list(model.modules())
    last = max((index for index, module in enumerate(order) if module in members), default=-1)
    filled, now = {}, "stem" if members else "model"
    for index, module in enumerate(order):
        if module in members:
            now = stages[module]
        holds = not members.isdisjoint(module.modules()) if module not in stages else False
        after = members and index > last
        filled[module] = stages.get(module) or ("model" if holds else "head" if after else now)
    return filled

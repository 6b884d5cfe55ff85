"""Attention maps, looked at: each softmaxed map becomes a few numbers where it arises, and is never kept.

    photograph -> model, eager attention -> every module named *attn_drop -> Seen -> Map -> metrics ccs, entropy
                                                                                  -> Moments -> metric hallucination
                                                                                  -> bits -> correspondence_*

The convention is timm's: the softmaxed map passes a module whose name ends in `attn_drop`. That every map did is
checked at PyTorch's dispatcher, which sees the softmaxes that the model computed. What cannot be told apart:
attention between channels (XCiT, EdgeNeXt) from attention between tokens, and a gate that is a softmax over the last
axis (a global-context block) from attention that hides its map, which is why such a model is refused. A softmax over
another axis (CoaT's) is no map here, and an operator of a user's own that does all in one is not seen.

The logits of a map are what the last softmax before the drop was given, if its output is that map.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench import photographs
from bench.build import Case
from bench.errors import Skip
from bench.model import create, image_shape
from bench.precision import autocast, set_switches, weight_dtype
from bench.regions import grid_of
from bench.spec import Spec
from bench.weights import PRETRAINED, RANDOM

_ROW_SUM = 0.02  # how far from 1 the sum of a row may be: bfloat16 rounds each weight to 0.4 %
_PREFIX = 8  # tokens that are not on the grid: class, distillation, registers
_RELATIVE, _ABSOLUTE = 0.02, 1e-6  # of a map and the softmax of its logits: bfloat16 again, and float16 near 0
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


T = TypeVar("T")


class MissedMap(Skip):
    """Not all of the model's attention maps were seen, or what was seen is no map: there is no number to give, and the
    value says why."""


@dataclass(frozen=True)
class Layout:
    """Where the tokens of a map lie: so many first ones (class token, registers) on no grid, the others row by row on
    grids of (rows, columns), one for queries and one, perhaps reduced, for keys."""

    prefix: int
    queries: tuple[int, int]
    keys: tuple[int, int]


@dataclass(frozen=True)
class Seen:
    """One softmaxed map where it arises, for whoever makes numbers of it; to keep its tensors would keep the map.

    block is the name of the module that owns the drop; label is block, or `block/drop` where a block has several maps.
    p: (windows, heads, rows, keys), in float32 or better. logits: what was softmaxed, in the same shape, or why it is
    not known; None where nobody asked. size: of the image; tokens: how many it may have where the map arises.
    """

    block: str
    label: str
    p: Tensor
    zero_rows: Tensor
    logits: Tensor | str | None
    size: tuple[int, int]
    tokens: set[int]

    @property
    def layout(self) -> Layout | None:
        """None where the tokens' places are not known."""
        return _layout(self.p, self.size, self.tokens)


@dataclass(frozen=True)
class Picture:
    """One row of a map, of the tokens on the image's grid. heads: (heads, rows * columns of the grid)."""

    query: str
    grid: tuple[int, int]
    heads: Tensor


@dataclass(frozen=True)
class Map:
    """What is kept of one softmaxed map. Tensors are scalars but for entropy (heads,) and matrix (heads, heads).

    block and label are Seen's.
    similarity is the mean cosine of head pairs i < j, all_pairs that of all ordered pairs with i = j. matrix and
    picture are made where the capture is `closely`; picture is None for a map that is not of the whole image.
    """

    block: str
    label: str
    heads: int
    keys: int
    similarity: Tensor
    all_pairs: Tensor
    zero_rows: Tensor
    entropy: Tensor
    matrix: Tensor | None = None
    picture: Picture | None = None


@dataclass(frozen=True)
class Look:
    """What a model's attention does on a set of images: where its weights and the images come from, the maps of each
    image by its name, and the first image as it was shown, (3, height, width) from 0 to 1."""

    weights: str
    images: str
    maps: Mapping[str, list[Map]]
    first: Tensor

    @property
    def origin(self) -> str:
        """One phrase for notes."""
        return f"{self.images}; {self.weights}"


@dataclass(frozen=True)
class Show:
    """A case's model on the eager path, and the images that it is shown, with the origin of both in words."""

    spec: Spec
    model: nn.Module
    weights: str
    images: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def each(self) -> Iterator[tuple[str, Tensor]]:
        """Names and normalised images (1, 3, height, width), on the Spec's device in its precision, one at a time.

        Raises UsageError if the images cannot be read.
        """
        for name, image in photographs.load(self.spec.images, self.spec.size, self.mean, self.std):
            yield name, self._placed(image)

    def plain(self, image: Tensor) -> Tensor:
        """One of `each` as it was before, (3, height, width) from 0 to 1, in float32 on the CPU."""
        return photographs.plain(image[0].to("cpu", torch.float32), self.mean, self.std)

    def pictures(self) -> Iterator[tuple[str, Image.Image]]:
        """Names and RGB pictures of the same, before they are normalised. Raises what `each` does."""
        return photographs.pictures(self.spec.images, self.spec.size, self.mean, self.std)

    def given(self, picture: Image.Image) -> Tensor:
        """An RGB picture as the model takes it, in the form of `each`."""
        return self._placed(photographs.normalised(picture, self.mean, self.std))

    def _placed(self, image: Tensor) -> Tensor:
        return image[None].to(self.spec.device, weight_dtype(self.spec))


def show(case: Case) -> Show:
    """The case's model and images, for `case.once`.

    Raises Skip for one that takes no RGB images, and in any mode but `infer`.
    """
    spec, seed = case.spec, case.protocol.seed
    if spec.mode != "infer":
        raise Skip("images are looked at in mode infer")
    channels = image_shape(spec, 1)[1]
    if channels != 3:
        raise Skip(f"photographs have 3 channels, and this model takes {channels}")
    set_switches(spec)
    torch.manual_seed(seed)
    model = create(spec, spec.device, attention="eager").to(device=spec.device, dtype=weight_dtype(spec))
    config = getattr(model, "pretrained_cfg", None) or {}
    mean, std = (tuple(config.get(key) or _IMAGENET[key]) for key in ("mean", "std"))
    return Show(spec, model, _origin(spec.weights, config, seed), photographs.origin(spec.images), mean, std)


def look(case: Case) -> Look:
    """Run the case's model over the Spec's images one at a time. For `case.once`.

    Raises what `show` does; Skip for a model without attention maps; MissedMap as `observe` does; UsageError if the
    images cannot be read.
    """
    shown = case.once(show)
    maps: dict[str, list[Map]] = {}
    first = torch.empty(0)
    for name, image in shown.each():
        if not maps:
            first = shown.plain(image)
        with autocast(case.spec):
            found = capture(shown.model, image, case.spec.model, closely=not maps)
        maps[name] = found
    return Look(shown.weights, shown.images, maps, first)


def _origin(weights: str, config: Mapping[str, Any], seed: int) -> str:
    if weights == RANDOM:
        return f"random weights (seed {seed}): says nothing of a trained model"
    if weights == PRETRAINED:
        return f"timm's pretrained weights ({config.get('tag') or config.get('hf_hub_id') or 'no tag'})"
    file, _, digest = weights.rpartition("@")
    return f"weights of {Path(file).name} (sha256 {digest})"


def capture(model: nn.Module, image: Tensor, name: str, closely: bool = False) -> list[Map]:
    """The maps of one forward pass of `model` on one image (1, channels, height, width), in order of execution.

    closely: with the matrix of all head pairs, O(heads^2), and the picture. name is the model's, for messages.
    Raises what `observe` does.
    """
    return observe(model, image, name, partial(_look, closely=closely))


def observe(
    model: nn.Module,
    image: Tensor,
    name: str,
    reduce: Callable[[Seen], T],
    logits: bool = False,
    forward: Callable[[Tensor], object] | None = None,
) -> list[T]:
    """What `reduce` makes of each map of one forward pass of `model` on one image (1, channels, height, width), in
    order of execution. logits: with what was softmaxed. name is the model's, for messages. forward: what takes the
    image through the model's modules, where that is not the model's own call.

    Raises Skip if there is no attention map; MissedMap if a map did not pass a module named *attn_drop, if what
    passed is not a softmaxed map (talking heads mix it first), or if it is not known which axis holds the heads.
    """
    size = (image.shape[-2], image.shape[-1])
    with torch.no_grad(), _Softmaxes(logits) as seen, _hooks(model, name, size, seen, reduce) as found:
        (forward or model)(image)
    if not (found or seen.softmaxes or seen.fused):
        raise Skip(f"{name} computes no attention map: no softmax over a last axis")
    if seen.fused or len(found) < seen.softmaxes:
        raise MissedMap(
            f"{name} hides attention maps: {seen.softmaxes} softmaxes over a last axis and {seen.fused} fused "
            f"attention calls, but {len(found)} maps that pass a module named *attn_drop"
        )
    return found


class _Softmaxes(TorchDispatchMode):
    """Counts softmaxes over the last of three or more axes, and calls that do all of attention in one operator.

    keep: remember what the last such softmax was given until it is taken.
    """

    def __init__(self, keep: bool) -> None:
        super().__init__()
        self.keep = keep
        self.softmaxes = 0
        self.fused = 0
        self._last: Tensor | None = None

    def take(self) -> Tensor | None:
        """What the last softmax was given, once."""
        last, self._last = self._last, None
        return last

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kind = _kind(func)
        if kind == "softmax":
            axes = args[0].ndim
            if axes >= 3 and args[1] % axes == axes - 1:
                self.softmaxes += 1
                self._last = args[0] if self.keep else None
        elif kind == "fused":
            self.fused += 1
        return func(*args, **(kwargs or {}))


@cache
def _kind(operator: Any) -> str:
    name = operator.name()
    if name in ("aten::_softmax", "aten::_safe_softmax"):
        return "softmax"
    fused = any(word in name for word in ("attention", "attn", "_transformer_encoder_layer_fwd"))
    return "fused" if fused else ""


@dataclass
class _Owner:
    """The module that owns one or more drops: how many heads it says it has, and tokens its input has."""

    name: str
    heads: int | None
    drops: list[str] = field(default_factory=list)
    tokens: set[int] = field(default_factory=set)

    def see(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Note the tokens of the input: (1, tokens, channels), (1, channels, h, w) or (1, h, w, channels)."""
        if args and isinstance(args[0], Tensor):
            shape = args[0].shape
            channels = {shape[-1], shape[1]} if len(shape) == 4 else {shape[-1]}
            self.tokens = {args[0].numel() // one for one in channels if one}


@contextmanager
def _hooks(
    model: nn.Module, name: str, size: tuple[int, int], softmaxes: _Softmaxes, reduce: Callable[[Seen], T]
) -> Iterator[list[T]]:
    """Reduce what each *attn_drop of `model` is given, while entered."""
    found: list[T] = []
    calls: dict[str, int] = {}
    modules = dict(model.named_modules())
    owners: dict[str, _Owner] = {}
    handles = []

    def watch(path: str, drop: str, owner: _Owner) -> None:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            calls[path] = calls.get(path, 0) + 1
            label = f"{owner.name}/{drop}" if len(owner.drops) > 1 else owner.name
            label += f"#{calls[path]}" if calls[path] > 1 else ""
            try:
                found.append(reduce(_see(args[0], softmaxes, owner, label, size)))
            except MissedMap as error:
                raise MissedMap(f"{name}: what {path} is given {error}") from None

        handles.append(modules[path].register_forward_pre_hook(hook))

    for path in modules:
        parent, _, drop = path.rpartition(".")
        if drop.endswith("attn_drop"):
            heads = getattr(modules[parent], "num_heads", None)
            if parent not in owners:
                block = parent or type(model).__name__
                owners[parent] = _Owner(block, heads if isinstance(heads, int) else None)
                handles.append(modules[parent].register_forward_pre_hook(owners[parent].see))
            owners[parent].drops.append(drop)
            watch(path, drop, owners[parent])
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _see(given: Tensor, softmaxes: _Softmaxes, owner: _Owner, label: str, size: tuple[int, int]) -> Seen:
    axis = heads_axis(tuple(given.shape), owner.heads)
    p = _in_order(given, axis)
    zero_rows = _check_rows(p)
    logits: Tensor | str | None = None
    if softmaxes.keep:
        before = softmaxes.take()
        logits = "the map is not the output of the last softmax before it"
        if before is not None and before.shape == given.shape and _alike(before := _in_order(before, axis), p):
            logits = before
    return Seen(owner.name, label, p, zero_rows, logits, size, owner.tokens)


def _in_order(given: Tensor, axis: int) -> Tensor:
    """A map whose heads are on this axis as (windows, heads, rows, keys), in float32 or better."""
    p = given.movedim(axis, -3).flatten(0, -4) if given.ndim > 3 else given.movedim(axis, 0)[None]
    return p.to(torch.promote_types(p.dtype, torch.float32))


def _alike(logits: Tensor, p: Tensor) -> bool:
    """Whether p is the softmax of `logits`, which is not computed as one: that would be counted."""
    return torch.allclose((logits - logits.logsumexp(dim=-1, keepdim=True)).exp(), p, _RELATIVE, _ABSOLUTE)


def _look(seen: Seen, closely: bool) -> Map:
    p = seen.p
    similarity, all_pairs = head_similarity(p)
    return Map(
        seen.block,
        seen.label,
        heads=p.shape[1],
        keys=p.shape[3],
        similarity=similarity,
        all_pairs=all_pairs,
        zero_rows=seen.zero_rows,
        entropy=entropy(p),
        matrix=similarity_matrix(p) if closely else None,
        picture=_picture(p, seen.size, seen.tokens) if closely else None,
    )


def heads_axis(shape: tuple[int, ...], heads: int | None) -> int:
    """Which axis of a map of one image holds the heads, given how many its module says it has, if it does.

    The last two axes are rows and keys, and the first of four or more is the image or its windows. Of the rest, the
    heads' is the only one, or the only one of that length. Raises MissedMap where that does not settle it: heads
    folded into the first axis (SAM's), pairs of maps to be subtracted (differential attention).
    """
    if len(shape) < 3:
        raise MissedMap(f"is no map: its shape is {shape}")
    axes = list(range(1, len(shape) - 2)) or [0]
    known = [axis for axis in axes if shape[axis] == heads]
    if heads is None and (len(shape) == 4 or math.prod(shape[:-2]) == 1):
        known = axes[:1]
    if not known or (len(known) > 1 and heads != 1):
        said = "an unknown number of" if heads is None else heads
        raise MissedMap(f"has the shape {shape}, which does not say where its {said} heads are")
    return known[0]


def _check_rows(p: Tensor) -> Tensor:
    """How many rows are zero; the others must be distributions, or MissedMap is raised."""
    sums = p.sum(dim=-1)
    zero = sums == 0
    if not ((sums + zero.float() - 1).abs().amax() <= _ROW_SUM and p.amin() >= 0):  # NaN included
        raise MissedMap("is no softmaxed map: its rows are not distributions that sum to 1")
    return zero.sum()


def unit_rows(p: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of p (windows, heads, rows, keys) at length 1, in float32 or better, and which (windows, heads, rows) were
    zero and stay so."""
    p = p.to(torch.promote_types(p.dtype, torch.float32))
    lengths = torch.linalg.vector_norm(p, dim=-1)
    zero = lengths == 0
    return p / lengths.masked_fill(zero, 1).unsqueeze(-1), zero


def head_similarity(p: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cosine of equal rows of two heads of p (windows, heads, rows, keys), in [0, 1]: over head pairs i < j (NaN
    for one head), and over all ordered pairs with i = j.

    O(heads): of unit rows u_i, the sum of all cosines is |sum of u_i|^2. A zero row has cosine 0 with every row.
    Contributive cosine similarity of arXiv:2306.10875; its text does not say which of the two averages it takes.
    """
    heads = p.shape[1]
    units, zero = unit_rows(p)
    all_cosines = units.sum(dim=1).square().sum(dim=-1).double().mean()
    own_cosines = heads - zero.sum(dim=1).double().mean()
    pairs = heads * (heads - 1) or math.nan
    return (all_cosines - own_cosines) / pairs, all_cosines / heads**2


def similarity_matrix(p: Tensor) -> Tensor:
    """Mean cosine of each head's rows with each head's, (heads, heads), of p (windows, heads, rows, keys).

    O(heads^2), and without a matrix product, which TF32 or autocast would round.
    """
    windows, heads, rows, _ = p.shape
    units, _ = unit_rows(p)
    one_with_all = [(units * units[:, [head]]).sum(dim=-1).double().sum(dim=(0, 2)) for head in range(heads)]
    return torch.stack(one_with_all) / (windows * rows)


def entropy(p: Tensor) -> Tensor:
    """Entropy (bit) of the rows of p (windows, heads, rows, keys), -sum p log2 p, averaged to (heads,), in float64."""
    surprise = p.clamp_min(torch.finfo(p.dtype).tiny).log2_()  # 0 log 0 = 0; half the time of torch.special.entr
    return -surprise.mul_(p).sum(dim=-1).double().mean(dim=(0, 2))


def _picture(p: Tensor, size: tuple[int, int], tokens: set[int]) -> Picture | None:
    """The row of the class token, or of the centre patch, if p (1, heads, rows, keys) is of the whole image."""
    layout = _layout(p, size, tokens)
    if layout is None or p.shape[0] > 1:
        return None
    rows, columns = layout.queries
    row = p[0, :, 0 if layout.prefix else rows // 2 * columns + columns // 2, layout.prefix :]
    copied = row.to(torch.float32, copy=True)  # a view would keep the map
    return Picture("class token" if layout.prefix else "centre patch", layout.keys, copied)


def _layout(p: Tensor, size: tuple[int, int], tokens: set[int]) -> Layout | None:
    """Of p (windows, heads, rows, keys): one map with rows for all `tokens` of the image and keys that lie on its
    grid, perhaps reduced; or windows of which each is a square that attends to itself."""
    windows, _, rows, keys = p.shape
    if windows > 1:
        square = grid_of(keys, (1, 1))
        return Layout(0, square, square) if square and rows == keys else None
    if rows not in tokens or rows < keys:
        return None
    for prefix in range(_PREFIX + 1):  # the fewest that leave a grid; two grids so near each other are tiny
        queries, grid = grid_of(rows - prefix, size), grid_of(keys - prefix, size)
        if queries and grid:
            return Layout(prefix, queries, grid)
    return None

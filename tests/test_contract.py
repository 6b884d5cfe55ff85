"""The contract of the zoo: what every registered model offers, whatever its family (docs/architecture.md).

A model's config says which parts concern it: with `num_classes` above 0 it is a classifier, with 0 a backbone whose
classifier is added on request, with -1 a pre-training model, which is called with its own inputs and returns a loss.
Official parameter names are in tests/statedict/FAMILY/MODEL_SIZE.tsv. A list that needs other arguments than
`img_size` has a row in the folder's arguments.json:

    {"LIST": {"model": "a registered name", "arguments": {"window": 14}, "prefixes": ["", "backbone."]}}

Models of more than 30 M parameters are `slow` here, but for the smallest of each family.
"""

import json
import sys
import zlib
from collections import Counter
from functools import cached_property, partial
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import timm
import torch
from timm.models import get_pretrained_cfg, model_entrypoint
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.model import fused_attention
from models import zoo
from tests.detfill import fill

STATEDICT = Path(__file__).parent / "statedict"
SLOW = 30e6  # parameters
CLASSES = 10


class Row(NamedTuple):
    """One tensor of an official state dict."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    kind: str


class Official(NamedTuple):
    """An official list of names and shapes, and the model that it belongs to."""

    model: str
    arguments: dict[str, Any]
    prefixes: list[str]
    path: Path

    def rows(self) -> list[Row]:
        header, *lines = self.path.read_text().splitlines()
        assert header == "name\tshape\tdtype\tkind"
        rows = []
        for name, sizes, dtype, kind in (line.split("\t") for line in lines):
            shape = () if sizes == "scalar" else tuple(map(int, sizes.split("x")))
            rows.append(Row(name, shape, getattr(torch, dtype), kind))
        return rows

    def state(self) -> dict[str, Tensor]:
        """Make a state dict of this list in which hardly two numbers are equal."""
        draw = torch.Generator().manual_seed(0)
        state = {}
        for name, shape, dtype, kind in self.rows():
            if kind != "non-persistent buffer":
                whole = not dtype.is_floating_point
                state[name] = (
                    torch.randint(2**20, shape, generator=draw, dtype=dtype)
                    if whole
                    else torch.rand(shape, generator=draw, dtype=dtype)
                )
        return state

    def must_arrive(self) -> set[str]:
        """The parameters. An alias comes with its parameter, and buffers may be derived ones."""
        return {row.name for row in self.rows() if row.kind in ("param", "param (frozen)")}

    @property
    def id(self) -> str:
        return f"{self.path.parent.name}-{self.path.stem}"


def official_lists() -> list[Official]:
    lists = []
    for path in sorted(STATEDICT.glob("*/*.tsv")):
        table = path.parent / "arguments.json"
        given = json.loads(table.read_text()).get(path.stem) if table.exists() else None
        if given is None:
            name, _, size = path.stem.rpartition("_")
            given = {"model": name, "arguments": {"img_size": int(size)}}
        lists.append(Official(given["model"], given.get("arguments", {}), given.get("prefixes", [""]), path))
    return lists


LISTS = official_lists()
OF_ZOO = [one for one in LISTS if one.model in zoo()]


def family(name: str) -> Any:
    """The module that registers the model."""
    return sys.modules[model_entrypoint(name).__module__]


def config(name: str) -> Any:
    return get_pretrained_cfg(name)


def size(name: str) -> int:
    """The number of parameters, by the model's first list; 0 where it has none."""
    rows = next((one.rows() for one in OF_ZOO if one.model == name), [])
    return sum(prod(row.shape) for row in rows if row.kind.startswith("param"))


def full_size(names: list[str]) -> list[Any]:
    """The names, as parameters of a test that runs whole models: slow beyond 30 M parameters."""
    sizes = {name: size(name) for name in zoo()}
    smallest = {min((n for n in sizes if family(n) is family(name)), key=sizes.__getitem__) for name in zoo()}
    slow = {name for name in names if sizes[name] > SLOW and name not in smallest}
    return [pytest.param(name, id=name, marks=[pytest.mark.slow] if name in slow else []) for name in names]


PRETRAINING = [name for name in zoo() if config(name).num_classes < 0]
HEADED = [name for name in zoo() if name not in PRETRAINING]  # classifiers and backbones
CLASSIFIERS = [name for name in HEADED if config(name).num_classes > 0]
every = pytest.mark.parametrize("name", zoo())
every_headed = pytest.mark.parametrize("name", HEADED)
every_classifier = pytest.mark.parametrize("name", CLASSIFIERS)


def on_meta(name: str, **kwargs: Any) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name, **kwargs).eval()


def meta_images(name: str, batch: int = 2, channels: int | None = None, scale: int = 1) -> Tensor:
    own, height, width = config(name).input_size
    return torch.empty(batch, own if channels is None else channels, scale * height, scale * width, device="meta")


def build(name: str, **kwargs: Any) -> nn.Module:
    """The module that is trained: the model with a classifier, or what the family pre-trains."""
    if name in PRETRAINING:
        return family(name).pretraining(name, **kwargs)
    return timm.create_model(name, num_classes=CLASSES, **kwargs)


def draw(name: str, module: nn.Module, batch: int, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """The arguments of a call of `build(name)`, always the same."""
    generator = torch.Generator().manual_seed(0)
    if name in PRETRAINING:
        return module.sample_inputs(batch, generator=generator, device="cpu", dtype=dtype)
    return {"x": torch.randn(batch, *config(name).input_size, generator=generator).to(dtype)}


def call(module: nn.Module, inputs: dict[str, Any]) -> Tensor:
    """The logits, or the loss."""
    out = module(**inputs)
    return out["loss"] if isinstance(out, dict) else out


def weigh(out: Tensor) -> Tensor:
    """A scalar on which every element of `out` bears differently."""
    return (out * torch.linspace(-1, 2, out.numel(), dtype=out.dtype).reshape(out.shape)).sum() if out.ndim else out


# What needs no numbers: every model, on the meta device.


@every
def test_meta_model_has_its_config(name):
    model = on_meta(name)
    cfg = model.pretrained_cfg
    assert all(p.is_meta for p in model.parameters())
    assert cfg["architecture"] == name
    assert cfg["paper_name"]
    assert cfg["paper_ids"].startswith("arXiv:")
    assert cfg["origin_url"].startswith("https://github.com/")


@every
def test_impl_is_resolved_or_refused(name):
    known = set(family(name).IMPLS)
    assert {"auto", "reference"} <= known
    assert on_meta(name).impl in known - {"auto"}
    for impl in known - {"auto"}:
        assert on_meta(name, impl=impl).impl == impl
    with pytest.raises(ValueError, match=r"'nope'.*reference"):
        on_meta(name, impl="nope")


@every_headed
def test_constructor_takes_the_usual_words(name):
    words = dict(in_chans=1, num_classes=7, global_pool="avg", drop_rate=0.1, drop_path_rate=0.1)
    fixed = config(name).fixed_input_size
    if fixed:
        words["img_size"] = 2 * config(name).input_size[-1]
    model = on_meta(name, **words)
    assert model(meta_images(name, channels=1, scale=2)).shape == (2, 7)
    first = model.pretrained_cfg["first_conv"]
    assert model.state_dict()[f"{first}.weight"].shape[1] == 1
    assert any(isinstance(m, nn.Dropout) and m.p == 0.1 for m in model.modules()) or model.drop_rate == 0.1
    assert any(isinstance(m, timm.layers.DropPath) and m.drop_prob > 0 for m in model.modules())


@every_headed
def test_config_names_parameters(name):
    model = on_meta(name)
    state, cfg = model.state_dict(), model.pretrained_cfg
    assert state[f"{cfg['first_conv']}.weight"].shape[1] == cfg["input_size"][0]
    assert model.num_classes == cfg["num_classes"]
    assert model.num_features == model.feature_info[-1]["num_chs"]
    with_head = on_meta(name, num_classes=7)
    assert with_head.state_dict()[f"{cfg['classifier']}.weight"].shape == (7, with_head.head_hidden_size)


@every_headed
def test_feature_maps_are_as_advertised(name):
    backbone = on_meta(name, features_only=True)
    images = meta_images(name)
    maps = backbone(images)
    info = backbone.feature_info
    assert len(maps) == len(info.channels()) > 0
    for x, channels, reduction in zip(maps, info.channels(), info.reduction(), strict=True):
        x = x.permute(0, 3, 1, 2) if getattr(backbone, "output_fmt", "NCHW") == "NHWC" else x
        assert x.shape == (2, channels, images.shape[2] // reduction, images.shape[3] // reduction)
    assert info.reduction() == sorted(info.reduction())


@every_headed
def test_classifier_is_replaced(name):
    model, images = on_meta(name), meta_images(name)
    features = model.forward_features(images)
    pooled = (2, model.num_features)
    assert model.forward_head(features, pre_logits=True).shape == (2, model.head_hidden_size)
    model.reset_classifier(7)
    assert model.num_classes == 7
    assert model(images).shape == (2, 7)
    assert next(model.get_classifier().parameters()).is_meta
    assert [p.shape[0] for p in model.get_classifier().parameters()] == [7, 7]
    model.reset_classifier(0)
    assert model.num_classes == 0
    assert not [*model.get_classifier().parameters()]
    assert model(images).shape == pooled
    model.reset_classifier(0, "")
    assert model(images).shape == features.shape
    model.reset_classifier(5, "avg")
    assert model(images).shape == (2, 5)


@every_headed
def test_decay_is_kept_only_from_parameters(name):
    model = on_meta(name)
    assert model.no_weight_decay() <= {n for n, _ in model.named_parameters()}


# Official checkpoints.


def test_every_list_has_its_model():
    assert {one.model for one in LISTS if not timm.is_model(one.model)} == set()


@every
def test_model_has_an_official_list(name):
    assert name in {one.model for one in LISTS}, f"no names of {name} in tests/statedict"


@pytest.mark.parametrize("official", OF_ZOO, ids=lambda one: one.id)
def test_official_checkpoint_arrives(official):
    """No parameter is missing, no number is lost, and what keeps its name keeps its numbers."""
    state = official.state()
    for prefix in official.prefixes:
        model = on_meta(official.model, **official.arguments)
        given = {f"{prefix}{name}": x for name, x in state.items()}
        before = dict(given)
        filtered = family(official.model).checkpoint_filter_fn(given, model)
        assert list(given) == list(before)
        assert all(given[name] is before[name] for name in given), "the filter changed its argument"
        model.load_state_dict(filtered, assign=True)
        arrived = model.state_dict()
        assert not [name for name, p in model.named_parameters() if p.is_meta]
        assert {name: x.dtype for name, x in arrived.items()} == {
            name: x.dtype for name, x in on_meta(official.model, **official.arguments).state_dict().items()
        }
        if arrived.keys() <= state.keys():  # only left out, not renamed
            assert not [name for name, x in arrived.items() if not torch.equal(x, state[name])]
            assert official.must_arrive() <= arrived.keys()
        else:
            assert_same_numbers(state, official.must_arrive(), arrived)


def assert_same_numbers(state: dict[str, Tensor], must_arrive: set[str], arrived: dict[str, Tensor]) -> None:
    """Every number that must arrive did, and nothing else but numbers of `state`: reshaped, split, merged or not."""
    found = [(fingerprint(x), x) for x in arrived.values()]
    left = Counter(mark for mark, _ in found)
    changed = []
    for name, x in state.items():
        mark = fingerprint(x)
        if left[mark]:
            left[mark] -= 1
        elif name in must_arrive:
            changed.append(x)
    new = [x for mark, x in found if left[mark]]
    assert sum(x.numel() for x in new) == sum(x.numel() for x in changed)
    if new:
        sorted_new, sorted_changed = (torch.cat([x.flatten() for x in xs]).sort().values for xs in (new, changed))
        assert torch.equal(sorted_new, sorted_changed)


def fingerprint(x: Tensor) -> tuple[torch.dtype, int, int]:
    """Stand for the numbers in their order, whatever the shape."""
    return x.dtype, x.numel(), zlib.crc32(x.contiguous().view(-1).numpy())


@pytest.mark.parametrize("name", full_size(zoo()))
def test_checkpoint_file_loads_by_name(name, tmp_path):
    """As timm loads files: unwrapped, filtered, and the classifier left out where the number of classes differs."""
    official = next(one for one in OF_ZOO if one.model == name)
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": official.state()}, path)
    words = {**official.arguments, **({"num_classes": CLASSES} if name in CLASSIFIERS else {})}
    model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, **words)
    expected = family(name).checkpoint_filter_fn(official.state(), model)
    classifier = model.pretrained_cfg.get("classifier") if name in CLASSIFIERS else None
    for key, x in model.state_dict().items():
        if classifier and key.startswith(f"{classifier}."):
            assert x.shape[0] == CLASSES
        else:
            assert torch.equal(x, expected[key]), key


# Whole models with random weights, in float32.


class Fresh:
    """A model as it is constructed, with a classifier, and its logits of two images."""

    def __init__(self, name: str):
        torch.manual_seed(0)
        self.name = name
        self.model = build(name).eval()
        self.images = draw(name, self.model, 2)["x"]

    @cached_property
    def logits(self) -> Tensor:
        with torch.no_grad():
            return self.model(self.images)


@pytest.fixture(scope="module")
def fresh(request) -> Fresh:
    return Fresh(request.param)


every_fresh = pytest.mark.parametrize("fresh", full_size(HEADED), indirect=True, scope="module")


@every_fresh
def test_logits_are_finite(fresh):
    assert fresh.logits.shape == (2, CLASSES)
    assert fresh.logits.dtype == torch.float32
    assert fresh.logits.isfinite().all()
    assert not torch.equal(fresh.logits[0], fresh.logits[1])


@every_fresh
def test_same_images_give_same_logits_through_features_and_head(fresh):
    with torch.no_grad():
        features = fresh.model.forward_features(fresh.images)
        before = features.clone()
        hidden = fresh.model.forward_head(features, pre_logits=True)
        logits = fresh.model.forward_head(features)
    assert torch.equal(features, before)
    assert hidden.shape == (2, fresh.model.head_hidden_size)
    torch.testing.assert_close(logits, fresh.logits, rtol=1e-5, atol=1e-6)


@every_fresh
def test_feature_maps_are_finite(fresh):
    backbone = timm.create_model(fresh.name, features_only=True).eval()
    with torch.no_grad():
        maps = backbone(fresh.images[:1])
    assert all(x.isfinite().all() for x in maps)
    assert not any((x == x.flatten()[0]).all() for x in maps)


# Training.


class Training:
    """One backward pass of a model in train mode, with and without gradient checkpointing."""

    def __init__(self, name: str):
        # Low: no block should be dropped for both images. Pre-training models needn't drop anything.
        drops = {} if name in PRETRAINING else {"drop_rate": 0.1, "drop_path_rate": 0.02}
        with fused_attention(True):
            self.module = fill(build(name, **drops)).train()
        self.inputs = draw(name, self.module, 2)

    def run(self) -> tuple[Tensor, dict[str, Tensor | None], int]:
        """The output, every trained parameter's gradient, and how many modules were called in the backward pass."""
        calls = []
        hooks = [m.register_forward_pre_hook(lambda *_: calls.append(1)) for m in self.module.modules()]
        self.module.zero_grad(set_to_none=True)
        torch.manual_seed(0)
        out = call(self.module, self.inputs)
        calls.clear()
        weigh(out).backward()
        for hook in hooks:
            hook.remove()
        return out.detach(), {n: p.grad for n, p in self.module.named_parameters() if p.requires_grad}, len(calls)

    @cached_property
    def plain(self) -> tuple[Tensor, dict[str, Tensor | None], int]:
        return self.run()


@pytest.fixture(scope="module")
def training(request) -> Training:
    return Training(request.param)


every_training = pytest.mark.parametrize("training", full_size(zoo()), indirect=True, scope="module")


@every_training
def test_gradients_reach_every_parameter(training):
    out, gradients, _ = training.plain
    assert out.isfinite().all()
    assert [name for name, g in gradients.items() if g is None] == []
    assert [name for name, g in gradients.items() if not g.isfinite().all()] == []
    idle = getattr(training.module, "idle_parameters", set)()  # no output depends on them, officially either
    assert {name for name, g in gradients.items() if not g.any()} == idle


@every_training
def test_gradient_checkpointing_recomputes_and_changes_nothing(training):
    # Asked of classifiers and backbones; a pre-training module may lack it, but one that has it is held to it.
    if not hasattr(training.module, "set_grad_checkpointing"):
        assert "sample_inputs" in dir(training.module)
        pytest.skip("a pre-training module without checkpointing")
    out, gradients, calls = training.plain
    assert calls == 0
    training.module.set_grad_checkpointing()
    saving_out, saving_gradients, saving_calls = training.run()
    training.module.set_grad_checkpointing(False)
    assert saving_calls > 0
    torch.testing.assert_close(saving_out, out, rtol=1e-5, atol=1e-5)
    scale = max(g.abs().max().item() for g in gradients.values())
    torch.testing.assert_close(saving_gradients, gradients, rtol=1e-4, atol=1e-6 * scale)


@pytest.mark.parametrize("name", full_size(PRETRAINING))
def test_same_inputs_give_the_same_loss(name):
    torch.manual_seed(0)
    module = build(name).train()
    inputs = draw(name, module, 2)
    again = draw(name, module, 2)
    torch.testing.assert_close(inputs, again, rtol=0, atol=0)
    losses = [call(module, one) for one in (inputs, again)]
    assert losses[0].ndim == 0
    assert losses[0].isfinite()
    torch.testing.assert_close(*losses, rtol=1e-6, atol=0)


# Attention, in float64.


class Watch(TorchDispatchMode):
    """Count softmaxes over the last axis of 3-D and larger tensors, and fused attentions."""

    SOFTMAX = (torch.ops.aten._softmax, torch.ops.aten._safe_softmax)

    def __init__(self):
        super().__init__()
        self.softmaxes = self.fused = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in self.SOFTMAX:
            self.softmaxes += args[0].ndim >= 3 and args[1] in (-1, args[0].ndim - 1)
        self.fused += "scaled_dot_product" in str(func) and "backward" not in str(func)
        return func(*args, **(kwargs or {}))


class Attentions:
    """A model built with explicit attention beside the same built with fused attention; equal weights, in float64."""

    def __init__(self, name: str):
        with fused_attention(False):
            self.explicit = fill(build(name).double().eval())
        with fused_attention(True):
            self.fused = build(name).double().eval()
        self.fused.load_state_dict(self.explicit.state_dict())
        self.inputs = draw(name, self.explicit, 1, torch.float64)
        self.drops: list[str] = []
        self.calls: dict[type, tuple[str, Any, Any]] = {}  # of one module of each class that has both paths
        hooks = []
        for path, module in self.explicit.named_modules():
            if path.endswith("attn_drop"):
                hooks.append(module.register_forward_hook(lambda *_, path=path: self.drops.append(path)))
            if hasattr(module, "fused_attn"):
                hooks.append(module.register_forward_pre_hook(partial(self._keep, path), with_kwargs=True))
        with torch.no_grad(), Watch() as self.seen:
            self.output = call(self.explicit, self.inputs)
        for hook in hooks:
            hook.remove()

    def _keep(self, path: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        self.calls.setdefault(type(module), (path, args, kwargs))


@pytest.fixture(scope="module")
def attentions(request) -> Attentions:
    return Attentions(request.param)


every_attention = pytest.mark.parametrize("attentions", full_size(zoo()), indirect=True, scope="module")


@every_attention
def test_explicit_attention_shows_every_map(attentions):
    """Each softmax goes through a module named *attn_drop, and none hides in a fused operator."""
    assert attentions.seen.fused == 0
    assert attentions.seen.softmaxes == len(attentions.drops)


@every_attention
def test_fused_attention_equals_explicit(attentions):
    with torch.no_grad(), Watch() as seen:
        output = call(attentions.fused, attentions.inputs)
    assert attentions.output.isfinite().all()
    torch.testing.assert_close(output, attentions.output, rtol=1e-10, atol=1e-10)
    assert seen.fused + seen.softmaxes >= attentions.seen.softmaxes > 0 or not attentions.calls


@every_attention
def test_fused_attention_has_the_gradients_of_explicit(attentions):
    """One module of each class: with equal outputs, that says it for the whole."""
    for path, args, kwargs in attentions.calls.values():
        runs = []
        for model in (attentions.explicit, attentions.fused):
            module = model.get_submodule(path)
            fresh_args, fresh_kwargs = leaves(args), leaves(kwargs)
            module.zero_grad()
            out = module(*fresh_args, **fresh_kwargs)
            outs = [x for x in (out if isinstance(out, tuple | list) else [out]) if torch.is_tensor(x)]
            sum(weigh(x) for x in outs if x.requires_grad).backward()
            inputs = [x.grad for x in [*fresh_args, *fresh_kwargs.values()] if torch.is_tensor(x) and x.requires_grad]
            runs.append((inputs, {name: p.grad for name, p in module.named_parameters()}))
        torch.testing.assert_close(*runs, rtol=1e-9, atol=1e-10)


def leaves(values: Any) -> Any:
    """Copies of the tensors of a call, each to be differentiated by; numbers beyond 1, which reach 1e8 in Next-ViT with
    these weights and leave a softmax without gradients, are scaled down to it."""
    if isinstance(values, dict):
        return {key: leaves([x])[0] for key, x in values.items()}
    real = [torch.is_tensor(x) and x.is_floating_point() for x in values]
    return [
        (x / x.abs().max().clamp_min(1)).detach().requires_grad_() if own else x
        for x, own in zip(values, real, strict=True)
    ]


OTHER_IMPLS = [
    pytest.param(*case.values[:1], impl, id=f"{case.id}-{impl}", marks=case.marks)
    for case in full_size(zoo())
    for impl in family(case.id).IMPLS
    if impl not in ("auto", "reference")
]


@pytest.mark.parametrize(("name", "impl"), OTHER_IMPLS or [pytest.param("", "", marks=pytest.mark.skip("none yet"))])
def test_impl_equals_the_reference(name, impl):
    reference = fill(build(name, impl="reference").double().eval())
    other = build(name, impl=impl).double().eval()
    other.load_state_dict(reference.state_dict())
    inputs = draw(name, reference, 1, torch.float64)
    with torch.no_grad():
        outputs = [call(model, inputs) for model in (other, reference)]
    torch.testing.assert_close(*outputs, rtol=1e-9, atol=1e-9)

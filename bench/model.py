"""From a Spec to the module that it names: constructor words, attention path, weights."""

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import timm
import torch
from timm.layers import set_fused_attn, use_fused_attn
from torch import nn

from bench import plugins
from bench.errors import Skip, UsageError
from bench.names import default_size, input_size, is_function
from bench.spec import Spec
from bench.weights import PRETRAINED, RANDOM, load


def create(spec: Spec, device: str, attention: str | None = None) -> nn.Module:
    """The Spec's module on `device` (`meta` builds no numbers), in float32: the model, in eval mode; in mode `pretrain`
    its pre-training module, in train mode.

    A model with a deployed form is measured in it, in mode `infer`, but where the Spec asks for the training form; one
    that chooses its route (`impl`) is told device and size. attention overrides the Spec's path. A size other than
    the model's own is passed as `img_size` where the constructor takes one. Raises Skip if the model has no
    pre-training step.
    """
    constructor = _constructor(spec, pretrained=spec.weights == PRETRAINED and device != "meta")
    with fused_attention((attention or spec.attention) == "fused"):
        try:
            with torch.device(device):
                module = _construct(spec, constructor)
        except Exception:
            if device != "meta":
                raise
            module = _construct(spec, constructor).to("meta")  # it asks for numbers, as in linspace(...)[i].item()
    if spec.weights not in (RANDOM, PRETRAINED):
        load(module, spec.weights, getattr(_family(spec.model), "checkpoint_filter_fn", None))
    choose_impl = offered(module, "choose_impl", spec.device, spec.size)
    if choose_impl is not None:
        choose_impl()
    deploy = offered(module, "deploy")
    if deploy is not None and deploys(spec):
        deployed = deploy()
        module = module if deployed is None else _module(deployed)  # None: it was done in place
    return module.train(spec.mode == "pretrain")


def offered(module: nn.Module, name: str, *arguments: Any, **named: Any) -> Callable[[], Any] | None:
    """The call `module.name(*arguments, **named)`, if the module has a method that takes them: a user's own may call
    something else by one of our names."""
    method: Any = getattr(module, name, None)
    if not callable(method):
        return None
    try:
        inspect.signature(method).bind(*arguments, **named)
    except (TypeError, ValueError):
        return None
    return partial(method, *arguments, **named)


def deploys(spec: Spec) -> bool:
    """Whether the Spec asks for the deployed form of a model that has one."""
    return spec.mode == "infer" and spec.form == "auto"


def image_shape(spec: Spec, batch: int) -> tuple[int, int, int, int]:
    """(batch, channels, height, width) of the Spec's images."""
    channels = dict(spec.model_args).get("in_chans", input_size(spec.model)[0])
    if not isinstance(channels, int) or channels < 1:
        raise UsageError(f"in_chans={channels}: want a positive whole number")
    return batch, channels, *spec.size


@contextlib.contextmanager
def fused_attention(fused: bool) -> Iterator[None]:
    """Models constructed inside take timm's fused (or eager) attention path; the setting before is restored."""
    before = bool(use_fused_attn())
    set_fused_attn(fused)
    try:
        yield
    finally:
        set_fused_attn(before)


def _construct(spec: Spec, constructor: Callable[..., Any]) -> nn.Module:
    arguments: dict[str, Any] = dict(spec.model_args)
    size = spec.size[0] if spec.size[0] == spec.size[1] else spec.size
    if spec.size != default_size(spec.model):
        try:
            return _module(constructor(img_size=size, **arguments))
        except TypeError as error:
            if "img_size" not in str(error):
                raise
    return _module(constructor(**arguments))


def _module(built: Any) -> nn.Module:
    if not isinstance(built, nn.Module):
        raise TypeError(f"the model's function returned a {type(built).__name__}, and not a torch.nn.Module")
    return built


def _constructor(spec: Spec, pretrained: bool) -> Callable[..., Any]:
    if spec.mode == "pretrain":
        step = getattr(_family(spec.model), "pretraining", None)
        if step is None:
            raise Skip(f"{spec.model} has no pre-training step")
        if spec.weights != RANDOM:
            raise Skip("a pre-training step starts from random weights")
        return partial(_pretraining, step, spec.model)
    if is_function(spec.model):
        return plugins.function(spec.model)
    return partial(timm.create_model, spec.model, pretrained=pretrained)


def _pretraining(step: Callable[..., Any], model: str, **arguments: Any) -> Any:
    """The family's module of `model`. Raises Skip where the family says, by None, that this model has none."""
    module = step(model, **arguments)
    if module is None:
        raise Skip(f"{model} has no pre-training step")
    return module


def _family(model: str) -> ModuleType | None:
    """The module that defines `model`: home of the family's `pretraining` and `checkpoint_filter_fn`."""
    entry = plugins.function(model) if is_function(model) else timm.model_entrypoint(model)
    return inspect.getmodule(entry) or sys.modules.get(entry.__module__)

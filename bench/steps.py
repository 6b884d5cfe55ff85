"""What a call is in each mode. Everything random comes in through the inputs, which `sample` draws.

infer      forward
train      forward, cross-entropy on random labels, backward, AdamW's step, gradients set to None
pretrain   the same with the model's own loss (`module(**inputs)["loss"]`), and its `after_step()` where it has one

A call is made of phases: forward; in the other modes also backward, optimizer, and after step where there is one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils._pytree import tree_map_only

from bench.errors import Skip
from bench.model import image_shape, offered
from bench.precision import autocast, loss_scaler, weight_dtype
from bench.spec import Spec

Inputs = tuple[tuple[Any, ...], dict[str, Any]]  # positional and named arguments of a module
Phase = Literal["forward", "backward", "optimizer", "after step"]
Phases = Iterator[tuple[Phase, Tensor | None]]  # each as it begins; of backward with the loss that it starts from

_LEARNING_RATE = 1e-4  # small: thousands of steps on the same images must not run away


class Pretraining(Protocol):
    """What a pre-training module offers beside its forward pass, which returns a dict with the key `loss`; it may also
    have `after_step()`, `plan(**inputs)` (`planned`), and `sections()` (`bench.sections`)."""

    def sample_inputs(
        self, batch: int, generator: torch.Generator, device: str, dtype: torch.dtype
    ) -> dict[str, Any]: ...


def sample(spec: Spec, module: nn.Module, batch: int, device: str, seed: int) -> Inputs:
    """Arguments of `module`, the same for the same seed: standard normal images (batch, channels, height, width), or
    what a pre-training module draws itself."""
    generator = torch.Generator().manual_seed(seed)
    if spec.mode == "pretrain":
        pretraining = cast(Pretraining, module)
        inputs = pretraining.sample_inputs(batch, generator, "cpu", weight_dtype(spec))  # where the generator is
        return (), tree_map_only(Tensor, lambda tensor: tensor.to(device), inputs)
    images = torch.randn(image_shape(spec, batch), generator=generator)
    layout = torch.channels_last if spec.layout == "channels_last" else torch.contiguous_format
    return (images.to(device=device, dtype=weight_dtype(spec), memory_format=layout),), {}


def planned(module: nn.Module, inputs: Inputs) -> Inputs:
    """`inputs`, with numbers in them, and beside them what `module` would derive from those numbers, by its own word
    (`plan`) where it has one: with them it also runs on tensors that hold none."""
    args, kwargs = inputs
    plan = offered(module, "plan", *args, **kwargs)
    return inputs if plan is None else (args, {**kwargs, **plan()})


@dataclass(frozen=True)
class Step:
    """One call of a mode, to be repeated: as a whole, or phase by phase, by going through `phases()`."""

    phases: Callable[[], Phases]
    optimizer: torch.optim.Optimizer | None = None

    def __call__(self) -> None:
        for _ in self.phases():
            pass


def step(spec: Spec, module: nn.Module, inputs: Inputs, seed: int) -> Step:
    """One call of the Spec's mode on `module`."""
    return _inference(spec, module, inputs) if spec.mode == "infer" else _training(spec, module, inputs, seed)


def _inference(spec: Spec, module: nn.Module, inputs: Inputs) -> Step:
    args, kwargs = inputs

    def phases() -> Phases:
        yield "forward", None
        with torch.inference_mode(), autocast(spec):
            module(*args, **kwargs)

    return Step(phases)


def _training(spec: Spec, module: nn.Module, inputs: Inputs, seed: int) -> Step:
    module.train()
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=_LEARNING_RATE, fused=True)
    scaler = loss_scaler(spec)
    loss_of = _own_loss if spec.mode == "pretrain" else _Classification(spec, module, seed)
    after_step = getattr(module, "after_step", None) if spec.mode == "pretrain" else None

    def phases() -> Phases:
        yield "forward", None
        with autocast(spec):
            loss = loss_of(_output(spec, module, inputs))
        yield "backward", loss
        scaler.scale(loss).backward()
        yield "optimizer", None
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if after_step is not None:
            yield "after step", None
            after_step()

    return Step(phases, optimizer)


def _output(spec: Spec, module: nn.Module, inputs: Inputs) -> Any:
    args, kwargs = inputs
    try:
        return module(*args, **kwargs)
    except ValueError as error:
        if spec.batch == 1 and "more than 1 value per channel" in str(error):  # batch norm behind pooling
            raise Skip(f"{spec.model} normalises over the batch, so that training needs a batch above 1") from error
        raise


def _own_loss(output: dict[str, Any]) -> Tensor:
    loss: Tensor = output["loss"]
    return loss


class _Classification:
    """Cross-entropy with labels drawn once; of several outputs (a distilled model's two heads) the sum."""

    def __init__(self, spec: Spec, module: nn.Module, seed: int) -> None:
        if getattr(module, "num_classes", None) == 0:
            raise Skip(f"{spec.model} has no classifier to train; give it one with --model-arg num_classes=1000")
        self._spec = spec
        self._generator = torch.Generator().manual_seed(seed)
        self._labels: Tensor | None = None

    def __call__(self, output: Any) -> Tensor:
        logits = [output] if isinstance(output, Tensor) else list(output) if isinstance(output, (list, tuple)) else []
        if not logits or not all(isinstance(one, Tensor) and one.ndim == 2 for one in logits):
            raise Skip(f"{self._spec.model} returns no class scores (batch, classes) to train on")
        if self._labels is None:
            labels = torch.randint(logits[0].shape[1], (logits[0].shape[0],), generator=self._generator)
            self._labels = labels.to(logits[0].device)
        return torch.stack([cross_entropy(one, self._labels) for one in logits]).sum()

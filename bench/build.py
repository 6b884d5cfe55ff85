"""Case: a Spec made real. Only here do precision, layout and attention path become PyTorch's switches."""

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, TypeVar

import timm
import torch
from timm.layers import set_fused_attn, use_fused_attn
from torch import Tensor, nn

from bench.errors import Skip, UsageError, one_line
from bench.names import default_size, input_size
from bench.protocol import Protocol
from bench.spec import Spec, format_size

T = TypeVar("T")

_WEIGHTS = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_AUTOCAST = {"amp_bfloat16": torch.bfloat16, "amp_float16": torch.float16}


class Case:
    """What a metric is a function of: a Spec with its model and inputs, built when first asked for.

    clock returns seconds; tests inject their own.
    """

    def __init__(self, spec: Spec, protocol: Protocol, clock: Callable[[], float] = time.perf_counter) -> None:
        self.spec = spec
        self.protocol = protocol
        self.clock = clock
        self._found: dict[Callable[[Case], Any], Any] = {}

    def once(self, function: Callable[["Case"], T]) -> T:
        """What `function` returns of this case, run when first asked for: metrics share it."""
        if function not in self._found:
            self._found[function] = function(self)
        found: T = self._found[function]
        return found

    @cached_property
    def model(self) -> nn.Module:
        """The model as it is measured: on the Spec's device, in its precision and layout, compiled if asked."""
        spec = self.spec
        set_switches(spec)
        torch.manual_seed(self.protocol.seed)
        model = create(spec, spec.device).to(device=spec.device, dtype=weight_dtype(spec))
        model = model.to(memory_format=_memory_format(spec))
        if spec.compile != "none":
            model.compile(mode=None if spec.compile == "default" else spec.compile)
        return model

    @property
    def impl(self) -> str | None:
        """The route through the model that is in force; None for a model that has no such choice."""
        model = self.__dict__.get("model") or create(self.spec, "meta")
        return getattr(model, "impl", None)

    @cached_property
    def images(self) -> Tensor:
        """Standard normal images (batch, channels, height, width) on the Spec's device, the same at every run."""
        generator = torch.Generator().manual_seed(self.protocol.seed)
        images = torch.randn(image_shape(self.spec, self.spec.batch), generator=generator)
        return images.to(
            device=self.spec.device, dtype=weight_dtype(self.spec), memory_format=_memory_format(self.spec)
        )

    def call(self) -> None:
        """One step of the Spec's mode, queued on the device."""
        model, images = self.model, self.images  # built before inference mode and autocast are on
        with torch.inference_mode(), autocast(self.spec):
            model(images)

    def synchronize(self) -> None:
        """Wait until all that was queued is done."""
        if self.spec.device != "cpu":
            torch.cuda.synchronize(self.spec.device)

    @cached_property
    def seconds_per_call(self) -> float:
        """Warm up as the Protocol says; a first estimate of a call's time (s), not a measurement.

        Building the model and the first call, which may compile or tune, come before, and don't count as warm-up.
        """
        self.call()
        self.synchronize()
        calls, begin = 0, self.clock()
        while True:
            before = self.clock()
            self.call()
            self.synchronize()
            after = self.clock()
            calls += 1
            if calls >= self.protocol.warmup_calls and after - begin >= self.protocol.warmup_time:
                return after - before


def create(spec: Spec, device: str, attention: str | None = None) -> nn.Module:
    """The Spec's model in eval mode on `device` (`meta` builds no numbers), in float32.

    attention overrides the Spec's path. A size other than the model's own is passed as `img_size` where the
    constructor takes one.
    """
    arguments: dict[str, Any] = dict(spec.model_args)
    with fused_attention((attention or spec.attention) == "fused"), torch.device(device):
        if spec.size == default_size(spec.model):
            return timm.create_model(spec.model, **arguments).eval()
        size = spec.size[0] if spec.size[0] == spec.size[1] else spec.size
        try:
            return timm.create_model(spec.model, img_size=size, **arguments).eval()
        except TypeError as error:
            if "img_size" not in str(error):
                raise
            return timm.create_model(spec.model, **arguments).eval()


def check(spec: Spec) -> None:
    """Raise UsageError if the model refuses the Spec's size or arguments; builds no numbers where it can avoid it."""
    if spec.size == default_size(spec.model) and not spec.model_args:
        return
    try:
        _try(spec, create(spec, "meta"))
    except Exception as error:
        words = [f"size={format_size(spec.size)}", *(f"{key}={value}" for key, value in spec.model_args)]
        reason = str(error) if isinstance(error, ValueError) else one_line(error)  # a ValueError speaks for itself
        raise UsageError(f"{spec.model} refuses {' '.join(words)}: {reason}") from error


def _try(spec: Spec, model: nn.Module) -> None:
    """One forward pass on `meta`; where it is `meta` that cannot run the model, one on real numbers."""
    with torch.no_grad():
        try:
            model(torch.empty(image_shape(spec, 1), device="meta"))
        except Exception as error:
            if not isinstance(error, NotImplementedError) and "meta" not in str(error).lower():
                raise
            create(spec, "cpu")(torch.zeros(image_shape(spec, 1)))


def image_shape(spec: Spec, batch: int) -> tuple[int, int, int, int]:
    """(batch, channels, height, width) of the Spec's images."""
    channels = dict(spec.model_args).get("in_chans", input_size(spec.model)[0])
    assert isinstance(channels, int)
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


def autocast(spec: Spec) -> contextlib.AbstractContextManager[Any]:
    """The autocast context that the Spec's precision names, or none. Without autocast's cache of cast weights, which
    PyTorch does not use in inference mode, so that it is off wherever the same call is traced in another."""
    if spec.precision not in _AUTOCAST:
        return contextlib.nullcontext()
    return torch.autocast(torch.device(spec.device).type, _AUTOCAST[spec.precision], cache_enabled=False)


def weight_dtype(spec: Spec) -> torch.dtype:
    """The type in which weights and images are kept."""
    return _WEIGHTS.get(spec.precision, torch.float32)


def set_switches(spec: Spec) -> None:
    """Set the process-wide switches that the precision fixes: TF32 on only for `tf32`; cuDNN picks its algorithms."""
    tf32 = spec.precision == "tf32"
    if tf32 and spec.device == "cpu":
        raise Skip("tf32 is a mode of NVIDIA GPUs, and this cell's device is the CPU")
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True


def _memory_format(spec: Spec) -> torch.memory_format:
    return torch.channels_last if spec.layout == "channels_last" else torch.contiguous_format

"""Case: a Spec made real, piece by piece as it is asked for."""

import time
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import nn

from bench.errors import Skip, UsageError, one_line, place
from bench.model import create, deploys, image_shape, offered
from bench.names import default_size, is_function
from bench.precision import set_switches, weight_dtype
from bench.protocol import Protocol
from bench.spec import Spec, format_size
from bench.steps import Inputs, Step, sample, step

T = TypeVar("T")


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
        if spec.layout == "channels_last":
            model = model.to(memory_format=torch.channels_last)
        if spec.compile != "none":
            model.compile(mode=None if spec.compile == "default" else spec.compile)
        return model

    @cached_property
    def inputs(self) -> Inputs:
        """The model's arguments at the Spec's batch, on its device, the same at every run."""
        return sample(self.spec, self.model, self.spec.batch, self.spec.device, self.protocol.seed)

    @property
    def impl(self) -> str | None:
        """The route through the model that is in force; None for a model that has no such choice."""
        impl = getattr(self._as_constructed, "impl", None)
        return impl if isinstance(impl, str) else None

    @property
    def form(self) -> str | None:
        """`deployed` or `training`, by the model's own word (`form`) where it has one; None for a model that has no
        deployed form."""
        module = self._as_constructed
        if offered(module, "deploy") is None:
            return None
        form = getattr(module, "form", "deployed" if deploys(self.spec) else "training")
        return form if isinstance(form, str) else None

    @cached_property
    def _as_constructed(self) -> nn.Module:
        """The model, without numbers where it was not built yet."""
        return self.__dict__.get("model") or create(self.spec, "meta")

    @cached_property
    def call(self) -> Step:
        """One step of the Spec's mode, queued on the device."""
        return step(self.spec, self.model, self.inputs, self.protocol.seed)

    def synchronize(self) -> None:
        """Wait until all that was queued is done."""
        if self.spec.device != "cpu":
            torch.cuda.synchronize(self.spec.device)

    @cached_property
    def first_call(self) -> float:
        """Time (s) of the very first call, to its synchronised end: it may compile, tune and fill caches. Building the
        model and drawing its inputs come before."""
        call = self.call
        self.synchronize()
        begin = self.clock()
        call()
        self.synchronize()
        return self.clock() - begin

    @cached_property
    def seconds_per_call(self) -> float:
        """Warm up as the Protocol says; a first estimate of a call's time (s), not a measurement.

        The first call comes before, and doesn't count as warm-up.
        """
        _ = self.first_call
        calls, begin = 0, self.clock()
        while True:
            before = self.clock()
            self.call()
            self.synchronize()
            after = self.clock()
            calls += 1
            if calls >= self.protocol.warmup_calls and after - begin >= self.protocol.warmup_time:
                return after - before


def check(spec: Spec) -> None:
    """Raise UsageError if the model refuses the Spec's size, arguments or weights; builds no numbers where it can avoid
    it. What a plugin raises is left for its cells to say."""
    if spec.size == default_size(spec.model) and not spec.model_args and spec.weights == "random":
        return
    try:
        model = create(spec, "meta")
        if spec.mode != "pretrain":
            _try(spec, model)
    except Skip:  # to be said in the record
        return
    except UsageError:  # of the weights: it names all that there is to know
        raise
    except Exception as error:
        if is_function(spec.model) or place(error):  # a user's own: its cells will say so, and the others go on
            return
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

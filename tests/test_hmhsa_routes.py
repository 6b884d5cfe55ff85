"""hMHSA's routes: the same function by stored maps, folded filters, and fused attention."""

from itertools import product

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from bench.attention import capture
from bench.build import Case
from bench.metrics import all_metrics
from bench.model import create, fused_attention
from bench.protocol import preset
from bench.spec import Spec
from models.hmhsa.attention import HallucinatedAttention
from tests.small_hmhsa import HALLUCINATE, on_meta, small, small_images


def gradients(model, images):
    out = model(images)
    (out * torch.linspace(-1, 2, out.numel(), dtype=out.dtype).reshape(out.shape)).sum().backward()
    return out.detach(), {name: p.grad for name, p in model.named_parameters()}


# Routes.


@pytest.mark.parametrize(("hallucinate", "axis"), [*product(HALLUCINATE, ["key", "query"])])
@pytest.mark.parametrize("name", ["hmhsa_deit_tiny", "hmhsa_pvt_v2_b1"])
def test_every_route_has_the_outputs_and_gradients_of_the_reference(name, hallucinate, axis):
    check_routes(name, hallucinate, axis)


@pytest.mark.parametrize(
    ("hallucinate", "axis"), [(True, "key"), pytest.param("chh+ihh", "query", marks=pytest.mark.slow)]
)
def test_every_route_of_nextvit_has_the_outputs_and_gradients_of_the_reference(hallucinate, axis):
    check_routes("hmhsa_nextvit_small", hallucinate, axis)


def check_routes(name, hallucinate, axis):
    reference = small(name, fused=False, hallucinate=hallucinate, axis=axis, impl="reference")
    output, expected = gradients(reference, small_images())
    for impl, fused in [("maps", True), ("folded", True), ("folded", False), ("sdpa", True), ("sdpa", False)]:
        model = small(name, fused=fused, hallucinate=hallucinate, axis=axis, impl=impl)
        model.load_state_dict(reference.state_dict())
        actual, found = gradients(model, small_images())
        torch.testing.assert_close(actual, output, rtol=1e-9, atol=1e-11)
        for key, gradient in expected.items():
            scale = max(gradient.abs().max().item(), 1e-6)
            torch.testing.assert_close(found[key], gradient, rtol=1e-8, atol=1e-9 * scale, msg=f"{impl} {key}")


@pytest.mark.parametrize("impl", ["reference", "maps", "folded", "sdpa"])
def test_maps_of_all_heads_are_seen_whatever_the_route(impl):
    model = small("hmhsa_deit_tiny", fused=False, impl=impl)
    (seen,) = capture(model, small_images()[:1], "hmhsa_deit_tiny", closely=True)
    (expected,) = capture(small("hmhsa_deit_tiny", fused=False), small_images()[:1], "hmhsa_deit_tiny", closely=True)
    assert (seen.heads, seen.keys, seen.picture.grid) == (6, 25, (4, 6))
    torch.testing.assert_close(seen.matrix, expected.matrix, rtol=1e-9, atol=1e-9)


class Operators(TorchDispatchMode):
    """The names of all operators that ran."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(func.name())
        return func(*args, **(kwargs or {}))


def test_sdpa_stores_no_map():
    model = small("hmhsa_deit_tiny", impl="sdpa").float()
    with torch.no_grad(), Operators() as operators:
        model(small_images().float())
    fused = [name for name in operators.seen if "flash" in name]
    assert len(fused) == 2  # the real heads, the hallucinated heads
    assert not [name for name in operators.seen if "softmax" in name]


@pytest.mark.parametrize(
    ("fused", "device", "size", "impl"),
    [
        (True, "cpu", 224, "folded"),
        (True, "cpu", 384, "sdpa"),
        (True, "cuda:1", 224, "sdpa"),
        (False, "cuda", 384, "reference"),
    ],
)
def test_auto_chooses_by_attention_path_device_and_size(fused, device, size, impl):
    with fused_attention(fused):
        model = on_meta("hmhsa_deit_tiny", img_size=size)
    model.choose_impl(device, (size, size))
    assert model.impl == impl
    assert {m.impl for m in model.modules() if isinstance(m, HallucinatedAttention)} == {impl}


@pytest.mark.parametrize("name", ["hmhsa_pvt_v2_b1", "hmhsa_nextvit_small"])
def test_auto_stores_no_large_map_of_a_convolutional_base(name):
    model = on_meta(name)
    assert model.impl == ("sdpa" if torch.cuda.is_available() else "folded")  # at the size of its config
    model.choose_impl("cpu", (896, 896))
    assert model.impl == "sdpa"


def test_auto_of_deit_goes_by_the_size_that_it_was_built_for():
    assert on_meta("hmhsa_deit_tiny", img_size=448).impl == "sdpa"


@pytest.mark.parametrize("impl", ["reference", "maps", "folded", "sdpa"])
def test_macs_counted_on_meta_are_those_that_run(impl):
    spec = Spec("hmhsa_pvt_v2_b1", size=(64, 64), model_args=(("impl", impl),))
    model = create(spec, "cpu")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 64, 64))
    assert Case(spec, preset("quick")).impl == impl
    assert all_metrics()["macs"].measure(Case(spec, preset("quick"))).value == counter.get_total_flops() / 2


def test_a_route_that_was_asked_for_stays():
    model = on_meta("hmhsa_deit_tiny", impl="maps")
    model.choose_impl("cuda", (224, 224))
    assert model.impl == "maps"

"""Metrics, against known answers."""

import dataclasses
import warnings

import pytest
import timm
import torch
from torch import nn

from bench.build import Case, check
from bench.errors import Skip, UsageError
from bench.live_bytes import LiveBytes
from bench.metrics import Measurement, all_metrics, metric, select
from bench.model import create, fused_attention
from bench.precision import set_switches
from bench.protocol import preset
from bench.spec import Spec

DEIT = "deit_tiny_patch16_224"
PROTOCOL = preset("quick", 1)


def measure(name, *args, **kwargs):
    return all_metrics()[name].measure(Case(Spec(*args, **kwargs), PROTOCOL))


@pytest.mark.parametrize("attention", ["fused", "eager"])
@pytest.mark.parametrize("batch", [1, 8])
def test_macs_of_deit_tiny_are_those_counted_by_hand(attention, batch):
    tokens, width, depth = 197, 192, 12
    patches = 196 * 3 * 16**2 * width
    block = tokens * 12 * width**2 + 2 * tokens**2 * width
    by_hand = patches + depth * block + width * 1000
    value = measure("macs", DEIT, attention=attention, batch=batch)
    assert value.value == by_hand == 1_253_683_200
    assert value.note == ""


@pytest.mark.parametrize("attention", ["fused", "eager"])
def test_macs_fvcore_are_the_eager_ones_on_either_path(attention):
    value = measure("macs_fvcore", DEIT, attention=attention)
    assert value.value == 1_258_411_200
    assert "aten::softmax" in value.note
    assert "attention" not in value.note


def test_activations_are_those_that_timm_publishes():
    value = measure("activations", DEIT)
    assert value.value == 5_974_636  # 5.97 M; 4.12 M on the fused path, whose maps fvcore does not see
    assert "attention" not in value.note
    assert measure("activations", DEIT, precision="bfloat16", batch=3, attention="eager").value == value.value


@pytest.mark.parametrize("name", ["macs", "macs_fvcore"])
def test_counts_are_of_one_image_and_its_forward_pass_in_any_mode(name):
    counts = {
        measure(name, "test_vit", size=(160, 160), mode=mode, batch=batch, precision=precision).value
        for mode, batch, precision in (("infer", 1, "float32"), ("train", 2, "amp_bfloat16"), ("infer", 3, "bfloat16"))
    }
    assert len(counts) == 1


def test_counts_of_a_pre_training_step_are_those_of_its_own_inputs():
    by_hand = 16 * (3 * 8**2) * 16 + 16 * (3 * 8**2)  # 16 patches encoded, one mean decoded
    spec = dict(size=(32, 32), mode="pretrain", batch=4)
    assert measure("macs", "vitbench_masked", **spec).value == by_hand
    assert measure("macs_fvcore", "vitbench_masked", **spec).value == by_hand
    assert measure("activations", "vitbench_masked", **spec).value == 16 * 16 + 3 * 8**2


def test_params_count_shared_ones_once(monkeypatch):
    assert measure("params", DEIT).value == 5_717_416
    shared = create(Spec(DEIT), "meta")
    one = sum(p.numel() for p in shared.blocks[0].mlp.parameters())
    shared.blocks[1].mlp = shared.blocks[0].mlp
    monkeypatch.setattr("bench.tracing.create", lambda spec, device: shared)
    assert measure("params", DEIT).value == 5_717_416 - one


@pytest.mark.parametrize(
    ("model", "params", "fvcore", "flops"),
    [
        ("sgformer_s", 22_545_981, 4_817_927_360, 9_567_696_896),
        ("sgformer_m", 38_689_316, 7_469_620_968, 14_853_706_752),
        ("sgformer_b", 77_950_293, 15_609_796_064, 31_085_600_256),
    ],
)
def test_sgformer_has_the_published_counts(model, params, fvcore, flops):
    values = [measure(name, model).value for name in ("params", "macs_fvcore", "macs")]
    assert values == [params, fvcore, flops // 2]


@pytest.mark.parametrize(
    "model",
    [
        "cait_xxs24_224",
        "pit_ti_224",
        "coat_tiny",
        "swin_tiny_patch4_window7_224",
        "pvt_v2_b1",
        "nextvit_small",
        "resnet18",
        "convnext_atto",
        "mobilenetv3_small_050",
        "levit_128s",
        "xcit_nano_12_p8_224",
        "twins_svt_small",
        "volo_d1_224",
        "maxvit_tiny_tf_224",
    ],
)
def test_counts_and_memory_of_many_families_need_no_real_run(model):
    for name in ("params", "macs", "peak_live_bytes"):
        value = measure(name, model)
        assert value.status == "ok"
        assert value.note == "", name


def test_macs_name_operators_that_might_multiply(monkeypatch):
    monkeypatch.setattr("bench.tracing.create", lambda spec, device: Foreign())
    assert measure("macs", DEIT).note == "operators without a FLOP rule: vitbench_test.product.default"


@torch.library.custom_op("vitbench_test::product", mutates_args=())
def product(x: torch.Tensor) -> torch.Tensor:
    return x @ x.transpose(-2, -1)


@product.register_fake
def _(x):
    return x.new_empty(*x.shape[:-1], x.shape[-2])


class Foreign(nn.Module):
    """Uses somebody's operator, of which torch's counter knows nothing."""

    def forward(self, x):
        return product(x)


def test_data_dependent_models_fall_back_on_real_tensors_and_say_so():
    for name in ("macs", "peak_live_bytes"):
        value = measure(name, "vitbench_asking", size=(32, 32), batch=2)
        assert value.value > 0
        assert "real" in value.note, name


@pytest.mark.parametrize("name", ["params", "macs", "peak_live_bytes"])
def test_a_constructor_that_asks_for_numbers_needs_no_fallback_afterwards(name):
    value = measure(name, "vitbench_born_asking", size=(32, 32))
    assert (value.status, value.note) == ("ok", "")


def test_a_fallback_for_a_gpu_casts_as_the_gpu_would():
    asked = {"size": (32, 32), "batch": 2, "precision": "amp_bfloat16"}
    on_cpu = measure("peak_live_bytes", "vitbench_asking", **asked)
    on_gpu = measure("peak_live_bytes", "vitbench_asking", device="cuda", **asked)
    assert "real CPU tensors" in on_gpu.note
    assert on_gpu.value == on_cpu.value


def test_live_bytes_of_a_chain_are_the_two_largest_neighbours():
    x = torch.empty(1000, dtype=torch.float32)  # 4000 bytes
    with LiveBytes([x]) as tracker:
        y = torch.cat([x, x])  # 8000 more
        z = y.view(2, 1000)[0]  # a view: nothing
        del y
        assert tracker.live == 12_000  # z keeps it alive
        del z
        assert tracker.live == 4_000
        x + 1  # 4000 for a moment
    assert tracker.peak == 12_000
    assert tracker.live == 4_000


def test_predicted_peak_of_an_mlp_is_the_one_counted_by_hand():
    class Mlp(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide = nn.Linear(3 * 32 * 32, 5000)
            self.narrow = nn.Linear(5000, 10)

        def forward(self, x):
            return self.narrow(torch.relu(self.wide(x.flatten(1))))

    model, images = Mlp(), torch.zeros(64, 3, 32, 32)
    resident = 4 * (sum(p.numel() for p in model.parameters()) + images.numel())
    with torch.no_grad(), LiveBytes([*model.parameters(), images]) as tracker:
        model(images)
    assert tracker.peak == resident + 2 * 4 * 64 * 5000  # before and after relu


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "amp_bfloat16"])
@pytest.mark.parametrize("attention", ["fused", "eager"])
@pytest.mark.parametrize("model", [DEIT, "coat_tiny"])  # coat registers modules twice
def test_predicted_peak_is_that_of_the_call_that_is_timed(model, precision, attention):
    case = Case(Spec(model, batch=2, precision=precision, attention=attention), PROTOCOL)
    with LiveBytes([*case.model.parameters(), *case.model.buffers(), case.inputs[0][0]]) as tracker:
        case.call()
    assert measure("peak_live_bytes", model, batch=2, precision=precision, attention=attention).value == tracker.peak


def test_a_call_keeps_no_graph_and_builds_outside_of_inference_mode():
    case = Case(Spec("test_vit", size=(160, 160)), PROTOCOL)
    outputs = []
    case.model.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    case.call()
    assert outputs[0].is_inference()
    assert not any(p.is_inference() for p in case.model.parameters())


def test_compile_is_asked_of_the_model():
    for word, compiled in (("none", False), ("default", True)):
        case = Case(Spec("test_vit", size=(160, 160), compile=word), PROTOCOL)
        assert (case.model._compiled_call_impl is not None) == compiled


def test_tf32_is_on_for_tf32_alone():
    for precision, on in (("tf32", True), ("float32", False), ("amp_bfloat16", False)):
        set_switches(Spec(DEIT, device="cuda", precision=precision))
        assert torch.backends.cudnn.allow_tf32 == on
        assert torch.get_float32_matmul_precision() == ("high" if on else "highest")


def test_predicted_peak_does_not_see_maps_that_fused_attention_never_stores():
    large = dict(size=(672, 672))
    fused = measure("peak_live_bytes", DEIT, attention="fused", **large).value
    eager = measure("peak_live_bytes", DEIT, attention="eager", **large).value
    one_map = 4 * 3 * 1765**2
    assert eager - fused > one_map


def test_weights_in_half_precision_take_half_the_bytes():
    whole, half = (measure("peak_live_bytes", DEIT, precision=precision).value for precision in ("float32", "bfloat16"))
    assert half == pytest.approx(whole / 2, rel=0.01)


def test_tf32_on_a_cpu_is_skipped_with_its_reason():
    value = measure("latency", DEIT, precision="tf32")
    assert value.status == "skipped"
    assert "NVIDIA" in value.note


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "amp_bfloat16"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_a_case_is_built_as_its_spec_says(precision, layout):
    case = Case(Spec("test_vit", size=(160, 160), batch=2, precision=precision, layout=layout), PROTOCOL)
    kept = torch.bfloat16 if precision == "bfloat16" else torch.float32
    assert {p.dtype for p in case.model.parameters()} == {kept}
    assert case.inputs[0][0].dtype == kept
    assert case.inputs[0][0].shape == (2, 3, 160, 160)
    assert case.inputs[0][0].is_contiguous(memory_format=torch.channels_last) == (layout == "channels_last")
    assert not case.model.training
    case.call()
    assert torch.backends.cudnn.allow_tf32 is False


def test_size_and_arguments_reach_the_constructor():
    vit = create(Spec("test_vit", size=(192, 128)), "meta")
    assert vit.patch_embed.img_size == (192, 128)
    assert create(Spec("resnet18", size=(192, 192)), "meta") is not None  # takes no img_size
    model = create(Spec("test_vit", size=(160, 160), model_args={"in_chans": 1, "num_classes": 5}), "meta")
    assert (model.patch_embed.proj.in_channels, model.num_classes) == (1, 5)
    assert Case(Spec("test_vit", size=(160, 160), model_args={"in_chans": 1}), PROTOCOL).inputs[0][0].shape[1] == 1


def test_attention_setting_is_that_of_the_spec_and_then_restored():
    before = timm.layers.use_fused_attn()
    for attention in ("fused", "eager"):
        model = create(Spec(DEIT, attention=attention), "meta")
        assert {bool(block.attn.fused_attn) for block in model.blocks} == {attention == "fused"}
    with pytest.raises(KeyError), fused_attention(False):
        raise KeyError
    assert timm.layers.use_fused_attn() == before


def test_refused_sizes_and_arguments_are_one_clear_line():
    with pytest.raises(UsageError, match=r"^sgformer_s refuses size=384: .* multiple of 224 .*got 384x384\. .*448\.$"):
        check(Spec("sgformer_s", size=(384, 384)))
    with pytest.raises(UsageError, match=r"^hiera_tiny_224 refuses size=100: .+$"):  # only its forward pass does
        check(Spec("hiera_tiny_224", size=(100, 100)))
    with pytest.raises(UsageError, match=r"^test_vit refuses size=160 colour=red: TypeError: .*'colour'$"):
        check(Spec("test_vit", size=(160, 160), model_args={"colour": "red"}))
    check(Spec("test_vit", size=(192, 192)))
    check(Spec("vitbench_asking", size=(64, 64)))  # meta tensors cannot answer it, real ones can


def test_what_a_metric_raises_becomes_a_status_with_its_reason(monkeypatch):
    monkeypatch.setattr("bench.errors.users_code", set())  # other tests load plugins from this folder

    def attempt(error):
        def function(case):
            raise error

        return dataclasses.replace(all_metrics()["params"], function=function).measure(None)

    assert (attempt(Skip("no such thing")).status, attempt(Skip("no such thing")).note) == ("skipped", "no such thing")
    failed = attempt(RuntimeError("first line\nsecond line"))
    assert (failed.status, failed.value, failed.note) == ("failed", None, "RuntimeError: first line")


def test_a_number_that_is_none_is_not_ok():
    nothing = dataclasses.replace(all_metrics()["params"], function=lambda case: Measurement(float("nan")))
    value = nothing.measure(Case(Spec(DEIT), PROTOCOL))
    assert value.status == "failed"
    assert "nan" in value.note


def test_registry_lists_all_and_refuses_twins_and_strangers():
    assert list(all_metrics()) == [
        "activations", "macs", "macs_fvcore", "mask_occupancy", "padding", "params", "peak_live_bytes", "step_macs",
        "top_tokens", "ccs", "codebook_usage", "correspondence_accuracy", "correspondence_distance", "entropy",
        "hallucination", "significance", "peak_memory", "first_call", "latency", "latency_parts", "mfu", "step_time",
        "throughput",
    ]  # fmt: skip
    assert all(one.summary and one.unit for one in all_metrics().values())
    with pytest.raises(ValueError, match="registered twice"):
        metric(unit="1", better="lower", stage="static")(all_metrics()["params"].function)
    with pytest.raises(UsageError, match=r"no metric 'mac' \(did you mean macs\?\); metrics are activations, "):
        select(["params", "mac"])


def test_counting_adds_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("params", "macs", "macs_fvcore", "activations", "peak_live_bytes"):
            assert measure(name, "swin_tiny_patch4_window7_224").status == "ok"


class FakeCuda:
    """Stands in for torch.cuda: a call takes 100 bytes for a moment and leaves none behind."""

    def __init__(self):
        self.allocated = self.peak = 1000
        self.log = []

    def call(self):
        self.log.append("call")
        self.peak = max(self.peak, self.allocated + 100 * self.log.count("call"))  # the first one takes less

    def synchronize(self, device=None):
        self.log.append("synchronize")

    def reset_peak_memory_stats(self, device):
        self.log.append("reset")
        self.peak = self.allocated

    def memory_allocated(self, device):
        return self.allocated

    def max_memory_allocated(self, device):
        return self.peak

    def max_memory_reserved(self, device):
        return 4096


def test_peak_memory_is_that_of_the_call_after_a_warm_one(monkeypatch):
    cuda, case = FakeCuda(), Case(Spec(DEIT, device="cuda"), PROTOCOL)
    for name in ("reset_peak_memory_stats", "memory_allocated", "max_memory_allocated", "max_memory_reserved"):
        monkeypatch.setattr(torch.cuda, name, getattr(cuda, name))
    monkeypatch.setattr(torch.cuda, "synchronize", cuda.synchronize)
    vars(case)["call"] = cuda.call
    value = all_metrics()["peak_memory"].measure(case)
    assert value.value == 1200
    assert value.note == "1000 B before the call; reserved by the allocator: 4096 B"
    assert cuda.log == ["call", "synchronize", "reset", "call", "synchronize"]

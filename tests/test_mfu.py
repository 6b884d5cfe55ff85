"""Model FLOPs utilisation on devices that are not there, and the table of peaks."""

import pytest
import torch

from bench.build import Case
from bench.errors import Skip
from bench.metrics import all_metrics
from bench.peaks import _PEAKS, peak
from bench.protocol import preset
from bench.spec import Spec

DEIT = "deit_tiny_patch16_224"
PROTOCOL = preset("quick", 1)


class Device:
    """A GPU of some name, on which a call takes a quarter of a second."""

    def __init__(self, monkeypatch, name):
        self.now = 0.0
        self.calls = 0
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
        monkeypatch.setattr(Case, "synchronize", lambda case: None)

    def call(self):
        self.calls += 1
        self.now += 0.25

    def case(self, **spec):
        case = Case(Spec(DEIT, device="cuda", **spec), PROTOCOL, lambda: self.now)
        vars(case).update(call=self.call, seconds_per_call=0.25)
        return case


@pytest.mark.parametrize(("mode", "passes"), [("infer", 1), ("train", 3)])
def test_mfu_is_the_share_of_the_peak_that_the_models_macs_take(monkeypatch, mode, passes):
    case = Device(monkeypatch, "NVIDIA H200").case(mode=mode, batch=1024, precision="amp_bfloat16")
    value = all_metrics()["mfu"].measure(case)
    assert value.value == pytest.approx(passes * 2 * 1_253_683_200 * 1024 * 4 / 989.4e12, rel=1e-12)
    assert value.details == {"peak": 989.4e12, "source": "NVIDIA H200 datasheet (the H100 SXM5's)"}


def test_mfu_and_throughput_share_their_windows(monkeypatch):
    device = Device(monkeypatch, "NVIDIA A100-SXM4-80GB")
    case = device.case(batch=64)
    throughput = all_metrics()["throughput"].measure(case)
    calls = device.calls
    mfu = all_metrics()["mfu"].measure(case)
    assert device.calls == calls > 0
    assert len(mfu.samples[0]) == len(throughput.samples[0])
    assert mfu.value == pytest.approx(throughput.value * 2 * 1_253_683_200 / 19.5e12, rel=1e-12)


def test_no_peak_no_number_and_no_time_spent(monkeypatch):
    device = Device(monkeypatch, "NVIDIA GeForce RTX 4090 Laptop GPU")
    for case, reason in (
        (device.case(), "no peak known for NVIDIA GeForce RTX 4090 Laptop GPU in float32"),
        (device.case(mode="pretrain"), "a pre-training step is not three forward passes"),
        (Case(Spec(DEIT), PROTOCOL), "no peak known for a CPU"),
    ):
        value = all_metrics()["mfu"].measure(case)
        assert value.status == "skipped"
        assert value.note.startswith(reason)
    assert device.calls == 0


@pytest.mark.parametrize(
    ("name", "precision", "tera"),
    [
        ("Tesla V100-SXM2-32GB", "amp_float16", 125),
        ("Tesla T4", "float16", 65),
        ("NVIDIA A100-PCIE-40GB", "tf32", 156),
        ("NVIDIA A100 80GB PCIe", "amp_bfloat16", 312),
        ("NVIDIA A10", "float32", 31.2),
        ("NVIDIA GeForce RTX 2080 Ti", "amp_float16", 53.8),  # half of the 107.6 with sums in float16
        ("NVIDIA GeForce RTX 3090", "bfloat16", 71),
        ("GeForce RTX 3090", "float32", 35.6),
        ("NVIDIA H100 80GB HBM3", "float16", 989.4),
        ("NVIDIA H100 PCIe", "float16", 756),
    ],
)
def test_peaks_are_found_by_the_names_that_drivers_give(name, precision, tera):
    assert peak(name, precision)[0] == pytest.approx(tera * 1e12)


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("NVIDIA A10G", "float32"),
        ("NVIDIA A1000", "float32"),
        ("NVIDIA H100 NVL", "float32"),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "float32"),
        ("NVIDIA GeForce RTX 3090 Ti", "float32"),
        ("Tesla V100-SXM2-32GB", "bfloat16"),
        ("Tesla T4", "tf32"),
    ],
)
def test_a_peak_that_is_not_known_is_not_guessed(name, precision):
    with pytest.raises(Skip, match=rf"^no peak known for {name} in {precision}$"):
        peak(name, precision)


def test_rates_of_a_gpu_rise_as_precision_falls():
    for row in _PEAKS:
        rates = [rate for rate in (row.float32, row.tf32, row.bfloat16 or row.float16) if rate]
        assert rates == sorted(rates)
        assert row.bfloat16 in (row.float16, None)
        assert row.source.startswith("NVIDIA")

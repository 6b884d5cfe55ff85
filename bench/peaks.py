"""Peak FLOP/s of NVIDIA GPUs, as NVIDIA publishes them: dense (no structured sparsity), at boost clock.

float32 is without tensor cores; the others are tensor cores' with sums in float32, which is what PyTorch asks for.
GeForce cards do those in half precision at half the rate that is often quoted for them. None: not published, or no such
mode. A name has to fit as a whole: a MIG slice, a laptop's GPU, or another variant of a card has another peak.
"""

import re
from dataclasses import dataclass

from bench.errors import Skip

_TERA = 1e12


@dataclass(frozen=True)
class Peak:
    """gpu: a regular expression of the device's name without its brand; peaks in TFLOP/s; source: where they stand."""

    gpu: str
    float32: float | None
    tf32: float | None
    bfloat16: float | None
    float16: float | None
    source: str


_PEAKS = (
    Peak(r"V100-SXM2-\d+GB", 15.7, None, None, 125.0, "NVIDIA V100 datasheet"),
    Peak(r"V100-PCIE-\d+GB", 14.0, None, None, 112.0, "NVIDIA V100 datasheet"),
    Peak(r"V100S-PCIE-\d+GB", 16.4, None, None, 130.0, "NVIDIA V100 datasheet"),
    Peak(r"T4", 8.1, None, None, 65.0, "NVIDIA T4 datasheet"),
    Peak(r"RTX 2080 Ti", 13.4, None, None, 53.8, "NVIDIA Turing whitepaper, reference clocks"),
    Peak(r"A100-(SXM4|SXM|PCIE|PCIe)-\d+GB|A100 80GB PCIe", 19.5, 156.0, 312.0, 312.0, "NVIDIA A100 datasheet"),
    Peak(r"A10", 31.2, 62.5, 125.0, 125.0, "NVIDIA A10 datasheet"),
    Peak(r"RTX 3090", 35.6, 35.6, 71.0, 71.0, "NVIDIA GA102 whitepaper"),
    Peak(r"RTX 4090", 82.6, 82.6, 165.2, 165.2, "NVIDIA Ada whitepaper"),
    Peak(r"L4", 30.3, 60.0, 121.0, 121.0, "NVIDIA L4 datasheet, halved where with sparsity"),
    Peak(r"L40S", 91.6, 183.0, 362.0, 362.0, "NVIDIA L40S datasheet"),
    Peak(r"H100 80GB HBM3", 66.9, 494.7, 989.4, 989.4, "NVIDIA H100 whitepaper, SXM5"),
    Peak(r"H100 PCIe", 51.2, 378.0, 756.0, 756.0, "NVIDIA H100 whitepaper, PCIe"),
    Peak(r"H200", 66.9, 494.7, 989.4, 989.4, "NVIDIA H200 datasheet (the H100 SXM5's)"),
    Peak(r"B200", None, 1100.0, 2250.0, 2250.0, "NVIDIA HGX B200 datasheet, halved where with sparsity"),
)


def peak(gpu: str, precision: str) -> tuple[float, str]:
    """Peak FLOP/s of the GPU of that name (as `torch.cuda.get_device_name` gives it) in a Spec's precision, and its
    source. Raises Skip if it is not known."""
    name = re.sub(r"^((NVIDIA|Tesla|GeForce) )+", "", gpu)
    rate = precision.removeprefix("amp_")
    for row in _PEAKS:
        if re.fullmatch(row.gpu, name) and (found := getattr(row, rate)):
            return found * _TERA, row.source
    raise Skip(f"no peak known for {gpu} in {rate}")

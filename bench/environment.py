"""Environment: the machine and the software that a number came from, stored inside every record."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from bench.plain import Plain

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("torch", "timm", "fvcore", "triton", "numpy")

FINGERPRINT = ("python", "packages", "cpu", "cores", "threads", "gpu", "driver")


@dataclass(frozen=True)
class Environment(Plain):
    """cores are logical, memory is bytes of RAM, gpu_memory bytes of the card's.

    commit is git's, with `+` behind it where the working tree differed; code is a hash of the sources that measure
    (`bench`, `models`), which says more: it sees uncommitted edits, and leaves commits that touch only text alone.
    plugins is such a hash of a user's own files, where the model or a plugin is one.
    state holds what may change between two records of one machine: clocks (Hz), load, and PyTorch's switches.
    """

    python: str
    packages: Mapping[str, str]
    commit: str
    code: str
    system: str
    cpu: str
    cores: int
    threads: int
    memory: int
    gpu: str | None = None
    gpu_memory: int | None = None
    driver: str | None = None
    plugins: str | None = None
    state: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """8 hexadecimal digits; equal where times may be compared. No clock, load or host name goes into it."""
        facts = {name: getattr(self, name) for name in FINGERPRINT}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]


def capture(device: str, threads: int, sources: Sequence[Path] = ()) -> Environment:
    """The environment of a cell that runs on `device` with `threads` CPU threads, as it is now.

    sources: files of plugins.
    PyTorch's switches are read only where torch is imported already.
    """
    return Environment(
        python=platform.python_version(),
        packages={name: version for name in _PACKAGES if (version := _version(name))},
        commit=_commit(),
        code=code_hash(),
        plugins=_digest(sources) if sources else None,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=_cpu(),
        cores=psutil.cpu_count() or 1,
        threads=threads,
        memory=psutil.virtual_memory().total,
        **_gpu(device),
        state={"load": os.getloadavg()[0], "cpu_clock": _cpu_clock(), **_switches(), **_gpu_state(device)},
    )


@cache
def code_hash() -> str:
    """12 hexadecimal digits over the Python sources of the rooms that measure."""
    return _digest(sorted(path for room in ("bench", "models") for path in (_ROOT / room).rglob("*.py")))


def _digest(sources: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in sources:
        name = str(path.relative_to(_ROOT)) if path.is_relative_to(_ROOT) else path.name
        digest.update(name.encode() + b"\0" + (path.read_bytes() if path.is_file() else b"") + b"\0")
    return digest.hexdigest()[:12]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def _commit() -> str:
    """Git's short commit of this checkout, `+` if changed since; empty where there is no git or no checkout."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", _ROOT, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != _ROOT:
            return ""
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


@cache
def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _cpu_clock() -> float | None:
    frequency = psutil.cpu_freq()
    return frequency.current * 1e6 if frequency else None


def _nvml(device: str) -> tuple[Any, Any] | None:
    """(pynvml, handle) of `device`, or None for a CPU or where NVML does not answer."""
    if not device.startswith("cuda"):
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        index = int(device.partition(":")[2] or 0)
        visible = [entry.strip() for entry in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry.strip()]
        chosen = visible[index] if index < len(visible) else str(index)
        by_index = chosen.isdecimal()
        handle = (
            pynvml.nvmlDeviceGetHandleByIndex(int(chosen)) if by_index else pynvml.nvmlDeviceGetHandleByUUID(chosen)
        )
    except pynvml.NVMLError:
        return None
    return pynvml, handle


def _gpu(device: str) -> dict[str, Any]:
    found = _nvml(device)
    if found is None:
        return {}
    nvml, handle = found
    facts = {"gpu": nvml.nvmlDeviceGetName(handle), "driver": nvml.nvmlSystemGetDriverVersion()}
    with contextlib.suppress(nvml.NVMLError):  # cards that share the host's memory have none of their own
        facts["gpu_memory"] = nvml.nvmlDeviceGetMemoryInfo(handle).total
    return facts


def _gpu_state(device: str) -> dict[str, Any]:
    found = _nvml(device)
    if found is None:
        return {}
    nvml, handle = found
    readings = {
        "gpu_clock": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM) * 1e6,
        "gpu_memory_clock": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM) * 1e6,
        "gpu_temperature": lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),  # degrees Celsius
        "gpu_throttle_reasons": lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle),  # NVML's bit mask
        "gpu_processes": lambda: len(nvml.nvmlDeviceGetComputeRunningProcesses(handle)),
    }
    state: dict[str, Any] = {}
    for name, read in readings.items():
        try:
            state[name] = read()
        except nvml.NVMLError as error:  # a reading that this card does not give is written as such
            state[name] = f"not read: {error}"
    return state


def _switches() -> dict[str, Any]:
    """PyTorch's switches that change speed or result."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    backends = torch.backends
    return {
        "torch_threads": torch.get_num_threads(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn": backends.cudnn.version(),
        "cudnn_allow_tf32": backends.cudnn.allow_tf32,
        "cudnn_benchmark": backends.cudnn.benchmark,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "attention_backends": [
            name
            for name in ("flash", "mem_efficient", "math", "cudnn")
            if getattr(backends.cuda, f"{name}_sdp_enabled")()
        ],
    }

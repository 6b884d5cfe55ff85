"""The environment of a GPU, read through a stand-in for NVML: no test machine has one."""

import sys
from types import SimpleNamespace

import pytest

from bench.environment import capture


class NvmlError(Exception):
    """As pynvml's."""


def refuse(handle):
    raise NvmlError("Not Supported")


@pytest.fixture
def nvml(monkeypatch):
    stand_in = SimpleNamespace(
        NVMLError=NvmlError,
        NVML_CLOCK_SM=1,
        NVML_CLOCK_MEM=2,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: f"card {index}",
        nvmlDeviceGetHandleByUUID=lambda uuid: f"card {uuid}",
        nvmlDeviceGetName=lambda handle: handle,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=2**37),
        nvmlSystemGetDriverVersion=lambda: "580.1",
        nvmlDeviceGetClockInfo=lambda handle, clock: {1: 1980, 2: 3201}[clock],
        nvmlDeviceGetTemperature=lambda handle, sensor: 40,
        nvmlDeviceGetCurrentClocksEventReasons=refuse,
        nvmlDeviceGetComputeRunningProcesses=lambda handle: [1, 2],
    )
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return stand_in


def test_gpu_is_named_with_its_clocks_in_hertz(nvml):
    here = capture("cuda:1", 4)
    assert (here.gpu, here.gpu_memory, here.driver) == ("card 1", 2**37, "580.1")
    assert (here.state["gpu_clock"], here.state["gpu_memory_clock"]) == (1980e6, 3201e6)
    assert here.state["gpu_processes"] == 2


def test_a_reading_that_a_card_refuses_says_so(nvml):
    assert capture("cuda", 4).state["gpu_throttle_reasons"] == "not read: Not Supported"


@pytest.mark.parametrize(("visible", "card"), [("3", "card 3"), ("5,7", "card 5"), ("GPU-abc", "card GPU-abc")])
def test_the_card_is_the_one_that_cuda_shows(nvml, monkeypatch, visible, card):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert capture("cuda", 4).gpu == card


def test_a_card_without_memory_of_its_own_has_none(nvml):
    nvml.nvmlDeviceGetMemoryInfo = refuse
    assert (capture("cuda", 4).gpu, capture("cuda", 4).gpu_memory) == ("card 0", None)


def test_without_a_driver_there_is_no_gpu(nvml):
    nvml.nvmlInit = lambda: refuse(None)
    assert capture("cuda", 4).gpu is None


def test_a_gpu_is_part_of_the_fingerprint_and_its_clock_is_not(nvml):
    before = capture("cuda", 4)
    nvml.nvmlDeviceGetClockInfo = lambda handle, clock: 1
    assert capture("cuda", 4).fingerprint == before.fingerprint != capture("cpu", 4).fingerprint

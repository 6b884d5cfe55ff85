"""What a pre-training module may offer beside its step: a plan of what it reads off its inputs, and how it packs."""

import json

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from bench import jsonl
from bench.build import Case
from bench.live_bytes import LiveBytes
from bench.metrics import all_metrics
from bench.model import create
from bench.protocol import preset
from bench.record import Record
from bench.spec import Spec
from bench.steps import planned, sample
from tests.pretraining import Masked, Packed

PROTOCOL = preset("quick", 1)
SMALL = dict(size=(32, 32), batch=8)


def measure(name, *args, **kwargs):
    return all_metrics()[name].measure(Case(Spec(*args, **(SMALL | kwargs)), PROTOCOL))


def tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


@pytest.mark.parametrize("mode", ["pretrain", "infer"])
def test_a_planned_step_is_the_step(mode):
    spec = Spec("vitbench_packed", mode=mode, **SMALL)
    module = create(spec, "cpu")
    args, kwargs = sample(spec, module, 8, "cpu", 0)
    _, more = planned(module, (args, kwargs))
    assert {*more} == {*kwargs, "plan"}
    plain, with_plan = module(*args, **kwargs), module(*args, **more)
    assert all(torch.equal(plain[key], with_plan[key]) for key in plain)


@pytest.mark.parametrize("mode", ["pretrain", "infer"])
@pytest.mark.parametrize("precision", ["float32", "amp_bfloat16"])
def test_a_plan_spares_the_real_run_and_predicts_the_same(mode, precision):
    asked = dict(mode=mode, precision=precision)
    case = Case(Spec("vitbench_packed", **asked, **SMALL), PROTOCOL)
    with LiveBytes([*case.model.parameters(), *tensors(case.inputs)]) as tracker:
        case.call()
        case.call()
    with_plan, without = (
        measure("peak_live_bytes", model, **asked) for model in ("vitbench_packed", "vitbench_planless")
    )
    assert with_plan.note == ""
    assert "real CPU tensors" in without.note
    assert without.value == tracker.peak
    kept = sum(8 * tensor.numel() for tensor in tensors(planned(case.model, case.inputs)[1]["plan"]))
    assert 0 <= with_plan.value - tracker.peak <= kept  # there all the time, and not only until it is used


def test_a_plan_is_moved_to_the_device_of_the_prediction():
    on_cpu, on_gpu = (measure("peak_live_bytes", "vitbench_packed", device=device) for device in ("cpu", "cuda"))
    assert (on_gpu.value, on_gpu.note) == (on_cpu.value, "")


def test_counts_with_a_plan_are_those_of_a_real_run():
    seen, padded, width = 8, 9, 16
    by_hand = padded * (3 * 8**2) * width + width * (3 * 8**2)
    with_plan, without = (measure("macs", model, mode="pretrain") for model in ("vitbench_packed", "vitbench_planless"))
    assert (with_plan.value, with_plan.note) == (by_hand, "")
    assert without.value == by_hand
    assert "real tensors" in without.note
    assert measure("macs_fvcore", "vitbench_packed", mode="pretrain").value == by_hand
    assert measure("activations", "vitbench_packed", mode="infer").value == 18 * width + 3 * 8**2
    assert seen < padded


def test_planning_is_part_of_what_is_timed(monkeypatch):
    def refuse(self, images, mask=None):
        raise AssertionError

    monkeypatch.setattr(Packed, "plan", refuse)
    for name in ("first_call", "macs_fvcore"):
        assert measure(name, "vitbench_packed", mode="pretrain").status == "ok", name
    for name in ("macs", "peak_live_bytes"):
        assert "AssertionError" in measure(name, "vitbench_packed", mode="pretrain").note, name


def test_somebodys_own_plan_is_left_alone(monkeypatch):
    before = [measure(name, "vitbench_masked", mode="pretrain") for name in ("macs", "peak_live_bytes")]
    monkeypatch.setattr(Masked, "plan", lambda self, horizon, budget, tries: {}, raising=False)
    assert [measure(name, "vitbench_masked", mode="pretrain") for name in ("macs", "peak_live_bytes")] == before
    monkeypatch.setattr(Masked, "plan", lambda self, images, mask: "mine")
    for value in before:
        own = measure(value.metric, "vitbench_masked", mode="pretrain")
        assert own.value == value.value
        assert "real" in own.note


def test_padding_is_the_share_of_rows_that_are_no_tokens():
    value = measure("padding", "vitbench_packed", mode="pretrain")
    assert (value.status, value.value, value.unit) == ("ok", pytest.approx(1 / 9), "1")
    assert (value.details["masks"], value.details["rows"], value.details["tokens"]) == (100, 9, 8)
    assert value.details["cost"][:2] == [[0, 100 / 7], [1, 100 / 7]]
    assert measure("padding", "vitbench_packed", mode="infer").value == value.value
    whole = measure("padding", "vitbench_packed", mode="pretrain", model_args={"ratio": 0.25})
    assert whole.value == 0.0


def test_padding_of_a_model_without_groups_is_skipped(monkeypatch):
    value = measure("padding", "test_vit", size=(160, 160))
    assert (value.status, value.note) == ("skipped", "test_vit packs no windows into groups")
    monkeypatch.setattr(Packed, "packing", lambda self, masks: {"rows": 0, "tokens": 0})
    value = measure("padding", "vitbench_packed", mode="pretrain")
    assert (value.status, value.note) == ("skipped", "no block of vitbench_packed works on groups here")


def test_large_details_go_to_the_file_and_back(tmp_path, environment):
    value = measure("padding", "vitbench_packed", mode="pretrain")
    spec = Spec("vitbench_packed", mode="pretrain", **SMALL)
    record = Record(spec, PROTOCOL, environment, (value,), "2026-11-21T05:10:00+00:00")
    assert len(json.dumps(record.to_dict())) > 100_000
    jsonl.append(tmp_path / "records.jsonl", record)
    assert jsonl.read(tmp_path / "records.jsonl") == [record]

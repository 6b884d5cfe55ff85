"""Checkpoints: data that fits or is refused, and never code."""

from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

import run_bench
from bench import jsonl
from bench.build import Case
from bench.errors import UsageError
from bench.metrics import all_metrics
from bench.model import create
from bench.plan import plan
from bench.protocol import preset
from bench.spec import Spec
from bench.weights import identify


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def state():
    torch.manual_seed(1)
    return timm.create_model("test_vit").state_dict()


def loaded(path, model="test_vit", **kwargs):
    return create(Spec(model, size=(160, 160), weights=identify(str(path), model), **kwargs), "cpu").state_dict()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("wrap", [None, "model", "state_dict", "state_dict_ema"])
def test_a_checkpoint_is_loaded_whatever_it_is_wrapped_in(state, wrap):
    torch.save({wrap: state, "epoch": 3} if wrap else state, "a.pth")
    assert same(loaded("a.pth"), state)


def test_safetensors_and_the_prefixes_of_wrapped_models_are_read(state):
    safetensors.torch.save_file({f"module.{name}": tensor for name, tensor in state.items()}, "a.safetensors")
    assert same(loaded("a.safetensors"), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_checkpoint_of_another_precision_is_loaded_in_the_models(state, dtype):
    torch.save({name: tensor.to(dtype) for name, tensor in state.items()}, "a,b.pth")
    [cell] = plan(["test_vit", "metrics=macs,latency"], checkpoint="./a,b.pth")
    assert cell.spec.weights.startswith("a,b.pth@")
    got = create(cell.spec, "cpu").state_dict()
    assert {tensor.dtype for tensor in got.values()} == {torch.float32}
    assert torch.equal(got["norm.bias"], state["norm.bias"].to(dtype).float())
    assert all_metrics()["macs"].measure(Case(cell.spec, preset("quick", 1))).note == ""


def test_official_names_of_the_zoo_go_through_the_familys_filter(monkeypatch):
    with torch.device("meta"):
        model = timm.create_model("sgformer_s")
    official = {f"official.{name}": torch.full(tensor.shape, 0.5) for name, tensor in model.state_dict().items()}
    torch.save(official, "a.pth")
    monkeypatch.setattr(
        "models.sgformer.checkpoint_filter_fn",
        lambda state, model: {name.removeprefix("official."): tensor for name, tensor in state.items()},
    )
    got = create(Spec("sgformer_s", weights=identify("a.pth", "sgformer_s")), "cpu").state_dict()
    assert all((tensor == 0.5).all() for tensor in got.values())


def test_another_content_is_another_experiment_and_a_change_meanwhile_is_refused(state):
    torch.save(state, "a.pth")
    planned = identify("a.pth", "test_vit")
    torch.save({**state, "norm.bias": state["norm.bias"] + 1}, "a.pth")
    assert identify("a.pth", "test_vit") != planned
    with pytest.raises(UsageError, match=r"a\.pth has changed since the run was planned"):
        create(Spec("test_vit", size=(160, 160), weights=planned), "cpu")


def test_random_weights_are_named_as_such():
    assert identify("random", "test_vit") == "random"
    assert identify("pretrained", "test_vit") == "pretrained"
    with pytest.raises(UsageError, match="timm names no weights of sgformer_s; give a file with --checkpoint"):
        identify("pretrained", "sgformer_s")


def test_the_record_names_the_file_and_its_hash(state, capsys):
    torch.save(state, "a.pth")
    assert run_bench.main(["run", "test_vit", "metrics=params", "--checkpoint", "a.pth"]) == 0
    [record] = jsonl.read(Path("runs/records.jsonl"))
    assert record.spec.weights == identify("a.pth", "test_vit")
    assert len(record.spec.weights) == len("a.pth@") + 12

"""The zoo as a whole: what importing `models` does to timm's registry, and what every model of it offers."""

import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

import models
from models import FAMILIES, zoo

ROOT = Path(models.__file__).parents[1]


def test_zoo_lists_every_family_sorted():
    assert {"sgformer_b", "sgformer_m", "sgformer_s"} <= set(zoo())
    assert zoo() == sorted(zoo())
    assert {timm.models.model_entrypoint(name).__module__ for name in zoo()} == {f"models.{f}" for f in FAMILIES}


def test_families_are_the_modules_of_the_package():
    modules = {path.stem for path in (ROOT / "models").glob("*.py") if not path.stem.startswith("_")}
    registering = {name for name in modules if "@register_model" in (ROOT / f"models/{name}.py").read_text()}
    assert set(FAMILIES) == registering


def test_timm_keeps_its_own_models():
    ours = set(zoo())
    others = [name for name in timm.list_models() if name not in ours]
    assert len(others) > 1000
    assert not any(timm.models.model_entrypoint(name).__module__.startswith("models.") for name in others)


@pytest.mark.parametrize("name", zoo())
def test_model_is_built_on_meta_with_its_config(name):
    with torch.device("meta"):
        model = timm.create_model(name)
    assert all(p.is_meta for p in model.parameters())
    assert model.pretrained_cfg["architecture"] == name
    assert model.pretrained_cfg["paper_ids"].startswith("arXiv:")
    assert model.pretrained_cfg["origin_url"].startswith("https://github.com/")


@pytest.mark.parametrize("name", zoo())
def test_model_resolves_impl(name):
    with torch.device("meta"):
        assert timm.create_model(name).impl != "auto"
        assert timm.create_model(name, impl="reference").impl == "reference"
        with pytest.raises(ValueError, match="nope"):
            timm.create_model(name, impl="nope")


CLASSIFIERS = [name for name in zoo() if timm.get_pretrained_cfg(name).num_classes > 0]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifier_names_its_parameters_in_its_config(name):
    with torch.device("meta"):
        model = timm.create_model(name)
    state, cfg = model.state_dict(), model.pretrained_cfg
    assert state[f"{cfg['classifier']}.weight"].shape == (model.num_classes, model.num_features)
    assert state[f"{cfg['first_conv']}.weight"].shape[1] == cfg["input_size"][0]
    assert model.num_classes == cfg["num_classes"]
    assert model.num_features == model.head_hidden_size == model.feature_info[-1]["num_chs"]


DUPLICATE = """
import warnings
from timm.models import model_entrypoint, register_model

{prelude}

@register_model
def sgformer_s(pretrained=False, **kwargs):
    pass

try:
    import models
except ImportError as error:
    print(error, "|", model_entrypoint("sgformer_s").__module__)
"""


def import_beside_duplicate(prelude: str = "") -> str:
    """Import `models` in a fresh process where another module has registered sgformer_s; return what it printed."""
    command = [sys.executable, "-c", DUPLICATE.format(prelude=prelude)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_duplicate_is_refused_and_the_other_model_stays():
    message, owner = import_beside_duplicate().strip().split(" | ")
    assert message.startswith("models.sgformer would replace a model that timm already has. Overwriting sgformer_s")
    assert owner == "__main__"


def test_duplicate_is_refused_even_if_timm_does_not_warn():
    message, _ = import_beside_duplicate("warnings.warn = lambda *args, **kwargs: None").split(" | ")
    assert message == "models.sgformer replaced models that timm already had: sgformer_s (of __main__)."

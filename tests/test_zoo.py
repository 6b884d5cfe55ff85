"""The zoo as a whole: what importing `models` does to timm's registry."""

import subprocess
import sys
from pathlib import Path

import timm

import models
from models import FAMILIES, zoo

ROOT = Path(models.__file__).parents[1]


def test_zoo_lists_every_family_sorted():
    assert {"sgformer_b", "sgformer_m", "sgformer_s"} <= set(zoo())
    assert zoo() == sorted(zoo())
    assert {timm.models.model_entrypoint(name).__module__ for name in zoo()} == {f"models.{f}" for f in FAMILIES}


def test_families_are_the_modules_of_the_package():
    """A family is a module of `models`, or a package in it."""
    modules = [*(ROOT / "models").glob("[!_]*.py"), *(ROOT / "models").glob("*/__init__.py")]
    registering = [path for path in modules if "@register_model" in path.read_text()]
    assert {path.parent.name if path.stem == "__init__" else path.stem for path in registering} == set(FAMILIES)


def test_timm_keeps_its_own_models():
    ours = set(zoo())
    others = [name for name in timm.list_models() if name not in ours]
    assert len(others) > 1000
    assert not any(timm.models.model_entrypoint(name).__module__.startswith("models.") for name in others)


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

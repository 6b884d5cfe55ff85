"""The zoo. Importing it registers every model with timm:

import models
timm.create_model("sgformer_s")
"""

import importlib
import warnings

from timm.models import list_models, model_entrypoint

__all__ = ["FAMILIES", "zoo"]

# the modules of this package that register models
FAMILIES = ("sgformer", "hmhsa", "greenmim", "simmim", "esvit", "beitv2")


def zoo() -> list[str]:
    """Return the registered names of this zoo's models, sorted."""
    return sorted(name for name, owner in _owners().items() if owner.startswith(f"{__name__}."))


def _owners() -> dict[str, str]:
    """Return the module behind every name in timm's registry."""
    return {name: model_entrypoint(name).__module__ for name in list_models()}


def _register(family: str) -> None:
    """Import a family's module, which registers its models; refuse names that another module has registered before.

    timm itself only warns of a duplicate and replaces the model for the whole process. The warning is raised as an
    error, so that the other model stays; comparing the owners catches a replacement of which timm didn't warn.
    """
    before = _owners()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Overwriting .* in registry", category=UserWarning)
        try:
            importlib.import_module(f"{__name__}.{family}")
        except UserWarning as warning:
            raise ImportError(f"models.{family} would replace a model that timm already has. {warning}") from warning
    after = _owners()
    replaced = [f"{name} (of {owner})" for name, owner in before.items() if after[name] != owner]
    if replaced:
        raise ImportError(f"models.{family} replaced models that timm already had: {', '.join(replaced)}.")


for _family in FAMILIES:
    _register(_family)

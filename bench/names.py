"""Model names: timm's registry, which every room that offers models writes into."""

import os
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import timm

from bench import plugins
from bench.errors import UsageError
from bench.spec import hint


def resolve(patterns: Sequence[str]) -> list[str]:
    """Registered names that the patterns match (`*`, `?`, `[...]` as in a shell), in order, each once.

    A user's function (`bench.plugins`) is taken as it is. Raises UsageError naming the pattern that matches nothing,
    with near names.
    """
    known = timm.list_models()
    names: dict[str, None] = {}
    for pattern in patterns:
        if is_function(pattern):
            found: Iterable[str] = [_function(pattern)]
        elif any(sign in pattern for sign in "*?["):
            found = [name for name in known if fnmatchcase(name, pattern)]
        else:
            found = [pattern] if timm.is_model(pattern) else []
            _check_tag(pattern)
        if not found:
            raise UsageError(f"no model {pattern!r}{hint(pattern, known)}; `run_bench.py list` shows all")
        names.update(dict.fromkeys(found))
    return list(names)


def _function(model: str) -> str:
    """`model` in its one spelling, or UsageError if there is no such function. What else the plugin raises is left for
    its cells to say."""
    place, _, name = model.rpartition(":")
    if place.endswith(".py"):
        model = f"{os.path.normpath(place)}:{name}"
    try:
        plugins.function(model)
    except UsageError:
        raise
    except Exception:
        pass
    return model


def is_function(model: str) -> bool:
    """Whether `model` is `module:function` or `file.py:function`, and not a registered name."""
    return ":" in model


def _check_tag(name: str) -> None:
    """Refuse `model.tag` where the registry's model has no such tag."""
    model, _, tag = name.partition(".")
    tags = list(timm.models.get_arch_pretrained_cfgs(model)) if tag and timm.is_model(model) else []
    if tags and name not in tags:
        raise UsageError(f"no tag {tag!r} of {model}; there are {', '.join(tags)}")


def input_size(model: str) -> tuple[int, int, int]:
    """(channels, height, width) that the registry names for `model`; 3, 224, 224 where it names none."""
    config = None if is_function(model) else timm.get_pretrained_cfg(model)
    channels, height, width = config.input_size if config else (3, 224, 224)
    return channels, height, width


def default_size(model: str) -> tuple[int, int]:
    """(height, width) of `model`'s own input."""
    return input_size(model)[1:]


def pretrains(model: str) -> bool:
    """Whether the registry says of `model` that it is one to pre-train: neither a classifier nor a backbone."""
    config = None if is_function(model) else timm.get_pretrained_cfg(model)
    return bool(config and config.num_classes is not None and config.num_classes < 0)

"""A user's own code: files and modules that register models with timm, or functions that build one.

--plugin FILE.py                 imported first, so that the names it registers with timm are known
package.module:function          a model word: the function builds the model
path/to/file.py:function         the same, from a file
"""

import hashlib
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from bench.errors import UsageError, users_code

T = TypeVar("T")

_ROOMS = ("bench", "models", "reports")


def load(plugin: str) -> ModuleType:
    """Import a file (`*.py`) or a module, once; modules are looked for in the working folder too.

    Raises UsageError where there is none, and whatever its code raises. A plugin that registers a name which timm has
    already is refused: timm would only warn, and measure another model under the name.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Overwriting .* in registry", category=UserWarning)
        return _file(Path(plugin)) if plugin.endswith(".py") else _module(plugin)


def function(model: str) -> Callable[..., Any]:
    """What `module:function` or `file.py:function` names. Raises UsageError if there is no such function."""
    place, _, name = model.rpartition(":")
    module = load(place)
    found = getattr(module, name, None)
    if not callable(found):
        own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
        known = [value.__name__ for value in own if callable(value)]
        raise UsageError(f"{place} has no function {name!r}; it has {', '.join(known) or 'none'}")
    built: Callable[..., Any] = found
    return built


def sources(plugins: Iterable[str], model: str) -> list[Path]:
    """A user's files among `plugins` and behind a `module:function` model, for --resume to see whether they changed."""
    places = [
        *(plugin for plugin in plugins if plugin not in _ROOMS),
        *([model.rpartition(":")[0]] if ":" in model else []),
    ]
    return sorted({path for place in places if (path := _source(place)) is not None})


def _source(place: str) -> Path | None:
    if place.endswith(".py"):
        return Path(place).resolve()
    file = getattr(sys.modules.get(place), "__file__", None)  # it was loaded, unless it raised
    return Path(file) if file else None


def _file(path: Path) -> ModuleType:
    path = path.resolve()
    name = f"vitbench_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise UsageError(f"no plugin file {path}")
    spec = importlib.util.spec_from_file_location(name, path)
    loader = spec.loader if spec else None
    assert spec is not None and loader is not None
    users_code.add(path.parent)
    _look_in(path.parent)  # for what it imports from beside it
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where timm's registry looks for the module of a model
    try:
        _exiting_is_an_error(lambda: loader.exec_module(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"{name!r} is not the name of a module, nor of a file ending in .py")
    _look_in(Path.cwd())
    try:
        module = _exiting_is_an_error(lambda: importlib.import_module(name))
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # what it imports itself is missing
        where = "it must be installed, or lie in the working folder"
        if name.partition(".")[0] in _ROOMS:
            where = f"the package is VitBench's own; name yours by its file, {name.replace('.', '/')}.py"
        raise UsageError(f"no module {error.name!r}; {where}") from error
    if module.__file__ is not None:
        users_code.add(Path(module.__file__).parent)
    return module


def _exiting_is_an_error(run: Callable[[], T]) -> T:
    try:
        return run()
    except SystemExit as error:
        raise RuntimeError(f"importing the plugin ended in exit({error.code})") from error


def _look_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # last, so that nothing there hides what is installed

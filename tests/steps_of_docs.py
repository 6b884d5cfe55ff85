"""The scripts of docs that time steps, in the tests: loaded from their folders, and what they measure made up."""

import importlib.util
from pathlib import Path

from bench.metrics.peak_live_bytes import peak_live_bytes

DOCS = Path(__file__).parent.parent / "docs"


def script(folder: str):
    """The module docs/FOLDER/steps.py."""
    spec = importlib.util.spec_from_file_location("steps", DOCS / folder / "steps.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made_up(specs, rounds, metrics=(peak_live_bytes,)):
    """As `measure` yields: the n-th setting of a group takes n seconds, and has n million, giga or gibi of the rest."""
    for place, spec in enumerate(specs, 1):
        numbers = {"params": place * 10**6, "macs": place * 10**9, "step_macs": place * 10**9}
        numbers["peak_live_bytes"] = place * 2**30
        yield {
            "model": spec.model,
            "mode": spec.mode,
            "batch": spec.batch,
            "size": spec.size[0],
            "arguments": dict(spec.model_args),
            "seconds": [float(place)] * rounds,
            **{metric.__name__: numbers[metric.__name__] for metric in metrics},
        }

"""Measuring: a Spec in, a Record out. Knows no paper; gets every model by name, through timm's registry.

Importing this package is cheap (no torch): the report reads records through it.
"""

import os
from importlib.util import find_spec
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


def _refuse_shadowing() -> None:
    """Raise ImportError if a sibling room's generic name resolves to somebody else's package."""
    for room in ("models", "reports"):
        found = find_spec(room)
        origin = Path(found.origin).resolve() if found and found.origin else None
        if origin != _ROOT / room / "__init__.py":
            raise ImportError(
                f"`import {room}` would load {origin or 'nothing'}; this suite needs its own {_ROOT / room}. "
                f"Run it in an environment of its own, and take the other `{room}` off PYTHONPATH."
            )


_refuse_shadowing()

# CUDA numbers its devices by speed unless told otherwise, NVML by bus: with this, `cuda:1` is one card to both.
os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")

"""Shared by all tests: the models that they name, an Environment to hold, and the switch that renews golden texts."""

import importlib
import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before PyTorch is imported: a test at a time on each core, in one thread
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from bench import photographs
from bench.environment import Environment
from bench.protocol import preset
from bench.record import Record
from reports.frame import to_frame

for _registering in ("models", "tests.misbehaving", "tests.pretraining"):
    importlib.import_module(_registering)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="write golden texts anew; review the diff")


@pytest.fixture
def golden(request: pytest.FixtureRequest):
    """Compare a text with tests/goldens/NAME, or write it there with --update-goldens."""

    def compare(name: str, text: str) -> None:
        path = Path(__file__).parent / "goldens" / name
        if request.config.getoption("--update-goldens"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture
def environment() -> Environment:
    return Environment(
        python="3.11.7",
        packages={"torch": "2.15.0", "timm": "1.0.31"},
        commit="0123456789ab",
        code="ba9876543210",
        system="Linux 6.1 x86_64",
        cpu="A CPU",
        cores=8,
        threads=4,
        memory=2**35,
        state={"load": 0.5},
    )


@pytest.fixture
def frame_of(environment: Environment):
    """A tidy frame of cells: each a Spec and its Values."""

    def build(*cells):
        time = "2026-11-21T05:10:00+00:00"
        return to_frame([Record(spec, preset("quick", 1), environment, tuple(v), time) for spec, *v in cells])

    return build


@pytest.fixture
def two_images(monkeypatch):
    """The first two photographs alone."""

    def two(every):
        return lambda *args: (pair for pair, _ in zip(every(*args), range(2), strict=False))

    for name in ("load", "pictures"):
        monkeypatch.setattr(photographs, name, two(getattr(photographs, name)))


@pytest.fixture
def records(environment: Environment):
    """Records of cells; their impl is that of the arguments, else the quickest."""

    def build(*cells):
        time = "2026-11-21T05:10:00+00:00"
        return [
            Record(spec, preset("quick", 1), environment, tuple(v), time,
                   impl=dict(spec.model_args).get("impl", "fast"))
            for spec, *v in cells
        ]  # fmt: skip

    return build


@pytest.fixture
def unsaved(monkeypatch):
    """Pictures are drawn and not saved, which takes seconds."""
    monkeypatch.setattr("reports.report.save", lambda *_: [])

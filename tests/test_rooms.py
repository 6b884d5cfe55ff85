"""The rules of the rooms, read from the imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("models", "bench", "reports")
RECORD_FORMAT = {
    "bench.record",
    "bench.jsonl",
    "bench.spec",
    "bench.protocol",
    "bench.environment",
    "bench.errors",
    "bench.plain",
}
FILES = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]


def imports(path):
    """Absolute names of the modules that a file imports, anywhere in it."""
    tree = ast.parse(path.read_text())
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package.split(".")[: -node.level], base]).rstrip(".")
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


def rooms(names):
    return {name.split(".")[0] for name in names} & {*ROOMS, "tests", "run_bench"}


def test_there_are_files_in_every_room():
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_goes_through_its_rooms_doors_only(path):
    names, room = imports(path), path.relative_to(ROOT).parts[0]
    if room == "models":
        assert rooms(names) <= {"models"}
    elif room == "bench":
        assert rooms(names) <= {"bench"}
    else:
        assert rooms(names) <= {"reports", "bench"}
        modules = {".".join(name.split(".")[:2]) for name in names if name.startswith("bench.")}
        assert modules <= RECORD_FORMAT
        assert not {"torch", "timm", "fvcore"} & {name.split(".")[0] for name in names}


@pytest.mark.parametrize("module", [*sorted(RECORD_FORMAT), "reports.report", "bench.worker", "run_bench"])
def test_light_modules_import_no_torch(module):
    script = f"import sys, {module}; assert not {{'torch', 'timm', 'fvcore'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_a_foreign_package_of_a_generic_name_is_refused(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").touch()
    script = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import bench"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert f"would load {tmp_path.resolve()}/models/__init__.py; this suite needs its own" in done.stderr

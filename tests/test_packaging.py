"""What a wheel holds, and that the project stands on its own."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def sources():
    """The checkout's files, tests and documents left out."""
    words = ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in listed if not name.startswith(("tests/", "docs/")) and (ROOT / name).exists()]


def test_wheel_holds_the_rooms_and_nothing_else(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in sources():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist", source]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "bench", "models", "reports", "run_bench.py",
    }  # fmt: skip
    files = [name for name in sources() if name.startswith(("bench/", "models/", "reports/"))]
    assert {name for name in names if ".dist-info" not in name} == {*files, "run_bench.py"}
    entry = zipfile.ZipFile(wheel).read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert "vitbench = run_bench:main" in entry


def test_every_dependency_is_pinned_and_every_pin_is_exact():
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, version = re.fullmatch(r"([\w.-]+)==([\w.+]+)", line).groups()
            pinned[name.lower().replace("_", "-")] = version
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for requirement in wanted:
        name = re.match(r"[\w-]+", requirement)[0].lower().replace("_", "-")
        assert name in pinned, requirement


def test_nothing_reaches_outside_the_checkout():
    for name in sources():
        if name.endswith((".py", ".toml", ".j2", "Makefile", "run")):
            assert "../" not in (ROOT / name).read_text().replace('"$0")/..', ""), name

"""What README tells people to type."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

import run_bench
from bench import jsonl

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", README, re.S) for line in block.splitlines()]
OURS = [shlex.split(line)[2:] for line in COMMANDS if line.startswith("python run_bench.py")]


def test_every_command_is_one_that_is_tried():
    others = [line for line in COMMANDS if not line.startswith("python run_bench.py")]
    assert others == ["make bench", "make test", "source .venv/bin/activate"]
    assert len(OURS) == 7


@pytest.mark.parametrize("target", ["bench", "test", "test-slow", "check", "microbench"])
def test_make_knows_its_targets(target):
    plan = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert plan.returncode == 0, plan.stderr
    assert "python" in plan.stdout


def test_tables_name_every_axis_and_metric():
    from bench.metrics import all_metrics
    from bench.spec import AXES

    rows = re.findall(r"^\| `([\w]+)` \|", README, re.M)
    assert sorted(rows) == sorted([*AXES, "metrics", *all_metrics()])


def test_python_example_runs():
    [code] = re.findall(r"```python\n(.*?)```", README, re.S)
    scope = {}
    exec(code, scope)
    assert scope["model"].img_size == (448, 448)


@pytest.mark.slow
def test_commands_run_in_their_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words in OURS:
        code = run_bench.main(words)
        assert code == 0, (words, capsys.readouterr().err)
    assert len(jsonl.read(Path("runs/records.jsonl"))) == 4
    for folder in ("runs/report", "runs/sizes"):
        assert "## Results" in Path(folder, "report.md").read_text()


@pytest.mark.slow
def test_main_job_writes_a_report_and_is_quick_the_second_time(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_bench.main([]) == 0
    recorded = Path("runs/main.jsonl").read_bytes()
    page = Path("runs/report/report.md").read_text()
    assert page.count("](") >= 8
    assert run_bench.main([]) == 0
    assert Path("runs/main.jsonl").read_bytes() == recorded
    assert "recorded before" in capsys.readouterr().err

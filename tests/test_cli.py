"""The command line: messages, exit codes, and that nothing recorded is ever lost."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import run_bench
from bench import jsonl
from bench.record import Record

ROOT = Path(__file__).parent.parent
STATIC = "metrics=params,macs"
WAITING = """
import time
from pathlib import Path
from torch import Tensor, nn


class Waiting(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layer = nn.Conv2d(3, n, 1)
        self.n = n

    def forward(self, x):
        if self.n > 2 and x.device.type != "meta" and type(x) is Tensor:
            Path("reached").touch()
            while not Path("go").exists():
                time.sleep(0.05)
        return self.layer(x).mean((2, 3))
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def call(capsys, *arguments):
    code = run_bench.main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def start(*arguments, **kwargs):
    """The command line as a process of its own."""
    words = [sys.executable, str(ROOT / "run_bench.py"), *arguments]
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # else inherited: a job in the background ignores it
    try:
        return subprocess.Popen(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)
    finally:
        signal.signal(signal.SIGINT, before)


def start_and_wait(*arguments):
    """The command line over models of which the first with n > 2 measures on until there is a file `go`, in a group of
    its own; returned when it has come there."""
    Path("waiting.py").write_text(WAITING)
    process = start(*arguments, start_new_session=True)
    while process.poll() is None and not Path("reached").exists():
        time.sleep(0.1)
    return process


def measured(path):
    """The n of each record's model."""
    return [dict(record.spec.model_args)["n"] for record in jsonl.read(path)]


def left_after(group, seconds):
    """What of a process group still runs after so long at most."""
    deadline = time.monotonic() + seconds
    while (left := living(group)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def living(group):
    """Command lines of the processes of a group that still run."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.cmdline())
    return found


def test_no_cuda_where_cuda_was_asked_for(capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    code, _, err = call(capsys, "run", "sgformer_s", "device=cuda")
    assert code == 2
    assert re.fullmatch(r"error: device=cuda: PyTorch \S+ sees 0 CUDA devices here; use device=cpu\n", err)


def test_run_records_and_prints_json(capsys):
    code, out, err = call(
        capsys, "run", "sgformer_s", "deit_tiny_patch16_224", "batch=1,8", STATIC, "--preset", "quick", "--json"
    )
    assert code == 0
    printed = [json.loads(line) for line in out.splitlines()]
    assert [(one["spec"]["model"], one["spec"]["batch"]) for one in printed] == [
        (model, batch) for model in ("sgformer_s", "deit_tiny_patch16_224") for batch in (1, 8)
    ]
    assert jsonl.read(Path("runs/records.jsonl")) == [Record.from_dict(one) for one in printed]
    assert [record["impl"] for record in printed] == ["reference", "reference", None, None]
    assert printed[0]["values"][0]["value"] == 22_545_981
    assert "4 records in runs/records.jsonl: 8 values, 0 failed" in err


def test_values_of_arguments_are_a_product_with_the_axes(capsys):
    words = ["batch=1,8", "size=160", "--model-arg", "num_classes=5,7,5", "--model-arg", 'global_pool=avg,"token"']
    code, out, _ = call(capsys, "run", "test_vit", STATIC, *words, "--dry-run", "--json")
    assert code == 0
    cells = [json.loads(line) for line in out.splitlines()]
    assert [(cell["spec"]["batch"], *cell["spec"]["model_args"].values()) for cell in cells] == [
        (batch, pool, classes) for batch in (1, 8) for classes in (5, 7) for pool in ("avg", "token")
    ]
    assert len({cell["id"] for cell in cells}) == 8


def test_a_comma_in_quotes_is_part_of_its_word():
    from bench.plan import _argument

    assert _argument('a="x,y",z,1,"1"') == ("a", ("x,y", "z", 1, "1"))
    assert _argument('a="x,y"') == ("a", ("x,y",))


def test_values_that_are_equal_but_not_the_same_are_two_cells(capsys):
    _, out, _ = call(capsys, "run", "test_vit", STATIC, "--model-arg", "qkv_bias=true,1", "--dry-run", "--json")
    assert [json.loads(line)["spec"]["model_args"]["qkv_bias"] for line in out.splitlines()] == [True, 1]


def test_nothing_measured_is_code_3(capsys):
    code, _, err = call(capsys, "run", "sgformer_s", "device=cpu", "metrics=peak_memory")
    assert code == 3
    assert "1 skipped" in err


def test_a_failed_cell_is_code_3_and_names_its_reason(capsys, monkeypatch):
    monkeypatch.setattr("run_bench.REGISTER", ("models", "tests.misbehaving"))
    code, _, err = call(capsys, "run", "vitbench_raising", "test_vit", "size=32", "metrics=params,macs_fvcore")
    assert code == 3
    assert "macs_fvcore failed: RuntimeError: this model is broken" in err
    assert [record.failed for record in jsonl.read(Path("runs/records.jsonl"))] == [True, False]


def test_our_own_defect_is_code_70(capsys, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("bench.plan.plan", broken)
    code, _, err = call(capsys, "run", "sgformer_s")
    assert code == 70
    assert "ZeroDivisionError: oops" in err
    assert "defect of VitBench" in err


def test_dry_run_measures_nothing(capsys):
    code, out, err = call(capsys, "run", "sgformer_s", "batch=1,8", "--dry-run")
    assert code == 0
    assert [line.split()[1:3] for line in out.splitlines()] == [["sgformer_s", "batch=1"], ["sgformer_s", "batch=8"]]
    assert "2 cells, preset standard: about" in err
    code, out, _ = call(capsys, "run", "sgformer_s", "--dry-run", "--json")
    assert json.loads(out)["spec"]["model"] == "sgformer_s"
    assert not Path("runs").exists()


def test_main_job_covers_the_zoo_and_the_baselines(capsys):
    import models

    code, out, _ = call(capsys, "--dry-run")
    assert code == 0
    named = {line.split()[1] for line in out.splitlines()}
    bases = {"deit_tiny_patch16_224", "deit_small_patch16_224", "pvt_v2_b1", "nextvit_small"}
    peers = {"vit_base_patch8_224", "vit_large_patch16_224"}
    peers |= {"beitv2_base_patch16_224", "beitv2_large_patch16_224", "beit_base_patch16_384"}
    claimed = {"swin_base_patch4_window12_384", "maxvit_small_tf_224", "beit_large_patch16_384"}  # some of many
    assert named >= {*models.zoo(), *bases, *peers, *claimed, "swin_tiny_patch4_window7_224", "pvt_v2_b2"}
    for model in bases | {"hmhsa_nextvit_small"}:
        sizes = {word for line in out.splitlines() if line.split()[1] == model for word in line.split()}
        assert {"size=224", "size=384", "size=448"} <= sizes
    assert [f"branches={n}" in out for n in range(5)] == [False, True, True, True, False]
    cells = [line.split()[0] for line in out.splitlines()]
    assert len(set(cells)) == len(cells)  # what the claims need is asked of the same cells
    timed = {line.split()[1] for line in out.splitlines() if "throughput" in line}
    assert "sgformer_s" in timed
    assert "sgformer_b" not in timed


def test_list_filters(capsys):
    code, out, _ = call(capsys, "list", "sgformer_?", "--json")
    assert (code, json.loads(out)) == (0, {"models": ["sgformer_b", "sgformer_m", "sgformer_s"]})
    _, out, _ = call(capsys, "list", "--metrics", "--json")
    assert list(json.loads(out)) == ["metrics"]
    assert json.loads(out)["metrics"]["throughput"]["better"] == "higher"
    _, out, _ = call(capsys, "list", "--presets")
    assert [line.split()[0] for line in out.splitlines()] == ["quick", "standard", "paper"]
    _, out, _ = call(capsys, "list")
    assert {"sgformer_s", "latency", "quick"} <= {line.split()[0] for line in out.splitlines()}


@pytest.mark.parametrize("command", [[], ["run"], ["report"], ["list"]])
def test_help_starts_with_a_true_example(capsys, command):
    code, out, _ = call(capsys, *command, "--help")
    assert code == 0
    example = next(line.strip() for line in out.splitlines()[1:] if line.strip())
    assert example.startswith(" ".join(["python run_bench.py", *command]))


def test_help_is_fast_because_it_imports_no_torch():
    script = "import sys, run_bench; run_bench.main(['run', '--help']); assert not {'torch', 'timm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, capture_output=True)


def test_killed_and_resumed_nothing_is_lost_or_measured_twice(tmp_path):
    path = tmp_path / "runs" / "records.jsonl"
    words = ["run", "waiting.py:Waiting", "size=32", "metrics=params,macs_fvcore", "--model-arg", "n=1,2,3,4"]
    process = start_and_wait(*words)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert left_after(process.pid, 20) == []  # its worker went with it
    before = path.read_bytes()
    assert measured(path) == [1, 2]

    Path("go").touch()
    resumed = start(*words, "--resume")
    _, err = resumed.communicate()
    assert resumed.returncode == 0, err
    assert path.read_bytes().startswith(before)
    assert measured(path) == [1, 2, 3, 4]
    assert err.count("recorded before") == 2


def test_ctrl_c_is_code_130_and_leaves_a_readable_file_and_no_worker(tmp_path):
    path = tmp_path / "runs" / "records.jsonl"
    words = ["waiting.py:Waiting", "size=32", "metrics=params,latency", "--model-arg", "n=2,3,4", "--preset", "quick"]
    process = start_and_wait("run", *words, "--threads", "1")
    workers = [words for words in living(process.pid) if "spawn_main" in " ".join(words)]
    assert len(workers) == 2  # one of what is counted, one of what is timed
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the parent and its workers
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopped by Ctrl-C" in err
    assert "Traceback" not in err
    assert measured(path) == [2]
    assert left_after(process.pid, 20) == []

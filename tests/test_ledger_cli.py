"""`run_bench.py claims`, as somebody new would use it."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import pytest

import run_bench
from bench import jsonl
from bench.spec import Spec

STATIC = ("claims", "hmhsa", "--only", "static")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """A records file of one real run of `STATIC`, and what it said."""
    folder = tmp_path_factory.mktemp("taken")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(io.StringIO()) as said:
        patch.chdir(folder)
        assert run_bench.main(list(STATIC)) == 0
    return folder, said.getvalue()


@pytest.fixture
def records(taken):
    """A copy of these records, to be taken up again."""
    return shutil.copy(taken[0] / "runs/claims/records.jsonl", "records.jsonl")


def call(capsys, *arguments):
    code = run_bench.main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def test_counts_alone_make_a_ledger(taken):
    folder, err = taken
    line, place = err.splitlines()[-2:]
    assert line.startswith("Claims: ")
    assert place == "Ledger: runs/claims/ledger.md, from runs/claims/records.jsonl"
    assert line in (folder / "runs/claims/ledger.md").read_text()
    content = json.loads((folder / "runs/claims/ledger.json").read_text())
    assert content["summary"]["reproduced"] >= 6
    assert content["summary"]["differs"] >= 3
    verdicts = {one["id"]: one["verdict"] for one in content["claims"]}
    assert (verdicts["hm-05"], verdicts["hm-22"], verdicts["hm-21"]) == ("reproduced", "differs", "context")
    values = [value for record in jsonl.read(folder / "runs/claims/records.jsonl") for value in record.values]
    assert {value.metric for value in values} == {"params", "macs"}


def test_what_is_recorded_is_not_measured_again(capsys, taken, records):
    before = Path(records).read_bytes()
    code, out, err = call(capsys, *STATIC, "--json", "--records", records, "-o", "again")
    assert code == 0
    assert Path(records).read_bytes() == before
    assert err.count("recorded before") == len(jsonl.read(Path(records)))
    assert out == (taken[0] / "runs/claims/ledger.json").read_text()
    assert Path("again/ledger.md").read_text() == (taken[0] / "runs/claims/ledger.md").read_text()
    code, out, err = call(capsys, *STATIC, "--dry-run", "--json", "--records", records)
    assert all(json.loads(cell)["recorded"] for cell in out.splitlines())
    assert err.endswith(" cells, all of them recorded\n")


def test_a_forged_record_changes_the_verdict(capsys, records):
    path = Path(records)
    [true] = [one for one in jsonl.read(path) if one.spec == Spec("nextvit_small", size=(384, 384))]
    forged = true.to_dict()
    forged["time"] = "2099-01-01T00:00:00+00:00"
    [value] = [one for one in forged["values"] if one["metric"] == "macs"]
    value["value"] = 2 * value["value"]
    with path.open("a") as file:
        file.write(json.dumps(forged) + "\n")
    _, out, _ = call(capsys, *STATIC, "--json", "--records", records)
    verdicts = {one["id"]: one["verdict"] for one in json.loads(out)["claims"]}
    assert verdicts["hm-32"] == "differs"


def test_a_plan_measures_and_writes_nothing(capsys, tmp_path):
    code, out, err = call(capsys, "claims", "greenmim", "--dry-run")
    assert code == 0
    lines = out.splitlines()
    assert any("greenmim_swin_base" in line and line.endswith("metrics=throughput") for line in lines)
    assert err.startswith(f"{len(lines)} cells, 0 of them recorded; the others: about ")
    assert "macs_fvcore is taken too" in err
    _, static, _ = call(capsys, "claims", "greenmim", "--dry-run", "--only", "static")
    assert set(static.splitlines()) < set(lines)
    assert not any(word in static for word in ("throughput", "peak_live_bytes", "macs_fvcore"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["greenmin"],
            "no paper 'greenmin' (did you mean greenmim?); papers are sgformer, hmhsa, greenmim, esvit, beitv2",
        ),
        (["--only", "statics"], "--only statics: want static, or nothing"),
        (["hmhsa", "--preset", "slow"], "no preset 'slow'; presets are quick, standard, paper"),
        (["hmhsa", "--records", "foreign.txt"], "foreign.txt: line 1 is not a record but b'hello\\n'"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(capsys, words, message):
    Path("foreign.txt").write_text("hello\n")
    code, _, err = call(capsys, "claims", *words)
    assert (code, err) == (2, f"error: {message}\n")


def test_a_ledger_that_cannot_be_written_is_refused(capsys, records):
    Path("file").touch()
    code, _, err = call(capsys, *STATIC, "--records", records, "-o", "file/folder")
    assert code == 2
    assert "cannot write the ledger to file/folder" in err


def test_a_cell_that_failed_is_told(capsys, monkeypatch):
    monkeypatch.setattr(
        "reports.ledger.planning.wanted", lambda *_: [(Spec("sgformer_s", size=(225, 224)), ("params",))]
    )
    monkeypatch.setattr("reports.ledger.planning.costly", lambda *_: [])
    code, _, err = call(capsys, "claims", "sgformer", "--only", "static")
    assert code == 3
    assert "Ledger: runs/claims/ledger.md" in err


def test_the_main_job_ends_with_what_its_records_say_of_the_claims(capsys, records):
    run_bench.show_ledger([Path(records)])
    err = capsys.readouterr().err
    assert err.startswith("Claims: ")
    assert err.endswith("are context; `run_bench.py claims` tests more\n")


@pytest.mark.slow
def test_counts_of_all_papers(capsys):
    assert call(capsys, "claims", "--only", "static")[0] == 0
    content = json.loads(Path("runs/claims/ledger.json").read_text())
    assert len(content["claims"]) == sum(content["summary"].values()) == 1146
    assert all(counts["reproduced"] and counts["differs"] for counts in content["papers"].values())
    verdicts = {one["id"]: one["verdict"] for one in content["claims"]}
    assert (verdicts["sgformer-010"], verdicts["greenmim-088"], verdicts["beitv2-064"]) == (
        "differs", "differs", "reproduced",
    )  # fmt: skip

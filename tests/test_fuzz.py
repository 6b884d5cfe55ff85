"""Any argument list ends in one of our exit codes and never in a traceback; bad usage is one line."""

import contextlib
import io
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import run_bench
from bench.metrics import all_metrics
from bench.record import Record
from bench.runner import _Bench
from bench.spec import AXES

GOOD = (Path(__file__).parent / "goldens" / "report" / "records.jsonl").read_bytes().splitlines(keepends=True)[0]
FILES = ["good.jsonl", "cut.jsonl", "foreign.txt", "empty.jsonl", "folder", "mine.py", "bad.py", "gone", "new.jsonl"]


@pytest.fixture(scope="module", autouse=True)
def _folder(tmp_path_factory):
    """A working folder with files good and bad."""
    folder, before = tmp_path_factory.mktemp("fuzz"), Path.cwd()
    os.chdir(folder)
    (folder / "folder").mkdir()
    (folder / "mine.py").write_text("def build(**kwargs):\n    raise ValueError('not now')\n")
    (folder / "bad.py").write_text("raise KeyError('mine')\n")
    for name, content in {
        "good.jsonl": GOOD,
        "cut.jsonl": GOOD[:99],
        "foreign.txt": b"hi\n",
        "empty.jsonl": b"",
    }.items():
        (folder / name).write_bytes(content)
    yield
    os.chdir(before)


@pytest.fixture(scope="module", autouse=True)
def _measured_at_once():
    """The fuzz is of the command line: a cell's metrics are all skipped instead of measured."""

    def measure(self, cell):
        values = tuple(all_metrics()[name].missing("skipped", "not measured in this test") for name in cell.metrics)
        record = Record.from_dict(run_bench.json.loads(GOOD))
        return Record(cell.spec, self.protocol, record.environment, values, record.time)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Bench, "measure", measure)
        yield


junk = st.one_of(
    st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(
        ["", "=", "==", "a=", "=a", ":", "a:b", "*", "[", "[!", "..", "-", "--", "x" * 5000, "\n", "\x1b[31m", "é="]
    ),
)
models = st.sampled_from(
    ["test_vit", "sgformer_s", "test_v*", "test_vit.nonsense", "mine.py:build", "mine.py:gone", "a.b:c"]
)
files = st.sampled_from(FILES) | junk
numbers = ["1", "8", "0", "-1", "224", "160", "160x192"]
choices = ["infer", "train", "pretrain", "float32", "amp_bfloat16", "cpu", "cuda:7", "eager", "random", "noise"]
axis_values = st.sampled_from([*numbers, *choices]) | files
axes = st.builds(
    "{}={}".format, st.sampled_from([*AXES, "metrics", "batsh"]), st.lists(axis_values, max_size=3).map(",".join)
)
metrics = st.builds("metrics={}".format, st.lists(st.sampled_from([*all_metrics(), "speed"]), max_size=3).map(",".join))
words = st.one_of(models, axes, metrics, junk)


def option(name, values):
    return st.tuples(st.just(name), values).map(list)


options = st.one_of(
    option("--preset", st.sampled_from(["quick", "paper", "fast"]) | junk),
    option("--threads", st.sampled_from(["1", "0", "-3", "two", "9" * 30])),
    option("-o", files),
    option("--plugin", files),
    option("--checkpoint", files),
    option(
        "--model-arg",
        st.sampled_from(["a=1", "num_classes=5,7", "in_chans=1", "a", "a=[", "a=1,", "a=,", "img_size=3"]) | junk,
    ),
    st.sampled_from(
        ["--resume", "--dry-run", "--json", "--again", "--metrics", "--presets", "--help", "--nothing"]
    ).map(lambda flag: [flag]),
    junk.map(lambda word: [word]),
)
arguments = st.builds(
    lambda command, parts, rest: [*command, *(word for part in parts for word in part), *rest],
    st.sampled_from([["run"], ["run", "test_vit"], ["report"], ["list"], ["--dry-run"], ["nothing"]]),
    st.lists(words.map(lambda word: [word]) | options, max_size=5),
    st.lists(words, max_size=2),
)


def check(given_arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_bench.main(given_arguments)
    assert code in (0, 2, 3), err.getvalue()
    assert "Traceback" not in err.getvalue()
    if code == 2:
        lines = [line for line in err.getvalue().splitlines() if not line.startswith("plugin ")]
        assert [line[:7] for line in lines] == ["error: "], err.getvalue()


def examples(number):
    return settings(max_examples=number, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@examples(150)
@given(arguments)
def test_any_arguments_end_in_a_code_of_ours(words):
    check(words)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # some examples write a report
@examples(2000)
@given(arguments)
def test_very_many_arguments_end_in_a_code_of_ours(words):
    check(words)

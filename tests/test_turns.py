"""docs/turns.py: whose turn it is, whose time that was, and what is said of it. No model runs."""

import importlib.util
import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.metrics import Measurement
from bench.spec import Spec


def module():
    spec = importlib.util.spec_from_file_location("turns", Path(__file__).parent.parent / "docs" / "turns.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


turns = module()
A, B, C = (Spec(name, batch=batch, model_args=(("x", 1),)) for name, batch in (("a", 1), ("b", 2), ("c", 4)))


class FakeCase:
    """A step takes as many seconds as its batch. `log` has the models whose steps were made."""

    impl = "reference"
    log: list[str]
    clock: float

    def __init__(self, spec, protocol):
        self.spec, self.threads = spec, protocol.threads

    def call(self):
        FakeCase.log.append(self.spec.model)
        FakeCase.clock += self.spec.batch

    @property
    def first_call(self):
        self.call()
        return 0.0


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    monkeypatch.setattr(FakeCase, "log", [], raising=False)
    monkeypatch.setattr(FakeCase, "clock", 0.0, raising=False)
    monkeypatch.setattr(turns, "Case", FakeCase)
    monkeypatch.setattr(turns, "time", SimpleNamespace(perf_counter=lambda: FakeCase.clock))


def test_each_round_begins_with_another_setting_after_a_first_call_of_all():
    records = list(turns.measure([A, B, C], 4, []))
    assert "".join(FakeCase.log) == "abc" + "abc" + "bca" + "cab" + "abc"
    assert [record["seconds"] for record in records] == [[1.0] * 4, [2.0] * 4, [4.0] * 4]


def test_without_rounds_nothing_is_run():
    [record] = turns.measure([A], 0, [])
    assert (FakeCase.log, record["seconds"]) == ([], [])


def test_a_record_has_the_setting_and_what_metrics_found():
    def weight(case):
        return Measurement(case.spec.batch, note="" if case.spec.batch == 1 else "heavy")

    first, second = turns.measure([A, B], 1, [weight])
    assert first == {
        "model": "a",
        "mode": "infer",
        "batch": 1,
        "size": 224,
        "arguments": {"x": 1},
        "impl": "reference",
        "seconds": [1.0],
        "weight": 1,
        "notes": {},
    }
    assert (second["weight"], second["notes"]) == (2, {"weight": "heavy"})
    assert json.loads(json.dumps([first, second])) == [first, second]


def test_a_setting_is_said_in_words():
    [record] = turns.measure([Spec("m", mode="train", size=(96, 96), model_args=(("b", 0.5), ("a", "x")))], 0, [])
    assert turns.setting(record) == "`m`, 96 px, `a=x`, `b=0.5`, a classifier's step"


def test_quotients_are_of_one_round_and_their_interval_needs_six():
    base = {"seconds": [1, 2, 4, 1, 1]}
    own = {"seconds": [3, 4, 12, 3, 9]}
    assert turns.multiple(own, base) == "3.00 (2.00 to 9.00)"
    assert turns.multiple(base, base) == "1"
    assert turns.multiple({"seconds": [*range(1, 10)]}, {"seconds": [1] * 9}) == "5.00 (2.00 to 8.00)"


def test_a_table_is_markdown():
    assert turns.markdown(["a", "b"], [(1, "x"), (2, "y")]) == "| a | b |\n|---|---|\n| 1 | x |\n| 2 | y |"


def test_what_was_measured_is_in_the_file_at_once_and_read_back(tmp_path, capsys):
    file = tmp_path / "steps.jsonl"

    def measured():
        yield {"n": 1}
        assert len(file.read_text().splitlines()) == 1
        yield {"n": 2}

    assert turns.run(["measure"], file, "usage", measured, str) == 0
    records = turns.read(file)
    assert [record["n"] for record in records] == [1, 2]
    assert all(one["environment"] == other["environment"] for one, other in pairwise(records))
    assert records[0]["environment"]["threads"] == 1
    assert turns.run(["table"], file, "usage", measured, lambda found: f"{len(found)} rows") == 0
    assert capsys.readouterr().out == "2 rows\n"


def test_other_words_measure_nothing(tmp_path, capsys):
    for words in ([], ["tables"], ["measure", "table"]):
        assert turns.run(words, tmp_path / "none", "usage", lambda: 1 / 0, str) == 2
        assert capsys.readouterr().err == "usage\n"

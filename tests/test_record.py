"""Values, records and the records file."""

import contextlib
import dataclasses
import json
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import jsonl
from bench.environment import FINGERPRINT, capture
from bench.errors import RecordsError, UsageError
from bench.protocol import PRESETS, preset
from bench.record import SCHEMA, Record, Value
from bench.spec import Spec
from tests.strategies import records

fixture_is_constant = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def record(environment, **changes):
    value = Value("latency", "s", 0.1, samples=((0.1, 0.2),), interval=(0.1, 0.2))
    plain = Record(Spec("m"), preset("quick", 1), environment, (value,), "2026-11-21T05:10:00+00:00")
    return dataclasses.replace(plain, **changes)


@fixture_is_constant
@given(st.data())
def test_json_round_trip_is_exact(environment, data):
    one = data.draw(records(environment))
    assert Record.from_dict(json.loads(json.dumps(one.to_dict(), allow_nan=False))) == one


@pytest.mark.parametrize(
    "bad",
    [
        {"value": None},
        {"value": float("nan")},
        {"value": float("inf")},
        {"value": 1.0, "status": "failed", "note": "why"},
        {"value": None, "status": "skipped"},
        {"value": 1.0, "status": "passed"},
    ],
)
def test_a_value_is_a_number_or_says_why_it_is_none(bad):
    with pytest.raises(ValueError, match="latency"):
        Value("latency", "s", **bad)


def test_a_metric_that_was_not_asked_for_is_no_number(environment):
    assert record(environment)["latency"].value == 0.1
    with pytest.raises(KeyError):
        record(environment)["macs"]


def test_file_holds_what_was_appended(tmp_path, environment):
    path = tmp_path / "runs" / "a.jsonl"
    assert jsonl.prepare(path) == []
    written = [record(environment), record(environment, impl="reference")]
    for one in written:
        jsonl.append(path, one)
    assert jsonl.read(path) == written
    assert path.read_bytes().count(b"\n") == 2
    assert jsonl.prepare(path) == written


def test_a_cut_off_line_is_named_and_nothing_is_lost(tmp_path, environment):
    path = tmp_path / "a.jsonl"
    jsonl.append(path, record(environment))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:-10])
    with pytest.raises(RecordsError, match=r"line 2 is cut off; the 1 records before it are whole.*head -n 1"):
        jsonl.read(path)
    assert path.read_bytes() == whole + whole[:-10]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"hello\n", "line 1 is not a record but b'hello"),
        (b"\xff\xfe\n", "line 1 is not a record"),
        (b"[1]\n", "line 1 is not a record of this suite"),
        (b"null\n", "line 1 is not a record of this suite"),
        (b'{"schema": 99}\n', "schema 99, where this version reads 1 and 2"),
        (b'{"model": "m"}\n', "line 1 is not a record of this suite (KeyError: 'schema')"),
        (b"\n", "line 1 is not a record"),
    ],
)
def test_a_foreign_file_is_named(tmp_path, content, says):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(RecordsError) as error:
        jsonl.read(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("field", ["spec", "protocol", "environment", "values"])
def test_a_record_with_a_foreign_part_is_named(tmp_path, environment, field):
    content = record(environment).to_dict()
    content[field] = {"colour": "red"}
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(content) + "\n")
    with pytest.raises(RecordsError, match="line 1 is not a record of this suite"):
        jsonl.read(path)


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ((), "values", []),
        ((), "time", 5),
        ((), "time", "yesterday"),
        (("environment",), "packages", []),
        (("environment",), "state", None),
        (("protocol",), "max_time", "long"),
        (("spec",), "model", 5),
        (("values", 0), "value", 10**400),
        (("values", 0), "value", True),
        (("values", 0), "metric", {}),
        (("values", 0), "interval", ["a", "b"]),
        (("values", 0), "samples", [["a"]]),
    ],
)
def test_a_field_of_the_wrong_type_is_foreign(tmp_path, environment, part, field, value):
    content = json.loads(json.dumps(record(environment).to_dict()))
    inner = content
    for step in part:
        inner = inner[step]
    inner[field] = value
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(content) + "\n")
    with pytest.raises(RecordsError, match="line 1 is not a record of this suite"):
        jsonl.read(path)


def test_a_record_that_does_not_fit_on_the_disk_leaves_the_file_whole(tmp_path, environment, monkeypatch):
    path = tmp_path / "a.jsonl"
    jsonl.append(path, record(environment))
    before = path.read_bytes()
    opened = Path.open

    @contextlib.contextmanager
    def half(self, *args, **kwargs):
        with opened(self, *args, **kwargs) as file:
            short = mock.Mock(wraps=file)
            short.write.side_effect = lambda line: file.write(line[: len(line) // 2])
            yield short

    with monkeypatch.context() as patch, pytest.raises(RecordsError, match="no room for a record"):
        patch.setattr(Path, "open", half)
        jsonl.append(path, record(environment))
    assert path.read_bytes() == before


def test_missing_empty_and_unwritable_files_are_named(tmp_path, environment):
    with pytest.raises(RecordsError, match="No such file"):
        jsonl.read(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(RecordsError, match=r"no records in .*empty\.jsonl"):
        jsonl.read_all([tmp_path / "empty.jsonl"])
    with pytest.raises(RecordsError, match="cannot write"):
        jsonl.append(tmp_path, record(environment))
    with pytest.raises(RecordsError, match="cannot write"):
        jsonl.prepare(tmp_path / "empty.jsonl" / "a.jsonl")


def test_schema_number_is_written(environment):
    assert record(environment).to_dict()["schema"] == SCHEMA == 3


@pytest.mark.parametrize(("schema", "lacks"), [(1, ("weights", "images", "form")), (2, ("form",))])
def test_older_schemas_are_read_with_the_fields_that_they_lack_at_their_defaults(environment, schema, lacks):
    old = {**(one := record(environment)).to_dict(), "schema": schema}
    del old["form"]
    for name in lacks:
        del old["spec"][name]
    for value in old["values"] if schema == 1 else ():
        del value["details"]
    assert Record.from_dict(old) == one


def test_fingerprint_sees_the_machine_and_not_its_mood(environment):
    moody = dataclasses.replace(environment, state={"load": 9.0, "cpu_clock": 1.0}, commit="other", code="other")
    assert moody.fingerprint == environment.fingerprint
    for name in FINGERPRINT:
        other = dataclasses.replace(environment, **{name: "other"})
        assert other.fingerprint != environment.fingerprint, name


def test_captured_environment_round_trips_and_names_the_machine():
    here = capture("cpu", 1)
    assert type(here).from_dict(json.loads(json.dumps(here.to_dict()))) == here
    assert here.cpu
    assert here.memory > 2**20
    assert here.packages["torch"]
    assert here.gpu is None


def test_presets_grow_in_care():
    quick, standard, paper = (preset(name, 1) for name in PRESETS)
    for field in ("warmup_time", "min_samples", "max_time", "processes", "time_limit"):
        assert getattr(quick, field) < getattr(standard, field) < getattr(paper, field)
    assert quick.target > standard.target > paper.target


def test_unknown_preset_and_threads_are_refused():
    with pytest.raises(UsageError, match="presets are quick, standard, paper"):
        preset("fast")
    with pytest.raises(UsageError, match="threads=0"):
        preset("quick", 0)

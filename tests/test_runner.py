"""Runner and workers, with real processes."""

import dataclasses
import threading

import pytest

from bench import jsonl
from bench.protocol import preset
from bench.runner import Cell, _Bench, _merge, run
from bench.spec import Spec
from bench.worker import Answer, Worker

QUICK = dataclasses.replace(
    preset("quick", 1), warmup_calls=1, warmup_time=0.01, min_samples=6, min_time=0.01, max_time=0.1, window=0.01
)
REGISTER = ("tests.misbehaving",)
SMALL = Spec("test_vit", size=(160, 160))


class Log:
    """An observer that remembers."""

    def __init__(self):
        self.seen = []

    def begin(self, cell):
        self.seen.append(("begin", cell.spec.model))

    def measuring(self, metric):
        self.seen.append(("measuring", metric))

    def end(self, record, kept):
        self.seen.append(("end", "kept" if kept else "new"))


def tiny(name):
    return Spec(name, size=(32, 32))


def test_a_cell_becomes_a_record_with_every_metric(tmp_path):
    log, path = Log(), tmp_path / "a.jsonl"
    metrics = ("latency", "params", "peak_memory", "throughput")
    protocol = dataclasses.replace(QUICK, processes=2)
    [record] = run([Cell(SMALL, metrics)], protocol, path, log)
    assert jsonl.read(path) == [record]
    assert tuple(value.metric for value in record.values) == metrics
    assert record["params"].value > 0
    assert record["peak_memory"].status == "skipped"
    assert "cuda" in record["peak_memory"].note
    assert [len(record[name].samples) for name in ("latency", "throughput")] == [2, 2]
    assert record["latency"].interval[0] <= record["latency"].value <= record["latency"].interval[1]
    assert record.environment.threads == 1
    assert record.environment.state["torch_threads"] == 1
    assert record.environment.state["float32_matmul_precision"] == "highest"
    assert log.seen[0] == ("begin", "test_vit")
    assert log.seen[-1] == ("end", "new")
    assert log.seen.count(("measuring", "latency")) == 2


@pytest.mark.slow  # a dozen workers; test_cli has one killed run that is resumed
def test_resume_keeps_only_what_is_the_same_in_all_that_matters(tmp_path):
    path, cell = tmp_path / "a.jsonl", Cell(tiny("vitbench_asking"), ("params", "macs"))

    def again(cells, protocol=QUICK, resume=True):
        log = Log()
        run(cells, protocol, path, log, REGISTER, resume=resume)
        return [word for kind, word in log.seen if kind == "end"]

    assert again([cell]) == ["new"]
    assert again([cell]) == ["kept"]
    assert again([cell], resume=False) == ["new"]
    assert again([dataclasses.replace(cell, metrics=("params",))]) == ["new"]
    assert again([cell], dataclasses.replace(QUICK, seed=1)) == ["new"]
    assert again([dataclasses.replace(cell, spec=Spec("vitbench_asking", size=(32, 32), batch=2))]) == ["new"]
    assert len(jsonl.read(path)) == 5
    failing = Cell(tiny("vitbench_raising"), ("params", "macs_fvcore"))
    assert again([failing]) == ["new"]
    assert again([failing]) == ["new"]  # what failed is tried again
    for field, value in (("threads", 9), ("code", "other")):
        records = jsonl.read(path)
        path.unlink()
        for record in records:
            environment = dataclasses.replace(record.environment, **{field: value})
            jsonl.append(path, dataclasses.replace(record, environment=environment))
        assert again([cell]) == ["new"], field


def test_a_failing_model_is_recorded_and_the_sweep_goes_on(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    cells = [
        Cell(tiny("vitbench_raising"), ("params", "macs_fvcore", "latency")),
        Cell(tiny("vitbench_killed"), ("params", "latency", "throughput")),
        Cell(tiny("vitbench_exiting"), ("macs_fvcore", "params")),  # the worker that all static metrics share
        Cell(tiny("vitbench_asking"), ("params", "latency")),
    ]
    raising, killed, exiting, fine = run(cells, QUICK, tmp_path / "a.jsonl", Log(), REGISTER)
    assert raising["params"].value == 40
    for metric in ("macs_fvcore", "latency"):
        assert raising[metric].note.startswith("RuntimeError: this model is broken (misbehaving.py:")
    assert killed["params"].status == "ok"
    for metric in ("latency", "throughput"):
        assert killed[metric].status == "failed"
        assert "killed by SIGKILL" in killed[metric].note
    assert exiting["macs_fvcore"].note == "the worker exited with 7: last words"
    assert fine["params"].value == 40  # by a worker in the place of the one that exited
    assert fine["latency"].status == "ok"
    assert [record.failed for record in (raising, killed, exiting, fine)] == [True, True, True, False]
    assert [path.suffix for path in (tmp_path / "temporary").iterdir()] == [".lock"]  # no log, no folder


def test_the_time_limit_ends_a_worker_and_keeps_what_it_had(tmp_path):
    limited = dataclasses.replace(QUICK, time_limit=3.0)
    worker = Worker(REGISTER)
    assert worker.ask(tiny("vitbench_slow"), ["params"], QUICK).values["params"].value == 40  # it has imported all
    answer = worker.ask(tiny("vitbench_slow"), ["params", "latency"], limited)
    assert answer.values["params"].value == 40
    assert "latency" not in answer.values
    assert answer.death == "stopped at the time limit of 3 s"
    assert not worker.alive


def test_a_module_that_cannot_be_imported_is_named():
    with Worker(("tests.no_such_module",)) as worker:
        answer = worker.ask(SMALL, ["params"], QUICK)
    assert answer.death.startswith("no module 'tests.no_such_module'; it must be installed")


def test_a_foreign_records_file_is_refused_before_anything_is_measured(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("hello\n")
    log = Log()
    with pytest.raises(Exception, match="is not a record"):
        run([Cell(SMALL, ("params",))], QUICK, path, log)
    assert log.seen == []
    assert path.read_text() == "hello\n"


def test_one_failed_process_of_several_fails_the_value():
    from bench.metrics import select

    [latency] = select(["latency"])
    good = Answer({"latency": latency.combine([[1.0, 2.0]], [""], [{}])})
    merged = _merge(latency, [good, Answer(death="the worker was killed")])
    assert (merged.status, merged.note) == ("failed", "process 2 of 2: the worker was killed")
    both = _merge(latency, [good, good])
    assert both.samples == ((1.0, 2.0), (1.0, 2.0))
    assert both.value == pytest.approx(1.5)


def test_a_device_that_another_run_holds_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    log = Log()
    mine, theirs = (_Bench(QUICK, one, ()) for one in (log, Log()))
    entered = threading.Event()

    def wait_for_it():
        with mine._device("cpu"):
            entered.set()

    thread = threading.Thread(target=wait_for_it)
    with theirs._device("cpu"):
        thread.start()
        assert not entered.wait(1.5)
        assert log.seen == [("measuring", "waiting for another run to leave cpu")]
        with theirs._device("cuda:1"):  # a device of its own
            pass
    assert entered.wait(30)
    thread.join()


def test_every_worker_begins_with_empty_compilers_caches_and_leaves_nothing_behind():
    notes = set()
    for _ in range(2):
        with Worker(REGISTER) as worker:
            note = worker.ask(tiny("vitbench_telling"), ["first_call"], QUICK).values["first_call"].note
            assert f"compiled code in {worker._folder}" in note
            notes.add(note)
        assert not worker._folder.exists()
    assert len(notes) == 2
    assert all("which holds []" in note for note in notes)

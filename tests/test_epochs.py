"""Pre-training in a report: steps, projected epochs, and what a paper prints beside them. Records written by hand."""

import pytest

from bench.protocol import preset
from bench.record import Record, Value
from bench.spec import Spec
from reports import epochs
from reports.arguments import numbers, read, without
from reports.frame import to_frame
from reports.report import write

GREEN, SIMMIM = "greenmim_swin_tiny", "simmim_swin_tiny"


@pytest.fixture
def records(environment):
    def build(*cells):
        time = "2026-11-21T05:10:00+00:00"
        return [Record(spec, preset("quick", 1), environment, tuple(values), time) for spec, *values in cells]

    return build


@pytest.fixture
def frame_of(records):
    return lambda *cells: to_frame(records(*cells))


def step(model=GREEN, side=224, batch=8, mode="pretrain", **arguments):
    return Spec(model, mode=mode, batch=batch, size=(side, side), model_args=arguments)


def throughput(value, low=None, high=None):
    return Value("throughput", "img/s", value, interval=None if low is None else (low, high))


def test_an_epoch_is_all_images_at_the_throughput(frame_of):
    assert epochs.hours(1_281_167 / 3600) == pytest.approx(1)
    speed = throughput(100.0, 80.0, 120.0)
    own = (step(window=14), speed, Value("latency", "s", 0.08), Value("peak_live_bytes", "B", 2**30),
           Value("macs", "MAC", 10**9), Value("params", "1", 5))  # fmt: skip
    gpu = (step(SIMMIM, 192), throughput(50.0), Value("peak_memory", "B", 2**31), Value("peak_live_bytes", "B", 1))
    assert epochs.table(frame_of(own, gpu)).to_dict("list") == {
        "model": [GREEN, SIMMIM],
        "batch": [8, 8],
        "size": ["224", "192"],
        "arguments": ["window=14", ""],
        "time a step (ms)": ["80.0", "-"],
        "throughput (img/s)": ["100 ±20.0%", "50.0"],
        "epoch (h)": [f"3.56 ±{(100 / 80 - 100 / 120) / 2:.1%}", "7.12"],
        "memory (MiB)": ["1,024 predicted", "2,048"],
        "MACs (GMACs)": ["1.000", "-"],
    }


def test_only_steps_of_pre_training_with_a_throughput_have_an_epoch(frame_of):
    failed = Value("throughput", "img/s", None, status="failed", note="why")
    others = [(step(mode="train"), throughput(1.0)), (step(), Value("latency", "s", 1.0)), (step(batch=1), failed)]
    assert epochs.table(frame_of(*others)).empty
    assert epochs.table(frame_of(*others, (step(batch=2), throughput(1.0))))["batch"].tolist() == [2]
    assert "arguments" not in epochs.table(frame_of((step(), throughput(1.0))))


def test_a_column_without_a_single_number_is_left_out(frame_of):
    one, other = (step(), throughput(1.0)), (step(batch=2), throughput(1.0), Value("peak_live_bytes", "B", 2**20))
    common = ["model", "batch", "size", "throughput (img/s)", "epoch (h)"]
    assert list(epochs.table(frame_of(one))) == common
    table = epochs.table(frame_of(one, other))
    assert list(table) == [*common, "memory (MiB)"]
    assert table["memory (MiB)"].tolist() == ["-", "1.000 predicted"]


def test_the_report_has_the_section_and_says_what_it_does_not_hold(records, tmp_path, monkeypatch):
    monkeypatch.setattr("reports.report.save", lambda *_: [])
    text = write(records((step(), throughput(8.0)), (step(SIMMIM, 192), throughput(5.0))), tmp_path).read_text()
    section = " ".join(text[text.index("### Pre-training") : text.index("\n## Methods")].split())
    for said in ("a projection", "1,281,167", "Loading and augmenting", "| 44.5 |"):
        assert said in section
    other = write(records((Spec("hmhsa_pvt_v2_b1"), throughput(8.0)), (Spec("pvt_v2_b1"), throughput(8.0))), tmp_path)
    assert "### Pre-training" not in other.read_text()


def test_arguments_are_numbers_where_they_can_be():
    words = "ratio=0.0 depth=2 axis=embed flag=True far=inf"
    assert read(words) == {"ratio": 0, "depth": 2, "axis": "embed", "flag": "True", "far": "inf"}
    assert numbers(words) == {"ratio": 0, "depth": 2}
    assert without(words, "depth", "flag") == "ratio=0.0 axis=embed far=inf"
    assert read("") == {}

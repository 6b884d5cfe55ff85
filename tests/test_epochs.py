"""Pre-training in a report: steps, projected epochs, and what a paper prints beside them. Records written by hand."""

import dataclasses

import pytest

from bench.protocol import preset
from bench.record import Record, Value
from bench.spec import Spec
from reports import epochs, speedups
from reports.arguments import numbers, read, without
from reports.baselines import BASES
from reports.claims import published_steps
from reports.frame import to_frame
from reports.reductions import changes
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


def test_published_steps_are_those_of_the_claims():
    claims = published_steps(speedups.TERMS)
    assert claims[["metric", "value", "unit", "id"]].to_numpy().tolist() == [
        ["train speed-up vs SimMIM-style dense encoding", "2.7", "x", "greenmim-001"],
        ["training time relative to SimMIM", "0.5", "ratio", "greenmim-003"],
        ["GPU memory saving", "70", "%", "greenmim-002"],
        ["GPU memory relative to SimMIM", "0.4", "ratio", "greenmim-004"],
        ["memory_ratio_LV+LR_over_LV", "1.2", "x (around)", "esvit-080"],
        ["memory_growth_LV+LR_over_LV", "4", "x (nearly)", "esvit-082"],
        ["memory_growth_LV+LR_over_LV", "1.6", "x", "esvit-083"],
        ["time_ratio_LV+LR_over_LV", "1.05", "x (around)", "esvit-081"],
        ["time_growth_LV+LR_over_LV", "1.47", "x", "esvit-084"],
        ["time_growth_LV+LR_over_LV", "1.15", "x", "esvit-085"],
    ]
    named = {name for names in claims["names"] for name in names}
    assert named == {n for n in BASES if n.startswith("greenmim_")} | {"esvit_deit_small", "esvit_swin_tiny"}


def published(frame):
    return speedups.table(frame, changes(frame))


def test_what_was_measured_stands_beside_it_in_the_papers_terms(frame_of):
    green, simmim = "greenmim_swin_base", "simmim_swin_base"
    cells = [
        (step(green), throughput(8.0, 7.5, 8.4), Value("peak_live_bytes", "B", 30)),
        (step(simmim), throughput(4.0, 3.75, 4.2), Value("peak_live_bytes", "B", 120)),
        (step(simmim, 192), throughput(5.0), Value("peak_live_bytes", "B", 60)),
    ]
    table = published(frame_of(*cells))
    assert table[["of", "published", "measured", "batch"]].to_numpy().tolist() == [
        ["train speed-up vs SimMIM-style dense encoding", "2.7x",
         f"2.00x ({7.5 / 4.2:.2f} to {8.4 / 3.75:.2f}) of {simmim}; 1.60x of {simmim} 192 px", "8"],
        ["training time relative to SimMIM", "0.5",
         f"0.500 ({3.75 / 8.4:.3f} to {4.2 / 7.5:.3f}) of {simmim}; 0.625 of {simmim} 192 px", "8"],
        ["GPU memory saving", "70 %", f"75.0 % of {simmim}, predicted; 50.0 % of {simmim} 192 px, predicted", "8"],
        ["GPU memory relative to SimMIM", "0.4",
         f"0.250 of {simmim}, predicted; 0.500 of {simmim} 192 px, predicted", "8"],
    ]  # fmt: skip
    assert table["confidence"].tolist() == ["confirmed", "secondary", "confirmed", "secondary"]
    assert "hardware and batch not stated" in table["conditions"][0]


def test_measured_memory_goes_before_predicted_and_the_largest_batch_before_others(frame_of):
    cells = [
        (
            step(model, batch=batch),
            Value("peak_memory", "B", value),
            Value("peak_live_bytes", "B", 7),
            throughput(speed),
        )
        for model, value, speed in ((GREEN, 3, 2.0), (SIMMIM, 4, 1.0))
        for batch in (1, 64)
    ]
    cells.append((step(batch=128), throughput(9.0)))  # without its base
    table = published(frame_of(*cells))
    assert table[["measured", "batch"]].to_numpy().tolist() == [
        [f"2.00x of {SIMMIM}", "64"],
        [f"25.0 % of {SIMMIM}", "64"],
    ]


def test_a_claim_stands_beside_the_bases_that_it_speaks_of(frame_of):
    green, simmim = "greenmim_swin_base", "simmim_swin_base"
    dense = (step(green, mask_ratio=0), throughput(2.0), Value("peak_live_bytes", "B", 40))
    own = (step(green), throughput(8.0), Value("peak_live_bytes", "B", 10))
    table = published(frame_of(own, dense)).set_index("of")["measured"]
    assert table.to_dict() == {
        "train speed-up vs SimMIM-style dense encoding": f"4.00x of {green} mask_ratio=0",
        "training time relative to SimMIM": "-",
        "GPU memory saving": f"75.0 % of {green} mask_ratio=0, predicted",
        "GPU memory relative to SimMIM": "-",
    }
    both = published(frame_of(own, dense, (step(simmim), throughput(4.0)))).set_index("of")["measured"]
    assert both["train speed-up vs SimMIM-style dense encoding"] == (
        f"2.00x of {simmim}; 4.00x of {green} mask_ratio=0"
    )
    assert both["training time relative to SimMIM"] == f"0.500 of {simmim}"


def test_no_base_hides_what_was_measured_against_another(frame_of):
    def memory(value, metric="peak_live_bytes"):
        return Value(metric, "B", value)

    cells = [
        (step(batch=64), throughput(6.0), memory(10), memory(20, "peak_memory")),
        (step(batch=64, mask_ratio=0), throughput(2.0), memory(40, "peak_memory")),
        (step(batch=8), throughput(4.0), memory(2)),
        (step(SIMMIM, batch=8), throughput(2.0), memory(8)),
        (step(SIMMIM, 192, batch=8), throughput(1.0)),
        (step(batch=1), throughput(9.0)),
        (step(SIMMIM, batch=1), throughput(1.0)),
    ]
    table = published(frame_of(*cells))
    words = [
        f"3.00x of {GREEN} mask_ratio=0 at batch 64; 2.00x of {SIMMIM} at batch 8; 4.00x of {SIMMIM} 192 px at batch 8",
        f"50.0 % of {GREEN} mask_ratio=0 at batch 64; 75.0 % of {SIMMIM} at batch 8, predicted",
    ]
    assert table[["measured", "batch"]].to_numpy().tolist() == [[word, "64, 8"] for word in words]


def test_what_was_not_measured_at_the_papers_conditions_is_a_dash(frame_of):
    for other in ({"mode": "train"}, {"size": (192, 192)}, {"model_args": {"mask_ratio": 0.5}}):
        cells = [(dataclasses.replace(step(model), **other), throughput(1.0)) for model in (GREEN, SIMMIM)]
        assert set(published(frame_of(*cells))["measured"]) == {"-"}
    assert published(frame_of((step(SIMMIM), throughput(1.0)))).empty


def test_devices_stand_apart(frame_of):
    cells = [
        (dataclasses.replace(step(model), device=device), throughput(value))
        for device, green in (("cpu", 2.0), ("cuda", 3.0))
        for model, value in ((GREEN, green), (SIMMIM, 1.0))
    ]
    table = published(frame_of(*cells))
    table = table[table["published"] == "2.7x"]
    assert table[["model", "measured"]].to_numpy().tolist() == [
        [f"{GREEN} cpu", f"2.00x of {SIMMIM}"],
        [f"{GREEN} cuda", f"3.00x of {SIMMIM}"],
    ]


def test_the_report_has_the_section_and_says_what_it_does_not_hold(records, tmp_path, monkeypatch):
    monkeypatch.setattr("reports.report.save", lambda *_: [])
    text = write(records((step(), throughput(8.0)), (step(SIMMIM, 192), throughput(5.0))), tmp_path).read_text()
    section = text[text.index("## Pre-training") : text.index("## Pictures")]
    for said in (
        "a projection",
        "1,281,167",
        "Loading and augmenting",
        "### Published and measured",
        "2.7x",
        "1.60x of",
    ):
        assert said in section
    against = text[text.index("## Against the base") : text.index("## Pre-training")]
    section, against = (" ".join(own.split()) for own in (section, against))
    for said in ("60 % in each image its own", "doesn't depend on its mask ratio", "192 px", "1.60x", "timm's Swin"):
        assert said in against
    for own in (section, against):
        assert "are of one random mask" in own
    assert "deployed form" not in against
    other = write(records((step(mode="train"), throughput(8.0))), tmp_path).read_text()
    assert "## Pre-training" in other  # what was published of the model
    other = write(records((Spec("hmhsa_pvt_v2_b1"), throughput(8.0)), (Spec("pvt_v2_b1"), throughput(8.0))), tmp_path)
    assert "Pre-training" not in other.read_text()
    assert "SimMIM" not in other.read_text()


def test_arguments_are_numbers_where_they_can_be():
    words = "ratio=0.0 depth=2 axis=embed flag=True far=inf"
    assert read(words) == {"ratio": 0, "depth": 2, "axis": "embed", "flag": "True", "far": "inf"}
    assert numbers(words) == {"ratio": 0, "depth": 2}
    assert without(words, "depth", "flag") == "ratio=0.0 axis=embed far=inf"
    assert read("") == {}

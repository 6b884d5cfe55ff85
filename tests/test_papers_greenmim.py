"""GreenMIM's tables and figures from records written by hand: what is said beside what was measured."""

import re
from dataclasses import replace

import pytest

from bench.protocol import preset
from bench.record import Record, Value
from bench.spec import Spec
from reports.ledger import ledger
from reports.ledger.judging import frame_of
from reports.papers.evidence import Evidence
from reports.papers.greenmim import EXHIBITS
from reports.style import styled

NAMES = ("efficiency", "group-size", "window", "mask-ratio", "decoder-depth", "gpu-hours")
UNITS = {"throughput": "img/s", "latency": "s", "macs": "MAC", "padding": "1", "params": "1"}
GREEN, SIMMIM, TINY = "greenmim_swin_base", "simmim_swin_base", "greenmim_swin_tiny"
WINDOWS = ("time (+ %)", "peak memory (+ %)", "MACs (+ %)")


@pytest.fixture
def exhibits(environment):
    """The exhibits by name, of these cells: each a Spec and its values, numbers or (number, low, high) by metric."""

    def of(*cells):
        records = []
        for minute, (spec, values) in enumerate(cells):
            own = environment if spec.device == "cpu" else replace(environment, gpu="NVIDIA H200")
            values = tuple(_value(*item) for item in values.items())
            records.append(Record(spec, preset("quick", 1), own, values, f"2026-11-21T05:{minute:02}:00+00:00"))
        evidence = Evidence(frame_of(records), ledger.rows(records))
        built = styled(lambda: [build(evidence) for build in EXHIBITS])()
        return {exhibit.name.removeprefix("greenmim-"): exhibit for exhibit in built}

    return of


def _value(metric, given):
    number, *bounds = given if isinstance(given, tuple) else (given,)
    interval = {"samples": ((number,),), "interval": tuple(bounds)} if bounds else {}
    if metric == "padding":
        return Value(metric, "1", 0.1, details=number)
    return Value(metric, UNITS.get(metric, "B"), number, **interval)


def step(model=GREEN, side=224, batch=64, device="cuda", **arguments):
    return Spec(
        model, mode="pretrain", batch=batch, size=(side, side), device=device,
        precision="amp_float16" if device == "cuda" else "float32", model_args=tuple(arguments.items()),
    )  # fmt: skip


def words(table):
    """First column -> the other columns by their headings, without numbers of notes but with their words."""
    notes = dict(re.fullmatch(r"\[(\d+)\] (.*)", note).groups() for note in table.notes if note.startswith("["))
    name, *others = table.rows.columns
    rows = table.rows.to_dict("records")
    return {row[name]: {other: _noted(row[other], notes) for other in others} for row in rows}


def _noted(cell, notes):
    return re.sub(r"\[(\d+)\]", lambda found: f"[{notes[found[1]]}]", cell)


def column(table, heading):
    return {name: row[heading] for name, row in words(table).items()}


def titled(exhibit, title):
    [found] = [table for table in exhibit.tables if table.title == title]
    return found


def test_nothing_recorded_leaves_what_is_published_and_says_what_is_missing(exhibits):
    found = exhibits()
    assert tuple(found) == NAMES
    for exhibit in found.values():
        assert [picture.figure for picture in exhibit.pictures] == [None] * len(exhibit.pictures)
        assert all(picture.caption.startswith("Not drawn: ") for picture in exhibit.pictures)
        for table in exhibit.tables:
            for row in words(table).values():
                ours = [cell for heading, cell in row.items() if heading.endswith(", measured")]
                assert all(re.fullmatch(r"- \[.+\]|-|1", cell) for cell in ours), ours
    assert [picture.name for exhibit in found.values() for picture in exhibit.pictures] == [
        f"greenmim_{name}"
        for name in (
            *("efficiency", "group_size", "masked_windows", "cost_argument_window", "mask_ratio"),
            "cost_argument_decoder-depth",
        )
    ]
    said = titled(found["efficiency"], "What is said")
    assert list(said.rows["published"]) == ["~2.7", "70", "0.5†", "~0.4†", "no†", ">=2†"]
    assert set(said.rows["verdict"]) == {"not measured"}
    assert list(column(found["group-size"].tables[0], "number, published").values()) == [
        "100†",
        "768",
        "192",
        "48",
        "12",
    ]
    [table] = found["window"].tables
    assert words(table)["Swin-B"]["time (+ %), published"] == "<10†"
    assert words(table)["Swin-B"]["peak memory (+ %), published"] == "<20†"
    assert "MACs (+ %), published" not in table.rows
    assert "0.5-0.85†" in found["mask-ratio"].text
    for name in ("mask-ratio", "decoder-depth"):
        assert [table.title for table in found[name].tables] == ["Swin-B"]


def test_a_claim_stands_beside_its_quantity_against_each_base(exhibits):
    cells = [
        (step(), {"throughput": (270, 268, 272)}),
        (step(SIMMIM, 192), {"throughput": (135, 134, 136)}),
        (step(SIMMIM), {"throughput": (100, 99, 101)}),
        (step(mask_ratio=0), {"throughput": (100, 90, 110)}),
    ]
    faster, _, slower, *_ = words(titled(exhibits(*cells)["efficiency"], "What is said")).values()
    assert [faster[f"against {base}"] for base in ("SimMIM at 192 px, its own recipe", "SimMIM at 224 px")] == [
        "2.000 (1.971 to 2.030) ✗",
        "2.700 (2.653 to 2.747) ✓",
    ]
    assert faster["against its own encoder on all tokens"] == "2.700 (2.436 to 3.022) ?"
    assert faster["verdict"] == "reproduced"
    assert slower["against its own encoder on all tokens"] == "- [it speaks of SimMIM alone]"


def test_a_claim_on_a_gpu_is_not_judged_on_a_cpu(exhibits):
    cells = [(step(device="cpu"), {"throughput": 27}), (step(SIMMIM, device="cpu"), {"throughput": 10})]
    first, *_ = words(titled(exhibits(*cells)["efficiency"], "What is said")).values()
    assert first["against SimMIM at 224 px"] == "2.700 ≁"
    assert first["verdict"].startswith("not comparable: device kind")


def test_an_epoch_is_projected_from_throughput(exhibits):
    seconds = {"throughput": (1281.167, 640.5835, 2562.334)}  # 1,000 s an epoch, 500 to 2,000
    table = titled(exhibits((step(), seconds))["efficiency"], "Swin-B")
    assert words(table)["GreenMIM"]["epoch (h)"] == "0.2778 (0.1389 to 0.5556)"


def test_steps_are_held_against_each_other_in_one_setting(exhibits):
    both = [
        (step(batch=batch), {"throughput": speed, "peak_live_bytes": memory * 2**20})
        for batch, speed, memory in ((8, 10, 100), (64, 90, 300))
    ]
    bases = [
        (step(SIMMIM, batch=8), {"throughput": 5, "peak_live_bytes": 400 * 2**20}),
        (step(SIMMIM, 192, batch=8), {"throughput": 2, "peak_live_bytes": 200 * 2**20}),
        (step(batch=64, mask_ratio=0), {"throughput": 45, "peak_live_bytes": 900 * 2**20}),
    ]
    found = words(titled(exhibits(*both, *bases)["efficiency"], "Swin-B"))
    faster, saved = "GreenMIM is faster (x)", "GreenMIM saves memory (%)"
    at, predicted = "[NVIDIA H200, batch 8, amp_float16]", "[predicted, batch 8, amp_float16]"
    assert found["GreenMIM"]["throughput (img/s)"] == f"10.00 {at}"
    assert found["GreenMIM"]["peak memory (MiB)"] == f"100.0 {predicted}"
    assert found["GreenMIM"][faster] == "-"
    assert found["SimMIM at 224 px"][faster] == f"2.000 {at}"
    assert found["SimMIM at 224 px"][saved] == f"75.00 {predicted}"
    assert found["SimMIM at 192 px, its own recipe"][faster] == f"5.000 {at}"
    elsewhere = "- [recorded, but not in the setting of the others]"
    everywhere = ("throughput (img/s)", "epoch (h)", "peak memory (MiB)", faster, saved)
    assert {found["GreenMIM's encoder on all tokens"][one] for one in everywhere} == {elsewhere}


def test_a_gpu_and_the_larger_batch_go_first(exhibits):
    cells = [
        (step(batch=batch, device=device, **given), {"throughput": speed})
        for batch, device, speed in ((64, "cuda", 100), (8, "cuda", 50), (128, "cpu", 7))
        for given, speed in (({}, speed), ({"mask_ratio": 0.5}, speed / 2))
    ]
    [table] = exhibits(*cells)["mask-ratio"].tables
    assert words(table)["0.5"]["time (x)"] == "2.000"
    assert table.notes[0] == "Conditions: NVIDIA H200, batch 64, amp_float16."


def test_what_a_value_costs_is_a_multiple_of_the_default(exhibits):
    numbers = {0.5: (40, 200, 4e9), 0.75: (80, 100, 2e9), 0.85: (100, 80, 1e9)}
    cells = [
        (step(TINY, mask_ratio=ratio), {"throughput": speed, "peak_memory": memory, "macs": macs})
        for ratio, (speed, memory, macs) in numbers.items()
    ]
    found = exhibits(*cells)["mask-ratio"]
    table = titled(found, "Swin-T")
    assert list(table.rows["mask ratio"]) == ["0", "0.5", "0.6", "0.75, the default", "0.85"]
    assert column(table, "time (x)")["0.5"] == "2.000"
    assert column(table, "time (x)")["0.85"] == "0.8000"
    assert column(table, "peak memory (x)")["0.5"] == "2.000"
    assert column(table, "MACs (x)")["0.85"] == "0.5000"
    assert column(table, "time (x)")["0.75, the default"] == "1"
    assert column(table, "time (x)")["0"].startswith("- [not among these records")
    assert [picture.name for picture in found.pictures if picture.figure] == ["greenmim_mask_ratio"]


def test_time_is_of_latency_where_that_was_measured_of_more(exhibits):
    cells = [(step(TINY, decoder_depth=depth), {"latency": seconds}) for depth, seconds in ((1, 2), (2, 3), (4, 5))]
    found = exhibits(*cells, (step(TINY), {"throughput": 4}))["decoder-depth"]
    assert column(titled(found, "Swin-T"), "time (x)") == {"1, the default": "1", "2": "1.500", "4": "2.500"}
    [picture] = found.pictures
    assert (picture.name, picture.title) == ("greenmim_cost_argument_decoder-depth", "Cost over decoder depth")
    assert [axes.get_xlabel() for axes in picture.figure.axes] == ["decoder depth"]


def test_windows_are_compared_by_the_claims_and_by_body(exhibits):
    cells = [
        (step(model, batch=256, window=window), {"throughput": speed, "peak_live_bytes": memory})
        for model in (GREEN, TINY)
        for window, speed, memory in ((7, 210, 100), (14, 200, 115))
    ]
    deeper = [(step(TINY, batch=256, decoder_depth=depth), {"peak_live_bytes": 100 * depth}) for depth in (1, 2)]
    measured = [f"{cost}, measured" for cost in WINDOWS]
    found = exhibits(*cells, *deeper)["window"]
    big, small = words(found.tables[0]).values()
    timed, predicted = "[NVIDIA H200, batch 256, amp_float16]", "[predicted, batch 256, amp_float16]"
    for row in (big, small):  # of the ledger, which knows no window=7, the big one has nothing
        assert [row[one] for one in measured[:2]] == [f"5.000 {timed}", f"15.00 {predicted}"]
    assert small["time (+ %), published"] == "- [the paper's is of Swin-B]"
    assert [picture.name for picture in found.pictures if picture.figure] == ["greenmim_cost_argument_window"]
    judged = exhibits((step(batch=256), {"throughput": (210, 209, 211), "peak_live_bytes": 100}), *cells[1:2])["window"]
    assert words(judged.tables[0])["Swin-B"]["peak memory (+ %), measured"] == f"15.00 ✓ {predicted}"


def test_windows_of_others_are_not_drawn(exhibits):
    cells = [(step("esvit_swin_tiny", window=window), {"params": 3}) for window in (7, 14)]
    [picture] = exhibits(*cells)["window"].pictures
    assert picture.figure is None


def test_what_was_packed_is_whole_numbers_and_drawn(exhibits):
    rule = {"size": 40.5, "cost": 3e6, "padding": 0.1, "chosen": [40]}
    curves = [
        {
            "stage": stage, "shift": 0, "channels": 2, "tokens": tokens, "mode": "grouping", "sizes": [30, 40, 50],
            "mean": [4e6, 3e6, 5e6], "deviation": [1e5, 1e5, 0.0], "floor": 2e6, "official": rule,
        }
        for stage, tokens in ((1, 768), (2, 192), (3, 48))
    ]  # fmt: skip
    details = {"masks": 100, "keep": 12, "side": 7, "window": 7, "curves": curves, "example": []}
    cell = (step(batch=1), {"padding": (details,)})
    found = exhibits(cell)["group-size"]
    packed, rules = found.tables
    numbers = list(column(packed, "number, measured").values())
    assert numbers[:4] == ["100", "768 ✓", "192 ✓", "48 ✓"]
    assert numbers[4].startswith("- [")
    assert list(rules.rows["g, official"]) == ["40.5"] * 3
    assert [(picture.name, picture.figure is None) for picture in found.pictures] == [
        ("greenmim_group_size_greenmim-swin-base", False),
        ("greenmim_masked_windows", True),
    ]
    others = [
        (step(f"greenmim_{body}", batch=1), {"padding": (details | {"curves": curves[:count]},)})
        for count, body in enumerate(("swin_tiny", "swin_micro"), 1)
    ]
    found = exhibits(*others, cell)["group-size"]
    assert list(dict.fromkeys(found.tables[1].rows["model"])) == [GREEN, "greenmim_swin_tiny", "greenmim_swin_micro"]


def test_hours_are_quoted_work_by_work_and_never_judged(exhibits):
    [table] = exhibits()["gpu-hours"].tables
    assert list(table.rows["published"][:3]) == ["1609† GPU hours", "887† GPU hours", "2069† GPU hours"]
    works = table.rows["printed by"]
    assert (works != works.shift()).sum() == works.nunique() == 5
    assert not [heading for heading in table.rows if "measured" in heading]


def test_a_third_party_stands_under_its_own_name_where_it_contradicts(exhibits):
    found = exhibits()["efficiency"]
    [theirs] = [table for table in found.tables if "AFFMAE" in table.title]
    assert words(theirs)["SimMIM"] == {
        "FLOPs (G), published": "119.3†",
        "GPU memory (GB), published": "27.7†",
        "throughput (img/s), published": "111†",
    }
    assert column(theirs, "throughput (img/s), published")["GreenMIM"] == "76†"
    assert "H100" in theirs.notes[0]
    for word in ("0.55 of SimMIM's time", "1.81x", "0.68 of SimMIM's throughput", "57 % of the memory"):
        assert word in " ".join(found.text.split())

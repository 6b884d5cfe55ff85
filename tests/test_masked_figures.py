"""Masked pre-training in pictures: mask ratios, sizes of groups, masked windows. Records written by hand."""

import copy
import dataclasses

import numpy as np
import pytest
import timm
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from bench.protocol import preset
from bench.record import Record, Value
from bench.spec import Spec
from reports import grouping, tables
from reports.figures import pictures
from reports.figures.mask_ratio import DEFAULT
from reports.frame import to_frame
from reports.report import write
from reports.style import labelled

GREEN, SIMMIM = "greenmim_swin_tiny", "simmim_swin_tiny"


def drawn(frame):
    return {picture.name: picture for picture in pictures(frame)}


def step(model=GREEN, side=224, batch=8, **arguments):
    return Spec(model, mode="pretrain", batch=batch, size=(side, side), model_args=arguments)


def cost(time, memory=None):
    values = [Value("latency", "s", time, interval=(0.9 * time, 1.1 * time))]
    return [*values, Value("peak_live_bytes", "B", memory * 2**20)] if memory else values


def curves(axes):
    """Label -> (x, y, intervals) of the curves of a panel."""
    return {
        curve.get_label(): (
            *(list(map(float, numbers)) for numbers in curve[0].get_data()),
            [segment[:, 1].tolist() for segment in curve[2][0].get_segments()],
        )
        for curve in axes.containers
    }


def levels(axes):
    """Label -> height of the horizontal lines of a panel."""
    return {line.get_label(): line.get_ydata()[0] for line in axes.lines if list(line.get_xdata()) == [0, 1]}


def test_time_and_memory_are_drawn_over_the_mask_ratio_beside_the_bases(frame_of):
    cells = [(step(mask_ratio=0.85), *cost(0.5, 30)), (step(), *cost(1.0, 40)), (step(mask_ratio=0), *cost(4.0, 90))]
    cells += [
        (step(SIMMIM), *cost(3.0, 100)),
        (step(SIMMIM, 192), *cost(2.0, 70)),
        (step(SIMMIM, batch=1), *cost(0.1, 9)),
    ]
    picture = drawn(frame_of(*cells))["mask_ratio"]
    time, memory = picture.figure.axes
    assert (time.get_title(loc="left"), memory.get_title(loc="left")) == (
        "time a step (ms)",
        "peak memory, predicted (MiB)",
    )
    [(label, (x, y, intervals))] = curves(time).items()
    assert (label, x, y) == (GREEN, [0, 0.75, 0.85], [4000, 1000, 500])
    assert intervals == [pytest.approx([0.9 * one, 1.1 * one]) for one in y]
    assert curves(memory)[GREEN][1] == [90, 40, 30]
    assert levels(time) == {SIMMIM: 3000, f"{SIMMIM} 192 px": 2000}
    assert levels(memory) == {SIMMIM: 100, f"{SIMMIM} 192 px": 70}
    [band, _] = [patch for patch in time.patches if isinstance(patch, Rectangle)]
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((2700, 3300))
    assert [word.get_text() for word in time.get_xticklabels()] == ["0", "0.75", "0.85"]
    assert time.get_ylim()[0] == 0
    assert "cost_argument_mask-ratio" not in drawn(frame_of(*cells))


def test_a_mask_ratio_has_a_line_a_window(frame_of):
    cells = [
        (step(**given), *cost(1.0))
        for given in ({}, {"mask_ratio": 0.5}, {"window": 14}, {"window": 14, "mask_ratio": 0.5})
    ]
    found = curves(drawn(frame_of(*cells))["mask_ratio"].figure.axes[0])
    assert {label: x for label, (x, *_) in found.items()} == {GREEN: [0.5, 0.75], f"{GREEN} window=14": [0.5, 0.75]}
    one = drawn(frame_of(*cells[:3]))["mask_ratio"]
    assert list(curves(one.figure.axes[0])) == [GREEN]
    assert "SimMIM" not in one.caption  # no base is drawn
    assert "a step of SimMIM" in drawn(frame_of(*cells[:3], (step(SIMMIM), *cost(2.0))))["mask_ratio"].caption


def test_a_mask_ratio_has_one_point_the_latest_recorded(environment):
    said, unsaid = step(mask_ratio=0.75), step()
    cells = [(said, 1.0, 10, "05:10"), (unsaid, 2.0, 20, "05:09"), (step(mask_ratio=0.5), 3.0, 30, "05:08")]

    def points(cells):
        frame = to_frame([
            Record(spec, preset("quick", 1), environment, tuple(cost(value, memory)), f"2026-11-21T{time}:00+00:00")
            for spec, value, memory, time in cells
        ])  # fmt: skip
        return [curves(axes)[GREEN][:2] for axes in drawn(frame)["mask_ratio"].figure.axes]

    assert points(cells) == [([0.5, 0.75], [3000, 1000]), ([0.5, 0.75], [30, 10])]
    later = [cells[0], (unsaid, 2.0, 20, "05:11"), cells[2]]
    for order in (later, later[::-1]):
        assert points(order) == [([0.5, 0.75], [3000, 2000]), ([0.5, 0.75], [30, 20])]


def test_the_mask_ratio_that_is_not_said_is_the_models():
    with torch.device("meta"):
        model = timm.create_model("greenmim_swin_micro")
    assert model.mask_ratio == DEFAULT


def test_a_mask_ratio_is_drawn_only_where_there_are_two_of_one_model(frame_of):
    assert "mask_ratio" not in drawn(
        frame_of((step(), *cost(1.0)), (step("greenmim_swin_micro", mask_ratio=0), *cost(1.0)))
    )
    assert "mask_ratio" not in drawn(frame_of((step("mine"), *cost(1.0)), (step("mine", mask_ratio=0.5), *cost(1.0))))
    mine = drawn(frame_of((step("mine", mask_ratio=0.1), *cost(1.0)), (step("mine", mask_ratio=0.5), *cost(1.0))))
    assert curves(mine["mask_ratio"].figure.axes[0])["mine"][0] == [0.1, 0.5]
    failed = Value("latency", "s", None, status="failed", note="why")
    picture = drawn(frame_of((step(), failed), (step(mask_ratio=0.5), failed)))["mask_ratio"]
    assert (picture.figure, picture.caption[:9]) == (None, "Not drawn")


def test_a_mask_ratio_is_drawn_at_the_batch_with_most_of_them_and_says_so(frame_of):
    cells = [(step(batch=batch, mask_ratio=ratio), *cost(batch, batch)) for batch in (1, 8) for ratio in (0.5, 0.85)]
    cells += [(step(batch=8), *cost(8, 8))]
    cells += [(step(batch=64, mask_ratio=n / 10), Value("peak_live_bytes", "B", 2**20)) for n in range(9)]
    cells += [(step(SIMMIM, batch=batch), *cost(2 * batch, 2 * batch)) for batch in (1, 8)]
    picture = drawn(frame_of(*cells))["mask_ratio"]
    time, memory = picture.figure.axes
    assert curves(time)[GREEN][:2] == ([0.5, 0.75, 0.85], [8000, 8000, 8000])
    assert curves(memory)[GREEN][1] == [8, 8, 8]  # of the cells whose time is beside it
    assert levels(time) == {SIMMIM: 16000}
    assert "One batch of each model, all in" in picture.caption


def test_without_latency_throughput_is_drawn_and_measured_memory_before_predicted(frame_of):
    cells = [(step(mask_ratio=ratio), Value("throughput", "img/s", 10 * ratio), Value("peak_live_bytes", "B", 7),
              Value("peak_memory", "B", 2**20)) for ratio in (0.5, 0.8)]  # fmt: skip
    speed, memory = drawn(frame_of(*cells))["mask_ratio"].figure.axes
    assert (speed.get_title(loc="left"), memory.get_title(loc="left")) == ("throughput (img/s)", "peak memory (MiB)")
    assert curves(speed)[GREEN][1] == [5, 8]
    assert curves(memory)[GREEN][1] == [1, 1]


def rule(size, cost, padding):
    return {"size": size, "cost": cost, "padding": padding, "chosen": [size]}


def curve(stage=1, shift=0, mode="grouping", **others):
    found = {
        "stage": stage, "shift": shift, "channels": 2, "tokens": 5, "mode": mode, "sizes": [3, 4, 5],
        "mean": [30e6, 40e6, 50e6], "deviation": [1e6, 2e6, 0.0], "floor": 20e6,
        "official": rule(3.5, 30e6, 0.1), "search": rule(3.25, 25e6, 0.05), "packed": rule(3.0, 24e6, 0.04),
    }  # fmt: skip
    return found | others


# 2 x 2 cells of 4 x 4 tokens, one removed, in windows of 5: 25, 15, 15 and 9 tokens but for those removed
EXAMPLE = {
    "stage": 1, "shift": 0, "side": 8, "window": 5, "size": 24, "removed": [0, 1, 0, 0],
    "windows": [
        {"row": 0, "column": 0, "height": 5, "width": 5, "tokens": 21, "group": 0},
        {"row": 0, "column": 5, "height": 5, "width": 3, "tokens": 3, "group": 0},
        {"row": 5, "column": 0, "height": 3, "width": 5, "tokens": 15, "group": 1},
        {"row": 5, "column": 5, "height": 3, "width": 3, "tokens": 9, "group": 2},
    ],
}  # fmt: skip


def padding(*curves, example=()):
    details = {
        "masks": 100,
        "keep": 3,
        "side": 2,
        "window": 5,
        "rows": 9,
        "curves": list(curves),
        "example": list(example),
    }
    return Value("padding", "1", 0.125, details=copy.deepcopy(details))


def test_cost_over_group_size_is_what_was_found(frame_of):
    one = curve(2, 3)
    del one["packed"]
    found = drawn(frame_of((step(), padding(curve(), one, curve(4, sizes=[5])))))["group_size_greenmim-swin-tiny"]
    first, second = found.figure.axes  # one size has no choice, and no panel
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["stage 1, no shift", "stage 2, shift 3"]
    lines = {line.get_label(): [*map(list, line.get_data())] for line in first.lines}
    assert lines["mean over masks"] == [[3, 4, 5], pytest.approx([30, 40, 50])]
    assert lines["without padding"][1] == pytest.approx([20, 20])
    assert {label: lines[label] for label in ("official", "search", "packed")} == {
        "official": [[3.5], pytest.approx([30])],
        "search": [[3.25], pytest.approx([25])],
        "packed": [[3.0], pytest.approx([24])],
    }
    [band] = first.collections
    heights = band.get_paths()[0].vertices
    assert sorted(set(heights[heights[:, 0] == 4][:, 1])) == pytest.approx([38, 42])
    assert "packed" not in second.get_legend_handles_labels()[1]
    assert "over 100 random masks that keep 3 cells of 2 x 2" in found.caption


def test_of_few_tokens_the_released_code_makes_one_group(frame_of):
    frame = frame_of((step(), padding(curve(3, mode="masking"))))
    [axes] = drawn(frame)["group_size_greenmim-swin-tiny"].figure.axes
    [official] = [line for line in axes.lines if line.get_label() == "official"]
    assert [*map(list, official.get_data())] == [[5], pytest.approx([50])]
    [row] = grouping.table(frame).to_dict("records")
    assert (row["g, official"], row["padding, official (%)"]) == ("5.00", "0")
    assert row["above the floor, official"] == "+150.0 %"


def test_wide_ranges_of_sizes_are_logarithmic(frame_of):
    wide = curve(sizes=[10, 100], mean=[1e6, 9e6], deviation=[0, 0])
    [first, second] = drawn(frame_of((step(), padding(wide, curve(2)))))["group_size_greenmim-swin-tiny"].figure.axes
    assert (first.get_xscale(), first.get_yscale(), second.get_xscale()) == ("log", "log", "linear")
    assert [word.get_text() for word in first.get_xticklabels()] == ["10", "20", "50", "100"]


def test_grouping_has_a_row_a_stage_and_shift(frame_of):
    one = curve(2, 3)
    del one["packed"]
    table = grouping.table(frame_of((step(), padding(curve(), one))))
    assert table.to_dict("list") == {
        "model": [GREEN] * 2, "stage": ["1", "2"], "shift": ["0", "3"], "tokens": ["5", "5"],
        "g, official": ["3.50"] * 2, "g, search": ["3.25"] * 2, "g, packed": ["3.00", "-"],
        "padding, official (%)": ["10.0"] * 2, "padding, search (%)": ["5.00"] * 2,
        "padding, packed (%)": ["4.00", "-"],
        "above the floor, official": ["+50.0 %"] * 2, "above the floor, search": ["+25.0 %"] * 2,
        "above the floor, packed": ["+20.0 %", "-"],
    }  # fmt: skip
    assert grouping.table(frame_of((step(), Value("params", "1", 5)))).empty
    assert grouping.table(frame_of((step(), Value("padding", "1", 0.1)))).empty  # without details


def test_the_report_has_the_table_of_grouping(environment, tmp_path, monkeypatch):
    monkeypatch.setattr("reports.report.save", lambda *_: [])
    time = "2026-11-21T05:10:00+00:00"
    record = Record(step(), preset("quick", 1), environment, (padding(curve()),), time)
    text = write([record], tmp_path).read_text()
    assert "+50.0 %" in text[text.index("### Group size against cost per stage") : text.index("### Window 7")]


def test_what_many_cells_found_alike_stands_once(frame_of):
    value, other = padding(curve(), example=[EXAMPLE]), padding(curve(floor=10e6), example=[EXAMPLE])
    cells = [
        (step(decoder_depth=2), value),
        (step(batch=1), value),
        (step(), value),
        (step("greenmim_swin_micro"), other),
    ]
    frame = frame_of(*cells, (dataclasses.replace(step(), device="cuda"), value))
    assert grouping.table(frame)["model"].tolist() == [GREEN, "greenmim_swin_micro"]
    found = [name for name in drawn(frame) if name.startswith(("group", "masked"))]
    both = "greenmim-swin-tiny-greenmim-swin-micro"  # of which the windows are the same
    assert found == [
        "group_size_greenmim-swin-tiny",
        "group_size_greenmim-swin-micro",
        f"masked_windows_{both}-stage-1",
    ]


def test_of_cells_that_found_alike_the_one_with_the_fewest_arguments_gives_the_name(frame_of):
    cells = [(step(decoder_depth=2, window=14), padding(curve())), (step(window=14), padding(curve()))]
    assert grouping.table(frame_of(*cells))["model"].tolist() == [f"{GREEN} window=14"]


def patches(axes):
    """(x, y, width, height) -> colour, and whether it is hatched, of what is filled in a panel."""
    return {
        (*patch.get_xy(), patch.get_width(), patch.get_height()): (
            to_hex(patch.get_facecolor()),
            bool(patch.get_hatch()),
        )
        for patch in axes.patches
        if patch.get_fill()
    }


def words(axes):
    return {
        (round(float(x), 2), round(float(y), 2)): text.get_text()
        for text in axes.texts
        for x, y in [text.get_position()]
    }


def test_masked_windows_have_the_colours_of_their_groups(frame_of):
    figure = drawn(frame_of((step(), padding(example=[EXAMPLE]))))["masked_windows_greenmim-swin-tiny-stage-1"].figure
    grid, bars = figure.axes
    a, b, c = (labelled(group)[0] for group in range(3))
    assert patches(grid) == {
        (0, 0, 5, 5): (a, False),
        (5, 0, 3, 5): (a, False),
        (0, 5, 5, 3): (b, False),
        (5, 5, 3, 3): (c, False),
        (4, 0, 4, 4): ("#f4f4f4", True),  # the removed cell, over them
    }
    assert len([patch for patch in grid.patches if not patch.get_fill()]) == 4  # borders
    # where the largest rectangle that is left of each window has its middle
    assert words(grid) == {(2, 2.5): "A21", (6.5, 4.5): "A3", (2.5, 6.5): "B15", (6.5, 6.5): "C9"}
    assert {key[0::2]: value for key, value in patches(bars).items()} == {
        (0, 21): (a, False), (21, 3): (a, False), (0, 15): (b, False), (0, 9): (c, False),
        (24, 0): ("#f4f4f4", True), (15, 9): ("#f4f4f4", True), (9, 15): ("#f4f4f4", True),
    }  # fmt: skip
    assert words(bars) == {(10.5, 0): "21", (22.5, 0): "3", (7.5, 1): "15", (4.5, 2): "9"}
    assert [word.get_text() for word in bars.get_yticklabels()] == ["A", "B", "C"]
    assert bars.get_title(loc="left") == f"3 groups of 24, {1 - 48 / 72:.0%} padding"


def test_what_has_no_room_for_words_has_none(frame_of):
    small = EXAMPLE | {"side": 80, "removed": [0] * 100, "windows": [
        {"row": 0, "column": 0, "height": 3, "width": 4, "tokens": 12, "group": 0},
        {"row": 0, "column": 4, "height": 3, "width": 2, "tokens": 6, "group": 0},
        {"row": 0, "column": 6, "height": 1, "width": 9, "tokens": 9, "group": 0},
        {"row": 0, "column": 15, "height": 9, "width": 1, "tokens": 9, "group": 0},
    ]}  # fmt: skip
    figure = drawn(frame_of((step(), padding(example=[small]))))["masked_windows_greenmim-swin-tiny-stage-1"].figure
    assert [text.get_text() for text in figure.axes[0].texts if text.get_text()] == ["A12", "A"]


def test_a_stage_has_a_picture_and_a_shift_a_line_of_it(frame_of):
    examples = [EXAMPLE, EXAMPLE | {"shift": 2}, EXAMPLE | {"stage": 2}]
    found = drawn(frame_of((step(), padding(example=examples))))
    for stage, titles in ((1, ["no shift", "shift 2"]), (2, ["no shift"])):
        grids = found[f"masked_windows_greenmim-swin-tiny-stage-{stage}"].figure.axes[::2]
        assert [axes.get_title(loc="left") for axes in grids] == [f"8 x 8 tokens, window 5, {one}" for one in titles]


def test_only_some_studies_are_drawn_and_the_rest_is_named(frame_of):
    cells = [(step(window=n), padding(curve(floor=n), example=[EXAMPLE | {"window": n}])) for n in range(6)]
    found = drawn(frame_of(*cells))
    for kind, rest in (("group_size", ""), ("masked_windows", " stage 1")):
        named = [name for name in found if name.startswith(kind)]
        assert len(named) == 4
        others = ", ".join(f"{GREEN} window={n}{rest}" for n in (4, 5))
        assert f"Not drawn, since 4 are: {others}." in found[named[0]].caption


def test_cells_of_padding_alone_stay_out_of_the_table_of_results(frame_of):
    frame = frame_of((step(), Value("params", "1", 5)), (step(window=14), padding(curve())))
    assert len(tables.main_rows(frame)) == 1
    assert tables.results(frame)["padding (%)"].tolist() == ["-", "12.5"]


def test_labelled_areas_differ_and_carry_legible_labels():
    found = [labelled(number) for number in range(21)]
    assert len({colour for colour, _ in found}) == 21
    assert found[0] == ("#0072b2", "white")
    assert found[14][1] == "black"
    for colour, ink in found:
        channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        assert (channels @ (0.299, 0.587, 0.114) > 127.5) == (ink == "black")

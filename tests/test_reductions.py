"""What models cost against their bases: records written by hand, known answers."""

import dataclasses

import pandas as pd
import pytest

from bench.protocol import preset
from bench.record import Record, Value
from bench.spec import Spec, parse
from reports import reductions
from reports.baselines import BASES, Base, untagged
from reports.figures import pictures
from reports.format import change
from reports.frame import to_frame
from reports.report import write

OWN, BASE = "hmhsa_pvt_v2_b1", "pvt_v2_b1"


@pytest.fixture
def records(environment):
    """Records of Specs with their Values."""

    def build(*cells):
        time = "2026-11-21T05:10:00+00:00"
        return [Record(spec, preset("quick", 1), environment, tuple(values), time) for spec, *values in cells]

    return build


@pytest.fixture
def frame_of(records):
    """Their tidy frame; form as given."""
    return lambda *cells, form="": to_frame(records(*cells)).assign(form=form)


def masked(model="greenmim_swin_tiny", side=224, mode="pretrain", batch=8, **arguments):
    """A step of pre-training."""
    return Spec(model, mode=mode, batch=batch, size=(side, side), model_args=arguments)


@pytest.fixture
def unsaved(monkeypatch):
    """Pictures are drawn and not saved, which takes seconds."""
    monkeypatch.setattr("reports.report.save", lambda *_: [])


def params(value):
    return Value("params", "1", value)


def latency(value, low=None, high=None):
    return Value("latency", "s", value, interval=None if low is None else (low, high))


def test_counts_change_exactly(frame_of):
    rows = reductions.changes(frame_of((Spec(OWN), params(8185)), (Spec(BASE), params(10000))))
    assert rows[["model", "against", "value", "base_value"]].to_numpy().tolist() == [[OWN, BASE, 8185, 10000]]
    assert rows["change_percent"].tolist() == pytest.approx([-18.15], abs=1e-12)
    assert rows[["low_percent", "high_percent"]].isna().all(axis=None)
    assert reductions.table(rows)["params"].tolist() == ["-18.15 %"]


def test_intervals_are_the_quotients_of_the_bounds(frame_of):
    cells = [(Spec(OWN), latency(0.8, 0.76, 0.84)), (Spec(BASE), latency(1.0, 0.95, 1.05))]
    [row] = reductions.changes(frame_of(*cells)).to_dict("records")
    assert [row[one] for one in reductions.CHANGE] == pytest.approx(
        [-20, 100 * (0.76 / 1.05 - 1), 100 * (0.84 / 0.95 - 1)]
    )
    assert reductions.table(pd.DataFrame([row]))["latency"].tolist() == ["-20.0 % (-27.6 to -11.6)"]
    near = [(Spec(OWN), latency(0.97, 0.93, 1.01)), cells[1]]
    assert reductions.table(reductions.changes(frame_of(*near)))["latency"].tolist() == [
        "-3.0 % (-11.4 to +6.3), not told apart"
    ]


def test_without_one_of_the_intervals_there_is_none_and_no_verdict(frame_of):
    rows = reductions.changes(frame_of((Spec(OWN), latency(0.9)), (Spec(BASE), latency(1.0, 0.5, 1.5))))
    assert reductions.table(rows)["latency"].tolist() == ["-10.0 %"]


@pytest.mark.parametrize(
    ("percent", "low", "high", "text"),
    [
        (-18.1549, None, None, "-18.15 %"),
        (0.0, None, None, "0 %"),
        (3.0, 0.0, 5.0, "+3.00 % (+0.00 to +5.00), not told apart"),
        (3.0, 0.1, 5.0, "+3.00 % (+0.10 to +5.00)"),
        (-3.0, -5.0, -0.1, "-3.00 % (-5.00 to -0.10)"),
        (float("nan"), None, None, ""),
    ],
)
def test_changes_as_people_read_them(percent, low, high, text):
    assert change(percent, *(float("nan") if one is None else one for one in (low, high)), decimals=2) == text


@pytest.mark.parametrize(
    "other",
    [
        {"mode": "train"},
        {"batch": 2},
        {"size": (384, 384)},
        {"precision": "bfloat16"},
        {"device": "cuda"},
        {"compile": "default"},
        {"attention": "eager"},
        {"layout": "channels_last"},
        {"weights": "pretrained"},
        {"weights": "a.pth@0123456789ab"},
    ],
    ids=str,
)
def test_only_cells_with_the_same_axes_are_compared(frame_of, other):
    cells = [(Spec(OWN, **other), params(1)), (Spec(BASE), params(2))]
    assert reductions.changes(frame_of(*cells)).empty
    assert list(reductions.unpaired(frame_of(*cells))) == [OWN]
    cells.append((Spec(BASE, **other), params(4)))
    assert reductions.changes(frame_of(*cells))["base_value"].tolist() == [4]
    assert not reductions.unpaired(frame_of(*cells))


def test_environments_and_presets_are_not_mixed(records):
    [own, base] = records((Spec(OWN), params(1)), (Spec(BASE), params(2)))
    assert len(reductions.changes(to_frame([own, base]))) == 1
    elsewhere = dataclasses.replace(base, environment=dataclasses.replace(base.environment, cpu="Another CPU"))
    careful = dataclasses.replace(base, protocol=preset("paper", 1))
    for other in (elsewhere, careful):
        assert reductions.changes(to_frame([own, other])).empty


def test_weights_of_files_are_alike_whatever_the_file(frame_of):
    cells = [
        (Spec(OWN, weights="a.pth@0123456789ab"), params(1)),
        (Spec(BASE, weights="b.pth@ba9876543210"), params(2)),
    ]
    assert len(reductions.changes(frame_of(*cells))) == 1


def test_a_tag_of_weights_does_not_hide_a_model_nor_its_base(frame_of):
    cells = [(Spec(f"{OWN}.mine"), params(1)), (Spec(f"{BASE}.in1k"), params(2))]
    assert reductions.changes(frame_of(*cells))[["model", "against"]].to_numpy().tolist() == [
        [f"{OWN}.mine", f"{BASE}.in1k"]
    ]
    assert untagged("hmhsa_pvt_v2_b1.file:function") not in BASES


def test_a_base_may_lack_arguments_and_has_none_of_its_own(frame_of):
    own = (Spec(OWN, model_args={"branches": 3, "num_classes": 10}), params(1))
    plain, alike = (Spec(BASE), params(2)), (Spec(BASE, model_args={"num_classes": 10}), params(4))
    other = (Spec(BASE, model_args={"num_classes": 10, "depth": 1}), params(8))
    assert reductions.changes(frame_of(own, other)).empty
    for base in ((plain,), (other, plain)):
        assert reductions.changes(frame_of(own, *base))["against"].tolist() == [BASE]
    rows = reductions.changes(frame_of(own, plain, alike, other))
    assert rows[["against", "base_value"]].to_numpy().tolist() == [[f"{BASE} num_classes=10", 4]]


def test_a_base_of_the_same_form_goes_before_another(records):
    cells = [(Spec(OWN), params(1)), (Spec(BASE), params(2)), (Spec(BASE, images="noise"), params(4))]
    frame = to_frame(records(*cells)).assign(form=["training", "deployed", "training"])
    assert reductions.changes(frame)["base_value"].tolist() == [4]


def test_what_was_not_measured_of_both_is_a_dash_and_nothing_is_invented(frame_of):
    failed = Value("latency", "s", None, status="failed", note="why")
    cells = [(Spec(OWN), params(1), latency(1.0), Value("macs", "MAC", 5)), (Spec(BASE), params(2), failed),
             (Spec(OWN, batch=2), latency(1.0)), (Spec(BASE, batch=2), latency(2.0))]  # fmt: skip
    table = reductions.table(reductions.changes(frame_of(*cells)))
    assert table.to_dict("list") == {
        "model": [OWN, OWN], "against": [BASE, BASE], "batch": [1, 2],
        "params": ["-50.00 %", "-"], "latency": ["-", "-50.0 %"],
    }  # fmt: skip
    assert not reductions.unpaired(frame_of(*cells))
    nothing = reductions.changes(frame_of((Spec(OWN), Value("macs", "MAC", 5)), (Spec(BASE), Value("macs", "MAC", 0))))
    assert reductions.table(nothing)["MACs"].tolist() == ["-"]  # no share of nothing


def test_rows_tell_cells_apart_by_form_arguments_and_impl(records):
    cells = [(Spec(OWN, model_args=arguments), params(1)) for arguments in ({}, {"branches": 2})]
    frame = to_frame(records(*cells, (Spec(BASE), params(2)))).assign(form=["deployed", "training", ""])
    table = reductions.table(reductions.changes(frame))
    assert table[["arguments", "form"]].to_numpy().tolist() == [["", "deployed"], ["branches=2", "training"]]
    frame = frame.assign(form=["deployed", "deployed", ""], impl=["a", "b", None])
    table = reductions.table(reductions.changes(frame))
    assert table[["impl", "form"]].to_numpy().tolist() == [["a", "deployed"], ["b", "deployed"]]
    assert "form" not in reductions.table(reductions.changes(frame.assign(form="")))


def test_what_to_measure_is_a_command_line(frame_of):
    cells = [(Spec(OWN, mode="train", batch=batch, size=(96, 128)), params(1)) for batch in (1, 8)]
    cells += [(Spec(OWN, device="cuda", weights="a.pth@0123456789ab"), params(1))]
    cells += [(Spec("hmhsa_deit_tiny"), params(1)), (Spec("deit_tiny_patch16_224"), params(1))]
    assert reductions.unpaired(frame_of(*cells)) == {
        OWN: [
            "pvt_v2_b1 mode=train batch=1,8 size=96x128",
            "pvt_v2_b1 batch=1 size=224 device=cuda weights=FILE",
        ]
    }


def test_a_family_to_come_needs_a_row_and_no_more(frame_of, monkeypatch):
    monkeypatch.setitem(BASES, "theirs", (Base("test_vit", "0000.00000"),))
    rows = reductions.changes(frame_of((Spec("theirs"), params(3)), (Spec("test_vit"), params(4))))
    assert rows[["model", "against", "change_percent"]].to_numpy().tolist() == [["theirs", "test_vit", -25.0]]


SIMMIM, DENSE = "simmim_swin_tiny", "greenmim_swin_tiny mask_ratio=0"


def compared(frame):
    """The base's number by what it is of: own arguments, base."""
    rows = reductions.changes(frame)
    return {(row["arguments"], row["against"]): row["base_value"] for row in rows.to_dict("records")}


def test_a_model_has_several_bases_at_other_sizes_and_arguments(frame_of):
    cells = [(masked(), params(1)), (masked(SIMMIM), params(2)), (masked(SIMMIM, 192), params(3))]
    cells += [(masked(mask_ratio=0), params(4)), (masked(mask_ratio=0.5), params(5)), (masked(SIMMIM, 160), params(6))]
    bases = {SIMMIM: 2, f"{SIMMIM} 192 px": 3, DENSE: 4}
    assert compared(frame_of(*cells)) == {
        (own, base): number for own in ("", "mask_ratio=0.5") for base, number in bases.items()
    }  # and what is a base itself is compared with none
    assert not reductions.unpaired(frame_of(*cells))
    rows = reductions.changes(frame_of(*cells))
    assert rows["base"].tolist() == [0, 1, 2] * 2
    assert reductions.table(rows)["against"].tolist() == [*bases] * 2


def test_a_base_at_another_size_is_that_of_one_size_alone(frame_of):
    cells = [(masked(side=side), params(side)) for side in (192, 448)]
    cells += [(masked(SIMMIM, side), params(1)) for side in (192, 448)]
    rows = reductions.changes(frame_of(*cells))
    assert rows[["size", "against"]].to_numpy().tolist() == [["192", SIMMIM], ["448", SIMMIM]]


def test_a_model_that_is_its_own_base_has_all_other_arguments_alike(frame_of):
    own = (masked(window=14, mask_ratio=0.5), params(1))
    assert compared(frame_of(own, (masked(window=14), params(2)), (masked(mask_ratio=0, depth=4), params(3)))) == {}
    plain, alike = (masked(mask_ratio=0.0), params(4)), (masked(window=14, mask_ratio=0), params(5))
    arguments = "mask_ratio=0.5 window=14"
    assert compared(frame_of(own, plain)) == {}
    assert compared(frame_of(plain, own, alike)) == {(arguments, f"{DENSE} window=14"): 5}


def test_twins_are_compared_with_themselves_alone(frame_of):
    twins = "greenmim_twins_large"
    cells = [
        (masked(twins), params(1)),
        (masked(twins, mask_ratio=0), params(2)),
        (masked("simmim_swin_large"), params(3)),
    ]
    assert compared(frame_of(*cells)) == {("", f"{twins} mask_ratio=0"): 2}


def test_what_to_measure_names_size_and_arguments(frame_of):
    cells = [(masked(batch=batch, window=14, mask_ratio=0.5), params(1)) for batch in (1, 8)]
    advice = [
        f"{SIMMIM} mode=pretrain batch=1,8 size=224",
        f"{SIMMIM} mode=pretrain batch=1,8 size=192",
        "greenmim_swin_tiny mode=pretrain batch=1,8 size=224 --model-arg window=14 --model-arg mask_ratio=0",
    ]
    assert reductions.unpaired(frame_of(*cells)) == {"greenmim_swin_tiny": advice}
    cells += [(masked(SIMMIM, 192, batch=batch), params(1)) for batch in (1, 8)]
    assert reductions.unpaired(frame_of(*cells)) == {"greenmim_swin_tiny": [advice[0], advice[2]]}


def test_the_advice_is_a_command_that_pairs_what_it_was_given_for(frame_of):
    own = (masked(window=14, note="{batch} {x}"), params(1))
    for words in reductions.unpaired(frame_of(own))["greenmim_swin_tiny"][:2]:
        model, *axes = words.split()
        [spec] = parse(axes).specs([model], lambda _: (1, 1), "cpu")
        assert reductions.changes(frame_of(own, (spec, params(2))))["base_value"].tolist() == [2]


def test_a_pre_training_step_has_its_throughput_as_a_factor(frame_of):
    def throughput(value, low, high):
        return Value("throughput", "img/s", value, interval=(low, high))

    cells = [(masked(), throughput(8.75, 8.4, 9.0)), (masked(SIMMIM), throughput(5.0, 4.8, 5.25))]
    cells += [(masked(SIMMIM, 192), throughput(8.7, 8.3, 9.1)), (masked(mask_ratio=0), Value("throughput", "img/s", 5))]
    table = reductions.table(reductions.changes(frame_of(*cells)))
    assert table["speed-up"].tolist() == [
        f"1.75x ({8.4 / 5.25:.2f} to {9 / 4.8:.2f})",
        f"1.01x ({8.4 / 9.1:.3f} to {9 / 8.3:.2f}), not told apart",
        "1.75x",
    ]
    assert table["throughput"].tolist()[0] == "+75.0 % (+60.0 to +87.5)"
    trained = [(dataclasses.replace(spec, mode="train"), *values) for spec, *values in cells]
    assert "speed-up" not in reductions.table(reductions.changes(frame_of(*trained)))
    cells += [(masked(batch=1), params(1)), (masked(SIMMIM, batch=1), params(2))]
    assert reductions.table(reductions.changes(frame_of(*cells)))["speed-up"].tolist()[-1] == "-"


def test_the_report_has_the_section_only_where_a_model_has_a_base(records, tmp_path, unsaved):
    base = (Spec(BASE), params(10_000), latency(1.0, 0.9, 1.1))
    own = (Spec(OWN), params(8_674), latency(0.5, 0.4, 0.6))
    alone = write(records(base), tmp_path).read_text()
    assert "Against the base" not in alone
    assert not (tmp_path / "reductions.csv").exists()
    both = write(records(base, own), tmp_path).read_text()
    section = both[both.index("### Against the base") : both.index("## Methods")]
    assert both.index("## Results") < both.index("### Against the base")
    assert "-13.26 %" in section
    assert "-50.0 % (-63.6 to -33.3)" in section
    for said in ("not told apart", "not in turn", "eager path", "(reductions.csv)"):
        assert said in section
    assert "Not compared" not in section
    read = pd.read_csv(tmp_path / "reductions.csv").set_index("metric")
    assert read.loc["params", ["value", "base_value"]].tolist() == [8674, 10000]
    assert read["change_percent"].tolist() == pytest.approx([-13.26, -50])
    assert "details" not in read
    missing = write(records(own), tmp_path).read_text()
    assert "- hmhsa_pvt_v2_b1: measure `pvt_v2_b1 batch=1 size=224`" in missing
    assert "reductions.csv" not in missing
    assert not (tmp_path / "reductions.csv").exists()
    static = write(records((Spec(BASE), params(2)), (Spec(OWN), params(1))), tmp_path).read_text()
    assert "not in turn" not in static[static.index("### Against the base") :]


def drawn(frame):
    return {picture.name: picture for picture in pictures(frame)}


def panel(picture, title):
    """The curves of a panel: label -> (x, y, intervals)."""
    axes = next(axes for axes in picture.figure.axes if axes.get_title(loc="left") == title)
    return {
        curve.get_label(): (
            *(list(map(float, numbers)) for numbers in curve[0].get_data()),
            [segment[:, 1].tolist() for segment in curve[2][0].get_segments()],
        )
        for curve in axes.containers
    }


def branches(count, mode="train", **others):
    return Spec(OWN, mode=mode, model_args={"branches": count}, **others)


def test_cost_over_an_argument_is_a_quotient_of_the_base(frame_of):
    cells = [(branches(n), params(100 * (1 + n)), latency(n, 0.9 * n, 1.1 * n)) for n in (3, 1, 2)]
    picture = drawn(frame_of(*cells, (Spec(BASE, mode="train"), params(100), latency(2.0, 1.6, 2.5))))[
        "cost_argument_branches"
    ]
    label = f"{OWN} against {BASE}"
    x, y, _ = panel(picture, "params")[label]
    assert (x, y) == ([1, 2, 3], pytest.approx([2, 3, 4]))
    x, y, intervals = panel(picture, "latency")[label]
    assert (x, y) == ([1, 2, 3], pytest.approx([0.5, 1, 1.5]))
    assert intervals == [pytest.approx([0.9 * n / 2.5, 1.1 * n / 1.6]) for n in (1, 2, 3)]
    assert "Mode train" in picture.caption


def test_cost_over_an_argument_without_the_base_is_a_quotient_of_the_first_value(frame_of):
    cells = [(branches(n), params(100 * (1 + n)), latency(n, 0.9 * n, 1.1 * n)) for n in (1, 3)]
    alone = drawn(frame_of(*cells))["cost_argument_branches"]
    lacking = drawn(frame_of(*cells, (Spec(BASE, mode="train"), params(100))))["cost_argument_branches"]
    for picture in (alone, lacking):  # all of a line is divided by the same
        label = f"{OWN} against branches=1"
        assert panel(picture, "params")[label][:2] == ([1, 3], pytest.approx([1, 2]))
        _, y, intervals = panel(picture, "latency")[label]
        assert y == pytest.approx([1, 3])
        assert intervals == [pytest.approx([1, 1]), pytest.approx([2.7 / 1.1, 3.3 / 0.9])]


def test_only_numbers_with_two_values_of_one_model_are_drawn(frame_of):
    def names_of(*arguments, model="m"):
        return [n for n in drawn(frame_of(*[(Spec(model, model_args=one), params(5)) for one in arguments]))
                if n.startswith("cost_argument")]  # fmt: skip

    assert names_of({"width": 0.5}, {"width": 1}) == ["cost_argument_width"]
    assert not names_of({"width": 1}, {})
    assert not names_of({"pool": "avg"}, {"pool": "token"}, {"flag": True}, {"flag": False}, {"x": 1}, {"x": "inf"})
    assert names_of({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 1, "b": 2}) == ["cost_argument_a", "cost_argument_b"]
    assert not names_of({"a": 1, "b": 1}, {"a": 2, "b": 2})  # nothing of either alone
    assert not drawn(frame_of((Spec("m", model_args={"a": 1}), params(5)), (Spec("n", model_args={"a": 2}), params(5))))


def test_an_argument_whose_costs_failed_says_so(frame_of):
    failed = Value("latency", "s", None, status="failed", note="why")
    picture = drawn(frame_of((branches(1), latency(1.0)), (branches(2), failed)))["cost_argument_branches"]
    assert (picture.figure, picture.caption) == (None, "Not drawn: no cost was measured at two values of branches.")


def test_a_cost_without_a_number_at_the_first_value_is_not_drawn(frame_of):
    failed = Value("latency", "s", None, status="failed", note="why")
    cells = [(branches(1), params(1), failed), (branches(2), params(2), latency(1.0))]
    picture = drawn(frame_of(*cells))["cost_argument_branches"]
    assert [axes.get_title(loc="left") for axes in picture.figure.axes] == ["params"]


def test_a_name_of_an_argument_cannot_break_a_picture(frame_of):
    cells = [(Spec("m", model_args={r"a$\nope$_{|*x*|": n}), params(n)) for n in (1, 2)]
    [(file, picture)] = drawn(frame_of(*cells)).items()
    assert file == "cost_argument_a-nope-x"
    assert picture.title == r"Cost over a$\\nope$ {\|\*x\*\|"
    picture.figure.draw_without_rendering()


def test_lines_of_an_argument_are_told_apart_by_the_rest(frame_of):
    cells = [
        (branches(n, mode=mode, batch=b), params(n)) for n in (1, 2) for mode in ("infer", "train") for b in (1, 8)
    ]
    found = panel(drawn(frame_of(*cells))["cost_argument_branches"], "params")
    starts = [curve[0][0] for curve in found.values()]
    assert starts == pytest.approx([1 + 0.5 * (i / 4 - 0.375) for i in range(4)])  # aside, so that none hides another
    assert list(found) == [f"{OWN} {mode} b{b} against branches=1" for mode in ("infer", "train") for b in (1, 8)]


def test_change_over_size_is_drawn_where_both_were_measured(frame_of):
    sizes = (448, 224, 384)
    cells = [(Spec(OWN, size=(s, s)), Value("macs", "MAC", s * 9), latency(s, 0.9 * s, 1.1 * s)) for s in sizes]
    cells += [(Spec(BASE, size=(s, s)), Value("macs", "MAC", s * 10), latency(s, 0.8 * s, 1.25 * s)) for s in sizes[:2]]
    picture = drawn(frame_of(*cells))["reduction_size"]
    label = f"{OWN} against {BASE}"
    assert panel(picture, "MACs")[label][:2] == (pytest.approx([224**2, 448**2]), pytest.approx([-10, -10]))
    _, y, intervals = panel(picture, "latency")[label]
    assert y == pytest.approx([0, 0])
    assert intervals == [pytest.approx([100 * (0.9 / 1.25 - 1), 100 * (1.1 / 0.8 - 1)])] * 2
    assert [text.get_text() for text in picture.figure.axes[0].get_xticklabels()] == ["224", "448"]
    assert "reduction_size" not in drawn(frame_of(*cells[:4]))  # one size of the base
    assert "reduction_size" not in drawn(frame_of(*cells[:3]))


def test_change_over_size_has_a_line_a_base(frame_of):
    cells = [
        (spec, Value("macs", "MAC", side * times))
        for side in (192, 224)
        for spec, times in ((masked(side=side), 1), (masked(SIMMIM, side), 2), (masked(side=side, mask_ratio=0), 4))
    ]
    found = panel(drawn(frame_of(*cells))["reduction_size"], "MACs")
    assert {label: y for label, (_, y, _) in found.items()} == {
        f"greenmim_swin_tiny against {SIMMIM}": pytest.approx([-50, -50]),
        f"greenmim_swin_tiny against {DENSE}": pytest.approx([-75, -75]),
    }  # and none of the base that one size alone has


def test_cost_over_an_argument_is_against_one_base_of_all_the_line(frame_of):
    depths = [(masked(decoder_depth=depth), params(10 * depth)) for depth in (1, 2)]
    dense = [(masked(decoder_depth=depth, mask_ratio=0), params(5)) for depth in (1, 2)]
    for simmim, against, quotients in (
        (masked(SIMMIM), SIMMIM, [0.5, 1]),  # the first base goes first
        (masked(SIMMIM, decoder_depth=1), DENSE, [2, 4]),  # which has no second value
    ):
        picture = drawn(frame_of(*depths, *dense, (simmim, params(20))))["cost_argument_decoder-depth"]
        assert panel(picture, "params")[f"greenmim_swin_tiny against {against}"][1] == pytest.approx(quotients)


def test_change_over_size_is_of_one_batch_each_and_says_so(frame_of):
    cells = [(Spec(model, batch=b, size=(s, s)), Value("macs", "MAC", s))
             for model in (OWN, BASE) for b in (1, 8) for s in (224, 448)]  # fmt: skip
    picture = drawn(frame_of(*cells))["reduction_size"]
    assert len(panel(picture, "MACs")) == 1
    assert "One batch of each model, all in" in picture.caption

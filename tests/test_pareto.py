"""Pareto views: which points there are, which are dominated, and the still picture. Records written by hand."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.record import Value
from bench.spec import Spec
from reports import pareto
from reports.figures.pareto import draw
from reports.pareto import dominated, points

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12)
HOSTILE = "</script><img src=x onerror=alert(1)>|`$_{"


def speed(value):
    return Value("throughput", "img/s", value, interval=(value - 1, value + 2))


def macs(value):
    return Value("macs", "MAC", value)


def one(frame):
    [point] = points(frame)
    return point


@pytest.mark.parametrize(
    ("x_more", "y_more", "beaten"),
    [(False, True, [2, 3]), (True, True, [0, 2]), (False, False, [1, 3]), (True, False, [0, 1])],
)
def test_what_is_dominated_depends_on_which_way_is_better(x_more, y_more, beaten):
    pairs = [(1, 5), (2, 6), (2, 2), (3, 4)]
    assert [i for i, worse in enumerate(dominated(pairs, x_more, y_more)) if worse] == beaten


def test_of_equal_points_none_is_dominated():
    assert dominated([(1, 1), (1, 1)], False, True) == [False, False]


@given(PAIRS, st.booleans(), st.booleans())
def test_the_front_dominates_all_others_and_nothing_of_itself(pairs, x_more, y_more):
    def better(a, b):
        gains = [(p - q) * (1 if more else -1) for p, q, more in zip(a, b, (x_more, y_more), strict=True)]
        return min(gains) >= 0 and max(gains) > 0

    worse = dominated(pairs, x_more, y_more)
    front = [pair for pair, beaten in zip(pairs, worse, strict=True) if not beaten]
    for pair, beaten in zip(pairs, worse, strict=True):
        assert any(better(other, pair) for other in front) == beaten


def test_of_no_records_there_are_no_points(frame_of):
    assert points(frame_of()) == []


def test_a_point_a_model_and_setting(frame_of):
    found = points(frame_of((Spec("a"), speed(10.0)), (Spec("a", batch=8), speed(20.0)), (Spec("b"), speed(5.0))))
    assert [(point["name"], point["words"]) for point in found] == [
        ("a", "infer on cpu, 224 px, batch 1"),
        ("a", "infer on cpu, 224 px, batch 8"),
        ("b", "infer on cpu, 224 px, batch 1"),
    ]
    assert found[1]["metrics"]["throughput"] == {"value": 20.0, "low": 19.0, "high": 22.0}
    assert found[1]["setting"]["batch"] == "8"


def test_a_setting_names_what_differs(frame_of):
    found = points(frame_of((Spec("a"), speed(1.0)), (Spec("a", precision="tf32"), speed(2.0))))
    assert [point["words"].split(", ")[-1] for point in found] == ["precision float32", "precision tf32"]


def test_arguments_tell_variants_apart(frame_of):
    found = points(frame_of((Spec("a"), speed(1.0)), (Spec("a", model_args=(("depth", 2),)), speed(2.0))))
    assert [point["name"] for point in found] == ["a", "a depth=2"]


def test_counts_are_those_of_any_batch_and_of_no_other_size(frame_of):
    found = points(
        frame_of((Spec("a"), macs(5.0)), (Spec("a", batch=8), speed(1.0)), (Spec("a", size=(448, 448)), speed(1.0)))
    )
    assert [point["metrics"].get("macs", {}).get("value") for point in found] == [5.0, 5.0, None]


def test_what_is_missing_says_why(frame_of):
    point = one(
        frame_of((Spec("a"), speed(1.0), Value("peak_memory", "B", None, status="skipped", note="no allocator")))
    )
    assert point["missing"]["peak_memory"] == "skipped: no allocator"
    assert point["missing"]["latency"] == "not asked for"
    assert point["missing"]["top1"] == "not in the claims"
    assert not point["metrics"].keys() & point["missing"].keys()
    assert {*point["metrics"], *point["missing"]} == set(pareto.BY_KEY)


def test_a_measured_value_goes_before_a_skipped_one_of_other_weights(frame_of):
    skipped = Value("throughput", "img/s", None, status="skipped", note="why")
    assert one(frame_of((Spec("a"), speed(3.0)), (Spec("a", weights="pretrained"), skipped)))["metrics"]["throughput"]


@pytest.mark.parametrize(
    ("spec", "top1"),
    [
        (Spec("sgformer_s"), 83.2),
        (Spec("pvt_v2_b1.in1k"), 78.7),
        (Spec("sgformer_s", model_args=(("impl", "reference"),)), 83.2),
        (Spec("sgformer_s", model_args=(("depth", 2),)), None),
        (Spec("sgformer_s", size=(448, 448)), None),
        (Spec("sgformer_s", mode="train"), None),
        (Spec("esvit_swin_tiny"), None),
    ],
)
def test_published_top1_is_of_the_published_model_alone(frame_of, spec, top1):
    assert one(frame_of((spec, speed(1.0))))["metrics"].get("top1", {}).get("value") == top1


@pytest.mark.parametrize(("arguments", "linear"), [((), 80.4), ((("window", 14),), 81.3), ((("window", 8),), None)])
def test_linear_accuracy_is_of_the_row_with_these_arguments(frame_of, arguments, linear):
    point = one(frame_of((Spec("esvit_swin_base", model_args=arguments), speed(1.0))))
    assert point["metrics"].get("linear", {}).get("value") == linear


def test_families_are_those_of_the_papers():
    assert [pareto.family(name) for name in ("sgformer_s", "esvit_vil_2262", "deit_tiny_patch16_224")] == [
        "SG-Former",
        "EsViT",
        pareto.OTHER,
    ]


def test_the_chart_is_plain_json_in_si_units_with_the_scale_to_read_them_in(frame_of):
    chart = json.loads(json.dumps(pareto.chart(frame_of((Spec("a"), speed(2.0), macs(3e9)))), allow_nan=False))
    [axis] = [metric for metric in chart["metrics"] if metric["key"] == "macs"]
    assert axis == {
        "key": "macs",
        "label": "MACs of one image (GMACs)",
        "factor": 1e-9,
        "digits": 4,
        "more": False,
        "log": True,
    }
    assert chart["points"][0]["metrics"]["macs"]["value"] == 3e9


def test_without_throughput_the_chart_has_its_heading_and_nothing_is_drawn(frame_of):
    [picture] = draw(frame_of((Spec("a"), macs(1.0))))
    assert (picture.title, picture.figure) == ("Pareto view", None)
    assert draw(frame_of((Spec("a"), Value("ccs", "1", 0.5)))) == []  # no axis of it


def test_a_picture_without_anything_to_set_against_says_so(frame_of):
    [picture] = draw(frame_of((Spec("a"), speed(1.0))))
    assert picture.figure is None
    assert picture.caption.startswith("Not drawn: no cell of mode infer")


def test_the_picture_shows_the_setting_with_most_models_and_numbers_its_front(frame_of):
    [picture] = draw(
        frame_of(
            (Spec("slow", batch=8), speed(5.0), macs(1e9)),
            (Spec("slow"), speed(5.0), macs(1e9)),
            (Spec("quick"), speed(50.0), macs(2e9)),
            (Spec("worse"), speed(4.0), macs(2e9)),
            (Spec(HOSTILE), speed(4.0)),
        )
    )
    assert picture.table.to_dict("records") == [
        {"throughput against": "MACs of one image", "models": "3", "on the front": "1 slow, 2 quick"}
    ]
    [axes] = picture.figure.axes
    assert [text.get_text() for text in axes.texts] == ["1", "2"]
    assert [bars.lines[0].get_color() for bars in axes.containers].count("#bbbbbb") == 1
    assert "batch 1; all in" in picture.caption
    assert "Not drawn, for want of the other number: &lt;/script&gt;" in picture.caption

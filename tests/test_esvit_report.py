"""EsViT in the general report: its steps against those with the view loss alone. Records written by hand."""

import dataclasses

import pytest

from bench.record import Value
from bench.spec import Spec
from reports import reductions, tables
from reports.frame import to_frame

SWIN, REFERENCE = "esvit_swin_tiny", {"impl": "reference"}


@pytest.fixture
def frame_of(records):
    return lambda *cells: to_frame(records(*cells))


def speed(value):
    return Value("throughput", "img/s", value)


def infer(model, arguments=None):
    return Spec(model, batch=8, model_args=arguments or {})


def step(model=SWIN, batch=8, loss=None, **arguments):
    return Spec(model, mode="pretrain", batch=batch, model_args={**arguments, **({"loss": loss} if loss else {})})


def memory(value):
    return Value("peak_live_bytes", "B", value)


def compared(rows):
    """Own arguments and base -> the change in percent."""
    return {(row["arguments"], row["against"]): row["change_percent"] for row in rows.to_dict("records")}


def test_a_step_is_compared_with_the_view_loss_alone_by_the_same_route(frame_of):
    cells = [
        (step(), memory(11)), (step(loss="view"), memory(10)),
        (step(**REFERENCE), memory(40)), (step(loss="view", **REFERENCE), memory(20)),
    ]  # fmt: skip
    assert compared(reductions.changes(frame_of(*cells))) == {
        ("", f"{SWIN} loss=view"): pytest.approx(10),
        ("impl=reference", f"{SWIN} impl=reference loss=view"): pytest.approx(100),
    }
    assert compared(reductions.changes(frame_of(cells[0], cells[3]))) == {}
    assert reductions.unpaired(frame_of(cells[2])) == {
        SWIN: [f"{SWIN} mode=pretrain batch=8 size=224 --model-arg impl=reference --model-arg loss=view"]
    }
    said = (step(impl="fast", loss="view+region"), memory(12))  # what is in force counts, said or not
    assert compared(reductions.changes(frame_of(said, cells[1]))) == {
        ("impl=fast loss=view+region", f"{SWIN} loss=view"): pytest.approx(20)
    }
    for other in ({"window": 14}, {"out_dim": 9}):
        assert compared(reductions.changes(frame_of((step(**other), memory(1)), cells[1]))) == {}


def test_without_a_route_in_force_its_argument_counts(records):
    def changes(*cells):
        return compared(reductions.changes(to_frame([dataclasses.replace(one, impl=None) for one in records(*cells)])))

    own, base = (step(**REFERENCE), memory(40)), (step(loss="view", **REFERENCE), memory(20))
    assert list(changes(own, base).values()) == [pytest.approx(100)]
    assert changes(own, (step(loss="view"), memory(20))) == {}


def test_inference_is_compared_with_no_loss(frame_of):
    frame = frame_of((infer(SWIN), speed(1.0)), (infer(SWIN, arguments={"loss": "view"}), speed(2.0)))
    assert reductions.changes(frame).empty
    assert not reductions.unpaired(frame)


def test_cells_of_correspondences_alone_stay_out_of_the_table_of_results(frame_of):
    accuracy = Value("correspondence_accuracy", "1", 0.5)
    frame = frame_of((Spec(SWIN), accuracy), (infer(SWIN), Value("params", "1", 5)))
    assert tables.main_rows(frame)["metric"].tolist() == ["params"]
    assert tables.constant(frame)["images"] == "photographs"

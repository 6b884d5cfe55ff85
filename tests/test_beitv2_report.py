"""BEiT v2 in the tables of all models: its bases, where its steps go, its epochs. Records written by hand."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.protocol import preset
from bench.record import Record, Value
from bench.spec import Spec
from reports import epochs, reductions, steps, tables
from reports.baselines import BASES, BEITV2, TRAINED
from reports.format import percent, quantity
from reports.frame import to_frame

BASE, MIM, VQ_KD = "beitv2_base", "beitv2_mim_base", "beitv2_vqkd_base"
REFERENCE, GIVEN, HEADLESS = {"impl": "reference"}, {"targets": "given"}, {"cls_head": False}


@pytest.fixture
def frame_of(records):
    return lambda *cells: to_frame(records(*cells))


def macs(value):
    return Value("macs", "MAC", value)


def speed(value):
    return Value("throughput", "img/s", value)


def step(model=MIM, batch=2, **arguments):
    return Spec(model, mode="pretrain", batch=batch, model_args=arguments)


def told(metric, unit, *parts):
    """A value that is the sum of its parts."""
    return Value(metric, unit, sum(number for *_, number in parts), details={"parts": list(map(list, parts))})


def step_macs(*parts):
    return told("step_macs", "MAC", *parts)


# Its bases.


def test_models_compared_are_those_that_are_pre_trained():
    assert {model for model, bases in BASES.items() if bases[0].paper == BEITV2} == set(TRAINED)


def test_the_cls_head_costs_what_the_step_without_it_lacks(frame_of):
    route = {**REFERENCE, **GIVEN}
    cells = [(step(**route), macs(21_414_687_744)), (step(**route, **HEADLESS), macs(18_034_919_424))]
    [row] = reductions.changes(frame_of(*cells)).to_dict("records")
    assert row["change_percent"] == pytest.approx(18.74, abs=0.005)
    assert row["against"] == f"{MIM} cls_head=False impl=reference targets=given"
    assert reductions.unpaired(frame_of(cells[0])) == {
        MIM: [f"{MIM} mode=pretrain batch=2 size=224 --model-arg impl=reference --model-arg targets=given "
              "--model-arg cls_head=False"]
    }  # fmt: skip


def test_a_step_is_compared_at_the_same_batch_and_route_alone(frame_of):
    one = (step(), macs(2))
    for other in (step(batch=1, **HEADLESS), step(**HEADLESS, **REFERENCE), step(**HEADLESS, **GIVEN)):
        assert reductions.changes(frame_of(one, (other, macs(1)))).empty
    assert len(reductions.changes(frame_of(one, (step(**HEADLESS), macs(1))))) == 1
    decoder = [(step(VQ_KD), macs(3)), (step(VQ_KD, decoder_depth=1), macs(2))]
    assert reductions.changes(frame_of(*decoder))["against"].tolist() == [f"{VQ_KD} decoder_depth=1"]


# Where a step goes.

MACS = step_macs(("tokenizer", "forward", 20 * 10**9), ("encoder", "forward", 20 * 10**9),
                 ("encoder", "backward", 40 * 10**9))  # fmt: skip
TIME = told("step_time", "s", ("encoder", "forward", 0.1), ("encoder", "backward", 0.2), ("tokenizer", "forward", 0.1),
            ("other", "forward", 0.05), ("all", "optimizer", 0.04), ("all", "after step", 0.01))  # fmt: skip
MEMORY = told("peak_live_bytes", "B", ("encoder", "weights", 3 * 2**20), ("encoder", "activations", 2**20),
              ("tokenizer", "weights", 4 * 2**20))  # fmt: skip


def test_a_step_is_told_by_section(frame_of):
    table = steps.table(steps.cells(frame_of((step(), MACS, TIME, MEMORY))))
    columns = ["MACs forward", "MACs backward", "MACs", "time forward", "time backward", "time", "memory activations",
               "memory"]  # fmt: skip
    assert list(table) == ["model", "section", *columns]
    assert set(table["model"]) == {f"{MIM} b2"}
    found = {row["section"]: [row[column] for column in columns] for row in table.to_dict("records")}
    assert found == {
        "whole step": ["40.00 GMACs", "40.00 GMACs", "80.00 GMACs", "250 ms", "200 ms", "500 ms", "1.000 MiB",
                       "8.000 MiB"],
        "tokenizer": ["25.0 %", "-", "25.0 %", "20.0 %", "-", "20.0 %", "-", "50.0 %"],
        "encoder": ["25.0 %", "50.0 %", "75.0 %", "20.0 %", "40.0 %", "60.0 %", "12.5 %", "50.0 %"],
        "other": ["-", "-", "-", "10.0 %", "-", "10.0 %", "-", "-"],
        "optimizer": ["-", "-", "-", "-", "-", "8.0 %", "-", "-"],
        "after step": ["-", "-", "-", "-", "-", "2.0 %", "-", "-"],
    }  # fmt: skip
    assert list(found) == ["whole step", "tokenizer", "encoder", "other", "optimizer", "after step"]


def test_sections_come_before_what_is_of_none(frame_of):
    early = told("step_time", "s", ("other", "forward", 1), ("all", "after step", 1), ("all", "optimizer", 1),
                 ("encoder", "forward", 1))  # fmt: skip
    last = told("peak_live_bytes", "B", ("prediction", "optimizer", 1), ("other", "inputs", 1))
    table = steps.table(steps.cells(frame_of((step(), early, last))))
    assert table["section"].tolist() == ["whole step", "encoder", "prediction", "other", "after step", "optimizer"]


def test_what_was_not_measured_of_a_step_is_a_dash_even_of_the_whole(frame_of):
    table = steps.table(steps.cells(frame_of((step(), MACS))))
    assert table["time"].tolist() == table["memory"].tolist() == ["-", "-", "-"]
    failed = Value("step_macs", "MAC", None, status="failed", note="why")
    assert steps.cells(frame_of((step(), failed))).empty


def test_a_step_is_of_the_batch_at_which_most_was_told_apart(frame_of):
    cells = [(step(batch=1), MACS, MEMORY), (step(batch=2), MACS, TIME), (step(batch=64), MEMORY)]
    assert set(steps.cells(frame_of(*cells))["batch"]) == {2}  # the larger of those with two
    assert set(steps.cells(frame_of(*cells, (step(batch=4), MACS, TIME, MEMORY), (step(batch=8), MACS)))["batch"]) == {
        4
    }
    assert steps.cells(frame_of(cells[2])).empty  # memory alone is another study
    infer_ = (Spec(MIM, batch=2), MEMORY)
    assert steps.parts(frame_of(infer_)).empty


def test_series_have_a_step_each(frame_of):
    cells = [(step(**words), MACS) for words in ({}, REFERENCE, GIVEN)]
    assert list(dict.fromkeys(steps.cells(frame_of(*cells))["series"])) == [
        f"{MIM} b2", f"{MIM} impl=reference b2", f"{MIM} targets=given b2",
    ]  # fmt: skip


sections_ = st.sampled_from(["tokenizer", "encoder", "prediction", "other", "all"])
parts_ = st.dictionaries(
    st.tuples(sections_, st.sampled_from(["forward", "backward", "optimizer"])), st.integers(1, 10**12), min_size=1
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=parts_)
def test_shares_of_a_cost_make_a_whole_in_any_order(environment, parts):
    value = step_macs(*((*key, number) for key, number in parts.items()))
    record = Record(step(), preset("quick", 1), environment, (value,), "2026-11-21T05:10:00+00:00")
    rows = steps.parts(to_frame([record]))
    assert rows["share"].sum() == pytest.approx(1)
    assert rows["value"].sum() == value.value
    told_apart = steps.sections(steps.cells(to_frame([record])))
    assert sorted(told_apart) == sorted({phase if section == "all" else section for section, phase in parts})


def test_words_of_shares_and_quantities():
    assert (percent(0.1234), percent(1.0, 0), percent(float("nan"))) == ("12.3 %", "100 %", "")
    assert quantity("step_macs", "MAC", 62_070_000_000) == "62.07 GMACs"
    assert quantity("top_tokens", "1", 49) == "49"


# The other tables.


def test_codebooks_and_masks_alone_stay_out_of_the_table_of_results(frame_of):
    codes = Value("codebook_usage", "1", 0.5, details={})
    cells = [(Spec(VQ_KD), codes), (step(), Value("mask_occupancy", "1", 0.5, details={}))]
    frame = frame_of(*cells, (Spec(BASE), Value("params", "1", 5)))
    assert tables.main_rows(frame)["metric"].tolist() == ["params"]


def test_an_epoch_of_pre_training_is_projected(frame_of):
    table = epochs.table(frame_of((step(), speed(1_281_167 / 3600)), (step(VQ_KD), speed(1.0))))
    assert table["model"].tolist() == [MIM, VQ_KD]
    assert table["epoch (h)"].tolist()[0] == "1.00"

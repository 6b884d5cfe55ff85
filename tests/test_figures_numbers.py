"""The numbers behind tables and pictures: fits, percentiles, shares, how attention looks. Known answers."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.record import Value
from bench.spec import Spec
from reports import attention, shares, tables
from reports.fits import polynomial
from reports.format import cell, heading
from reports.frame import series, to_csv
from reports.percentiles import needed, percentiles

FINITE = st.floats(0.1, 1e12)


@given(FINITE, FINITE, st.lists(st.integers(1, 4096), min_size=3, max_size=12, unique=True))
def test_a_line_is_found_again(start, slope, x):
    fit = polynomial(x, [start + slope * one for one in x], 1)
    scale = start + slope * max(x)
    assert fit.coefficients[0] == pytest.approx(start, abs=1e-9 * scale)
    assert fit.coefficients[1] == pytest.approx(slope, abs=1e-9 * scale)
    assert fit.residual < 1e-6 * scale / min(start + slope * one for one in x)


def test_a_parabola_of_pixels_is_found_again():
    x = [side**2 for side in (128, 224, 448, 1024)]
    fit = polynomial(x, [7 + 3e-5 * one + 2e-10 * one**2 for one in x], 2)
    assert fit.coefficients == pytest.approx((7, 3e-5, 2e-10))
    assert fit(x)[2] == pytest.approx(7 + 3e-5 * x[2] + 2e-10 * x[2] ** 2)


def test_a_term_that_is_not_there_is_zero():
    x = [side**2 for side in (224, 448, 672, 896)]
    fit = polynomial(x, [96.75 + 3.166e-4 * one for one in x], 2)
    assert fit.coefficients == (pytest.approx(96.75), pytest.approx(3.166e-4), 0.0)


def test_a_fit_that_cannot_fail_has_no_residual_and_a_bad_one_a_large():
    assert polynomial([1, 2], [5, 9], 1).residual is None
    assert polynomial([1, 2, 3], [1, 1, 4], 1).residual == pytest.approx(1.0)  # 0.5, 2, 3.5: off by 1 at 1
    with pytest.raises(ValueError, match="1 distinct points for 2 coefficients"):
        polynomial([3, 3], [1, 2], 1)


@pytest.mark.parametrize(("percent", "samples"), [(50, 1), (90, 100), (95, 200), (99, 1000)])
def test_percentiles_want_ten_samples_beyond(percent, samples):
    assert needed(percent) == samples
    name = f"p{percent}"
    assert not np.isnan(percentiles([range(samples)])[name])
    assert np.isnan(percentiles([range(samples - 1)])[name])


def test_percentiles_are_of_all_processes_together():
    found = percentiles([range(600), range(600, 1001)])
    assert found == {"p50": 500, "p90": 900, "p95": 950, "p99": 990}
    assert all(np.isnan(one) for one in percentiles([]).values())


def test_percentiles_in_the_frame_and_their_table(frame_of):
    many, few = (tuple(i / 1000 for i in range(n)) for n in (201, 50))
    frame = frame_of(
        (Spec("m"), Value("latency", "s", 0.1, samples=(many,)), Value("throughput", "img/s", 1.0, samples=(many,))),
        (Spec("m", batch=2), Value("latency", "s", 0.1, samples=(few,))),
        (Spec("m", batch=4), Value("latency", "s", None, status="failed", note="why")),
    )
    assert frame[["p50", "p90"]].notna().to_numpy().tolist() == [[True] * 2, [False] * 2, [True, False], [False] * 2]
    table = tables.latencies(frame)
    assert table.to_dict("records") == [
        {
            "model": "m",
            "batch": 1,
            "samples": 201,
            "p50 (ms)": "100",
            "p90 (ms)": "180",
            "p95 (ms)": "190",
            "p99 (ms)": "-",
        }
    ]


def parts(metric, value, *rows):
    unit = {"params": "1", "macs": "MAC", "latency_parts": "s"}[metric]
    return Value(metric, unit, value, details={"parts": [list(row) for row in rows]})


def test_shares_of_each_cost_sum_to_one(frame_of):
    macs = parts("macs", 10, ("stem", "embedding", 1), ("stage 1", "FFN", 4), ("stage 2", "FFN", 5))
    time = parts("latency_parts", 1.0, ("stage 1", "FFN", 0.3), ("stage 1", "norm", 0.2))  # less than the whole call
    frame = frame_of((Spec("m"), macs, time), (Spec("m", batch=8), macs), (Spec("n"), macs))
    assert shares.parts(frame).groupby(["id", "metric"])["share"].sum().tolist() == pytest.approx([1, 1, 1, 1])
    rows = shares.by_kind(frame).set_index(["series", "kind"])
    assert rows.loc["m"][["MACs", "time"]].sum().tolist() == pytest.approx([1, 1])
    assert rows.loc[("m", "FFN"), ["MACs", "time", "batch"]].tolist() == pytest.approx([0.9, 0.6, 1])
    assert rows.loc["n", "time"].isna().all()
    assert rows["parameters"].isna().all()


def test_macs_against_time_is_a_ratio_only_where_both_are(frame_of):
    macs = parts("macs", 10, ("stem", "embedding", 1), ("stage 1", "FFN", 9))
    time = parts("latency_parts", 1.0, ("stage 1", "FFN", 0.45), ("stage 1", "norm", 0.55))
    frame = frame_of((Spec("m"), macs, time), (Spec("n"), macs))
    assert shares.against_time(frame).to_numpy().tolist() == [
        ["m b1", "FFN", "90.0%", "45.0%", "0.500"],
        ["m b1", "norm", "0.0%", "55.0%", "-"],
        ["m b1", "embedding", "10.0%", "0.0%", "0"],
    ]
    assert shares.against_time(frame_of((Spec("n"), macs))).empty
    assert shares.against_time(frame_of((Spec("n"), Value("macs", "MAC", 10)))).empty  # of schema 1: no parts


def test_time_is_split_at_the_largest_batch(frame_of):
    cells = [(Spec("m", batch=b), parts("latency_parts", 1.0, ("head", "head", 1 / b), ("stem", "other", 1 - 1 / b)))
             for b in (8, 2)]  # fmt: skip
    rows = shares.by_kind(frame_of(*cells)).set_index("kind")
    assert rows.loc["head", ["time", "batch"]].tolist() == pytest.approx([1 / 8, 8])


def test_a_training_step_has_shares_of_its_own_only_where_inference_was_not_asked(frame_of):
    params = parts("params", 4, ("stem", "embedding", 1), ("head", "head", 3))
    time = parts("latency_parts", 1.0, ("head", "head", 1.0))
    cells = [(Spec("m", mode="train", batch=16), params), (Spec("m", batch=8), params, time)]
    rows = shares.by_kind(frame_of(*cells, (Spec("n", mode="train"), params)))
    assert rows["series"].drop_duplicates().tolist() == ["m infer", "n train"]
    assert rows.set_index("series").loc["m infer", "time"].notna().all()
    assert set(shares.by_kind(frame_of(cells[0]))["series"]) == {"m"}


def test_skipped_cells_are_told_from_their_like(frame_of):
    skipped = Value("peak_memory", "B", None, status="skipped", note="why")
    noted = Value("params", "1", 5, note="well")
    ladder = [(Spec("m", batch=b), noted, skipped) for b in (1, 8)]
    sizes = [(Spec("m", size=(s, s)), skipped) for s in (128, 256)]
    train = [(Spec("m", mode="train", precision="bfloat16"), skipped)]
    frame = frame_of(*ladder, *sizes, *train, (Spec("n", mode="train"), skipped))
    assert tables.problems(frame)["cells"].tolist() == [
        "m infer float32 224 px at batch 1, 8 and 128, 256 px at batch 1; "
        "m train bfloat16 224 px at batch 1; n at batch 1"
    ]
    assert tables.remarks(frame)["cells"].tolist() == ["m at batch 1, 8"]  # of its cells with this metric, all
    assert tables.problems(frame_of((Spec("m"), noted))).empty
    alike = [(Spec(model, mode=mode), skipped) for model in ("m", "n") for mode in ("infer", "train")]
    assert tables.problems(frame_of(*alike))["cells"].tolist() == ["m, n infer at batch 1; m, n train at batch 1"]


def looked():
    origin = {"weights": "random weights (seed 0)", "images": "2 photographs"}
    blocks = [
        {"name": "a", "heads": 1, "ccs": None, "all_pairs": None},
        {"name": "b", "heads": 2, "ccs": 0.4, "all_pairs": 0.7},
    ]
    bits = [
        {"name": "a", "heads": 1, "entropy": [2.0], "relative": [0.5]},
        {"name": "b", "heads": 2, "entropy": [1.0, 2.0], "relative": [0.25, 0.5]},
    ]
    images = {"one": 0.3, "two": 0.5}
    return (
        Value("ccs", "1", 0.4, details={**origin, "all_pairs": 0.7, "per_image": images, "blocks": blocks}),
        Value("entropy", "bit", 1.75, details={**origin, "per_image": images, "blocks": bits}),
    )


def test_attention_has_a_row_a_model_and_says_where_its_numbers_come_from(frame_of):
    frame = frame_of((Spec("m"), *looked()), (Spec("m", batch=8), *looked()), (Spec("n"), looked()[1]))
    assert attention.table(frame).to_numpy().tolist() == [
        ["m", "random weights (seed 0)", "2 photographs", "0.400", "0.700", "1.75", "0.438", "1 of 2"],
        ["n", "random weights (seed 0)", "2 photographs", "-", "-", "1.75", "0.438", "-"],
    ]
    assert attention.per_image(frame).to_numpy().tolist() == [
        ["m", "CCS", "0.300", "0.500"],
        ["m", "entropy (bit)", "0.300", "0.500"],
        ["n", "entropy (bit)", "0.300", "0.500"],
    ]
    numbers = attention.numbers(frame)
    assert numbers.groupby(["model", "metric", "of"])["value"].size().to_dict() == {
        ("m", "ccs", "block"): 2, ("m", "ccs", "image"): 2, ("m", "entropy", "head"): 3, ("m", "entropy", "image"): 2,
        ("n", "entropy", "head"): 3, ("n", "entropy", "image"): 2,
    }  # fmt: skip
    assert attention.table(frame_of((Spec("m"), Value("params", "1", 5)))).empty


def test_cells_of_attention_alone_stay_out_of_the_table_of_results(frame_of):
    frame = frame_of((Spec("m"), Value("params", "1", 5)), (Spec("m", weights="pretrained"), *looked()))
    assert tables.results(tables.main_rows(frame)).to_numpy().tolist() == [["m", "0.000005000"]]
    assert "images" not in tables.constant(tables.main_rows(frame))
    assert tables.constant(frame)["images"] == "photographs"


def test_memory_has_a_table_over_sizes(frame_of):
    cells = [(Spec("m", size=size), Value("peak_memory", "B", size[0] * 2**20)) for size in ((448, 448), (96, 128))]
    [(title, table)] = tables.memory(frame_of(*cells)).items()
    assert title == "peak memory (MiB) over image sizes"
    assert list(table.columns) == ["model", "size 96x128", "size 448"]
    assert table.to_numpy().tolist() == [["m", "96.00", "448.0"]]


def test_series_are_told_apart_by_what_varies(frame_of):
    value = Value("params", "1", 5)
    frame = frame_of(
        (Spec("m", weights="a/folder/w.pth@0123456789ab", batch=2, size=(96, 128)), value),
        (Spec("m", compile="default"), value),
    )
    assert series(frame, "batch").tolist() == [
        "m 96x128 px compile none w.pth@0123456789ab weights",
        "m 224 px compile default random weights",
    ]


def test_csv_leaves_details_out(frame_of, tmp_path):
    to_csv(frame_of((Spec("m"), *looked())), tmp_path / "values.csv")
    read = pd.read_csv(tmp_path / "values.csv")
    assert "details" not in read
    assert {"weights", "images", "p90"} <= set(read)


@pytest.mark.parametrize(
    ("metric", "unit", "value", "head", "text"),
    [
        ("activations", "1", 5_041_234, "activations (M)", "5.041"),
        ("mfu", "1", 0.3123, "MFU (%)", "31.2"),
        ("ccs", "1", 0.42471, "CCS", "0.425"),
        ("entropy", "bit", 5.3261, "entropy (bit)", "5.33"),
        ("first_call", "s", 0.05132, "first call (s)", "0.0513"),
        ("latency_parts", "s", 0.05132, "latency with hooks (ms)", "51.3"),
    ],
)
def test_new_metrics_as_people_read_them(metric, unit, value, head, text):
    assert heading(metric, unit) == head
    assert cell(metric, unit, value, None, None) == text

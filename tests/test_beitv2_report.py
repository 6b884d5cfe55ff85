"""BEiT v2 in a report: published beside measured, what a step is made of, codebooks. Records written by hand."""

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.protocol import preset
from bench.record import Record, Value
from bench.spec import Spec
from reports import codebook, epochs, reductions, roster_beitv2, steps, tables, tokenized
from reports.baselines import BASES, BEITV2, STEP_PARTS, TRAINED
from reports.claims import load
from reports.format import percent, quantity
from reports.frame import to_frame
from reports.report import write
from reports.roster_beitv2 import CLASSIFIERS, CODEBOOKS, ENTRIES, TIMMS

BASE, LARGE, MIM, VQ_KD = "beitv2_base", "beitv2_large", "beitv2_mim_base", "beitv2_vqkd_base"
REFERENCE, GIVEN, HEADLESS = {"impl": "reference"}, {"targets": "given"}, {"cls_head": False}
EVIL = "a|b*<i>_c_"


@pytest.fixture
def frame_of(records):
    return lambda *cells: to_frame(records(*cells))


def speed(value, low=None, high=None):
    return Value("throughput", "img/s", value, interval=None if low is None else (low, high))


def params(value):
    return Value("params", "1", value)


def macs(value, metric="macs"):
    return Value(metric, "MAC", value)


def infer(model, side=224, batch=1, **axes):
    return Spec(model, batch=batch, size=(side, side), **axes)


def step(model=MIM, batch=2, **arguments):
    return Spec(model, mode="pretrain", batch=batch, model_args=arguments)


def told(metric, unit, *parts):
    """A value that is the sum of its parts."""
    return Value(metric, unit, sum(number for *_, number in parts), details={"parts": list(map(list, parts))})


def step_macs(*parts):
    return told("step_macs", "MAC", *parts)


def usage(counts, model=VQ_KD, patches=None, weights="random", **arguments):
    details = {
        "weights": f"{weights} words", "images": "2 photographs", "codes": 8192,
        "patches": sum(counts) if patches is None else patches, "counts": counts, "perplexity": 3.5,
        "per_image": {"a": 2},
    }  # fmt: skip
    value = Value("codebook_usage", "1", len(counts) / 8192, details=details)
    return (Spec(model, weights=weights, model_args=arguments), value)


def beside(table, **where):
    """The one row with these words."""
    for column, word in where.items():
        table = table[table[column.replace("_", " ")] == word]
    [row] = table.to_dict("records")
    return row


# What stands for what.


def test_every_claim_that_is_named_is_one_of_its_metric():
    claims = load().set_index("id")
    metrics = {
        "params": {"params"}, "top1": {"top1"}, "macs_fvcore": {"MACs (reported as FLOPs)", "GMACs", "GFLOPs"},
    }  # fmt: skip
    for entry in ENTRIES:
        for metric, said in entry.claims.items():
            assert {claims.loc[one, "metric"] for one in said} <= metrics[metric]
            assert {claims.loc[one, "unit"] for one in said} <= {"M", "G", "params", "%"}
    codes = [one for numbers in CODEBOOKS.values() for one in numbers]
    assert {claims.loc[one, "metric"] for one in codes} == {"codebook usage", "unused codes"}
    published = claims[claims["metric"].isin(["codebook usage", "unused codes"])]
    assert sorted(codes) == sorted(published.index)  # each once
    assert claims.loc[roster_beitv2.CODES, "value"] == "8192"


def test_timms_models_are_those_of_its_files():
    rows = roster_beitv2.throughputs()
    assert set(rows["model"]) == {entry.models[TIMMS] for entry in CLASSIFIERS.values()}
    assert rows["source"].nunique() == 20
    assert rows.groupby("source")["build"].nunique().eq(4).all()
    assert set(rows["confidence"]) == {"secondary"}


def test_models_compared_are_the_papers():
    assert {model for model, bases in BASES.items() if bases[0].paper == BEITV2} == set(TRAINED)
    assert all(set(bases) <= set(TRAINED) for bases in STEP_PARTS.values())


@pytest.mark.parametrize(
    ("model", "words", "claims"),
    [
        (VQ_KD, "", ("beitv2-038", "beitv2-040", "hb-005")),
        (VQ_KD, "decoder_depth=3 teacher=clip", ("beitv2-038", "beitv2-040", "hb-005")),
        (VQ_KD, "decoder_depth=1", ("beitv2-037", "hb-002")),
        (f"{VQ_KD}.tag", "decoder_depth=1 impl=reference teacher=dino", ("beitv2-039",)),
        (VQ_KD, "teacher=dino", ()),
        (BASE, "", ()),
    ],
)
def test_a_codebook_has_the_claims_on_its_build(model, words, claims):
    assert roster_beitv2.codebooks_of(model, words) == claims


# Models.


def test_models_stand_beside_what_is_published(frame_of):
    frame = frame_of(
        (infer(BASE), params(86_530_984), macs(17_563_828_224), macs(17_581_987_584, "macs_fvcore")),
        (infer("beitv2_base_patch16_224.tag"), params(86_530_984)),
        (infer(LARGE, 384), params(304_998_888)),
    )
    table = tokenized.models(frame)
    assert table["here"].tolist() == [
        BASE, "beitv2_base_patch16_224", f"{LARGE}: not measured", f"{BASE}: not measured", LARGE,
        f"{MIM}: not measured",
    ]  # fmt: skip
    assert beside(table, here=BASE) == {
        "published": "ViT-B/16, 224 px", "here": BASE,
        "params, published": "86 M (backbone); 86.5 M; 86530984 params (secondary); 86.53 M (timm's, secondary)",
        "params (M), measured": "86.53",
        "MACs, published": "17.581219584 G (without classifier, secondary); 17.58 G (timm's, secondary); "
        "17.45 G (without relative positions, secondary)",
        "MACs (GMACs), measured": "17.56", "MACs (fvcore) (GMACs), measured": "17.58",
        "top-1, published": "85.0 % (300 epochs); 85.5 % (1600 epochs); 86.5 % (1600 epochs, then ImageNet-21k)",
    }  # fmt: skip
    large = beside(table, here=LARGE)
    assert (large["params (M), measured"], large["top-1, published"]) == (
        "305.0", "89.0 % (1600 epochs, then ImageNet-21k)",
    )  # fmt: skip
    assert {large[column] for column in large if column.startswith("MACs") and "measured" in column} == {"-"}


def test_what_was_asked_for_and_is_not_there_says_why(frame_of):
    missing = {"value": None, "note": "why"}
    cell = (infer(BASE), dataclasses.replace(params(1), status="failed", **missing),
            dataclasses.replace(macs(1), status="skipped", **missing))  # fmt: skip
    row = beside(tokenized.models(frame_of(cell)), here=BASE)
    words = [row[f"{of}, measured"] for of in ("params (M)", "MACs (GMACs)", "MACs (fvcore) (GMACs)")]
    assert words == ["- (failed)", "- (skipped)", "-"]


def test_a_model_with_arguments_or_of_another_mode_is_another(frame_of):
    for other in ({"model_args": {"num_classes": 10}}, {"mode": "train"}, {"size": (256, 256)}):
        frame = frame_of((dataclasses.replace(infer(BASE), **other), params(1)))
        assert beside(tokenized.models(frame), published="ViT-B/16, 224 px")["here"] == f"{BASE}: not measured"
        assert tokenized.section(frame)["models"].empty


def test_claims_have_their_difference_from_what_was_measured(frame_of):
    frame = frame_of(
        (infer(BASE), params(86_530_984), macs(17_581_987_584, "macs_fvcore")),
        (step(batch=1), params(192_810_000)),
    )
    table = tokenized.claims(frame).set_index("id")
    assert table.loc["beitv2-003", ["of", "published", "measured", "difference"]].tolist() == [
        "params", "86.5 M", "86,530,984", f"{100 * (86.530984 / 86.5 - 1):+.3f} %",
    ]  # fmt: skip
    assert table.loc["beitv2-064", "difference"] == "0 %"
    assert table.loc["beitv2-063", "difference"] == "+0.004 %"  # 768,000 of the classifier in 17.58 G
    assert table.loc["beitv2-065", "difference"] == "0 %"  # the tokenizer is in the module
    assert table.loc["beitv2-002", ["measured", "difference"]].tolist() == ["-", "-"]
    assert table.loc["beitv2-007", ["published", "measured", "difference", "confidence"]].tolist() == [
        "85.5 %", "-", "-", "confirmed",
    ]  # fmt: skip
    assert table.loc["beitv2-063", "confidence"] == "secondary"
    assert "mmpretrain" in table.loc["beitv2-063", "read in"]


def test_a_claim_is_held_against_timms_model_where_ours_was_not_measured(frame_of):
    table = tokenized.claims(frame_of((infer("beit_base_patch16_384", 384), params(86_744_104)))).set_index("id")
    assert table.loc["beitv2-160", ["measured", "difference"]].tolist() == ["86,744,104", "+0.005 %"]


# What each part costs.


def costs(frame, *columns):
    return tokenized.costs(frame)[list(columns)].to_numpy().tolist()


def test_the_cls_head_costs_what_the_step_without_it_lacks(frame_of):
    route = {**REFERENCE, **GIVEN}
    cells = [
        (step(**route), macs(21_414_687_744), Value("peak_live_bytes", "B", 120),
         Value("step_time", "s", 3.0, interval=(2.7, 3.3))),
        (step(**route, **HEADLESS), macs(18_034_919_424), Value("peak_live_bytes", "B", 100),
         Value("step_time", "s", 2.0, interval=(1.8, 2.2))),
    ]  # fmt: skip
    assert costs(frame_of(*cells), "part", "model", "against", "MACs", "peak live bytes", "step time") == [
        ["CLS head", MIM, f"{MIM} cls_head=False impl=reference targets=given", "+18.74 %", "+20.00 %",
         f"+50.0 % ({100 * (2.7 / 2.2 - 1):+.1f} to {100 * (3.3 / 1.8 - 1):+.1f})"],
    ]  # fmt: skip
    [row] = reductions.changes(frame_of(*cells)).query("metric == 'macs'").to_dict("records")
    assert row["change_percent"] == pytest.approx(18.74, abs=0.005)
    assert reductions.unpaired(frame_of(cells[0])) == {
        MIM: [f"{MIM} mode=pretrain batch=2 size=224 --model-arg impl=reference --model-arg targets=given "
              "--model-arg cls_head=False"]
    }  # fmt: skip


def test_each_part_is_told_from_the_others(frame_of):
    cells = [
        (step(), step_macs(("encoder", "forward", 60))),
        (step(**REFERENCE), step_macs(("encoder", "forward", 80))),
        (step(**HEADLESS), step_macs(("encoder", "forward", 50))),
        (step(**GIVEN), step_macs(("encoder", "forward", 40))),
        (step(VQ_KD), step_macs(("encoder", "forward", 30))),
        (step(VQ_KD, decoder_depth=1), step_macs(("encoder", "forward", 20))),
    ]
    assert costs(frame_of(*cells), "part", "against", "step MACs") == [
        ["CLS head", f"{MIM} cls_head=False", "+20.00 %"],
        ["network that gives the targets", f"{MIM} targets=given", "+50.00 %"],
        ["3 layers of decoder, not 1", f"{VQ_KD} decoder_depth=1", "+50.00 %"],
        ["fast route", f"{MIM} impl=reference", "-25.00 %"],
    ]
    against = reductions.changes(frame_of(*cells))["against"].tolist()  # the table of bases has what the paper compares
    assert against == [f"{MIM} cls_head=False", f"{VQ_KD} decoder_depth=1"]


def test_a_part_is_compared_at_the_same_batch_and_route_alone(frame_of):
    one = (step(), macs(2))
    for other in (step(batch=1, **HEADLESS), step(**HEADLESS, **REFERENCE), step(**HEADLESS, **GIVEN)):
        assert tokenized.costs(frame_of(one, (other, macs(1)))).empty
    for other in (step(**REFERENCE, **GIVEN), step(impl="fast", shared_head=False)):
        assert tokenized.costs(frame_of(one, (other, macs(1)))).empty
    said = tokenized.costs(frame_of((step(impl="fast"), macs(2)), (step(**REFERENCE), macs(4))))
    assert said[["part", "MACs"]].to_numpy().tolist() == [["fast route", "-50.00 %"]]
    assert tokenized.costs(frame_of((Spec(BASE, mode="train"), macs(2)))).empty


def test_other_families_steps_have_no_parts(frame_of):
    swin = [(Spec("esvit_swin_tiny", mode="pretrain", model_args=a), macs(n)) for a, n in (({}, 1), (REFERENCE, 2))]
    assert tokenized.costs(frame_of(*swin)).empty
    assert tokenized.section(frame_of(*swin)) == {}


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


def test_the_share_of_what_gives_the_targets(frame_of):
    teacher = step_macs(("teacher", "forward", 30), ("encoder", "forward", 20), ("encoder", "backward", 50))
    cells = [
        (step(), MACS, TIME, MEMORY),
        (step(VQ_KD), teacher),
        (step(**GIVEN), step_macs(("encoder", "forward", 1))),
    ]
    assert steps.frozen(steps.cells(frame_of(*cells))).to_dict("records") == [
        {"model": f"{MIM} b2", "section": "tokenizer", "of MACs": "25.0 %", "of time": "20.0 %", "of memory": "50.0 %"},
        {"model": f"{VQ_KD} b2", "section": "teacher", "of MACs": "30.0 %", "of time": "-", "of memory": "-"},
    ]
    assert steps.frozen(steps.cells(frame_of(cells[2]))).empty


sections_ = st.sampled_from(["tokenizer", "encoder", "prediction", "other", "all"])
parts_ = st.dictionaries(
    st.tuples(sections_, st.sampled_from(["forward", "backward", "optimizer"])), st.integers(1, 10**12), min_size=1
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
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


# Throughput.


def test_throughputs_are_shares_of_the_smallest_models(frame_of):
    frame = frame_of(
        (infer(BASE), speed(10.0, 9.0, 11.0)),
        (infer(LARGE), speed(4.0, 3.6, 4.4)),
        (infer(BASE, 384), speed(2.5)),
        (infer("beitv2_base_patch16_224"), speed(8.0)),
        (infer("beit_base_patch16_384", 384), speed(2.0)),
        (infer("beit_base_patch16_384", 224), speed(99.0)),  # another model than BEiT v2's
        (infer(BASE, batch=8), speed(20.0)),
    )
    table = tokenized.throughput(frame)
    ours, theirs = beside(table, of=f"measured, {BASE}, {LARGE}"), table.iloc[1:].to_dict("records")
    assert ours == {
        "of": f"measured, {BASE}, {LARGE}", "batch": "1", "base 224 (img/s)": "10.0 ±10.0%",
        "large 224": f"0.400x ({3.6 / 11:.3f} to {4.4 / 9:.3f})", "base 384": "0.250x", "large 384": "-",
        "confidence": "-", "claims": "-",
    }  # fmt: skip
    [timms] = [row for row in theirs if "patch16" in row["of"]]
    assert (timms["base 224 (img/s)"], timms["base 384"], timms["large 224"]) == ("8.00", "0.250x", "-")
    [batch] = [row for row in theirs if row["of"] == f"measured, {BASE}"]
    assert (batch["batch"], batch["base 224 (img/s)"]) == ("8", "20.0")
    published = [row for row in theirs if row["of"].startswith("published, other hardware: ")]
    assert len(published) == 20
    assert published[0] == {
        "of": "published, other hardware: amp-nchw-pt113-cu117-rtx3090", "batch": "1024, 384, 256",
        "base 224 (img/s)": "1,106", "large 224": f"{360.12 / 1106.05:.3f}x", "base 384": f"{260.66 / 1106.05:.3f}x",
        "large 384": f"{88.55 / 1106.05:.4f}x", "confidence": "secondary", "claims": "beitv2-072 to beitv2-075",
    }  # fmt: skip


def test_without_the_smallest_there_is_no_share_and_without_any_no_table(frame_of):
    [row, *_] = tokenized.throughput(frame_of((infer(LARGE), speed(4.0)))).to_dict("records")
    assert (row["base 224 (img/s)"], row["large 224"]) == ("-", "-")
    for other in ((infer(BASE), params(5)), (Spec(BASE, mode="train"), speed(1.0)), (infer("deit_tiny"), speed(1.0))):
        assert tokenized.throughput(frame_of(other)).empty


def test_settings_of_throughput_stand_apart(frame_of):
    cells = [
        (infer(model, precision=precision), speed(value))
        for precision, large in (("float32", 2.0), ("bfloat16", 5.0))
        for model, value in ((BASE, 10.0), (LARGE, large))
    ]
    table = tokenized.throughput(frame_of(*cells))
    assert table[["precision", "large 224"]].to_numpy().tolist()[:3] == [
        ["float32", "0.200x"], ["bfloat16", "0.500x"], ["-", f"{360.12 / 1106.05:.3f}x"],
    ]  # fmt: skip


# Codebooks.


def test_usage_stands_beside_what_is_published_and_what_is_possible(frame_of):
    table = codebook.table(frame_of(usage([300, 80, 12]), usage([5] * 4096, decoder_depth=1)))
    assert table.to_dict("records") == [
        {"model": VQ_KD, "weights": "random words", "images": "2 photographs", "patches": "392",
         "codes used": "3 of 8,192", "usage (%)": "0.0366", "at most (%)": f"{100 * 392 / 8192:.2f}",
         "perplexity": "3.500", "published": "97 %, confirmed; 95 %, secondary; 95 %, secondary"},
        {"model": f"{VQ_KD} decoder_depth=1", "weights": "random words", "images": "2 photographs",
         "patches": "20,480", "codes used": "4,096 of 8,192", "usage (%)": "50.0", "at most (%)": "100",
         "perplexity": "3.500", "published": "100 %, confirmed; 100 %, secondary"},
    ]  # fmt: skip
    assert codebook.table(frame_of((Spec(VQ_KD), params(1)))).empty


@given(patches=st.integers(1, 20_000), codes=st.integers(1, 10_000))
def test_patches_bound_the_codes_that_they_use(patches, codes):
    share = codebook.most({"patches": patches, "codes": codes})
    assert 0 < share <= 1
    assert round(share * codes) == min(patches, codes)


def test_published_usage_says_where_it_was_read_and_of_what():
    table = codebook.published().set_index("id")
    assert table.loc["beitv2-038", ["here", "published", "confidence"]].tolist() == [VQ_KD, "97 %", "confirmed"]
    assert table.loc["beitv2-039", "here"] == f"{VQ_KD} decoder_depth=1 teacher=dino"
    assert table.loc["beitv2-040", "confidence"] == "secondary"
    assert table.loc["beitv2-053", ["here", "published"]].tolist() == [
        "no such model here", "7,342 unused codes, so 10.4 % used",  # (8192 - 7342) / 8192
    ]  # fmt: skip
    assert len(table) == 10


def test_codebooks_and_masks_alone_stay_out_of_the_table_of_results(frame_of):
    masks = Value("mask_occupancy", "1", 0.5, details={"masks": 2000, "removed": 2, "occupancy": [[0.5, 1], [0, 0.5]]})
    frame = frame_of(usage([3]), (step(batch=1), masks), (infer(BASE), params(5)))
    assert tables.main_rows(frame)["metric"].tolist() == ["params"]


# The page.


def section(page):
    text = page.read_text()
    start = text.index("## Tokenized pre-training")
    return text[start : text.index("\n## ", start + 1)]


def test_the_section_says_what_its_numbers_are_worth(records, tmp_path, unsaved):
    cells = [
        (infer(BASE), params(86_530_984), speed(4.0)),
        (step(), MACS, TIME, MEMORY, speed(2.0)),
        (step(**HEADLESS), step_macs(("encoder", "forward", 64 * 10**9))),
        usage([300, 80, 12]),
    ]
    text = section(write(records(*cells), tmp_path))
    headings = [line for line in text.splitlines() if line.startswith("### ")]
    assert headings == [
        "### BEiT v2's models",
        "### What each part of a step costs",
        "### Where a step goes",
        "### Throughput beside timm's",
        "### Codebook usage",
    ]
    words = " ".join(text.split())
    for said in (
        "**Random weights: no statement about a trained model",
        "`beit_base_patch16_384` and `beit_large_patch16_384` are of the first BEiT",
        "published, other hardware: fp32-nchw-pt240-cpu-i9_10940x-dynamo",
        "secondary in somebody's quotation",
        "+25.00 %",
        "many patches can use at most as many codes",
        "microsoft/unilm@768a3c87",
    ):
        assert said in words, said
    assert "\n\n\n" not in text
    page = (tmp_path / "report.md").read_text()
    assert "BEiT v2's are compared with themselves without the CLS head (`cls_head=False`)" in page
    assert "[steps.csv](steps.csv)" in page[: page.index("## Tokenized")]
    lines = (tmp_path / "steps.csv").read_text().splitlines()
    assert lines[0].endswith("metric,unit,section,phase,value,share")
    assert len(lines) == 1 + 3 + 6 + 3 + 1


@pytest.mark.parametrize(
    ("cells", "headings"),
    [
        ([(infer(BASE), params(5))], ["models"]),
        ([(infer("beitv2_base_patch16_224"), speed(5.0))], ["Throughput"]),
        ([(infer("beit_large_patch16_384", 384), params(1)), (infer(LARGE), macs(5))], ["models"]),
        ([(step(), macs(5)), (step(**HEADLESS), macs(4))], ["What each part"]),
        ([(step(), MACS)], ["Where a step goes"]),
        ([usage([3, 1])], ["Codebook usage"]),
        ([usage([3, 1], "mine:tokenizer")], ["Codebook usage"]),
        ([(step(), macs(5))], []),
        ([(infer("beit_base_patch16_384", 384), speed(1.0))], []),
        ([(Spec("simmim_swin_tiny", mode="pretrain"), MACS, TIME, MEMORY)], []),
    ],
    ids=["model", "timm's", "large", "parts", "step", "codebook", "a user's", "one step", "BEiT", "another family"],
)
def test_what_was_not_measured_has_no_section(records, tmp_path, unsaved, cells, headings):
    page = write(records(*cells), tmp_path)
    if not headings:
        assert "Tokenized" not in page.read_text()
        return
    found = [line for line in section(page).splitlines() if line.startswith("### ")]
    assert len(found) == len(headings)
    assert all(words in line for words, line in zip(headings, found, strict=True))


def test_trained_weights_carry_no_warning(records, tmp_path, unsaved):
    assert "Random weights" not in section(write(records(usage([3], weights="a.pth@0123456789ab")), tmp_path))


def test_names_can_do_nothing_to_the_page(records, tmp_path, unsaved):
    evil = told("step_macs", "MAC", (EVIL, "forward", 3), ("encoder", "forward", 1))
    spec, value = usage([3], model=f"beitv2_{EVIL}", weights="random")
    origin = {**value.details, "weights": EVIL, "images": EVIL}
    cells = [(step(f"beitv2_{EVIL}"), evil), (spec, dataclasses.replace(value, details=origin))]
    text = section(write(records(*cells), tmp_path))
    assert EVIL not in text
    assert r"a\|b\*&lt;i&gt;\_c\_" in text
    for table in text.split("\n\n"):  # each line of a table has as many cells as its head
        bars = {line.replace(r"\|", "").count("|") for line in table.splitlines() if line.startswith("|")}
        assert len(bars) <= 1


def test_an_epoch_of_pre_training_is_projected(frame_of):
    table = epochs.table(frame_of((step(), speed(1_281_167 / 3600)), (step(VQ_KD), speed(1.0))))
    assert table["model"].tolist() == [MIM, VQ_KD]
    assert table["epoch (h)"].tolist()[0] == "1.00"

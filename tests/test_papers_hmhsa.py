"""hMHSA's and cFFN's tables and figures, rebuilt from records that are written by hand."""

import base64
import io
from dataclasses import replace

import pytest
from PIL import Image

from bench.protocol import preset
from bench.record import Record, Value
from bench.spec import Spec
from reports.baselines import BASES, HMHSA
from reports.ledger import ledger
from reports.ledger.judging import frame_of
from reports.papers.evidence import Evidence
from reports.papers.exhibit import NOT_HERE, UNSAID
from reports.papers.hmhsa import EXHIBITS
from reports.papers.hmhsa.ablations import TABLES
from reports.papers.hmhsa.models import MODELS
from reports.style import styled
from tests.exhibits import note, row, rows
from tests.small_hmhsa import on_meta

NAMES = ("shares", "reductions", "ablations", "ccs", "galleries", "sizes", "throughput")
UNITS = {"params": "1", "macs": "MAC", "macs_fvcore": "MAC", "throughput": "img/s", "latency": "s", "ccs": "1"}
PVT, BASE = "hmhsa_pvt_v2_b1", "pvt_v2_b1"


@pytest.fixture
def exhibits(environment):
    """The exhibits by the ends of their names, of cells: each a Spec and its values by metric, numbers, (number, low,
    high), details or a Value."""

    @styled
    def of(*cells):
        records = []
        for minute, (spec, values) in enumerate(cells):
            own = tuple(_value(*one) for one in values.items())
            form = spec.form if spec.form != "auto" else "deployed"
            form = form if spec.model.startswith("hmhsa") and spec.mode == "infer" else None
            where = environment if spec.device == "cpu" else replace(environment, gpu="NVIDIA H200")
            time = f"2026-11-21T05:{minute:02}:00+00:00"
            records.append(Record(spec, preset("quick", 1), where, own, time, form=form))
        evidence = Evidence(frame_of(records), ledger.rows(records))
        built = [build(evidence) for build in EXHIBITS]
        assert [one.name for one in built] == [f"hmhsa-{name}" for name in NAMES]
        return dict(zip(NAMES, built, strict=True))

    return of


def _value(metric, given):
    unit = UNITS.get(metric, "B")
    if isinstance(given, Value):
        return given
    if isinstance(given, dict):
        return Value(metric, unit, given["value"], details=given)
    number, *bounds = given if isinstance(given, tuple) else (given,)
    interval = {"samples": ((number,),), "interval": tuple(bounds)} if bounds else {}
    return Value(metric, unit, number, **interval)


def test_without_records_each_missing_number_has_its_reason(exhibits):
    built = exhibits()
    assert {name: len(one.pictures) for name, one in built.items() if one.pictures} == {
        "shares": 1, "ccs": 1, "galleries": 3, "sizes": 1,
    }  # fmt: skip
    for exhibit in built.values():
        for table in exhibit.tables:
            assert not any(one.startswith("Conditions") for one in table.notes)
            for one in rows(table):
                for heading, words in one.items():
                    if words.startswith("- ["):
                        assert note(table, words)
                    assert words == "-" or words.startswith("- [") or not heading.endswith("measured")
        for picture in exhibit.pictures:
            assert picture.figure is None
            assert "no record has" in picture.caption
            assert picture.name.startswith("hmhsa_")


def test_the_models_are_those_that_the_paper_compares():
    assert {one.ours: one.base for one in MODELS} == {
        model: base.model for model, (base, *_) in BASES.items() if base.paper == HMHSA
    }


# Table 1.


def test_savings_stand_beside_what_is_printed_of_them(exhibits):
    cells = [(Spec(BASE), {"params": 14_009_000, "macs": 2.11e9, "macs_fvcore": 2.12e9})]
    cells += [(Spec(PVT), {"params": 12_151_632, "macs_fvcore": 1.8e9})]
    cells += [(Spec(PVT, model_args=(("impl", "reference"),)), {"macs": 1.79e9})]
    [table] = exhibits(*cells)["reductions"].tables
    base, ours = row(table, "PVTv2-b1"), row(table, "PVTv2-b1 with hMHSA, cFFN")
    assert (base["parameters (M), published"], base["parameters (M), measured"]) == ("14.0", "14.01 ✓")
    assert base["saved of parameters (%), measured"] == "-"
    assert ours["parameters (M), measured"] == "12.15"
    assert (ours["saved of parameters (%), published"], ours["saved of parameters (%), measured"]) == (
        "13.2†",
        "13.26 ✗",
    )
    assert (ours["saved of MACs (%), published"], ours["saved of MACs (%), measured"]) == ("15.2†", "15.17 ✓")
    assert ours["MACs (G), measured"] == "1.800"
    tiny = row(table, "DeiT-T with hMHSA, cFFN")
    assert note(table, tiny["saved of MACs (%), published"]) == UNSAID
    assert note(table, row(table, "DeiT-T")["MACs (G), published"]) == "in no text that was found"
    assert note(table, tiny["saved of MACs (%), measured"]) == NOT_HERE
    assert (tiny["gain of top-1 (points), published"], row(table, "DeiT-T")["top-1 (%), published"]) == ("0.7†", "72.2")


def test_the_text_has_the_verdicts_of_the_abstract(exhibits):
    cells = []
    for one in MODELS:
        cells += [(Spec(one.base), {"params": 100, "macs": 100, "macs_fvcore": 100})]
        cells += [(Spec(one.ours), {"params": 85, "macs_fvcore": 85})]
        cells += [(Spec(one.ours, model_args=(("impl", "reference"),)), {"macs": 79})]
    text = " ".join(exhibits(*cells)["reductions"].text.split())
    assert "at least 10 %: reproduced; at most 20 %: differs." in text


# Ablations.


def test_a_choice_is_counted_against_the_base(exhibits):
    cells = [(Spec(BASE), {"params": 100, "macs": 1e9})]
    copied = Spec(PVT, model_args=(("hallucinate", "copy"), ("impl", "reference")))
    cells += [(copied, {"params": 80, "macs": 9e8})]
    cells += [(Spec(PVT, model_args=(("hallucinate", "copy"),)), {"params": 1, "macs": 1})]  # of another route
    maps, *_ = exhibits(*cells)["ablations"].tables
    own = row(maps, "copied from the other half")
    assert (own["saved of parameters (%), measured"], own["saved of MACs (%), measured"]) == ("20.00", "10.00")
    other = row(maps, "CHH, then IHH")
    assert note(maps, other["MACs (G), measured"]) == NOT_HERE


def test_a_difference_says_what_it_is_against_and_under_which_conditions(exhibits):
    exhibit = exhibits()["ablations"]
    maps, ffn, factorised, ratio, _ = exhibit.tables
    assert row(maps, "copied from the other half")["difference of top-1, published"] == (
        "-0.5† points against hallucinated ones; ablation: copying real maps instead of hallucinating; model and "
        "schedule not stated in the text"
    )
    narrowed, compact = rows(ffn)[1:]
    assert narrowed["difference of top-1, published"].startswith("-0.5† points against what is not stated; plain FFN")
    assert compact["difference of top-1, published"] == (
        "0.3† points against fewer hidden channels; same Params and FLOPs"
    )
    assert compact["top-1, published"].startswith("69.1† %; t=2/3; ablation schedule (not the 300-epoch result)")
    assert row(factorised, "the second (the paper's)")["difference of top-1, published"].startswith(
        "0.2† points against the first; "
    )
    assert not [heading for heading in ratio.rows if "top-1" in heading]
    assert exhibit.text.startswith("But for one accuracy of table 5")


def test_every_choice_is_an_argument_that_the_model_takes_and_changes_what_it_costs():
    equal = []  # of each choice the first that has as many parameters
    for choices in TABLES.values():
        built = [on_meta(PVT, impl="reference", **one.arguments) for one in choices]
        counts = [sum(weight.numel() for weight in model.parameters()) for model in built]
        equal.append([counts.index(count) for count in counts])
    assert equal == [[0, 1, 2, 3, 4, 4], [0, 1, 2], [0, 1], [0, 1]]
    with pytest.raises(ValueError, match="hallucinate"):
        on_meta(PVT, hallucinate="anything")


def test_branches_are_of_training(exhibits):
    plain = Spec("deit_tiny_patch16_224", mode="train")
    two = Spec("hmhsa_deit_tiny", mode="train", model_args=(("branches", 2),))
    values = {"params": 5e6, "macs": 1e9, "peak_live_bytes": 2**20}
    exhibit = exhibits((plain, values | {"latency": (1.0, 0.9, 1.1)}), (two, values | {"latency": (2.0, 1.8, 2.2)}))
    *_, branches = exhibit["ablations"].tables
    assert [one["branches"] for one in rows(branches)] == ["none: the base", "1", "2", "3"]
    own = row(branches, "2")
    assert own["time of a step, the base's being 1"].startswith("2.000 (1.636 to 2.444)")
    assert own["parameters (M)"] == "5.000"
    assert note(branches, row(branches, "3")["parameters (M)"]) == NOT_HERE


def test_a_step_at_another_batch_is_not_shown(exhibits):
    values = {"latency": (1.0, 0.9, 1.1), "peak_memory": 2**30}
    two = (("branches", 2),)
    specs = [Spec("deit_tiny_patch16_224"), Spec("hmhsa_deit_tiny", model_args=two)]
    *_, branches = exhibits(
        *[(replace(spec, mode="train", batch=8, device="cuda"), values) for spec in specs]
    )["ablations"].tables  # fmt: skip
    own = row(branches, "2")
    assert "other batches" in note(branches, own["time of a step, the base's being 1"])
    assert note(branches, own["peak memory (MiB)"])


# Attention.


def looked(value, weights="random weights (seed 0)"):
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG")
    block = {"name": "blocks.0.attn", "grid": [2, 2], "query": "class token", "heads": [[0.1, 0.2, 0.3, 0.4]] * 2}
    return {
        "value": value,
        "weights": weights,
        "images": "1 photograph",
        "all_pairs": value,
        "per_image": {"a_cat": value},
        "blocks": [{"name": "blocks.0.attn", "heads": 2, "ccs": value, "all_pairs": value}],
        "similarity": {"blocks.0.attn": [[1, value], [value, 1]]},
        "gallery": {"image": "a_cat", "jpeg": base64.b64encode(file.getvalue()).decode(), "blocks": [block]},
    }


def test_similarity_of_trained_weights_goes_before_that_of_random_ones(exhibits):
    cells = [
        (Spec("deit_small_patch16_224", weights="pretrained"), {"ccs": looked(0.61, "timm's weights")}),
        (Spec("deit_small_patch16_224"), {"ccs": looked(0.98)}),
        (Spec("hmhsa_deit_small"), {"ccs": looked(0.99)}),
    ]
    built = exhibits(*cells)
    [table] = built["ccs"].tables
    own = row(table, "DeiT-S")
    assert own["base, measured"].startswith("0.610 ")
    assert note(table, own["base, measured"].removeprefix("0.610 ")) == "1 photograph; timm's weights"
    assert note(table, own["with hMHSA, cFFN, measured"].removeprefix("0.990 ")).startswith(
        "1 photograph; Random weights"
    )
    average = row(table, "on average, above")
    assert average["base, published"] == "0.5†"
    assert note(table, average["base, measured"]).startswith("needs the trained weights")
    assert built["ccs"].pictures[0].figure is not None
    assert [picture.figure is None for picture in built["galleries"].pictures] == [False] * 6 + [True]


@pytest.mark.parametrize(
    "spec",
    [
        Spec("hmhsa_deit_small", model_args=(("hallucinate", "copy"),)),
        Spec("hmhsa_deit_small", size=(384, 384)),
        Spec("hmhsa_deit_small", mode="train"),
        Spec("hmhsa_deit_small", form="training"),
    ],
    ids=["arguments", "size", "mode", "form"],
)
def test_numbers_of_a_changed_model_are_not_the_papers(exhibits, spec):
    built = exhibits((spec, {"ccs": looked(0.5), "params": split(("1", "FFN", 30), ("1", "attention", 20))}))
    for name, heading in (("ccs", "with hMHSA, cFFN, measured"), ("shares", "FFNs of parameters (%)")):
        [table] = built[name].tables
        [own] = [one for one in rows(table) if one["model"].startswith("DeiT-S")][-1:]
        assert note(table, own[heading]) == NOT_HERE


def test_galleries_are_of_the_papers_models_and_of_trained_ones(exhibits):
    others = [(Spec(f"other_{number}"), {"ccs": looked(0.9)}) for number in range(4)]
    trained = (Spec("other_trained", weights="pretrained"), {"ccs": looked(0.9)})
    pictures = exhibits(*others, trained, (Spec("hmhsa_deit_small"), {"ccs": looked(0.9)}))["galleries"].pictures
    shown = [picture.title for picture in pictures if picture.name.startswith("hmhsa_gallery")]
    assert len(shown) == 2
    assert "other_trained" in shown[0]
    assert "hmhsa_deit_small" in shown[1]


# Sizes, shares and throughput.


def test_savings_at_the_sizes_of_fine_tuning_are_of_that_size(exhibits):
    cells = []
    for side, saved in ((224, 0.5), (384, 0.8), (448, 0.9)):
        size = (side, side)
        cells += [(Spec(BASE, size=size), {"macs_fvcore": 1e10, "peak_live_bytes": 100 * 2**20})]
        cells += [(Spec(PVT, size=size), {"macs_fvcore": saved * 1e10, "peak_live_bytes": 95 * 2**20})]
    exhibit = exhibits(*cells)["sizes"]
    assert [table.title for table in exhibit.tables] == ["CIFAR-100, 384 px", "Stanford Dogs, 448 px"]
    assert [row(table, "PVTv2-b1")["saved of MACs (%)"] for table in exhibit.tables] == ["20.00", "10.00"]
    assert row(exhibit.tables[0], "PVTv2-b1")["saved of memory (%)"] == "5.000"
    assert note(exhibit.tables[0], row(exhibit.tables[0], "DeiT-S")["MACs of the base (G)"]) == NOT_HERE
    assert exhibit.pictures[0].figure is not None


def test_memory_at_the_sizes_of_fine_tuning_is_of_one_image_and_says_what_it_is(exhibits):
    def memory(batch):
        specs = [Spec(name, size=(384, 384), batch=batch, device="cuda") for name in (BASE, PVT)]
        exhibit = exhibits(*[(spec, {"peak_memory": 2**30}) for spec in specs])["sizes"]
        assert "predicted, or of the allocator" in exhibit.text.replace("\n", " ")
        return exhibit.tables[0], row(exhibit.tables[0], "PVTv2-b1")

    table, own = memory(64)
    assert note(table, own["memory of the base (MiB)"])
    assert note(table, own["saved of memory (%)"])
    table, own = memory(1)
    assert own["memory of the base (MiB)"] == "1,024"
    assert table.notes[0] == "Conditions: NVIDIA H200, batch 1, float32."


def split(*parts):
    return {"value": sum(number for *_, number in parts), "parts": [list(part) for part in parts]}


def test_shares_are_of_kinds_over_all_stages(exhibits):
    own = split(("1", "attention", 20), ("1", "FFN", 30), ("2", "attention", 10), ("2", "FFN", 20), ("", "head", 20))
    other = split(("1", "attention", 50), ("1", "FFN", 50))
    cells = [(Spec(BASE), {"macs": own, "params": own}), (Spec(BASE, batch=8), {"macs": own})]
    cells += [(Spec(BASE, size=(448, 448)), {"macs": other}), (Spec("swin_tiny"), {"macs": other})]
    exhibit = exhibits(*cells)["shares"]
    [table] = exhibit.tables
    found = row(table, "PVTv2-b1")
    assert (found["attention of MACs (%)"], found["FFNs of MACs (%)"]) == ("30.0", "50.0")
    assert note(table, row(table, "DeiT-S")["FFNs of parameters (%)"]) == NOT_HERE
    assert exhibit.pictures[0].figure is not None
    assert "swin_tiny" not in exhibit.pictures[0].alt


def test_speed_ups_stand_beside_those_of_macs(exhibits):
    timed = {"throughput": (10.0, 9.0, 11.0), "latency": (1.0, 0.9, 1.1)}
    cells = [
        (Spec(BASE, batch=8), timed),
        (Spec(PVT, batch=8), {"throughput": (8.0, 7.0, 9.0)}),
        (Spec(BASE), timed | {"macs_fvcore": 2e9}),
        (Spec(PVT), {"throughput": (99.0, 98.0, 100.0), "latency": (1.25, 1.2, 1.3), "macs_fvcore": 1e9}),
    ]
    [table] = exhibits(*cells)["throughput"].tables
    own = row(table, "PVTv2-b1")
    assert own["speed-up of throughput"].startswith("0.8000 (0.6364 to 1.000)")
    assert own["speed-up of latency"].startswith("0.8000 (0.6923 to 0.9167)")
    assert own["MACs, base / ours"] == "2.000"
    assert note(table, row(table, "DeiT-T")["speed-up of throughput"]) == NOT_HERE


def test_throughputs_and_their_quotient_are_of_one_setting(exhibits):
    def timed(model, batch, value):
        return Spec(model, batch=batch), {"throughput": (value, value - 1, value + 1)}

    [table] = exhibits(timed(BASE, 1, 2.0), timed(BASE, 8, 9.0), timed(PVT, 1, 3.0))["throughput"].tables
    own = row(table, "PVTv2-b1")
    assert (own["base (img/s)"], own["with hMHSA, cFFN (img/s)"]) == (
        "2.000 (1.000 to 3.000)",
        "3.000 (2.000 to 4.000)",
    )
    assert own["speed-up of throughput"].startswith("1.500")
    assert table.notes[0] == "Conditions: A CPU, batch 1, float32."
    [table] = exhibits(timed(BASE, 8, 9.0), timed(PVT, 1, 3.0))["throughput"].tables
    own = row(table, "PVTv2-b1")
    assert own["base (img/s)"].startswith("9.000")
    assert note(table, own["with hMHSA, cFFN (img/s)"]) == "recorded, but not in the setting of the others"
    assert "not alike" in note(table, own["speed-up of throughput"])


def test_latency_is_of_one_image(exhibits):
    specs = [Spec(name, batch=8, device="cuda") for name in (BASE, PVT)]
    [table] = exhibits(*[(spec, {"latency": (1.0, 0.9, 1.1)}) for spec in specs])["throughput"].tables
    assert "other batches" in note(table, row(table, "PVTv2-b1")["speed-up of latency"])


def test_any_one_metric_may_be_missing(exhibits):
    part = split(("1", "attention", 20), ("1", "FFN", 30))
    metrics = {"params": part, "macs": part, "macs_fvcore": 5e9, "throughput": (5.0, 4.0, 6.0)}
    metrics |= {"latency": (1.0, 0.9, 1.1), "peak_live_bytes": 2**20, "ccs": looked(0.5)}
    only = Spec("hmhsa_deit_small")  # is looked at: pictures of more take seconds
    specs = [Spec(name, size=(side, side)) for one in MODELS for name in (one.base, one.ours) for side in (224, 384)]
    for left_out in (None, *metrics):
        values = {name: value for name, value in metrics.items() if name != left_out}
        others = {name: value for name, value in values.items() if name != "ccs"}
        built = exhibits(*[(spec, values if spec == only else others) for spec in specs])
        assert (built["ccs"].pictures[0].figure is None) is (left_out == "ccs")


def test_what_failed_says_why(exhibits):
    failed = Value("throughput", "img/s", None, status="failed", note="out of memory")
    [table] = exhibits((Spec(BASE), {"throughput": failed}))["throughput"].tables
    assert note(table, row(table, "PVTv2-b1")["base (img/s)"]) == ("throughput of pvt_v2_b1 failed: out of memory")

"""SG-Former's tables and figures, rebuilt from records that are written by hand."""

import re
from dataclasses import replace

import pytest
import timm
import torch

from bench.protocol import preset
from bench.record import Record, Value
from bench.spec import Spec
from reports.ledger import ledger
from reports.ledger.judging import frame_of
from reports.ledger.models import BUILDS
from reports.papers.evidence import Evidence
from reports.papers.exhibit import NOT_HERE
from reports.papers.sgformer import EXHIBITS
from reports.papers.sgformer.peers import GAINS
from reports.papers.sgformer.resolution import MODELS, SIZES
from reports.papers.sgformer.throughput import READINGS
from reports.papers.sgformer.variants import VARIANTS
from reports.style import styled
from tests.exhibits import note, row, rows

NAMES = ("variants", "peers", "throughput", "resolution", "context", "significance")
UNITS = {"params": "1", "macs": "MAC", "throughput": "img/s"}


@pytest.fixture
def evidence(environment):
    """Evidence of cells: each a Spec and its numbers by metric, or (number, low, high)."""

    def of(*cells, gpu="NVIDIA H200"):
        records = []
        for minute, (spec, values) in enumerate(cells):
            own = environment if spec.device == "cpu" else replace(environment, gpu=gpu)
            time = f"2026-11-21T05:{minute:02}:00+00:00"
            records.append(Record(spec, preset("quick", 1), own, tuple(_value(*one) for one in values.items()), time))
        return Evidence(frame_of(records), ledger.rows(records))

    return of


@pytest.fixture
def exhibits(evidence):
    """The exhibits by the ends of their names, of such cells."""

    @styled
    def of(*cells, **words):
        found = evidence(*cells, **words)
        built = [build(found) for build in EXHIBITS]
        assert [one.name for one in built] == [f"sgformer-{name}" for name in NAMES]
        return dict(zip(NAMES, built, strict=True))

    return of


def _value(metric, given):
    number, *bounds = given if isinstance(given, tuple) else (given,)
    interval = {"samples": ((number,),), "interval": tuple(bounds)} if bounds else {}
    return Value(metric, UNITS.get(metric, "B"), number, **interval)


def test_without_records_all_is_published_and_each_missing_number_has_its_reason(exhibits):
    built = exhibits()
    assert {name: len(one.pictures) for name, one in built.items() if one.pictures} == dict.fromkeys(
        ("throughput", "resolution", "significance"), 1
    )
    for exhibit in built.values():
        for table in exhibit.tables:
            assert not any(one.startswith("Conditions") for one in table.notes)
            for one in rows(table):
                for heading, words in one.items():
                    assert words
                    if heading.endswith(", measured") or words.startswith("- ["):
                        assert note(table, words)
        for picture in exhibit.pictures:
            assert picture.figure is None
            assert "no record has" in picture.caption
            assert picture.name.startswith("sgformer_")


def test_any_one_metric_may_be_missing(exhibits):
    metrics = {"params": 5e6, "macs": 5e9, "throughput": (5.0, 4.0, 6.0), "peak_live_bytes": 2**20}
    specs = [Spec(model, size=(side, side)) for model, _ in MODELS for side in SIZES]
    for left_out in (None, *metrics):
        values = {name: value for name, value in metrics.items() if name != left_out}
        built = exhibits(*[(spec, values) for spec in specs])
        assert (built["resolution"].pictures[0].figure is None) is (left_out == "peak_live_bytes")
        assert (built["throughput"].pictures[0].figure is None) is (left_out == "throughput")


# Variants.


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda one: one.model)
def test_the_configuration_is_that_of_the_models(variant):
    with torch.device("meta"):
        model = timm.create_model(variant.model)
    stages = [getattr(model, f"block{stage}") for stage in (1, 2, 3, 4)]
    channels = tuple(stage[0].norm1.normalized_shape[0] for stage in stages)
    assert variant.channels == channels
    assert variant.heads == tuple(
        width // stage[0].attn.head_dim for width, stage in zip(channels, stages, strict=True)
    )  # fmt: skip
    assert variant.blocks == tuple(map(len, stages))


def test_a_cost_stands_beside_every_number_that_was_printed_of_it(exhibits):
    configuration, cost = exhibits((Spec("sgformer_s"), {"params": 22_545_981, "macs": 4.784e9}))["variants"].tables
    assert row(configuration, "3")["SG-Former-B"] == "384, 12, 24"
    small = [tuple(one.values()) for one in rows(cost)][:2]
    assert small == [
        ("SG-Former-S", "Table 2", "23†", "22.55 ✓", "4.8†", "4.784 ✓"),
        ("SG-Former-S", "Sec. 3.1 text", "24.2", "22.55 ✗", "4.8", "4.784 ✓"),
    ]
    large = row(cost, "SG-Former-B")
    assert note(cost, large["parameters (M), measured"]) == NOT_HERE


# Peers.


def test_peers_are_those_of_the_quotations_small_ones_first(exhibits):
    table, _ = exhibits((Spec("swin_tiny_patch4_window7_224"), {"params": 28_288_354}))["peers"].tables
    assert [one["model"] for one in rows(table)] == [
        *("DeiT-S", "Swin-T", "CSWin-T", "SG-Former-S", "Swin-S", "CSWin-S", "SG-Former-M"),
        *("DeiT-B", "Swin-B", "CSWin-B", "SG-Former-B"),
    ]
    swin = row(table, "Swin-T")
    assert (swin["parameters (M), published"], swin["parameters (M), measured"]) == ("29†", "28.29 ✗")
    assert swin["top-1 (%), published"] == "81.3†"
    assert "MambaOut" in swin["parameters and MACs read in"]
    absent = row(table, "CSWin-T")
    assert note(table, absent["MACs (G), measured"]) == "no such model in the zoo or timm"
    assert note(table, row(table, "DeiT-B")["top-1 (%), published"]).startswith("in no text")
    assert "top-1 (%), measured" not in table.rows


def test_gains_stand_beside_the_differences_of_what_is_printed(exhibits):
    _, gains = exhibits()["peers"].tables
    found = {
        (one["model"], one["peer, of the nearest size (the text names none)"]): (
            one["gain (points), published"],
            one["difference of the printed accuracies"],
        )
        for one in rows(gains)
    }
    assert found["SG-Former-S", "DeiT-B (named)"] == ("1.4", "1.4")
    assert {pair: words for pair, words in found.items() if words[0] != words[1]} == {
        ("SG-Former-B", "EfficientNet-B6"): ("0.6", "0.7"),
        ("SG-Former-B", "CSWin-B"): ("0.4", "0.5"),
        ("SG-Former-B", "Swin-B"): ("1.3", "1.2"),
    }
    conditions = {one["conditions of the gain"] for one in rows(gains) if "EfficientNet" in " ".join(one.values())}
    assert conditions == {"EfficientNet uses larger input"}


def test_a_peer_whose_size_no_text_names_is_the_nearest_of_its_family_in_printed_macs(evidence):
    ledger_of = evidence()
    printed = {(row.claim.printed, row.claim.metric) for row in ledger_of.rows}
    for model, metric, peer in GAINS:
        if not metric.endswith(peer):
            family = [name for name, of in printed if of == "macs" and re.fullmatch(f"{peer[:-1]}[BST0-9]", name)]
            own, *others = (ledger_of.claim(name, "macs").claim.value for name in (model, *family))
            assert family[others.index(min(others, key=lambda macs: abs(macs - own)))] == peer
            assert len(family) == 3


def test_what_a_peers_row_was_read_in_is_where_both_of_its_costs_stand(evidence, exhibits):
    table, _ = exhibits()["peers"].tables
    ledger_of = evidence().rows
    for one in rows(table):
        costs = [
            row.claim.metric
            for row in ledger_of
            if row.claim.printed == one["model"] and row.claim.provenance == one["parameters and MACs read in"]
        ]
        assert {"params", "macs"} <= set(costs)


# Throughput.


def timed(model, value, **words):
    return Spec(model, batch=64, device="cuda", **words), {"throughput": (value, value - 1, value + 1)}


def test_pairs_are_the_readings_of_the_ledger(evidence):
    labels = [one.label for one in evidence().by_id["sgformer-031"].found]
    models = [[BUILDS[name, 224].model for name in pair] for pair in READINGS]
    assert labels == [f"{own} above {peer}" for own, peer in models]


def test_a_quotient_stands_beside_that_of_a_third_party(exhibits):
    exhibit = exhibits(timed("sgformer_s", 100.0), timed("swin_small_patch4_window7_224", 80.0))["throughput"]
    said, *_ = exhibit.tables
    first, second, *_ = rows(said)
    assert first["quotient by RMT's authors"] == "0.946"
    assert first["quotient"] == "1.250 (1.222 to 1.278)"
    assert note(said, second["quotient"]) == NOT_HERE
    assert "Verdict of the claim here: not measured." in exhibit.text.replace("\n", " ")
    assert exhibit.pictures[0].figure is not None


def test_a_third_party_found_faster_models_of_similar_accuracy(exhibits):
    _, rank, every, _ = exhibits(timed("sgformer_s", 100.0))["throughput"].tables
    assert [one["model"] for one in rows(rank)] == [one.printed for one in VARIANTS]
    assert row(rank, "SG-Former-S")["faster"] == "Swin-S, MPViT-S, iFormer-S"
    assert row(rank, "SG-Former-S")["not faster"] == "Swin-B, Focal-S, EfficientNet-B4, CMT-S"
    assert all(one["faster"] != "-" for one in rows(rank))  # as the text says
    assert len(every.rows) == 40
    own = row(every, "SG-Former-S")
    assert (own["throughput (img/s), published"], own["throughput (img/s), measured"]) == (
        "952",
        "100.0 (99.00 to 101.0) ≁",
    )
    assert note(every, row(every, "RMT-S")["throughput (img/s), measured"]) == "no such model in the zoo or timm"


def test_a_speed_stands_beside_one_of_its_own_gpu_only(exhibits):
    cell = timed("deit_small_patch16_224", 3700.0, precision="tf32")
    cell = (replace(cell[0], batch=128), cell[1])
    for gpu, headings in (
        (
            "NVIDIA A100-SXM4-80GB",
            ["RTX 2080 Ti (img/s), published", "A100 (img/s), published", "A100 (img/s), measured"],
        ),
        ("NVIDIA H200", ["RTX 2080 Ti (img/s), published", "A100 (img/s), published"]),
    ):
        *_, there = exhibits(cell, gpu=gpu)["throughput"].tables
        assert list(there.rows)[2:] == headings
    *_, there = exhibits(cell, gpu="NVIDIA A100-SXM4-80GB")["throughput"].tables
    assert row(there, "DeiT-S")["A100 (img/s), published"] == "3781"
    assert row(there, "DeiT-B")["A100 (img/s), published"] == "1608"  # and not that at 384 px
    assert row(there, "DeiT-S")["A100 (img/s), measured"] == "3,700 (3,699 to 3,701) ✓"


# Resolution.


def test_growth_is_from_the_first_size_to_the_last(exhibits):
    cells = [
        (Spec("sgformer_s", size=(side, side)), {"macs": macs, "peak_live_bytes": mib * 2**20})
        for side, macs, mib in ((224, 5e9, 100), (448, 2.2e10, 150), (896, 1.3e11, 500))
    ]
    exhibit = exhibits(*cells)["resolution"]
    macs, memory = exhibit.tables
    own = row(macs, "sgformer_s")
    assert list(own.values())[:4] == ["sgformer_s", "hybrid and self-guided", "5.000", "22.00"]
    assert own["896 px / 224 px"] == "26.00"
    assert note(macs, own["672 px"]) == NOT_HERE
    assert row(memory, "sgformer_s")["896 px / 224 px"] == "5.000"
    assert exhibit.pictures[0].figure is not None


def test_memory_at_another_batch_is_not_that_of_one_image(exhibits):
    cells = [
        (Spec("sgformer_s", size=(side, side), batch=64, device="cuda"), {"peak_memory": 2**30, "macs": 5e9})
        for side in SIZES
    ]
    macs, memory = exhibits(*cells)["resolution"].tables
    assert row(macs, "sgformer_s")["224 px"] == "5.000"  # of one image at any batch
    for heading, words in list(row(memory, "sgformer_s").items())[2:]:
        assert note(memory, words), heading


# Context.


def test_context_is_quoted_and_what_is_in_no_text_stays_missing(exhibits):
    tables = exhibits()["context"].tables
    assert not any(heading.endswith("measured") for table in tables for heading in table.rows)
    detection, segmentation = tables[1:3]
    assert row(detection, "SG-Former-S")["AP box (%), published"] == "47.4†"
    assert note(detection, row(detection, "SG-Former-B")["AP box (%), published"]).startswith("in no text")
    assert row(segmentation, "SG-Former-B")["MACs (G), published"] == "1304†"
    assert row(tables[3], "COCO: AP above Swin's")["published"] == "2.7 points"

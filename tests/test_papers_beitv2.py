"""BEiT v2's exhibits from records written by hand: what is said beside what was measured, and why either is missing."""

import re

import pytest

from bench.record import Value
from bench.spec import Spec
from reports.ledger import ledger
from reports.ledger.judging import frame_of
from reports.papers.beitv2 import EXHIBITS
from reports.papers.evidence import Evidence
from reports.style import styled

BASE, LARGE, MIM, VQ_KD = "beitv2_base", "beitv2_large", "beitv2_mim_base", "beitv2_vqkd_base"
NAMES = ("models", "masks", "steps", "throughput", "codebook")
EVIL = "a|b*<i>_c_"


@pytest.fixture
def exhibits(records):
    """The exhibits by name, of these cells: each a Spec and its Values."""

    @styled
    def of(*cells):
        made = records(*cells)
        evidence = Evidence(frame_of(made), ledger.rows(made))
        return {name: build(evidence) for name, build in zip(NAMES, EXHIBITS, strict=True)}

    return of


def infer(model, side=224, **axes):
    return Spec(model, size=(side, side), **axes)


def step(model=MIM, batch=2, **arguments):
    return Spec(model, mode="pretrain", batch=batch, model_args=arguments)


def params(value):
    return Value("params", "1", value)


def macs(value, metric="macs"):
    return Value(metric, "MAC", value)


def speed(value, low=None, high=None):
    return Value("throughput", "img/s", value, interval=None if low is None else (low, high))


PARTS = [["encoder", "forward", 1e9], ["encoder", "backward", 3e9]]
STEP_MACS = Value("step_macs", "MAC", 4e9, details={"parts": PARTS})
MASKS = Value("mask_occupancy", "1", 1.0, details={"masks": 2000, "removed": 75.0, "occupancy": [[0.5, 1], [0, 0.5]]})


def usage(counts, weights="random", **words):
    details = {
        "weights": f"{weights} words", "images": "2 photographs", "codes": 8192, "patches": sum(counts),
        "counts": counts, "perplexity": 3.5, "per_image": {"a": 2}, **words,
    }  # fmt: skip
    return (Spec(VQ_KD, weights=weights), Value("codebook_usage", "1", len(counts) / 8192, details=details))


def rows(exhibit, title=""):
    """The rows of one of its tables, as dicts."""
    [found] = [one for one in exhibit.tables if one.title == title]
    return found.rows.to_dict("records")


def words(exhibit):
    """All cells of its tables."""
    return [str(cell) for one in exhibit.tables for cell in one.rows.to_numpy().ravel()]


def ids(*metrics):
    """The ledger's claims of these metrics: id -> number as printed."""
    found = {row.claim.id: row.claim for row in ledger.rows([], ["beitv2"])}
    return {id_: claim.text.split(" ")[0] for id_, claim in found.items() if claim.metric in metrics}


# Whatever was recorded.


def test_without_records_all_is_published_and_every_number_that_is_missing_says_why(exhibits):
    for name, exhibit in exhibits().items():
        assert exhibit.name == f"beitv2-{name}"
        assert [picture.figure for picture in exhibit.pictures] == [None] * (name in ("masks", "steps", "codebook"))
        assert all(picture.name.startswith("beitv2_") for picture in exhibit.pictures)
        assert all(picture.caption.startswith("Not drawn: ") for picture in exhibit.pictures)
        for table in exhibit.tables:
            assert len(table.rows)
            for row in table.rows.to_dict("records"):
                for heading in (heading for heading in row if heading.endswith(", measured")):
                    published = row.get(heading.replace("measured", "published"), "")
                    assert row[heading] == "1" or row[heading].startswith("- [") or published.startswith("-")
            if table.title in ("Counted here", "What each part adds to a step"):  # nothing of them is published
                assert table.rows.iloc[:, 2:].map(lambda cell: cell.startswith("- [")).all(axis=None)


CELLS = {
    "params": (infer(BASE), params(86_530_984)),
    "timm": (infer("beit_base_patch16_384", 384), macs(5), speed(2.0)),
    "step": (step(), macs(2), STEP_MACS),
    "masks": (step(), MASKS),
    "codes": usage([3, 2, 1]),
    "failed": (step(), Value("step_macs", "MAC", None, status="failed", note="why")),
    "skipped": (Spec(VQ_KD), Value("codebook_usage", "1", None, status="skipped", note="why")),
    "another family": (Spec("simmim_swin_tiny", mode="pretrain"), STEP_MACS),
}


@pytest.mark.parametrize("name", CELLS)
def test_rows_are_the_same_whatever_was_recorded(exhibits, name):
    def fixed(found):
        titles = ("Measured here", "Where a step goes")  # of what was recorded alone
        return [len(one.rows) for exhibit in found.values() for one in exhibit.tables if one.title not in titles]

    assert fixed(exhibits(CELLS[name])) == fixed(exhibits())


def test_what_failed_says_so(exhibits):
    table = exhibits(CELLS["failed"])["steps"].tables[0]
    assert f"step_macs of {MIM} failed: why" in " ".join(table.notes)


# Models.


def test_claims_on_models_are_of_their_metric(exhibits):
    models = exhibits()["models"]
    sizes, accuracies = rows(models, "Published and measured"), rows(models, "Accuracies as published")
    column = [row["params (M), published"].rstrip("†") for row in sizes]
    published = {"86", "86.5", "86.53", "304", "304.43", "86.74", "305.0", "192.81"}
    assert published | {"86.530984"} == {number for number in column if not number.startswith("-")}
    assert published < {*ids("params").values()}
    counts = {row["MACs (G), published"].rstrip("†") for row in sizes} - {"- [1]"}
    assert counts == {*ids("MACs (reported as FLOPs)", "GMACs", "GFLOPs").values()}
    top_1 = ids("top1").values()
    assert {row["top-1 (%), published"].rstrip("†") for row in accuracies} <= {*top_1}


def test_epochs_stand_where_the_claim_names_them(exhibits):
    said = {row.claim.id: row.claim for row in ledger.rows([], ["beitv2"]) if row.claim.metric == "top1"}
    accuracies = rows(exhibits()["models"], "Accuracies as published")
    assert len(accuracies) == 12
    for row in accuracies:
        number = row["top-1 (%), published"].rstrip("†")
        [claim] = [one for one in said.values() if one.source == row["source"] and one.text.split(" ")[0] == number]
        epochs = re.match(r"(\d+) epochs", row["pre-training"])
        assert bool(epochs) == bool(re.search(r"\d+ ep", claim.conditions)), claim.id
        assert not epochs or re.search(rf"\b{epochs[1]} ep", claim.conditions), claim.id
        weights = re.search(r"\((.+)\)", row["pre-training"])
        assert not weights or claim.printed.endswith(f".{weights[1]}"), claim.id
    assert "-" not in {row["top-1 (%), published"] for row in accuracies}


def test_sizes_stand_beside_what_is_published(exhibits):
    found = exhibits(
        (infer(BASE), params(86_530_984), macs(17_563_828_224), macs(17_581_987_584, "macs_fvcore")),
        (infer("beitv2_base_patch16_224"), macs(17_563_828_224), macs(17_581_987_584, "macs_fvcore")),
        (step(), params(193_132_816)),
    )["models"]
    table = rows(found, "Published and measured")
    own = {row["published by"]: row for row in table if row["model"] == "ViT-B/16, 224 px"}
    assert own["README, with classifier"]["params (M), measured"] == "86.53 ✓"
    assert own["mmpretrain"]["params (M), published"] == "86.530984†"
    assert own["mmpretrain"]["params (M), measured"] == "86.53 ✓"
    timms = own["timm's files"]
    assert (timms["MACs (G), published"], timms["MACs (G), measured"]) == ("17.58†", "17.58 ✓")
    assert timms["read as"] == "products and norms (fvcore)"
    assert own["ExPLoRe, without relative positions"]["MACs (G), measured"] == "17.56 ✗"
    assert table[-1]["params (M), measured"] == "193.1 ✗"
    counted = {(row["model"], row["here"]): row for row in rows(found, "Counted here")}
    assert counted["ViT-B/16, 224 px", BASE]["params (M)"] == "86.53"
    assert counted["ViT-B/16, 384 px", BASE]["params (M)"].startswith("-")


# Masks.


def test_masks_are_counted_and_drawn(exhibits):
    masks = exhibits((step(batch=1), MASKS))["masks"]
    measured = {row["of a mask"]: row["mean, measured"] for row in rows(masks)}
    assert measured == {"masked patches, of 196": "75.00 ✓", "masked share of patches (%)": "38.27 ✓"}
    [picture] = masks.pictures
    assert (picture.name, picture.figure is None) == ("beitv2_mask_occupancy", False)


# Steps.


def test_a_part_costs_what_a_step_without_it_lacks(exhibits):
    route = {"impl": "reference", "targets": "given"}
    steps = exhibits(
        (step(**route), macs(21_414_687_744), Value("step_time", "s", 3.0, interval=(2.7, 3.3))),
        (step(**route, cls_head=False), macs(18_034_919_424), Value("step_time", "s", 2.0, interval=(1.8, 2.2))),
        (step(), macs(4), Value("peak_live_bytes", "B", 120)),
        (step(cls_head=False), macs(2)),
        (step(targets="given"), macs(1), Value("peak_live_bytes", "B", 100)),
    )["steps"]
    found = {(row["part"], row["step"]): row for row in rows(steps, "What each part adds to a step")}
    alone = found["CLS head, of a step without tokenizer", f"{MIM} impl=reference targets=given"]
    assert alone["forward MACs (%)"] == "18.74"
    assert alone["time (%)"].startswith("50.00 (22.73 to 83.33)")
    assert found["CLS head", MIM]["forward MACs (%)"] == "100.0"
    tokenizer = found["tokenizer, which gives the targets", MIM]
    assert tokenizer["forward MACs (%)"] == "300.0"
    assert tokenizer["memory (%)"].startswith("20.00")
    assert found["fast route", MIM]["forward MACs (%)"].startswith("-")


def test_sections_are_of_whole_steps_by_either_route(exhibits):
    cells = [(step(**words), STEP_MACS) for words in ({}, {"impl": "reference"}, {"cls_head": False})]
    other = (Spec("simmim_swin_tiny", mode="pretrain"), STEP_MACS)
    steps = exhibits((step(VQ_KD), STEP_MACS), *cells, other)["steps"]
    told = rows(steps, "Where a step goes")
    assert list(dict.fromkeys(row["model"] for row in told)) == [
        f"{MIM} b2", f"{MIM} impl=reference b2", f"{VQ_KD} b2",
    ]  # fmt: skip
    assert told[1]["MACs backward"] == "75.0 %"
    assert [picture.name for picture in steps.pictures] == [
        "beitv2_step_sections_masked-image-modelling", "beitv2_step_sections_tokenizer",
    ]  # fmt: skip


def test_nothing_measured_stands_beside_what_other_hardware_costs(exhibits):
    steps = exhibits((step(), speed(0.8)))["steps"]
    table = rows(steps, "Published of training's cost")
    assert [row["cost, published"] for row in table] == ["~5", "267†", "133†", "~20†", "4.417†", "4.316†", "60†"]
    assert all(row["cost, measured"].startswith("- [") for row in table)
    [notes] = [one.notes for one in steps.tables if one.title == "Published of training's cost"]
    assert any("on hardware of its own" in note for note in notes)


def test_time_of_what_was_not_left_out_is_in_its_section(exhibits):
    time = Value("step_time", "s", 4.0, details={"parts": [["CLS head", "forward", 1.0], ["encoder", "forward", 3.0]]})
    steps = exhibits((step(), time))["steps"]
    assert '"Where a step goes" has the time of each section' in " ".join(steps.text.split())
    assert {"CLS head", "encoder"} <= {cell for row in rows(steps, "Where a step goes") for cell in row.values()}


# Throughput.


def test_throughputs_are_shares_of_the_smallest_models(exhibits):
    found = exhibits(
        (infer(BASE), speed(10.0, 9.0, 11.0)),
        (infer(LARGE), speed(4.0, 3.6, 4.4)),
        (infer("beitv2_base_patch16_224"), speed(8.0)),
        (infer("beit_base_patch16_384", 384), speed(2.0)),
        (infer("beit_base_patch16_384", 224), speed(99.0)),  # another model than BEiT v2's
    )["throughput"]
    first, large, base_384, large_384 = rows(found, "Measured here, and as shares")
    assert (first["ours (img/s), measured"], first["share of the first, measured"]) == ("10.00 (9.000 to 11.00)", "1")
    assert large["share of the first, measured"] == "0.4000 (0.3273 to 0.4889)"
    assert large["share of the first, published"] == "0.213 to 0.332†"
    quotients = [
        float(one["ViT-L/16, 224 px"].rstrip("†")) / float(one["ViT-B/16, 224 px"].rstrip("†"))
        for one in rows(found, "As in timm's files (img/s)")
        if one["of"] == "inference"
    ]
    assert (round(min(quotients), 3), round(max(quotients), 3)) == (0.213, 0.332)
    assert base_384["share of the first, published"] == "0.236 to 0.344†"  # of inference alone
    assert base_384["share of the first, timm's, measured"] == "0.2500"
    assert base_384["ours (img/s), measured"].startswith("-")
    assert large_384["share of the first, measured"].startswith("-")


def test_all_that_timms_files_have_is_shown(exhibits):
    files = rows(exhibits()["throughput"], "As in timm's files (img/s)")
    assert len(files) == 20 + 1
    builds = [heading for heading in files[0] if "px" in heading]
    shown = sorted(row[build].removesuffix("†") for row in files for build in builds)
    assert shown == sorted(ids("inference throughput", "train throughput").values())
    assert files[0] == {
        "of": "inference", "file": "amp-nchw-pt113-cu117-rtx3090", "batch": "1024, 384, 256",
        "ViT-B/16, 224 px": "1106.05†", "ViT-L/16, 224 px": "360.12†", "ViT-B/16, 384 px": "260.66†",
        "ViT-L/16, 384 px": "88.55†",
    }  # fmt: skip


# Codebooks.


def test_every_claim_on_codes_is_shown_once_and_says_why_it_cannot_be_tested(exhibits):
    codebook = exhibits(usage([300, 80, 12]))["codebook"]
    usages, unused = rows(codebook, "As published"), rows(codebook, "Codes never used, as users report")
    shown = [row["usage (%), published"] for row in usages] + [row["unused codes, published"] for row in unused]
    assert sorted(one.strip("~†") for one in shown) == sorted(ids("codebook usage", "unused codes").values())
    assert {row["usage (%), measured"] for row in usages} == {"- [1]"}
    assert "needs the trained weights" in codebook.tables[0].notes[0]
    assert [row["linear (%), published"] for row in usages[:3]] == ["78.5†", "77.9†", "63.0†"]
    losses = [row["reconstruction loss (unit not printed), published"] for row in usages]
    assert losses[:3] == ["0.164†", "0.145†", "0.136†"]
    assert "[2] not printed there" in codebook.tables[0].notes
    assert set(losses[3:]) == {"- [2]"}


def test_usage_is_of_the_weights_and_images_that_it_names(exhibits):
    codebook = exhibits(usage([300, 80, 12]), usage([5] * 4096, weights="a.pth@0123456789ab"))["codebook"]
    random, trained = rows(codebook, "Measured here")
    assert random == {
        "model": f"{VQ_KD} random weights", "weights": "random words", "images": "2 photographs", "patches": "392",
        "codes used": "3 of 8,192", "usage (%)": "0.0366", "at most (%)": "4.79", "perplexity": "3.500",
    }  # fmt: skip
    assert (trained["usage (%)"], trained["at most (%)"]) == ("50.0", "100")
    assert codebook.text.startswith("**Random weights: no statement about a trained model")
    assert "Random" not in exhibits(usage([3], weights="a.pth@0123456789ab"))["codebook"].text


def test_texts_hold_no_names_of_records(exhibits):
    """Tables are escaped where they are written; texts are Markdown already."""
    found = exhibits(
        usage([3], weights=EVIL, images=EVIL), (Spec(f"beitv2_{EVIL}", mode="pretrain"), STEP_MACS), (step(), MASKS)
    )
    for exhibit in found.values():
        assert EVIL not in exhibit.text
        assert all(EVIL not in picture.title + picture.caption + picture.alt for picture in exhibit.pictures)
    assert any(EVIL in cell for cell in words(found["codebook"]))

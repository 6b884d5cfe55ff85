"""The papers' sections: every table and figure is there, of no records too, and what is not measured says why."""

import re
from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest

from bench.protocol import preset
from bench.record import Record, Value
from bench.spec import Spec
from reports import report
from reports.ledger import ledger
from reports.ledger.about import ABOUT, touched
from reports.ledger.check import Check, Term
from reports.ledger.claim import PAPERS
from reports.ledger.judging import VERDICTS, frame_of
from reports.papers import EXHIBITS, exhibits, section
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Pair, table

# Paper -> names of what the report has of it, in its order.
NAMES = {
    "sgformer": ["variants", "peers", "throughput", "resolution", "context", "significance"],
    "hmhsa": ["shares", "reductions", "ablations", "ccs", "galleries", "sizes", "throughput"],
    "greenmim": ["efficiency", "group-size", "window", "mask-ratio", "decoder-depth", "gpu-hours"],
    "esvit": ["table-1", "figure-1", "architectures", "losses", "correspondence", "attention"],
    "beitv2": ["models", "masks", "steps", "throughput", "codebook"],
}


def evidence(records=()):
    return Evidence(frame_of(records), ledger.rows(records))


@pytest.fixture(scope="module")
def nothing():
    return evidence()


def test_every_paper_has_its_tables_and_figures_and_says_what_they_rebuild(nothing):
    assert [*EXHIBITS] == [*ABOUT] == [*PAPERS] == [*NAMES]
    for paper, names in NAMES.items():
        found = exhibits(nothing, paper)
        assert [exhibit.name for exhibit in found] == [f"{paper}-{name}" for name in names]
        assert all(exhibit.title and exhibit.rebuilds and (exhibit.tables or exhibit.pictures) for exhibit in found)


@pytest.mark.parametrize("paper", PAPERS)
def test_without_records_all_that_is_published_is_there_and_nothing_is_measured(nothing, paper):
    for exhibit in exhibits(nothing, paper):
        if exhibit.name != "esvit-figure-1":  # which draws published numbers too
            assert not any(picture.figure for picture in exhibit.pictures)
        assert all(len(picture.caption) > 20 for picture in exhibit.pictures)
        for one in exhibit.tables:
            assert len(one.rows)
            for name in one.rows:
                if name.endswith(", measured"):
                    others = one.rows.loc[one.rows[name] != "1", name]  # what others are a share of
                    assert others.str.startswith("-").all(), (exhibit.name, one.title, name)
                    assert others.str.contains(r"\[", regex=True).any(), (exhibit.name, one.title, name)


def test_every_note_is_of_a_cell_and_every_cell_has_its_note(nothing):
    for paper in PAPERS:
        for exhibit in exhibits(nothing, paper):
            for one in exhibit.tables:
                cells = {number for text in one.rows.to_numpy().ravel() for number in re.findall(r"\[(\d+)\]$", text)}
                assert cells == {note[1 : note.index("]")] for note in one.notes if note.startswith("[")}


def test_names_of_exhibits_and_pictures_are_unique(nothing):
    found = [exhibit for paper in PAPERS for exhibit in exhibits(nothing, paper)]
    assert max(Counter(exhibit.name for exhibit in found).values()) == 1
    assert max(Counter(picture.name for exhibit in found for picture in exhibit.pictures).values()) == 1


def test_headlines_are_claims_that_can_be_tested():
    sorted_claims = {claim.id: (claim, how) for claim, how in ledger.sorted_claims()}
    for paper, about in ABOUT.items():
        assert len(set(about.headlines)) == len(about.headlines) >= 4
        for number in about.headlines:
            claim, how = sorted_claims[number]
            assert claim.paper == paper
            assert isinstance(how, Check)
        assert about.missing


def test_a_paper_has_a_section_where_a_model_of_its_was_measured():
    def of(*models, metric="params"):
        return touched(pd.DataFrame({"model": models, "metric": metric}))

    assert of("deit_small_patch16_224", "vit_base_patch16_224.mae") == ()
    assert of("simmim_swin_tiny", "sgformer_s.in1k") == ("sgformer", "greenmim")
    assert of("mine.py:hmhsa_mine", "esvit_resnet50", "beitv2_base") == ("esvit", "beitv2")
    assert of("deit_small_patch16_224", metric="correspondence_accuracy") == ("esvit",)


@pytest.fixture
def recorded(environment):
    """Records of Specs and their values, `metric=number` or (number, low, high)."""

    def of(*cells):
        values = {"params": "1", "macs": "MAC", "throughput": "img/s"}
        return [
            Record(
                spec,
                preset("quick", 1),
                environment,
                tuple(
                    Value(metric, values[metric], given)
                    if not isinstance(given, tuple)
                    else Value(metric, values[metric], given[0], samples=((given[0],),), interval=given[1:])
                    for metric, given in own.items()
                ),
                f"2026-11-22T05:{number:02}:00+00:00",
            )
            for number, (spec, own) in enumerate(cells)
        ]

    return of


def test_a_claim_stands_beside_its_number_with_its_verdict(recorded):
    found = evidence(recorded((Spec("sgformer_s"), {"params": 22_546_000, "macs": 4_784_000_000})))
    row = found.claim("SG-Former-S", "macs", "Table 2")
    assert found.pair(row) == Pair("4.8†", "4.784", "reproduced")
    text = found.claim("SG-Former-S", "params", "Sec. 3.1")
    assert (found.pair(text).published, found.pair(text).verdict) == ("24.2", "differs")
    assert found.pair(text, scale=1e3).measured == "22,546"
    assert found.claim("SG-Former-S", "macs", "Table 9") is None


def test_a_forged_number_changes_the_mark_and_a_missing_one_says_so(recorded):
    spec = Spec("sgformer_s")
    for macs, mark in ((4_784_000_000, "4.784 ✓"), (4_900_000_000, "4.900 ✗")):
        [exhibit] = [
            one for one in exhibits(evidence(recorded((spec, {"macs": macs}))), "sgformer") if "variants" in one.name
        ]
        assert mark in exhibit.tables[-1].rows["MACs (G), measured"].tolist()
        assert not any(mark in text for text in exhibit.tables[-1].rows["parameters (M), measured"])


def test_what_is_measured_without_a_claim_has_its_interval_and_place(recorded):
    spec = Spec("sgformer_s", batch=8)
    other = Spec("deit_small_patch16_224", batch=8)
    found = evidence(recorded((spec, {"throughput": (8.0, 7.0, 9.0)}), (other, {"throughput": (16.0, 14.0, 18.0)})))
    terms = Term(Spec("sgformer_s"), "throughput"), Term(Spec("deit_small_patch16_224"), "throughput")
    pair = found.pair(None, found.measure("ratio", *terms))
    assert (pair.measured, pair.place) == ("0.5000 (0.3889 to 0.6429)", "A CPU, batch 8, float32")
    assert found.pair(None, found.measure("value", Term(Spec("pvt_v2_b2"), "throughput"))).missing


def test_a_table_has_two_columns_a_pair_and_numbers_its_notes():
    rows = [
        {"model": "a", "x (M)": Pair("1†", "1.1", "reproduced", place="p"), "y": Pair("2", unsaid="")},
        {"model": "b", "x (M)": Pair(measured="3", verdict="differs", place="q"), "y": Pair("4")},
        {"model": "c", "x (M)": Pair("5", missing="why not"), "y": Pair(unsaid="nobody said")},
        {"model": "d", "x (M)": "", "y": ""},
    ]
    found = table(rows, "T")
    assert found.rows.columns.tolist() == ["model", "x (M), published", "x (M), measured", "y, published"]
    assert found.rows.to_numpy().tolist() == [
        ["a", "1†", "1.1 ✓ [2]", "2"],
        ["b", "- [1]", "3 ✗ [3]", "4"],
        ["c", "5", "- [4]", "- [5]"],
        ["d", "-", "-", "-"],
    ]
    assert found.notes[1:] == ("[2] p", "[3] q", "[4] why not", "[5] nobody said")
    assert found.title == "T"


def test_a_place_of_all_is_one_note():
    found = table([{"x": Pair(measured="1", place="p")}, {"x": Pair(measured="2", place="p")}])
    assert found.rows["x"].tolist() == ["1", "2"]  # nothing is published, so that nothing has to be told apart
    assert found.notes == ("Conditions: p.",)


def test_what_was_never_tried_is_one_note_and_what_failed_is_its_own():
    absent = [Pair(missing=f"no macs of {model} is recorded") for model in "ab"]
    found = table([{"x": one} for one in (*absent, Pair(missing="macs of c failed: no room"))])
    assert found.rows["x"].tolist() == ["- [1]", "- [1]", "- [2]"]
    assert found.notes == ("[1] not among these records", "[2] macs of c failed: no room")


@pytest.fixture
def few(recorded):
    """Records of models of two papers."""
    counts = {"params": 22_546_000, "macs": 4_784_000_000}
    speed = {"throughput": (8.0, 7.0, 9.0)}
    step = Spec("greenmim_swin_tiny", mode="pretrain", batch=8)
    return recorded((Spec("sgformer_s"), counts | speed), (Spec("deit_small_patch16_224"), speed), (step, speed))


def test_the_report_begins_with_the_verdicts_of_the_papers_that_it_has(few, tmp_path, unsaved):
    page = report.write(few, tmp_path).read_text()
    papers = ("sgformer", "greenmim")
    heads = re.findall(r"^## (.+)$", page, re.M)
    assert heads == ["Summary", "Pareto view", *(ABOUT[paper].name for paper in papers), "Results", "Methods"]
    summary = page[page.index("## Summary") : page.index("\n## ", page.index("## Summary") + 5)]
    assert all(verdict in summary for verdict in VERDICTS)
    assert {number for paper in papers for number in ABOUT[paper].headlines} <= set(re.findall(r"\w+-\d+", summary))
    for paper in papers:
        assert all(f"### {exhibit.title}\n" in page for exhibit in exhibits(evidence(few), paper))
    assert (tmp_path / "ledger.csv").exists()


def test_records_of_no_paper_have_no_verdicts(recorded, tmp_path, unsaved):
    page = report.write(recorded((Spec("resnet18"), {"params": 11_689_512})), tmp_path).read_text()
    assert re.findall(r"^## (.+)$", page, re.M) == ["Pareto view", "Results", "Methods"]
    assert "reproduced" not in page
    assert not (tmp_path / "ledger.csv").exists()


def test_every_picture_of_a_section_is_saved_and_shown_once(few, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr("reports.report.save", lambda figure, folder, name: saved.append(name) or [])
    page = report.write(few, tmp_path).read_text()
    drawn = [one.name for one in section.pictures(section.sections(evidence(few))) if one.figure]
    assert drawn
    assert set(drawn) <= set(saved)
    assert sorted(saved) == sorted(set(saved)) == sorted(re.findall(r"\]\(([\w-]+)\.png\)", page))


def test_time_and_memory_are_of_the_batch_that_is_asked_for(recorded):
    found = evidence(recorded((Spec("sgformer_s", batch=8), {"throughput": (8.0, 7.0, 9.0)})))
    [at, other, any_] = (
        found.pair(None, found.measure("value", Term(Spec("sgformer_s"), "throughput", batch)))
        for batch in (8, 1, None)
    )
    assert at.measured == any_.measured == "8.000 (7.000 to 9.000)"
    assert (other.measured, other.missing) == ("", "throughput of sgformer_s: recorded at other batches only")


def test_what_failed_is_said_even_where_another_count_was_never_tried(environment):
    failed = Value("macs", "MAC", None, status="failed", note="no room")
    record = Record(Spec("sgformer_s"), preset("quick", 1), environment, (failed,), "2026-11-22T05:00:00+00:00")
    [exhibit] = [one for one in exhibits(evidence([record]), "sgformer") if one.name == "sgformer-variants"]
    assert any("macs of sgformer_s failed: no room" in note for note in exhibit.tables[-1].notes)


def test_a_headline_says_what_its_number_is_of(recorded):
    counts = {"params": 90, "macs": 80}
    bases = {"deit_tiny": 100, "deit_small": 100, "pvt_v2_b1": 100, "nextvit_small": 100}
    names = {"deit_tiny": "deit_tiny_patch16_224", "deit_small": "deit_small_patch16_224"}
    ours = [(Spec(f"hmhsa_{one}", model_args=(("impl", "reference"),)), counts) for one in bases]
    plain = [(Spec(f"hmhsa_{one}"), counts) for one in bases]
    others = [(Spec(names.get(one, one)), {"params": 100, "macs": 100}) for one in bases]
    rows = evidence(recorded(*ours, *plain, *others)).by_id
    assert rows["hm-05"].verdict == rows["hm-06"].verdict == "reproduced"
    assert ledger.measured(rows["hm-05"]).startswith("10.00 %")  # the least of what has to be at least so
    assert ledger.measured(rows["hm-06"]).startswith("20.00 %")
    assert "hmhsa_deit_tiny" in ledger.measured(rows["hm-05"])
    few = evidence(recorded(*plain[:1], *others[:1])).by_id
    assert (few["hm-05"].verdict, ledger.measured(few["hm-05"])) == ("not measured", "")


def test_what_a_section_shows_of_its_models_is_drawn_of_others_all_the_same(
    recorded, environment, tmp_path, monkeypatch
):
    """A user's model beside a paper's: no picture overwrites another, and none is lost."""
    saved = {}
    monkeypatch.setattr("reports.report.save", lambda figure, folder, name: saved.setdefault(name, []) or [])
    occupancy = {"masks": 10, "removed": 2.0, "occupancy": [[0.5, 0.5], [0.5, 0.5]]}
    value = Value("mask_occupancy", "1", 0.0, details=occupancy)
    records = [
        Record(Spec(model, mode="pretrain"), preset("quick", 1), environment, (value,), f"2026-11-22T05:0{i}:00+00:00")
        for i, model in enumerate(("beitv2_mim_base", "mine.py:mine", "greenmim_swin_tiny"))
    ]
    both = report.write(records, tmp_path / "both").read_text()
    assert [name for name in saved if "mask_occupancy" in name] == ["beitv2_mask_occupancy"]
    assert "mine.py:mine" in both[both.index("## BEiT v2") : both.index("## Results")]
    saved.clear()
    report.write(records[1:], tmp_path / "others")
    assert [name for name in saved if "mask_occupancy" in name] == ["mask_occupancy"]


def test_pictures_of_one_name_are_refused(few, tmp_path, monkeypatch):
    twice = section.pictures(section.sections(evidence(few)))
    monkeypatch.setattr("reports.report.pictures", lambda *_: [replace(one, title="other") for one in twice])
    with pytest.raises(ValueError, match="two pictures are called"):
        report.write(few, tmp_path)


def test_memory_that_failed_is_said_though_it_was_not_predicted_either(environment):
    failed = Value("peak_memory", "B", None, status="failed", note="no room")
    spec = Spec("sgformer_s", device="cuda")
    record = Record(spec, preset("quick", 1), environment, (failed,), "2026-11-22T05:00:00+00:00")
    found = evidence([record]).measure("value", Term(Spec("sgformer_s"), "peak_live_bytes", 1))
    assert found.missing == "peak_memory of sgformer_s failed: no room"
    skipped = replace(record, values=(replace(failed, status="skipped"),))
    found = evidence([skipped]).measure("value", Term(Spec("sgformer_s"), "peak_live_bytes", 1))
    assert found.missing.startswith("no peak_live_bytes of sgformer_s")  # a CPU skips the other in any case

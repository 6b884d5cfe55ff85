"""Reports: tables and pictures from stored records, without measuring anything."""

import dataclasses
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import pandas as pd
import pytest

from bench import jsonl
from bench.record import Record, Value
from bench.spec import Spec
from reports import tables
from reports.claims import load, published_top1
from reports.figures import pictures
from reports.format import cell, heading, number
from reports.frame import latest, series, to_frame
from reports.report import write

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "tests" / "goldens" / "report" / "records.jsonl"  # of schema 1 and 2
TRAINED, RANDOM = "vit-small-patch14-dinov2-vit-s14-safetensors-b1d4a1502826-weights", "pvt-v2-b1-random-weights"
PICTURES = (
    *("pareto", "accuracy_throughput", "latency_batch", "memory_batch", "memory_size"),
    *("cost_shares", "ccs_blocks", "entropy_blocks", "head_entropies"),
    *(f"similarity_{TRAINED}", f"similarity_{RANDOM}", f"gallery_{TRAINED}", f"gallery_{RANDOM}"),
    *("heat_maps_vit-small-patch14-dinov2", "sgformer_accuracy_throughput"),
)
SHOWN = tuple(name for name in PICTURES if name != "accuracy_throughput")  # it is the section's, of the same models
WRITTEN = ("report.md", "report.html", "results.csv", "values.csv")  # of any records


@pytest.fixture(scope="module")
def records():
    return jsonl.read(RECORDS)


@pytest.fixture(scope="module")
def frame(records):
    return to_frame(records)


def drawn(frame):
    return {picture.name: picture for picture in pictures(frame)}


@pytest.fixture(scope="module")
def page(records, tmp_path_factory):
    return write(records, tmp_path_factory.mktemp("report"))


@pytest.fixture
def unsaved(monkeypatch):
    """Pictures are drawn and not saved, which takes seconds."""
    monkeypatch.setattr("reports.report.save", lambda *_: [])


def test_report_is_the_golden_one(page, golden):
    for name in ("report.md", "results.csv", "values.csv", "parts.csv", "attention.csv"):
        golden(f"report/{name}", (page.parent / name).read_text(encoding="utf-8"))


def test_every_link_of_the_report_leads_somewhere(page):
    text = page.read_text()
    links = re.findall(r"\]\(([^)#]+)\)", text)
    tables = {"results.csv", "values.csv", "parts.csv", "attention.csv", "ledger.csv", "ledger.json"}
    links = [link for link in links if link != "https://arxiv.org/abs/2308.12216"]
    assert set(links) == {*tables, *(f"{name}.{ending}" for name in SHOWN for ending in ("png", "svg"))}
    for link in links:
        assert (page.parent / link).stat().st_size > 0, link
    headings = [line.lstrip("# ").lower() for line in text.splitlines() if line.startswith("#")]
    anchors = {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) == {"skipped-and-failed"} <= anchors


def test_pictures_open_and_are_the_same_bytes_each_time(records, page, tmp_path):
    write(records, tmp_path)
    for name in SHOWN:
        height, width = matplotlib.image.imread(tmp_path / f"{name}.png").shape[:2]
        assert 200 < height < 1400
        assert 1280 <= width <= 1800
        assert ElementTree.parse(tmp_path / f"{name}.svg").getroot().tag.endswith("svg")
        for ending in ("png", "svg"):
            one, two = ((folder / f"{name}.{ending}").read_bytes() for folder in (page.parent, tmp_path))
            assert one == two


def test_report_needs_no_torch(tmp_path):
    few = tmp_path / "few.jsonl"
    few.write_text("".join(RECORDS.read_text().splitlines(keepends=True)[:20]))
    script = (
        f"import sys, run_bench; code = run_bench.main(['report', {str(few)!r}, '-o', {str(tmp_path)!r}]);"
        "assert code == 0; assert not {'torch', 'timm', 'fvcore'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, capture_output=True)
    assert (tmp_path / "report.md").exists()


def variant(name):
    """Model and mode of a legend's entry, which names the mode only where there are several."""
    return name.split()[0] + (" train" if " train" in name else "")


def test_axes_carry_units_and_models_keep_their_look(frame):
    axes = {name: picture.figure.axes[0] for name, picture in drawn(frame).items() if name in PICTURES[1:5]}
    labels = {name: (ax.get_xlabel(), ax.get_ylabel()) for name, ax in axes.items()}
    assert labels == {
        "accuracy_throughput": ("measured throughput (images/s)", "published ImageNet-1K top-1 (%)"),
        "latency_batch": ("batch (images)", "latency of a batch (ms)"),
        "memory_batch": ("batch (images)", "peak of live tensors, predicted (MiB)"),
        "memory_size": (
            "image size (pixels a side), on a scale of its pixels",
            "peak of live tensors, predicted (MiB)",
        ),
    }
    looks = {}
    for ax in axes.values():
        handles, names = ax.get_legend_handles_labels()
        for handle, name in zip(handles, names, strict=True):
            line = handle[0] if isinstance(handle, tuple) else handle
            looks.setdefault(variant(name), set()).add((line.get_color(), line.get_marker()))
    assert {len(each) for each in looks.values()} == {1}
    assert len(set.union(*looks.values())) == len(looks) == 6


def test_points_are_where_the_numbers_are(frame):
    values = frame.set_index(["model", "batch", "metric"])["value"]
    line = next(
        line for line in drawn(frame)["memory_batch"].figure.axes[0].lines if line.get_label() == "sgformer_s infer"
    )
    assert list(line.get_xdata()) == [1, 2, 4, 8, 16, 32, 64]
    assert line.get_ydata()[3] == values["sgformer_s", 8, "peak_live_bytes"] / 2**20
    containers = {c.get_label(): c for c in drawn(frame)["accuracy_throughput"].figure.axes[0].containers}
    [x], [y] = containers["sgformer_s (b8)"][0].get_data()
    assert (x, y) == (values["sgformer_s", 8, "throughput"], 83.2)


def test_models_without_a_published_figure_are_named_and_not_drawn(frame):
    picture = drawn(frame)["accuracy_throughput"]
    assert "not drawn: pvt_v2_b2" in picture.caption
    assert len(picture.figure.axes[0].containers) == 3


def test_nothing_to_draw_says_so(records):
    static = [
        dataclasses.replace(one, values=(dataclasses.replace(one["params"], details={}),))
        for one in records
        if any(value.metric == "params" for value in one.values)
    ]
    assert not drawn(to_frame(static))  # nobody asked for more
    failed = [
        dataclasses.replace(
            one,
            values=tuple(
                dataclasses.replace(
                    value, value=None, interval=None, samples=(), details={}, status="failed", note="why"
                )
                for value in one.values
            ),
        )
        for one in records
    ]
    pictures = drawn(to_frame(failed))
    assert set(pictures) == {*PICTURES[1:5], "ccs_blocks", "entropy_blocks", "head_entropies"}
    for picture in pictures.values():
        assert picture.figure is None
        assert picture.caption.startswith("Not drawn: ")


def test_skipped_and_failed_stay_in_the_table_with_their_reasons(frame):
    table = tables.results(tables.main_rows(frame)).set_index(["model", "batch"])
    assert table.loc[("pvt_v2_b2", 8), "throughput (img/s)"] == "failed"
    assert table.loc[("pvt_v2_b2", 8), "peak memory (MiB)"] == "skipped"
    assert table.loc[("sgformer_b", 1), "throughput (img/s)"] == "-"
    problems = tables.problems(frame).set_index("metric")
    assert "killed by SIGKILL" in problems.loc["throughput", "reason"]
    assert problems.loc["throughput", "cells"] == "pvt_v2_b2 at batch 8"


def test_two_environments_are_told_apart(records, tmp_path, unsaved):
    other = [
        dataclasses.replace(one, environment=dataclasses.replace(one.environment, cpu="Another CPU")) for one in records
    ]
    text = write([*records, *other], tmp_path).read_text()
    assert "**The records come from 2 environments" in text
    assert text.count("| environment ") >= 2
    assert f"{2 * len(records)} cells" in text


def test_what_was_measured_again_counts_once(records, tmp_path, unsaved):
    again = [
        dataclasses.replace(
            one, values=tuple(dataclasses.replace(v, value=v.value * 2, interval=None) for v in one.values)
        )
        for one in records
        if all(v.status == "ok" for v in one.values)
    ]
    frame = to_frame([*records, *again])
    assert len(latest(frame)) == len(to_frame(records))
    assert (
        latest(frame).set_index(["model", "batch", "metric"]).loc[("sgformer_b", 1, "params"), "value"]
        == 2 * 77_950_293
    )
    older = [dataclasses.replace(one, time="2020-01-01T00:00:00+00:00") for one in again]
    kept = latest(to_frame([*records, *older])).set_index(["model", "batch", "metric"])
    assert kept.loc[("sgformer_b", 1, "params"), "value"] == 77_950_293  # by time, not by place in the file
    superseded = sum(len(one.values) for one in again)
    assert f"{superseded} values were measured again later" in write([*records, *again], tmp_path).read_text()


def test_versions_of_the_code_and_presets_are_told_apart(records, tmp_path, unsaved):
    other = [
        dataclasses.replace(
            one,
            environment=dataclasses.replace(one.environment, code="another"),
            protocol=dataclasses.replace(one.protocol, preset="paper"),
        )
        for one in records
    ]
    text = write([*records, *other], tmp_path).read_text()
    assert "**The records were measured by 2 versions of the measuring code** (another, ba9876543210)" in text
    assert "by one, measure again without `--resume`, or the main job with `--again`." in text
    assert "measuring code ba9876543210; commit 0123456789ab, measuring code another" in text
    results = text[text.index("\n## Results") :]
    assert results.count("| quick ") == results.count("| paper ") >= 10


def test_accuracies_at_224_are_drawn_against_speeds_at_224(records):
    large = [dataclasses.replace(one, spec=dataclasses.replace(one.spec, size=(448, 448))) for one in records]
    assert drawn(to_frame(large))["accuracy_throughput"].figure is None


def test_a_report_of_attention_alone_lists_no_pictures_of_speed(records, tmp_path, unsaved):
    looked = [one for one in records if one.spec.model == "pvt_v2_b1"]
    text = write(looked, tmp_path).read_text()
    assert "Not drawn: " not in text
    assert text.count("no statement about a trained model, no comparison") == 1
    assert "### How attention looks\n\n**Random weights: no statement" in text
    static = [dataclasses.replace(one, values=(Value("params", "1", 5),)) for one in looked]
    assert "![" in text
    assert "![" not in write(static, tmp_path).read_text()


def test_pictures_of_an_earlier_report_go_and_foreign_files_stay(records, tmp_path, monkeypatch):
    def save(_, folder, name):
        (folder / f"{name}.png").write_text(name)
        return [f"{name}.png"]

    monkeypatch.setattr("reports.report.save", save)
    folder, outside = tmp_path / "report", tmp_path / "outside.png"
    write(records, folder)
    earlier = {path.name for path in folder.iterdir()}
    assert {"memory_batch.png", "parts.csv", "ccs_blocks.png"} <= earlier
    (folder / "ccs_blocks.png").write_text("somebody's own")
    (folder / "gallery_mine.png").write_text("mine")
    outside.write_text("outside")
    noted = json.loads((folder / "written.json").read_text())
    noted["../outside.png"] = noted[str(outside)] = hashlib.sha256(b"outside").hexdigest()
    (folder / "written.json").write_text(json.dumps(noted))
    write([one for one in records if one.spec.model == "sgformer_b"], folder)  # parameters alone
    left = {path.name for path in folder.iterdir()}
    assert left == {*WRITTEN, "ledger.csv", "ledger.json", "written.json", "ccs_blocks.png", "gallery_mine.png"}
    assert outside.exists()


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"values.csv": 1, "mine.png": null}', "\xff"])
def test_a_list_of_files_that_is_none_removes_nothing(records, tmp_path, unsaved, text):
    (tmp_path / "written.json").write_text(text, encoding="latin-1")
    (tmp_path / "mine.png").write_text("mine")
    write([one for one in records if one.spec.model == "deit_small_patch16_224"][:1], tmp_path)
    assert (tmp_path / "mine.png").exists()
    assert {*WRITTEN} <= set(json.loads((tmp_path / "written.json").read_text()))


def test_state_has_no_more_digits_than_it_is_worth(records, tmp_path, unsaved):
    state = {"load": 1.96533203125, "cpu_clock": 2.5e9, "tf32": False, "temperature": 45}
    one = dataclasses.replace(records[0], environment=dataclasses.replace(records[0].environment, state=state))
    assert "load 1.97, cpu_clock 2.50 GHz, tf32 False, temperature 45 " in write([one], tmp_path).read_text()


def test_names_and_notes_cannot_break_the_page(environment, records):
    evil = "a|b`c`*d* <img src=x> [x](y)\n# title __init__"
    record = Record(
        Spec("m", model_args={"k": evil}), records[0].protocol, environment,
        (Value("macs", "MAC", None, status="failed", note=evil), Value("params", "1", 5)), "2026-11-21T05:10:00+00:00",
    )  # fmt: skip
    text = tables.to_markdown(tables.problems(to_frame([record])))
    row = text.splitlines()[2]
    assert len(text.splitlines()) == 3
    assert r"a\|b\`c\`\*d\* &lt;img src=x&gt; \[x\](y) # title \_\_init\_\_" in row
    assert len(re.findall(r"(?<!\\)\|", row)) == 5


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0, 3, "0"),
        (0.0123456, 3, "0.0123"),
        (1.23456, 3, "1.23"),
        (12.3456, 3, "12.3"),
        (123456.7, 3, "123,457"),
        (float("nan"), 3, ""),
    ],
)
def test_numbers_keep_their_significant_digits(value, digits, text):
    assert number(value, digits) == text


def test_units_as_people_read_them():
    assert heading("latency", "s") == "latency (ms)"
    assert cell("latency", "s", 0.1, 0.09, 0.11) == "100 ±10.0%"
    assert cell("params", "1", 22_545_981, None, None) == "22.55"
    assert cell("macs", "MAC", 4_783_848_448, None, None) == "4.784"
    assert cell("peak_live_bytes", "B", 2**30, None, None) == "1,024"


def test_claims_are_read_whole_and_name_their_origin():
    claims = load()
    assert len(claims) == 1146
    assert claims["id"].is_unique
    assert (claims[["paper", "source", "model", "metric", "provenance"]] != "").all(axis=None)
    assert set(claims["confidence"]) == {"confirmed", "secondary"}


def test_published_accuracies_are_those_of_the_claims():
    published = published_top1()
    assert published["name"].is_unique
    top1 = published.set_index("name")["top1"]
    assert top1[["sgformer_s", "sgformer_m", "sgformer_b"]].tolist() == [83.2, 84.1, 84.7]
    assert (top1["swin_tiny_patch4_window7_224"], top1["deit_small_patch16_224"]) == (81.2, 79.9)
    assert isinstance(published, pd.DataFrame)


def test_series_name_a_form_only_where_there_is_one(records):
    frame = to_frame([dataclasses.replace(records[0], form="deployed"), *records[1:]])
    words = {word for one in series(frame) for word in one.split()}
    assert "deployed" in words
    assert not {"nan", "None"} & words

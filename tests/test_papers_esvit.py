"""EsViT's tables and figures rebuilt from records, which are written by hand."""

import dataclasses

import pytest
from matplotlib.colors import to_hex

from bench.record import Value
from bench.spec import Spec
from reports import roster
from reports.ledger import ledger
from reports.ledger.judging import frame_of
from reports.papers.esvit import EXHIBITS
from reports.papers.evidence import Evidence
from reports.style import styled

SWIN, DEIT, BASE_8, LARGE_7 = "esvit_swin_tiny", "esvit_deit_small", "vit_base_patch8_224", "vit_large_patch16_224"
HEADLESS, WINDOW = {"num_classes": 0}, {"window": 14}
NAMES = ("table-1", "figure-1", "architectures", "losses", "correspondence", "attention")
SHARE = "throughput, DINO's ViT-B/8 being 1"
PLACE = "A CPU, batch 8, float32"


@pytest.fixture
def exhibit(records):
    """An exhibit by the end of its name, of cells: each a Spec and its Values."""

    @styled
    def build(name, *cells):
        of_cells = records(*cells)
        evidence = Evidence(frame_of(of_cells), ledger.rows(of_cells))
        return EXHIBITS[NAMES.index(name)](evidence)

    return build


def infer(model, arguments=None, batch=8, **axes):
    return Spec(model, batch=batch, model_args=arguments or {}, **axes)


def step(model, loss=None, batch=12, **arguments):
    return Spec(model, mode="pretrain", batch=batch, model_args={**arguments, **({"loss": loss} if loss else {})})


def speed(value, low=None, high=None):
    return Value("throughput", "img/s", value, interval=None if low is None else (low, high))


def params(value):
    return Value("params", "1", value)


def memory(value):
    return Value("peak_live_bytes", "B", value)


def row(table, name):
    """A row's words by column, of that which has `name` first."""
    [words] = table.rows[table.rows.iloc[:, 0] == name].to_dict("records")
    return words


def note(table, cell):
    """The note that a cell without a number points to."""
    number = cell.removeprefix("- ")
    [words] = [note for note in table.notes if note.startswith(number)]
    return words.removeprefix(f"{number} ")


# What stands for what.


def test_rows_are_the_papers_in_its_order():
    rows = [one.claim for one in ledger.rows([], ["esvit"])]
    for entries, source in ((roster.PRINTED_1, roster.TABLE_1), (roster.PRINTED_4, roster.TABLE_4)):
        printed = [one.printed for one in rows if one.source == source and one.metric == "params"]
        assert [one.printed for one in entries] == printed


def test_a_row_is_a_backbone_without_a_classifier():
    words = {one.printed: (one.here, one.spec) for one in roster.PRINTED_1}
    assert words["EsViT, Swin-B/W=14"] == ("esvit_swin_base window=14", Spec("esvit_swin_base", model_args=WINDOW))
    here, spec = words["MoCo-v3, ViT-L-BN/7"]
    assert here == f"{LARGE_7} patch_size=7 (with layer norm where theirs has batch norm)"
    assert spec == Spec(LARGE_7, model_args={"patch_size": 7, **HEADLESS})
    assert words["iGPT, iGPT-XL"][0] == ""


def test_exhibits_stand_without_records_and_say_what_is_missing(exhibit):
    built = [exhibit(name) for name in NAMES]
    assert [one.name for one in built] == [f"esvit-{name}" for name in NAMES]
    for one in built:
        for table in one.tables:
            for column in [name for name in table.rows if name.endswith("measured")]:
                for cell in table.rows[column]:
                    assert note(table, cell)
        for picture in one.pictures:
            assert (picture.figure is None) == picture.caption.startswith("Not drawn: ")
    names = [picture.name for one in built for picture in one.pictures]
    assert names == [
        f"esvit_{name}" for name in ("figure_1", "losses_batch", "correspondences", "heat_maps", "head_entropies")
    ]
    table_1, table_4 = built[0].tables[0].rows, built[2].tables[0].rows
    assert table_1["model"].tolist() == [one.printed for one in roster.PRINTED_1]
    assert table_4["architecture"].tolist() == [one.printed for one in roster.PRINTED_4]


# Table 1.


def test_table_1_has_measured_beside_published(exhibit):
    table, *_ = exhibit(
        "table-1",
        (infer("esvit_swin_base", WINDOW), params(86_917_944), speed(40.0, 36.0, 44.0)),
        (infer(BASE_8, HEADLESS), speed(10.0, 9.0, 11.0)),
    ).tables
    assert row(table, "EsViT, Swin-B/W=14") == {
        "model": "EsViT, Swin-B/W=14", "here": "esvit_swin_base window=14",
        "params (M), published": "87", "params (M), measured": "86.92 ✓",
        "throughput (img/s), published": "254", "throughput (img/s), measured": "40.00 (36.00 to 44.00) ≁",
        f"{SHARE}, published": "4.03", f"{SHARE}, measured": f"4.000 ({36 / 11:.3f} to {44 / 9:.3f})",
        "linear (%), published": "81.3", "k-NN (%), published": "79.3",
    }  # fmt: skip
    assert PLACE in table.notes[0]
    base = row(table, "DINO, ViT-B/8")
    assert (base[f"{SHARE}, published"], base[f"{SHARE}, measured"]) == ("1.00", "1.000")
    other = row(table, "EsViT, Swin-B/W=7")  # another model than the one with window 14
    assert note(table, other["params (M), measured"])
    large = row(table, "MoCo-v3, ViT-L-BN/7")
    assert large["throughput (img/s), published"] == "~17"
    assert note(table, large["k-NN (%), published"]) == "the table has none"
    igpt = row(table, "iGPT, iGPT-XL")
    assert note(table, igpt[f"{SHARE}, published"]) == "the table has none"
    assert note(table, igpt[f"{SHARE}, measured"]) == "no such model in the zoo or timm"


def test_a_quotient_of_an_estimate_is_an_estimate(exhibit):
    table, *_ = exhibit("table-1").tables
    words = [row(table, f"{one}")[f"{SHARE}, published"] for one in ("MoCo-v3, ViT-B-BN/7", "MoCo-v3, ViT-L-BN/7")]
    assert words == ["~1.00", "~0.270"]
    assert row(table, "DINO, ViT-B/8")[f"{SHARE}, published"] == "1.00"


def test_throughputs_are_held_against_each_other_in_one_setting_alone(exhibit):
    cells = [(infer(SWIN), speed(8.0)), (infer(SWIN, batch=64), speed(99.0))]
    table, *_ = exhibit("table-1", *cells, (infer(BASE_8, HEADLESS), speed(2.0))).tables
    assert row(table, "EsViT, Swin-T/W=7")[f"{SHARE}, measured"].startswith("4.000")
    for other in (infer(BASE_8, HEADLESS, precision="bfloat16"), infer(BASE_8), infer(BASE_8, HEADLESS, batch=2)):
        table, *_ = exhibit("table-1", *cells, (other, speed(2.0))).tables
        assert row(table, "EsViT, Swin-T/W=7")[f"{SHARE}, measured"].startswith("- [")


def test_what_the_text_says_is_the_ledgers(exhibit):
    cells = [
        (infer("esvit_swin_base", WINDOW), params(87)),
        (infer(LARGE_7, HEADLESS | {"patch_size": 7}), params(304)),
    ]
    _, said, _ = exhibit("table-1", *cells).tables
    times = said.rows[["times, published", "times, measured"]].to_numpy().tolist()
    assert times[0] == ["3.5", "3.494 ✓"]
    assert [published for published, _ in times] == ["3.5", "10", "4", "16", "8"]
    assert note(said, times[3][1]) == "no such model in the zoo or timm (SK-ResNet-152x3)"


def test_other_papers_throughputs_stand_beside_also_where_they_contradict(exhibit):
    *_, elsewhere = exhibit("table-1").tables
    words = {one: list(row(elsewhere, one).values())[1:] for one in elsewhere.rows["backbone"]}
    assert words["DeiT-S/16"] == ["1007", "1007", "940.4†", "1,007†", "-"]
    assert words["Swin-T/W=7"] == ["808", "-", "755.2†", "808.7†", "726†"]
    assert words["Swin-T/W=14"] == ["-", "-", "-", "-", "593†"]
    own = [one for one in words if one.startswith("Swin") and words[one][0] != "-"]
    assert own == ["Swin-T/W=7", "Swin-S/W=7", "Swin-B/W=7"]
    for one in own:
        assert words[one][0] == words[one][3].partition(".")[0]  # cut off, as the text says


# Figure 1.


def points(axes):
    """Label or colour -> where the hollow and the full marks of a panel are, as (x, y)."""
    hollow = {line.get_label(): tuple(line.get_xydata()[0]) for line in axes.lines if line.get_fillstyle() == "none"}
    full = {to_hex(one[0].get_color()) + one[0].get_marker(): tuple(one[0].get_xydata()[0]) for one in axes.containers}
    return hollow, full


def test_figure_1_joins_printed_and_measured_numbers(exhibit):
    cells = [(infer("esvit_swin_base", WINDOW), params(9e7), speed(40.0, 36.0, 44.0)),
             (infer(BASE_8, HEADLESS), speed(10.0, 9.0, 11.0))]  # fmt: skip
    [picture] = exhibit("figure-1", *cells).pictures
    throughput, size = picture.figure.axes
    hollow, full = points(throughput)
    assert hollow["EsViT, Swin-B/W=14"] == pytest.approx((254 / 63, 81.3))
    assert sorted(full.values()) == [pytest.approx((1, 80.1)), pytest.approx((4, 81.3))]
    [ends] = [
        bar.get_segments()[0][:, 0] for one in throughput.containers for bar in one[2] if one[0].get_xdata()[0] == 4
    ]
    assert ends == pytest.approx([36 / 11, 44 / 9])
    hollow, full = points(size)
    assert (hollow["EsViT, Swin-B/W=14"], list(full.values())) == ((87e6, 81.3), [(9e7, 81.3)])
    assert size.xaxis.get_major_formatter()(30e6) == "30"
    assert f"Measured on {PLACE}." in picture.caption
    labels = [text.get_text() for text in picture.figure.legends[0].get_texts()]
    assert sorted(labels) == sorted(one.printed for one in roster.PRINTED_1 if "fine-tuned" not in one.printed)


def test_no_two_rows_of_figure_1_look_alike_and_a_method_has_one_colour(exhibit):
    [picture] = exhibit("figure-1").pictures
    looks = {
        line.get_label(): (line.get_color(), line.get_marker()) for axes in picture.figure.axes for line in axes.lines
    }
    assert len(set(looks.values())) == len(looks) == 18
    for method in ("DINO", "MoCo-v3", "EsViT"):
        assert len({colour for label, (colour, _) in looks.items() if label.startswith(method)}) == 1


# Table 4.


def test_architectures_have_counts_shares_and_both_losses(exhibit):
    counts = (params(28_000_000), Value("macs", "MAC", 5.25e9), Value("top_tokens", "1", 49))
    cells = [(infer("esvit_vil_2262"), *counts, speed(30.0)), (infer(DEIT), speed(60.0))]
    built = exhibit("architectures", *cells)
    [table] = built.tables
    assert row(table, "ViL 2-2-6-2") == {
        "architecture": "ViL 2-2-6-2", "here": "esvit_vil_2262",
        "params (M), published": "28", "params (M), measured": "28.00 ✓", "MACs (G), measured": "5.250",
        "regions, published": "49", "regions, measured": "49",
        "throughput (img/s), published": "386", "throughput (img/s), measured": "30.00 ≁",
        "throughput, DeiT-S being 1, published": "0.383", "throughput, DeiT-S being 1, measured": "0.5000",
        "linear, L_V (%), published": "77.3", "k-NN, L_V (%), published": "73.9",
        "linear, L_V+L_R (%), published": "77.5", "k-NN, L_V+L_R (%), published": "74.5",
    }  # fmt: skip
    regions = dict(zip(table.rows["architecture"], table.rows["regions, published"], strict=True))
    assert note(table, regions.pop("ResNet-50")) == "section 2.2 speaks of Transformers alone"
    assert list(regions.values()) == ["196", "49", "49", "49", "49"]
    assert note(table, row(table, "DeiT (DeiT-S/16)")["linear, L_V+L_R (%), published"]) == "the table has none"
    assert "DINO's own 75.3 % linear and 67.5 % k-NN" in built.text


def test_regions_have_the_ledgers_mark_where_the_ledger_tests_the_model(exhibit):
    counted = {DEIT: 196, SWIN: 50, "esvit_cvt_tiny": 49}
    [table] = exhibit(
        "architectures", *((infer(one), Value("top_tokens", "1", n)) for one, n in counted.items())
    ).tables
    regions = dict(zip(table.rows["architecture"], table.rows["regions, measured"], strict=True))
    assert regions["DeiT (DeiT-S/16)"] == "196 ✓"
    assert regions["Swin 2-2-6-2"] == "50 ✗"
    assert regions["CvT 2-2-6-2"] == "49"  # not Swin's, which the claim's verdict is of
    assert note(table, regions["ViL 2-2-6-2"])
    assert note(table, regions["PvT 2-2-6-2"]) == "no such model in the zoo or timm"


# Both losses.


def test_the_papers_costs_stand_beside_the_official_designs_at_its_batch(exhibit):
    official = {"impl": "reference"}
    cells = [
        (step(DEIT, batch=batch, loss=loss, **impl), memory(batch * (3 if loss is None and impl else 1)))
        for batch in (1, 12)
        for loss in (None, "view")
        for impl in (official, {})
    ]
    claims, ours, _ = exhibit("losses", *cells).tables
    words = claims.rows[["model", "times, published", "times, measured"]].to_numpy().tolist()
    assert [published for _, published, _ in words] == ["~1.2", "~1.05", "1.6†", "1.15†", "~4†", "1.47†", "3"]
    assert words[4] == ["mono-stage (DeiT-S)", "~4†", "3.000 ≁"]  # of 32 bits, where the paper's is of 16
    assert note(claims, words[5][2])
    assert ours.rows.to_dict("list") == {
        "model": [f"{DEIT} impl=reference", DEIT], "stages": ["mono-stage"] * 2,
        "L_V+L_R by L_V": ["peak live bytes"] * 2, "batch 1": ["3.00x", "1.00x"], "batch 12": ["3.00x", "1.00x"],
    }  # fmt: skip
    assert "Mode pretrain; device cpu; precision float32" in ours.notes[0]


def test_time_is_the_quotient_of_throughputs_or_of_latencies(exhibit):
    cells = [
        (step(DEIT, batch=4), speed(5.0, 4.0, 6.0)), (step(DEIT, "view", batch=4), speed(10.0, 9.0, 11.0)),
        (step(SWIN), Value("latency", "s", 3.0)), (step(SWIN, "view"), Value("latency", "s", 2.0)),
    ]  # fmt: skip
    _, ours, _ = exhibit("losses", *cells).tables
    assert ours.rows[["model", "L_V+L_R by L_V", "batch 4", "batch 12"]].to_numpy().tolist() == [
        [DEIT, "time", f"2.00x ({9 / 6:.2f} to {11 / 4:.2f})", "-"],
        [SWIN, "time", "-", "1.50x"],
    ]
    assert len(exhibit("losses", cells[0]).tables) == 2  # nothing to hold it against


def test_what_others_say_stands_under_their_own_names(exhibit):
    *_, others = exhibit("losses").tables
    rows = others.rows.to_dict("records")
    [crops] = [one for one in rows if one["model"] == "DINO ViT-S/16" and "10x96; two" in one["of"]]
    assert (crops["memory"], crops["source"]) == ("15.4 GB per GPU", "iBOT Table 19")
    assert "72.6 hours per 300 epochs" in crops["time"]
    [log] = [one for one in rows if one["memory"].startswith("19499")]
    assert (log["memory"], log["time"]) == ("19499† MB (max mem)", "1.022† s per iteration")


# What needs trained weights.


def corresponding(model, weights="random", value=0.5):
    origin = {"weights": f"{weights} words", "images": "1 photograph", "per_image": {"a": value}}
    return (
        Spec(model, weights=weights),
        Value("correspondence_accuracy", "1", value, details={**origin, "grid": [16, 14]}),
        Value("correspondence_distance", "px", 28.61, details=origin),
    )


def test_correspondences_of_other_weights_stand_apart_from_the_papers(exhibit):
    built = exhibit("correspondence", corresponding(SWIN), corresponding("vit_small_patch14_dinov2", "a.pth", 0.25))
    paper, ours = built.tables
    assert paper.rows["accuracy, published"].tolist() == ["0.95", "0.66", "0.91"]
    assert paper.rows["distance (px), published"].tolist() == ["2.49†", "49.9†", "11.9†"]
    assert set(paper.rows["accuracy, measured"]) == {"- [1]"}
    assert row(ours, "vit_small_patch14_dinov2 a.pth weights") == {
        "model": "vit_small_patch14_dinov2 a.pth weights", "weights": "a.pth words", "images": "1 photograph",
        "grid": "16 x 14", "accuracy": "0.250", "distance (px)": "28.6",
    }  # fmt: skip
    assert built.text.startswith("**Random weights: no statement about a trained model")
    assert "esvit_swin_tiny random weights" in built.text.partition(". ")[0]
    assert "An image and its view, flipped and grey: " in built.text


def test_one_of_the_two_numbers_is_enough_and_a_failed_one_is_none(exhibit):
    spec, accuracy, distance = corresponding(SWIN)
    failed = dataclasses.replace(accuracy, value=None, details={}, status="failed", note="why")
    _, ours = exhibit("correspondence", (spec, failed, distance)).tables
    [words] = ours.rows.to_dict("records")
    assert (words["grid"], words["accuracy"], words["distance (px)"]) == ("-", "-", "28.6")
    assert len(exhibit("correspondence", (spec, failed)).tables) == 1


def test_attention_is_of_trained_weights_and_else_says_so(exhibit):
    details = {"weights": "words", "images": "1 photograph", "blocks": [{"name": "last", "entropy": [2.0, 1.0]}]}
    entropy = Value("entropy", "bit", 1.5, details=details)
    for weights, drawn in (("random", False), ("pretrained", True)):
        maps, entropies = exhibit("attention", (Spec(SWIN, weights=weights), entropy)).pictures
        assert (maps.figure is None, entropies.figure is not None) == (True, drawn)
        assert maps.caption == "Not drawn: no record has `ccs` of a model with trained weights."

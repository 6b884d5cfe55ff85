"""EsViT in a report: its tables beside what was measured, losses, correspondences. Records written by hand."""

import dataclasses

import pytest

from bench.record import Value
from bench.spec import Spec
from reports import correspondence, losses, reductions, roster, self_supervised, speedups, tables
from reports.claims import load
from reports.frame import to_frame
from reports.report import write

BASE_8, LARGE_7 = "vit_base_patch8_224", "vit_large_patch16_224"
SWIN, DEIT = "esvit_swin_tiny", "esvit_deit_small"
FAST, REFERENCE = {}, {"impl": "reference"}


@pytest.fixture
def frame_of(records):
    return lambda *cells: to_frame(records(*cells))


def speed(value, low=None, high=None):
    return Value("throughput", "img/s", value, interval=None if low is None else (low, high))


def params(millions):
    return Value("params", "1", 1_000_000 * millions)


def infer(model, batch=8, arguments=None, **axes):
    return Spec(model, batch=batch, model_args=arguments or {}, **axes)


def step(model=SWIN, batch=8, loss=None, **arguments):
    return Spec(model, mode="pretrain", batch=batch, model_args={**arguments, **({"loss": loss} if loss else {})})


def memory(value, metric="peak_live_bytes"):
    return Value(metric, "B", value)


def compared(rows):
    """Own arguments and base -> the change in percent."""
    return {(row["arguments"], row["against"]): row["change_percent"] for row in rows.to_dict("records")}


# What stands for what.


def test_rows_are_the_papers_in_its_order():
    for entries, source in ((roster.PRINTED_1, "Table 1"), (roster.PRINTED_4, "Table 4")):
        claims = roster.claims_of(source)
        params = claims.loc[claims["metric"] == "params", "model"].tolist()
        assert [one.printed for one in entries] == params
        assert {one.source for one in entries} == {source}
    assert roster.published(roster.entry("EsViT, Swin-B/W=14")) == {
        "params": "87", "throughput": "254", "linear": "81.3", "kNN": "79.3",
    }  # fmt: skip
    assert roster.published(roster.entry("CvT 2-2-6-2"))["linear"] == "78.5"  # with both losses
    assert roster.published(roster.entry("ResNet-50"))["linear"] == "75.7"  # by EsViT, not as reported by DINO
    assert roster.published(roster.entry("MoCo-v3, ViT-L-BN/7"))["throughput"] == "~17"
    assert roster.number_of("~17") == 17
    assert all("linear" in roster.published(one) for one in roster.PRINTED_ELSEWHERE)


def test_the_papers_words_are_claims_on_these_rows():
    claims, printed = load().set_index("id"), [one.printed for one in roster.PRINTED_1]
    for (model, peer), said in roster.SAID.items():
        assert model in printed
        assert peer in roster.PEERS
        for what, number in said.items():
            assert claims.loc[number, "metric"] == {"params": "parameter_ratio", "throughput": "throughput_ratio"}[what]


def test_a_row_is_of_exactly_its_arguments():
    plain, window = roster.entry("EsViT, Swin-B/W=7"), roster.entry("EsViT, Swin-B/W=14")
    cells = {"": (True, False), "window=14": (False, True), "num_classes=0 window=14": (False, True),
             "impl=reference window=14": (False, False)}  # fmt: skip
    for words, expected in cells.items():
        assert (plain.holds("esvit_swin_base", words), window.holds("esvit_swin_base.tag", words)) == expected
    assert not roster.entry("iGPT, iGPT-XL").holds("", "")


# Tables 1 and 4.


def beside(table, row, column="Table 1"):
    """A row's words, by column."""
    [words] = table[table[column] == row].to_dict("records")
    return words


def test_table_1_has_measured_beside_published(frame_of):
    frame = frame_of(
        (infer("esvit_swin_base", 8, {"window": 14}), Value("params", "1", 86_743_224), speed(40.0, 38.0, 42.0)),
        (infer(BASE_8, 8), speed(10.0)),
    )
    table = self_supervised.models(frame)
    assert table["Table 1"].tolist() == [one.printed for one in roster.PRINTED_1]
    assert beside(table, "EsViT, Swin-B/W=14") == {
        "Table 1": "EsViT, Swin-B/W=14", "here": "esvit_swin_base window=14",
        "params (M), published": "87", "params (M), measured": "86.74", "linear (%)": "81.3", "k-NN (%)": "79.3",
        "throughput (img/s), published": "254", "throughput (img/s), measured": "40.0 ±5.0%", "batch": "8",
    }  # fmt: skip
    other = beside(table, "EsViT, Swin-B/W=7")  # another model than the one with window 14
    assert (other["params (M), measured"], other["throughput (img/s), measured"], other["batch"]) == ("-", "-", "-")
    large = beside(table, "MoCo-v3, ViT-L-BN/7")
    assert large["here"] == f"{LARGE_7} patch_size=7 (with layer norm where theirs has batch norm)"
    assert (large["throughput (img/s), published"], large["k-NN (%)"]) == ("~17", "-")
    assert beside(table, "SimCLR-v2, RN152w3+SK")["here"] == "not measured: no such model here (SK-ResNet-152x3)"


def test_throughput_is_at_the_largest_batch_of_the_peer_too(frame_of):
    cells = [(infer(SWIN, batch), speed(float(batch))) for batch in (1, 8, 64)]
    alone = self_supervised.models(frame_of(*cells))
    assert beside(alone, "EsViT, Swin-T/W=7")["batch"] == "64"
    both = frame_of(*cells, (infer(BASE_8, 1), speed(0.5)), (infer(BASE_8, 8), speed(2.0)))
    assert beside(self_supervised.models(both), "EsViT, Swin-T/W=7")["batch"] == "8"
    assert beside(self_supervised.models(both), "MoBY, Swin-T")["batch"] == "8"  # the same model


def test_a_peer_without_its_classifier_goes_before_one_with_it(frame_of):
    own, headless = (infer(SWIN), speed(8.0)), (infer(BASE_8, arguments={"num_classes": 0}), speed(2.0), params(85))
    for cells in (
        [headless, (infer(BASE_8), speed(1.0), params(86))],
        [(infer(BASE_8), speed(1.0), params(86)), headless],
    ):
        frame = frame_of(own, *cells)
        row = beside(self_supervised.models(frame), "DINO, ViT-B/8")
        assert (row["params (M), measured"], row["throughput (img/s), measured"]) == ("85.00", "2.00")
        ratio = beside(self_supervised.ratios(frame), "EsViT, Swin-T/W=7", "model")
        assert ratio["throughput, measured"] == "4.00x"


def test_ratios_are_of_cells_in_one_setting_at_the_largest_batch_of_both(frame_of):
    window = {"window": 14}
    cells = [
        (infer("esvit_swin_base", 8, window), speed(40.0, 36.0, 44.0), Value("params", "1", 50)),
        (infer("esvit_swin_base", 16, window), speed(80.0)),
        (infer(BASE_8, 8), speed(10.0, 9.0, 11.0), Value("params", "1", 100)),
        (infer(BASE_8, 16, precision="bfloat16"), speed(1.0)),
        (infer(LARGE_7, 16, {"patch_size": 7}), speed(4.0), Value("params", "1", 200)),
    ]
    table = self_supervised.ratios(frame_of(*cells)).set_index(["model", "against"])
    own = table.loc[("EsViT, Swin-B/W=14", "DINO, ViT-B/8")]
    assert own["throughput, measured"] == f"4.00x ({36 / 11:.2f} to {44 / 9:.2f})"
    assert own["throughput, published"] == f"{254 / 63:.2f}x"
    assert (own["fewer params, published"], own["fewer params, measured"]) == (f"{85 / 87:.3f}x", "2.00x")
    assert (own["batch"], own["the paper's words"]) == ("8", "")
    headline = table.loc[("EsViT, Swin-B/W=14", "MoCo-v3, ViT-L-BN/7")]
    assert (headline["throughput, published"], headline["throughput, measured"]) == (f"{254 / 17:.1f}x", "20.0x")
    assert (headline["fewer params, measured"], headline["batch"]) == ("4.00x", "16")
    assert headline["the paper's words"] == "params 3.5x fewer, throughput 10x at least"
    assert len(table) == 4  # and what the paper's text compares, though it wasn't measured
    simclr = table.loc[("EsViT, Swin-S/W=14", "SimCLR-v2, RN152w3+SK")]
    assert simclr["throughput, measured"] == simclr["fewer params, measured"] == "no such model here"
    assert (simclr["throughput, published"], simclr["batch"]) == (f"{383 / 46:.2f}x", "-")
    missing = table.loc[("EsViT, Swin-B/W=7", "DINO, ViT-B/8")]
    assert (missing["throughput, measured"], missing["the paper's words"]) == ("-", "throughput 4x")


def test_settings_stand_apart(frame_of):
    cells = [
        (infer(model, precision=precision), speed(value))
        for precision, peer in (("float32", 2.0), ("bfloat16", 5.0))
        for model, value in ((SWIN, 10.0), (BASE_8, peer))
    ]
    table = self_supervised.ratios(frame_of(*cells))
    own = table[table["model"] == "EsViT, Swin-T/W=7"]
    assert own[["precision", "throughput, measured"]].to_numpy().tolist() == [
        ["float32", "5.00x"],
        ["bfloat16", "2.00x"],
    ]
    rows = self_supervised.models(frame_of(*cells))
    assert rows[rows["Table 1"] == "EsViT, Swin-T/W=7"]["precision"].tolist() == ["float32", "bfloat16"]
    assert rows[rows["Table 1"] == "SwAV, RN50w5"]["precision"].tolist() == ["-"]


def test_architectures_have_counts_and_a_share_of_deits_throughput(frame_of):
    counts = (Value("params", "1", 28_000_000), Value("macs", "MAC", 4_900_000_000), Value("top_tokens", "1", 49))
    cells = [(infer("esvit_vil_2262"), *counts, speed(30.0)), (infer(DEIT), speed(60.0), Value("top_tokens", "1", 196))]
    table = self_supervised.architectures(frame_of(*cells))
    vil = beside(table, "ViL 2-2-6-2", "Table 4")
    assert vil == {
        "Table 4": "ViL 2-2-6-2", "here": "esvit_vil_2262", "params (M), published": "28",
        "params (M), measured": "28.00", "MACs (GMACs)": "4.900", "top tokens, published": "49",
        "top tokens, measured": "49", "linear (%)": "77.5", "k-NN (%)": "74.5",
        "throughput (img/s), published": "386", "throughput (img/s), measured": "30.0",
        "of DeiT-S, published": f"{386 / 1007:.3f}x", "of DeiT-S, measured": "0.500x", "batch": "8",
    }  # fmt: skip
    deit = beside(table, roster.DEIT, "Table 4")
    assert (deit["top tokens, published"], deit["top tokens, measured"], deit["linear (%)"]) == ("196", "196", "75.9")
    assert (deit["of DeiT-S, published"], deit["of DeiT-S, measured"]) == ("1.00x", "-")  # itself
    assert beside(table, "ResNet-50", "Table 4")["top tokens, published"] == "-"  # the paper speaks of Transformers
    pvt = beside(table, "PvT 2-2-6-2", "Table 4")
    assert pvt["here"] == "not measured: not in the official code"
    assert {pvt[column] for column in table if column.endswith("measured")} == {"-"}


def test_failed_values_are_a_dash_and_other_modes_and_sizes_no_row(frame_of):
    failed = Value("throughput", "img/s", None, status="failed", note="why")
    table = self_supervised.models(frame_of((infer(SWIN), failed, Value("params", "1", 27_500_000))))
    own = beside(table, "EsViT, Swin-T/W=7")
    assert (own["params (M), measured"], own["throughput (img/s), measured"]) == ("27.50", "-")
    for other in ({"mode": "train"}, {"size": (448, 448)}):
        cell = (dataclasses.replace(infer(SWIN), **other), speed(1.0))
        assert self_supervised.models(frame_of(cell)).empty
        assert self_supervised.ratios(frame_of(cell)).empty
        assert self_supervised.architectures(frame_of(cell)).empty
        mixed = beside(self_supervised.models(frame_of((infer(SWIN, 1), speed(4.0)), cell)), "EsViT, Swin-T/W=7")
        assert (mixed["throughput (img/s), measured"], mixed["batch"]) == ("4.00", "1")
    assert self_supervised.models(frame_of((infer(BASE_8), speed(1.0)))).empty


# View loss against both losses.


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


def test_quotients_of_the_losses_over_the_batch(frame_of):
    cells = [
        (step(DEIT, 4), memory(30), speed(5.0, 4.0, 6.0)), (step(DEIT, 4, "view"), memory(10), speed(10.0, 9.0, 11.0)),
        (step(DEIT, 12), memory(80)), (step(DEIT, 12, "view"), memory(20)),
        (step(SWIN, 4), memory(3, "peak_memory"), memory(9), Value("latency", "s", 3.0)),
        (step(SWIN, 4, "view"), memory(2, "peak_memory"), memory(9), Value("latency", "s", 2.0)),
        *((step("esvit_resnet50", 4, loss), Value("params", "1", 5)) for loss in (None, "view")),
    ]  # fmt: skip
    table = losses.table(reductions.changes(frame_of(*cells)))
    assert table.to_dict("list") == {
        "model": [DEIT, DEIT, SWIN, SWIN],
        "stages": ["mono-stage"] * 2 + ["multi-stage"] * 2,
        "of": ["peak live bytes", "time", "peak memory", "time"],
        "batch 4": ["3.00x", f"2.00x ({9 / 6:.2f} to {11 / 4:.2f})", "1.50x", "1.50x"],
        "batch 12": ["4.00x", "-", "-", "-"],
        "published": [
            "4x (nearly), secondary",
            "1.47x, secondary",
            "1.2x (around), confirmed; 1.6x, secondary",
            "1.05x (around), confirmed; 1.15x, secondary",
        ],
    }
    assert losses.table(reductions.changes(frame_of(cells[0]))).empty
    green = [(Spec(model, mode="pretrain", batch=8), memory(5)) for model in ("greenmim_swin_tiny", "simmim_swin_tiny")]
    assert losses.table(reductions.changes(frame_of(*green))).empty


def test_a_claim_stands_beside_its_own_batch_and_both_routes(frame_of):
    cells = []
    for arguments, growth in ((FAST, 1), (REFERENCE, 4)):
        for batch in (1, 12, 32):
            cells += [
                (step(DEIT, batch, **arguments), memory(10 * (batch + growth)), speed(1.0)),
                (step(DEIT, batch, "view", **arguments), memory(10 * batch), speed(1.5)),
            ]
    frame = frame_of(*cells)
    table = speedups.table(frame, reductions.changes(frame))
    assert table[["model", "of", "published", "measured", "batch", "id"]].to_numpy().tolist() == [
        [f"{DEIT}{route}", of, published, f"{number}x of {DEIT}{route} loss=view{predicted}", "12", claim]
        for of, published, numbers, predicted, claim in (
            ("memory growth LV+LR over LV", "4x (nearly)", ("1.08", "1.33"), ", predicted", "esvit-082"),
            ("time growth LV+LR over LV", "1.47x", ("1.50", "1.50"), "", "esvit-084"),
        )
        for route, number in zip(("", " impl=reference"), numbers, strict=True)
    ]
    swin = frame_of(*[(dataclasses.replace(spec, model=SWIN), *values) for spec, *values in cells])
    around = speedups.table(swin, reductions.changes(swin)).set_index("id").loc["esvit-080"]
    assert around["batch"].tolist() == ["32", "32"]  # the main text's is of no known batch
    assert around["published"].tolist() == ["1.2x (around)"] * 2


def test_what_is_published_of_a_step_is_no_matter_of_inference(frame_of):
    frame = frame_of((infer(SWIN), speed(1.0)))
    assert speedups.table(frame, reductions.changes(frame)).empty


# Correspondences.


def corresponding(model, accuracy=0.5, distance=7.25, grid=(7, 7), weights="random", **axes):
    origin = {"weights": f"{weights} words", "images": "1 photograph"}
    return (
        Spec(model, weights=weights, **axes),
        Value("correspondence_accuracy", "1", accuracy, details={**origin, "grid": list(grid), "per_image": {"a": 1}}),
        Value("correspondence_distance", "px", distance, details={**origin, "per_image": {"a": 1}}),
    )


def test_correspondences_stand_beside_the_papers(frame_of):
    other = corresponding("vit_small_patch14_dinov2", 0.25, 28.6, (16, 14), weights="a.pth@0123456789ab")
    table = correspondence.table(frame_of(corresponding(SWIN), corresponding(DEIT), other))
    assert table.to_dict("list") == {
        "model": [f"{SWIN} random weights", f"{DEIT} random weights",
                  "vit_small_patch14_dinov2 a.pth@0123456789ab weights"],
        "weights": ["random words", "random words", "a.pth@0123456789ab words"],
        "images": ["1 photograph"] * 3,
        "grid": ["7 x 7", "7 x 7", "16 x 14"],
        "accuracy": ["0.500", "0.500", "0.250"],
        "accuracy, published": ["0.66 L_V, confirmed; 0.91 L_V+L_R, confirmed", "0.95 L_V, confirmed", "-"],
        "distance (px)": ["7.25", "7.25", "28.6"],
        "distance (px), published": ["49.9 L_V, secondary; 11.9 L_V+L_R, secondary", "2.49 L_V, secondary", "-"],
    }  # fmt: skip


def test_one_of_the_two_is_enough_and_failed_ones_are_none(frame_of):
    spec, accuracy, distance = corresponding(SWIN)
    failed = dataclasses.replace(accuracy, value=None, details={}, status="failed", note="why")
    [row] = correspondence.table(frame_of((spec, failed, distance))).to_dict("records")
    assert (row["grid"], row["accuracy"], row["distance (px)"]) == ("-", "-", "7.25")
    assert correspondence.table(frame_of((spec, failed))).empty


def test_cells_of_correspondences_alone_stay_out_of_the_table_of_results(frame_of):
    frame = frame_of(corresponding(SWIN), (infer(SWIN), Value("params", "1", 5)))
    assert tables.main_rows(frame)["metric"].tolist() == ["params"]
    assert tables.constant(frame)["images"] == "photographs"


# The page.


def section(page):
    text = page.read_text()
    start = text.index("## Self-supervised models")
    return text[start : text.index("\n## ", start + 1)]


def test_the_section_is_there_and_says_what_its_numbers_are_worth(records, tmp_path, unsaved):
    cells = [
        (infer(SWIN), speed(4.0)),
        (infer(BASE_8), speed(1.0)),
        corresponding(SWIN, batch=2),
        (step(batch=12), memory(12)),
        (step(batch=12, loss="view"), memory(10)),
    ]
    text = section(write(records(*cells), tmp_path))
    headings = [line for line in text.splitlines() if line.startswith("### ")]
    assert headings == [
        "### EsViT's table 1",
        "### Against DINO's ViT-B/8, MoCo-v3's ViT-L/7 and SimCLR-v2",
        "### EsViT's table 4: architectures",
        "### What the region loss costs",
        "### Correspondence of regions",
    ]
    words = " ".join(text.split())
    for said in (
        "none was measured here",
        "very probably converted and not measured",
        "batch norm in place of layer norm",
        "not measured for want of a model",
        "PvT is not in the official code",
        "appendix, which was not seen",
        "not strictly comparable",
        "**Random weights: no statement about a trained model",
        "paper full text, main part",
    ):
        assert said in words, said
    assert "| 1.20x" in words
    page = " ".join((tmp_path / "report.md").read_text().split())
    assert "pre-trained with the view loss alone (`loss=view`) by the same `impl`" in page
    assert "GreenMIM" not in page
    assert "\n\n\n" not in text


@pytest.mark.parametrize(
    ("cells", "headings"),
    [
        ([(infer(SWIN), Value("params", "1", 5))], ["table 1", "Against", "table 4"]),
        ([(step(), memory(12)), (step(loss="view"), memory(10))], ["What the region loss"]),
        ([corresponding("vit_small_patch14_dinov2")], ["Correspondence"]),
        ([(step(), memory(12))], []),
        ([(infer(BASE_8), speed(1.0))], []),
        ([(Spec("greenmim_swin_tiny", mode="pretrain", batch=8), speed(8.0))], []),
    ],
    ids=["inference", "losses", "correspondence", "one loss", "peer", "another family"],
)
def test_what_was_not_measured_has_no_section(records, tmp_path, unsaved, cells, headings):
    page = write(records(*cells), tmp_path)
    if not headings:
        assert "Self-supervised" not in page.read_text()
        return
    found = [line for line in section(page).splitlines() if line.startswith("### ")]
    assert len(found) == len(headings)
    assert all(words in line for words, line in zip(headings, found, strict=True))


def test_trained_weights_carry_no_warning(records, tmp_path, unsaved):
    trained = corresponding(SWIN, weights="a.pth@0123456789ab")
    assert "Random weights" not in section(write(records(trained), tmp_path))

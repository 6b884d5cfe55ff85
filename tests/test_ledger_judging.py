"""Verdicts: each is reached by a record written by hand, and none without one."""

import csv
import io
import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.protocol import preset
from bench.record import Record, Value
from bench.spec import Spec
from reports.ledger import ledger
from reports.ledger.check import Check
from reports.ledger.claim import PAPERS
from reports.ledger.judging import VERDICTS, frame_of, index, judge
from reports.ledger.planning import costly

SORTED = {claim.id: (claim, how) for claim, how in ledger.sorted_claims()}
UNITS = {"params": "1", "macs": "MAC", "macs_fvcore": "MAC", "throughput": "img/s", "padding": "1"}
H200 = "NVIDIA H200"


@pytest.fixture
def verdict(environment):
    """The Row of a claim by these records: each a Spec and its values, as `metric=number`, `(number, low, high)`, a
    Value or (status, note)."""

    def of(id, *cells, gpu=H200):
        records = []
        for number, (spec, values) in enumerate(cells):
            own = environment if spec.device == "cpu" else replace(environment, gpu=gpu)
            time = f"2026-11-21T05:{number:02}:00+00:00"
            records.append(Record(spec, preset("quick", 1), own, tuple(map(_value, values.items())), time))
        [row] = judge([SORTED[id]], index(frame_of(records)))
        return row

    return of


def _value(item):
    metric, given = item
    if isinstance(given, Value):
        return given
    unit = UNITS.get(metric, "B")
    if isinstance(given, tuple) and isinstance(given[0], str):
        return Value(metric, unit, None, status=given[0], note=given[1])
    if isinstance(given, tuple):
        return Value(metric, unit, given[0], samples=((given[0],),), interval=given[1:])
    return Value(metric, unit, given)


def cuda(model, batch=64, precision="amp_float16", size=224, mode="pretrain", **arguments):
    return Spec(
        model, mode=mode, batch=batch, size=(size, size), precision=precision, device="cuda",
        model_args=tuple(arguments.items()),
    )  # fmt: skip


SGFORMER = Spec("sgformer_s")
GREEN, SIMMIM, DENSE = cuda("greenmim_swin_base"), cuda("simmim_swin_base", size=192), cuda("simmim_swin_base")


# Counts: within half a unit of the last printed digit.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (22_545_981, "reproduced"),
        (22_500_000, "reproduced"),
        (22_499_999, "differs"),
        (23_500_001, "differs"),
        (("failed", "out of memory"), "not measured"),
        (("skipped", "no such mode"), "not measured"),
    ],
)
def test_a_count_is_held_against_the_printed_digits(verdict, value, expected):
    row = verdict("sgformer-001", (SGFORMER, {"params": value}))
    assert row.verdict == expected
    if isinstance(value, tuple):
        assert row.reason == f"params of sgformer_s {value[0]}: {value[1]}"


def test_without_a_record_nothing_is_measured(verdict):
    row = verdict("sgformer-001")
    assert (row.verdict, row.reason) == ("not measured", "no params of sgformer_s 224 px is recorded")
    assert verdict("sgformer-001", (SGFORMER, {"macs": 1})).verdict == "not measured"


@pytest.mark.parametrize(
    "spec",
    [
        Spec("sgformer_s", size=(448, 448)),
        Spec("sgformer_m"),
        Spec("sgformer_s", mode="train"),
        Spec("sgformer_s", model_args=(("num_classes", 10),)),
    ],
    ids=str,
)
def test_another_cell_is_not_what_the_claim_speaks_of(verdict, spec):
    assert verdict("sgformer-001", (spec, {"params": 22_545_981})).verdict == "not measured"


def test_a_count_is_the_same_at_any_batch_and_on_any_device(verdict):
    spec = Spec("sgformer_s", batch=8, device="cuda", precision="amp_bfloat16")
    assert verdict("sgformer-001", (spec, {"params": 22_545_981})).verdict == "reproduced"


def test_the_latest_record_counts(verdict):
    forged, true = (SGFORMER, {"params": 1}), (replace(SGFORMER, batch=2), {"params": 22_545_981})
    assert verdict("sgformer-001", forged, true).verdict == "reproduced"
    assert verdict("sgformer-001", true, forged).verdict == "differs"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # they hold no state
@given(value=st.integers(22_000_000, 24_000_000))
def test_a_count_that_rounds_to_the_printed_number_reproduces_it(verdict, value):
    row = verdict("sgformer-001", (SGFORMER, {"params": value}))
    assert row.verdict == ("reproduced" if 22_500_000 <= value <= 23_500_000 else "differs")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(own=st.floats(1.0, 1000.0), width=st.floats(0.0, 50.0))
def test_an_interval_is_either_inside_outside_or_ambiguous(verdict, own, width):
    row = verdict("greenmim-003", *speeds((own, max(own - width, 0.1), own + width), (100.0, 100.0, 100.0)))
    low, high = 100 / (own + width), 100 / max(own - width, 0.1)
    inside, outside = (low >= 0.45 and high <= 0.55), (high < 0.45 or low > 0.55)
    near = any(abs(bound - edge) < 1e-6 for bound in (low, high) for edge in (0.45, 0.55))
    assert near or row.verdict == ("reproduced" if inside else "differs" if outside else "ambiguous")


def test_a_number_that_was_cut_off_differs_and_says_so(verdict):
    row = verdict("hm-22", (Spec("deit_tiny_patch16_224"), {"params": 5_717_416}))
    assert row.verdict == "differs"
    assert row.reason == "+14.3 % of the published number; cut off instead of rounded, it is the printed one"
    assert "cut off" not in verdict("sgformer-010", (SGFORMER, {"params": 22_545_981})).reason


# Two counts of what papers call FLOPs.


def test_the_count_that_fits_is_named(verdict):
    row = verdict("sgformer-005", (Spec("sgformer_m"), {"macs": 7_426_853_376, "macs_fvcore": 7_469_620_968}))
    assert row.verdict == "reproduced"
    assert row.reading.endswith("macs: 7.427 G, does not fit; macs_fvcore: 7.470 G, fits")
    assert row.first.label == "macs_fvcore"


def test_a_number_differs_only_where_no_count_that_could_fit_is_left(verdict):
    row = verdict("sgformer-005", (Spec("sgformer_m"), {"macs": 7_426_853_376}))
    assert (row.verdict, row.reason) == ("not measured", "no macs_fvcore of sgformer_m 224 px is recorded")
    assert row.first.interval[0] == 7_426_853_376  # shown all the same
    wanted = costly([row], ledger.sorted_claims(), "cpu")
    assert wanted == [(Spec("sgformer_m"), ("macs_fvcore",))]
    for forged in (6e9, 7.6e9):  # norms can't add so much, nor take away
        assert verdict("sgformer-005", (Spec("sgformer_m"), {"macs": forged})).verdict == "differs"
    failed = {"macs": 7_426_853_376, "macs_fvcore": ("failed", "no memory")}
    assert verdict("sgformer-005", (Spec("sgformer_m"), failed)).verdict == "not measured"


def test_the_input_of_a_foreign_count_is_looked_for_at_both_sizes(verdict):
    at = [Spec("simmim_swin_base", mode="pretrain", size=(side, side)) for side in (192, 224)]
    cells = [(at[0], {"macs": 11_390_091_264}), (at[1], {"macs": 15_584_100_000})]
    row = verdict("greenmim-088", *cells)
    assert row.verdict == "differs"
    assert "macs at 192 px: 11.3901 G, does not fit; macs at 224 px: 15.5841 G, does not fit" in row.reading
    assert verdict("greenmim-088", cells[0]).verdict == "not measured"  # the other size was not looked at
    assert verdict("greenmim-088", cells[0], (at[1], {"macs": 18_831_000_000})).verdict == "reproduced"


# Ratios of speed: a GPU's, in the paper's precision, with intervals.


def speeds(own, base):
    return (GREEN, {"throughput": own}), (SIMMIM, {"throughput": base}), (DENSE, {"throughput": base})


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ((270.0, 268.0, 272.0), "reproduced"),
        ((370.0, 368.0, 372.0), "differs"),
        ((100.0, 99.0, 101.0), "differs"),
        ((297.0, 290.0, 304.0), "ambiguous"),
        ((270.0, 100.0, 900.0), "ambiguous"),
    ],
)
def test_a_speed_up_is_judged_by_its_interval(verdict, own, expected):
    everything = cuda("greenmim_swin_base", mask_ratio=0)
    cells = (*speeds(own, (100.0, 99.9, 100.1)), (everything, {"throughput": (100.0, 99.9, 100.1)}))
    row = verdict("greenmim-001", *cells)
    assert row.verdict == expected
    assert "NVIDIA H200, batch 64, amp_float16" in row.reading


def test_a_speed_without_an_interval_is_ambiguous(verdict):
    row = verdict("greenmim-003", *speeds(200.0, 100.0))
    assert (row.verdict, row.reason) == ("ambiguous", "too few samples for an interval")


def test_a_speed_differs_only_when_every_base_was_measured(verdict):
    own, base, _ = speeds((370.0, 368.0, 372.0), (100.0, 99.0, 101.0))
    row = verdict("greenmim-003", own, base)
    assert (row.verdict, row.reason) == ("not measured", "no throughput of simmim_swin_base 224 px is recorded")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (dict(device="cpu", precision="float32"), "device kind: the claim's ratio is a GPU's, this one a CPU's"),
        (dict(precision="float32"), "precision: the claim's is of 16 bits, this one float32"),
    ],
)
def test_a_ratio_of_another_kind_is_shown_and_not_judged(verdict, changed, reason):
    cells = [(replace(spec, **changed), values) for spec, values in speeds((200.0, 199.0, 201.0), (100.0, 99.0, 101.0))]
    row = verdict("greenmim-003", *cells)
    assert (row.verdict, row.reason) == ("not comparable", reason)
    assert row.first.interval[0] == 0.5


def test_a_gpu_goes_before_a_cpu(verdict):
    on_cpu = [(replace(spec, device="cpu"), values) for spec, values in speeds((1.0, 0.9, 1.1), (100.0, 99.0, 101.0))]
    on_gpu = speeds((200.0, 199.0, 201.0), (100.0, 99.0, 101.0))
    assert verdict("greenmim-003", *on_gpu, *on_cpu).verdict == "reproduced"


def test_only_what_was_measured_alike_is_set_against_each_other(verdict):
    own = (replace(GREEN, batch=32), {"throughput": (200.0, 199.0, 201.0)})
    _, *bases = speeds((0, 0, 0), (100.0, 99.0, 101.0))
    row = verdict("greenmim-003", own, *bases)
    assert row.verdict == "not measured"
    assert "recorded, but not alike" in row.reason


def test_a_ratio_at_another_batch_than_the_claims_is_not_comparable(verdict):
    both, view = cuda("esvit_swin_tiny", impl="reference"), cuda("esvit_swin_tiny", impl="reference", loss="view")
    cells = [(view, {"throughput": (115.0, 114.9, 115.1)}), (both, {"throughput": (100.0, 99.9, 100.1)})]
    assert verdict("esvit-085", *cells).reason == "batch: the claim's is 12, this one 64"
    assert verdict("esvit-085", *((replace(spec, batch=12), own) for spec, own in cells)).verdict == "reproduced"


# Bounds and orderings: in all readings.


def window(seven, fourteen):
    return (GREEN, {"throughput": seven}), (cuda("greenmim_swin_base", window=14), {"throughput": fourteen})


@pytest.mark.parametrize(
    ("seven", "expected"),
    [
        ((105.0, 104.9, 105.1), "reproduced"),
        ((120.0, 119.9, 120.1), "differs"),
        ((110.0, 108.0, 112.0), "ambiguous"),
    ],
)
def test_a_bound_is_judged_by_the_interval(verdict, seven, expected):
    row = verdict("greenmim-006", *window(seven, (100.0, 99.9, 100.1)))
    assert (row.verdict, row.relation) == (expected, "at most")


SAVED = {"hmhsa_deit_tiny": ("deit_tiny_patch16_224", 0.82), "hmhsa_deit_small": ("deit_small_patch16_224", 0.81),
         "hmhsa_pvt_v2_b1": ("pvt_v2_b1", 0.86), "hmhsa_nextvit_small": ("nextvit_small", 0.86)}  # fmt: skip


def savings(**changed):
    for model, (base, share) in SAVED.items():
        own = changed.get(model, share)
        yield Spec(model), {"params": own * 1e6}
        yield Spec(model, model_args=(("impl", "reference"),)), {"macs": own * 1e9}
        yield Spec(base), {"params": 1e6, "macs": 1e9}


def test_a_bound_on_several_models_holds_in_all_of_them(verdict):
    assert verdict("hm-05", *savings()).verdict == "reproduced"
    row = verdict("hm-05", *savings(hmhsa_pvt_v2_b1=0.95))
    assert (row.verdict, row.first.label) == ("differs", "hmhsa_pvt_v2_b1, params")
    assert verdict("hm-05", *list(savings())[:-1]).verdict == "not measured"
    assert verdict("hm-05", *list(savings(hmhsa_pvt_v2_b1=0.95))[:-1]).verdict == "differs"  # one is enough
    assert verdict("hm-06", *savings(hmhsa_deit_tiny=0.5)).verdict == "differs"


def ordered(**changed):
    models = dict(sgformer_s=9.0, sgformer_m=9.0, sgformer_b=9.0)
    peers = ("swin_small_patch4_window7_224", "swin_base_patch4_window7_224")
    peers += ("maxvit_tiny_tf_224", "maxvit_small_tf_224", "maxvit_base_tf_224")
    models |= dict.fromkeys(peers, 5.0) | changed
    for model, value in models.items():
        yield cuda(model, mode="infer", precision="float32"), {"throughput": (value, value - 0.5, value + 0.5)}


def test_an_ordering_holds_of_every_pair(verdict):
    assert verdict("sgformer-031", *ordered()).verdict == "reproduced"
    row = verdict("sgformer-031", *ordered(maxvit_tiny_tf_224=20.0))
    assert (row.verdict, row.reason) == ("differs", "sgformer_m above maxvit_tiny_tf_224: it is not")
    assert verdict("sgformer-031", *ordered(maxvit_tiny_tf_224=9.1)).verdict == "ambiguous"
    assert verdict("sgformer-031", *list(ordered())[:-1]).verdict == "not measured"
    on_cpu = [(replace(spec, device="cpu"), values) for spec, values in ordered()]
    assert verdict("sgformer-031", *on_cpu).verdict == "not comparable"


# Absolute speeds: on the claim's hardware, as it was measured there.


@pytest.mark.parametrize(
    ("gpu", "changed", "value", "expected", "reason"),
    [
        ("NVIDIA GeForce RTX 3090", {}, 1150.0, "reproduced", ""),
        ("NVIDIA GeForce RTX 3090", {}, 2000.0, "differs", "+80.8 % of the published number"),
        (H200, {}, 1106.0, "not comparable", "an absolute speed on RTX 3090"),
        ("NVIDIA GeForce RTX 3090", {"batch": 8}, 1106.0, "not comparable",
         "an absolute speed at batch 1024, this one at 8"),
        ("NVIDIA GeForce RTX 3090", {"precision": "float32"}, 1106.0, "not comparable",
         "an absolute speed at precision amp_float16, this one at float32"),
    ],
)  # fmt: skip
def test_an_absolute_speed_is_judged_on_its_hardware_alone(verdict, gpu, changed, value, expected, reason):
    spec = replace(cuda("beitv2_base_patch16_224", batch=1024, mode="infer"), **changed)
    row = verdict("beitv2-072", (spec, {"throughput": (value, value - 1, value + 1)}), gpu=gpu)
    assert (row.verdict, row.reason) == (expected, reason)
    assert row.first.interval[0] == value


def test_an_absolute_speed_of_no_stated_hardware_is_never_judged(verdict):
    assert verdict("esvit-041").verdict == "not comparable"
    spec = cuda("esvit_deit_small", mode="infer")
    row = verdict("esvit-041", (spec, {"throughput": (1007.0, 1006.0, 1008.0)}))
    assert (row.verdict, row.reason) == ("not comparable", "an absolute speed, on hardware that is not stated")


# Memory: measured before predicted.


def memory(metric, green, dense, batch=256, **changed):
    cells = (
        (GREEN, green), (SIMMIM, dense), (DENSE, dense), (cuda("greenmim_swin_base", mask_ratio=0), dense),
    )  # fmt: skip
    return [(replace(spec, batch=batch, **changed), {metric: size}) for spec, size in cells]


def test_memory_is_judged_from_what_is_predicted_and_says_so(verdict):
    row = verdict("greenmim-002", *memory("peak_live_bytes", 30, 100, device="cpu"))
    assert row.verdict == "reproduced"
    assert "(predicted, batch 256, amp_float16), fits" in row.reading
    assert verdict("greenmim-002", *memory("peak_live_bytes", 60, 100, device="cpu")).verdict == "differs"
    row = verdict("greenmim-002", *memory("peak_live_bytes", 30, 100, device="cpu", precision="float32"))
    assert (row.verdict, row.reason) == ("not comparable", "precision: the claim's is of 16 bits, this one float32")
    assert verdict("greenmim-002", *memory("peak_live_bytes", 30, 100, batch=8)).verdict == "not measured"


def test_memory_that_was_measured_goes_before_what_is_predicted(verdict):
    predicted = memory("peak_live_bytes", 30, 100)
    sure = [(spec, {"peak_memory": (v["peak_memory"],) * 3}) for spec, v in memory("peak_memory", 60.0, 100.0)]
    row = verdict("greenmim-002", *predicted, *sure)
    assert row.verdict == "differs"
    assert "NVIDIA H200" in row.reading
    elsewhere = [(replace(spec, batch=8), values) for spec, values in sure]
    assert verdict("greenmim-002", *predicted, *elsewhere).verdict == "reproduced"


# Numbers inside of values.


def tokens(*curves):
    return Value("padding", "1", 0.05, details={"curves": [{"stage": stage, "tokens": n} for stage, n in curves]})


def test_a_number_of_the_details_is_judged(verdict):
    spec = Spec("greenmim_swin_base", mode="pretrain")
    assert verdict("greenmim-017", (spec, {"padding": tokens((1, 768), (2, 192))})).verdict == "reproduced"
    assert verdict("greenmim-017", (spec, {"padding": tokens((1, 768), (2, 191))})).verdict == "differs"
    assert verdict("greenmim-017", (spec, {"padding": tokens((1, 768))})).verdict == "not measured"
    assert verdict("greenmim-017", (spec, {"padding": 0.05})).verdict == "not measured"


# The ledger as a whole.


def test_no_verdict_is_one_by_default():
    judged = ledger.rows([])
    assert {row.verdict for row in judged} == {"not measured", "not comparable", "context"}
    assert all(row.reason for row in judged)
    assert len(judged) == len(SORTED)


def test_whatever_is_recorded_context_and_the_untestable_stay_what_they_are(environment):
    cells = {}
    for _, how in SORTED.values():
        for reading in how.readings if isinstance(how, Check) else ():
            for term in reading.terms:
                value = Value(term.metric, UNITS.get(term.metric, "1"), 1.0, interval=(1.0, 1.0))
                cells.setdefault(term.spec, {})[term.metric] = value
    records = [
        Record(spec, preset("quick", 1), environment, tuple(own.values()), "2026-11-21T05:10:00+00:00")
        for spec, own in cells.items()
    ]
    for row in ledger.rows(records):
        _, how = SORTED[row.claim.id]
        assert isinstance(how, Check) or row.verdict == getattr(how, "verdict", "context")
        assert row.verdict != "context" or not isinstance(how, Check)


def test_files_hold_every_claim_with_its_verdict(environment, tmp_path):
    record = Record(
        SGFORMER, preset("quick", 1), environment, (Value("params", "1", 22_545_981),), "2026-11-21T05:10:00+00:00"
    )
    judged = ledger.rows([record], ("sgformer",))
    page = ledger.write(judged, tmp_path / "new").read_text()
    lines = list(csv.DictReader(io.StringIO((tmp_path / "new/ledger.csv").read_text())))
    content = json.loads((tmp_path / "new/ledger.json").read_text())
    assert len(lines) == len(content["claims"]) == len(judged) == page.count("\n| sgformer-")
    assert content["summary"] == {key: Counter(row.verdict for row in judged)[key] for key in (*VERDICTS, "context")}
    assert set(content["papers"]) == {"sgformer"}
    first = content["claims"][0]
    assert (first["id"], first["verdict"], first["value"], lines[0]["value"]) == (
        "sgformer-001", "reproduced", 22_545_981, "22545981.0",
    )  # fmt: skip
    assert page.index(ledger.line(judged)) < page.index("| paper |") < page.index("## SG-Former")
    assert "| secondary |" in page


def test_the_line_counts_each_verdict(environment):
    words = ledger.line(ledger.rows([]))
    assert words.startswith("Claims: 0 reproduced, 0 differ, 0 ambiguous, ")
    assert words.endswith(" are context")
    record = Record(
        SGFORMER, preset("quick", 1), environment, (Value("params", "1", 24_200_000),), "2026-11-21T05:10:00+00:00"
    )
    assert "Claims: 1 reproduced, 2 differ, 0 ambiguous" in ledger.line(
        row for row in ledger.rows([record]) if row.claim.printed == "SG-Former-S"
    )


def test_words_of_claims_do_nothing_in_markdown():
    [row] = [row for row in ledger.rows([]) if row.claim.id == "sgformer-001"]
    nasty = "a|b <script>`x` *y* [z](w)\n----- \u2028"
    changed = replace(row, claim=replace(row.claim, printed=nasty, source=nasty), reading=nasty, reason=nasty)
    page = ledger.to_page([changed])
    [line] = [line for line in page.splitlines() if line.startswith("| sgformer-001")]
    assert line.count("|") - line.count("\\|") == 11
    assert "<script>" not in page
    assert "a\\|b &lt;script&gt;\\`x\\` \\*y\\* \\[z\\](w) -----" in line
    again = list(csv.DictReader(io.StringIO(ledger.to_csv([changed]))))
    assert again[0]["model"] == nasty


def test_papers_are_named_in_the_ledgers_order():
    assert ledger.papers_of([]) == PAPERS
    assert ledger.papers_of(["esvit", "sgformer", "esvit"]) == ("sgformer", "esvit")

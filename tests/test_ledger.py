"""Claims as data: parsed strictly, each in exactly one class, every name one that exists."""

from collections import Counter
from dataclasses import replace
from decimal import Decimal

import pytest
import timm
from hypothesis import assume, given
from hypothesis import strategies as st

from bench.spec import Spec
from reports.claims import load
from reports.ledger import ledger
from reports.ledger.check import FORMULAS, Check, Context, Untested
from reports.ledger.claim import PAPERS, ClaimError, claims, parse
from reports.ledger.models import BUILDS, MISSING
from reports.ledger.planning import wanted
from reports.ledger.quantities import QUANTITIES
from reports.ledger.reasons import NOTES, REASONS, WHOLE
from reports.ledger.relations import RELATIONS
from reports.ledger.sorting import sort
from reports.ledger.units import UNITS

SORTED = {claim.id: (claim, how) for claim, how in ledger.sorted_claims()}
CHECKS = {id: how for id, (_, how) in SORTED.items() if isinstance(how, Check)}
ROW = dict(
    id="sgformer-999", paper="SG-Former", source="Table 2", model="SG-Former-S", metric="params", value="23", unit="M",
    conditions="224", provenance="here", confidence="confirmed",
)  # fmt: skip
SPECS = [term.spec for check in CHECKS.values() for reading in check.readings for term in reading.terms]


def row(**changed):
    return parse({**ROW, **changed})


def test_no_claim_is_lost_and_each_has_one_class():
    assert [claim.id for claim in claims()] == list(SORTED)
    assert sorted(SORTED) == sorted(load()["id"])
    classes = Counter(type(how) for _, how in SORTED.values())
    assert set(classes) == {Check, Context, Untested}
    assert sum(classes.values()) == len(load())


@pytest.mark.parametrize("paper", PAPERS)
def test_every_paper_has_claims_that_are_tested_and_accuracies_are_none_of_them(paper):
    own = [(claim, how) for claim, how in SORTED.values() if claim.paper == paper]
    assert sum(isinstance(how, Check) for _, how in own) >= 10
    accuracies = [how for claim, how in own if claim.metric.startswith(("top1", "mIoU", "mAP", "linear", "kNN"))]
    assert accuracies
    assert all(isinstance(how, Context) for how in accuracies)


def test_what_is_not_tested_says_why():
    for _, how in SORTED.values():
        assert isinstance(how, Check) or how.why
        assert not isinstance(how, Untested) or how.verdict in ("not measured", "not comparable")


def test_the_same_number_in_two_places_is_tested_in_both():
    same = [
        id for id, (claim, _) in SORTED.items()
        if (claim.printed, claim.quantity, claim.numbers) == ("SG-Former-S", "parameters", (23e6,))
    ]  # fmt: skip
    assert same == ["sgformer-001", "sgformer-202"]
    assert CHECKS["sgformer-001"].readings == CHECKS["sgformer-202"].readings


@pytest.mark.parametrize("model", sorted({spec.model for spec in SPECS}))
def test_every_model_is_registered(model):
    assert timm.is_model(model)


@pytest.mark.slow
@pytest.mark.parametrize("spec", list(dict.fromkeys(replace(spec, batch=1) for spec in SPECS)), ids=str)
def test_every_spec_can_be_built(spec):
    from bench.build import check

    check(replace(spec, compile="none"))


def test_tables_hold_nothing_that_no_claim_needs():
    rows = load()
    assert set(QUANTITIES) == set(rows["metric"])
    assert set(UNITS) - {"pixels"} <= set(rows["unit"])
    for table in (RELATIONS, REASONS, NOTES):
        assert set(table) <= set(rows["id"])
    assert not set(RELATIONS) & set(REASONS)
    words = [f"{claim.printed} {claim.source} {claim.conditions}" for claim, _ in SORTED.values()]
    assert all(any(word in text for text in words) for word in WHOLE)
    printed = {claim.printed for claim, _ in SORTED.values()}
    assert {name for name, _ in BUILDS} | set(MISSING) <= printed
    assert not {name for name, _ in BUILDS} & set(MISSING)


def test_checks_are_well_formed():
    for id, check in CHECKS.items():
        claim, _ = SORTED[id]
        assert check.relation in ("equal", "ratio", "at least", "at most", "ordering")
        labels = [reading.label for reading in check.readings]
        assert len(set(labels)) == len(labels), id
        assert check.relation == "ordering" or len(claim.numbers) == 1
        assert not claim.bound or check.relation == claim.bound, id
        for reading in check.readings:
            FORMULAS[reading.formula](*((2.0 + n * n, 2.0 + n * n, 2.0 + n * n) for n in range(len(reading.terms))))
            assert not reading.costly or len(check.readings) > 1, id


def test_the_disagreements_of_papers_and_code_are_said():
    for id, word in {
        "sgformer-010": "released code",
        "sgformer-008": "two scales",
        "greenmim-001": "without the paper's search",
        "greenmim-088": "not stated",
        "esvit-058": "converted",
        "hm-02": "no code is released",
        "beitv2-001": "without a classifier",
    }.items():
        assert word in CHECKS[id].note


def test_the_printed_side_decides_which_model_is_meant():
    def spec(id):
        return CHECKS[id].readings[0].terms[0].spec

    assert spec("greenmim-101") == Spec("swin_base_patch4_window7_224")
    assert spec("greenmim-105") == Spec("swin_base_patch4_window12_384", size=(384, 384))
    assert spec("hm-32").size == (384, 384)
    assert spec("beitv2-063").model_args == (("num_classes", 0),)


def test_a_backbone_is_read_without_a_classifier_and_with_one():
    labels = [reading.label for reading in CHECKS["greenmim-062"].readings]
    assert labels == ["without classifier", "with classifier"]
    assert CHECKS["greenmim-062"].readings[0].terms[0].spec.model_args == (("num_classes", 0),)
    assert [reading.label for reading in CHECKS["esvit-057"].readings] == [""]  # the zoo's have none


def test_an_absolute_speed_is_of_the_hardware_that_the_claim_names():
    check = CHECKS["beitv2-108"]  # amp-nchw-pt291-cu130-pro6000maxq-dynamo, batch 2048
    [term] = check.readings[0].terms
    assert (check.hardware, term.batch, term.spec.precision, term.spec.compile) == (
        "RTX PRO 6000", 2048, "amp_float16", "default",
    )  # fmt: skip
    assert CHECKS["beitv2-116"].readings[0].terms[0].spec.layout == "channels_last"
    assert CHECKS["beitv2-148"].hardware == "i9-10940X"
    assert (CHECKS["esvit-258"].hardware, CHECKS["esvit-041"].hardware) == ("V100", "")
    assert CHECKS["sgformer-364"].hardware == "RTX 2080 Ti"
    assert CHECKS["sgformer-361"].readings[0].terms[0].spec.mode == "train"


decimals = st.decimals(min_value=Decimal("0.0001"), max_value=Decimal(99999), places=4).flatmap(
    lambda number: st.integers(0, 4).map(lambda places: round(number, places))
)


@given(decimals, st.sampled_from(["", "~", "<", "<=", ">", ">="]), st.sampled_from(["", "x"]))
def test_a_number_is_read_with_half_a_unit_of_its_last_digit(number, sign, times):
    claim = row(value=f"{sign}{number}{times}", unit="" if times else "M")
    scale = 1.0 if times else 1e6
    places = len(str(number).partition(".")[2])
    assert claim.value == pytest.approx(float(number) * scale, rel=1e-15)
    assert claim.resolution == pytest.approx(0.5 * 10**-places * scale)
    assert claim.bound == {"<": "at most", ">": "at least"}.get(sign[:1], "")
    assert claim.about == (sign == "~")


@given(decimals, st.floats(-0.499, 0.499))
def test_what_rounds_to_the_printed_number_is_within_its_resolution(number, share):
    claim = row(value=str(number), unit="")
    true = claim.value + 2 * claim.resolution * share
    places = len(str(number).partition(".")[2])
    assume(abs(share) < 0.49)
    assert float(f"{true:.{places}f}") == float(number)
    assert abs(true - claim.value) <= claim.resolution


@given(st.text(max_size=12).filter(lambda text: not any(sign.isdecimal() for sign in text)))
def test_words_stay_words(text):
    claim = row(value=text, unit="qualitative")
    assert (claim.numbers, claim.text) == ((), text)


@pytest.mark.parametrize(
    "text", ["256 x 8", "586 x NPROC", "1.", ".5", "1e", "2.7 x", "1,000", "\uff11\uff12", "nan", "--1"]
)
def test_what_is_not_quite_a_number_is_words(text):
    assert row(value=text).numbers == ()


@pytest.mark.parametrize(
    ("changed", "numbers", "resolution", "unit"),
    [
        (dict(value="0.5-0.85", unit="ratio range"), (0.5, 0.85), 0.05, "ratio range"),
        (dict(value="1e-6", unit=""), (1e-6,), 0.5e-6, "1"),
        (dict(value="17.581219584", unit="G"), (17_581_219_584,), 0.5, "MAC"),
        (dict(value="13.2", unit="%"), (0.132,), 0.0005, "1"),
        (dict(value="7.7", unit="ms"), (0.0077,), 0.00005, "s"),
        (dict(value="-0.5", unit="points"), (-0.005,), 0.0005, "1"),
        (dict(value="2.7", unit="x"), (2.7,), 0.05, "1"),
    ],
)  # fmt: skip
def test_units_are_si(changed, numbers, resolution, unit):
    claim = row(**changed)
    assert claim.numbers == numbers
    assert claim.resolution == pytest.approx(resolution)
    assert claim.unit == unit


@pytest.mark.parametrize(
    ("changed", "about", "bound"),
    [
        (dict(conditions="about; 224"), True, ""),
        (dict(conditions="ESTIMATED (paper marks ~)"), True, ""),
        (dict(unit="x (nearly)"), True, ""),
        (dict(unit="x at least"), False, "at least"),
        (dict(conditions="what is said about it"), False, ""),
    ],
)
def test_what_is_printed_as_about_or_as_a_bound_is_known_as_such(changed, about, bound):
    claim = row(**changed)
    assert (claim.about, claim.bound) == (about, bound)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(metric="weight"), "sgformer-999: no quantity for 'weight'"),
        (dict(id="yolo-1"), "yolo-1: ids begin with one of hm, sgformer"),
    ],
)
def test_an_unknown_word_is_refused(changed, message):
    with pytest.raises(ClaimError, match=message):
        row(**changed)


def test_an_unknown_model_or_relation_is_refused():
    with pytest.raises(ClaimError, match="no model for 'SG-Former-XL'"):
        sort(row(model="SG-Former-XL"))
    with pytest.raises(ClaimError, match="no relation for it"):
        sort(row(metric="params_reduction"))


def test_a_cell_is_asked_for_the_same_whatever_papers_are_named():
    every = dict(wanted(ledger.sorted_claims(), PAPERS, "cpu", "A CPU"))
    all_cells = wanted(ledger.sorted_claims(), PAPERS, "cpu", "A CPU")
    for paper in PAPERS:
        own = wanted(ledger.sorted_claims(), (paper,), "cpu", "A CPU")
        assert own
        assert all(cell in all_cells for cell in own)
    assert every


def test_on_a_gpu_memory_is_measured_too_and_speeds_are_of_the_papers_precision():
    cells = wanted(ledger.sorted_claims(), ("greenmim",), "cuda", "NVIDIA H200")
    timed = {spec.precision for spec, metrics in cells if metrics == ("throughput",)}
    assert timed == {"amp_float16"}
    assert [spec.batch for spec, metrics in cells if metrics == ("peak_memory",)] == [256] * 5
    on_cpu = wanted(ledger.sorted_claims(), ("greenmim",), "cpu", "A CPU")
    assert not [metrics for _, metrics in on_cpu if metrics == ("peak_memory",)]


def test_an_absolute_speed_is_measured_where_the_claims_hardware_is():
    cells = wanted(ledger.sorted_claims(), ("beitv2",), "cuda", "NVIDIA GeForce RTX 3090")
    timed = [spec for spec, metrics in cells if metrics == ("throughput",)]
    assert Spec("beitv2_base_patch16_224", batch=1024, precision="amp_float16", device="cuda") in timed
    assert not [
        1 for _, metrics in wanted(ledger.sorted_claims(), ("beitv2",), "cuda", "H200") if metrics == ("throughput",)
    ]

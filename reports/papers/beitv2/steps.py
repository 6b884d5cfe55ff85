"""What a step of BEiT v2's pre-training costs, part by part."""

from collections.abc import Mapping

from bench.spec import JsonScalar, Spec
from reports import arguments
from reports.baselines import untagged
from reports.figures import Picture
from reports.figures.step_sections import NAME, TITLE, draw
from reports.ledger.check import PREDICTED, Term
from reports.papers.drawn import drawn
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit, Pair, Table, table
from reports.papers.units import PERCENT
from reports.steps import cells
from reports.steps import table as sections

Arguments = Mapping[str, JsonScalar]

_COSTS = {"forward MACs (%)": "macs", "step MACs (%)": "step_macs", "time (%)": "step_time", "memory (%)": PREDICTED}
# A part; the step; arguments of both; and those of the step without the part.
_MIM, _VQ_KD = "beitv2_mim_base", "beitv2_vqkd_base"
_HEADLESS: Arguments = {"cls_head": False}
_GIVEN: Arguments = {"targets": "given"}
_OFFICIAL: Arguments = {"impl": "reference"}
_PARTS: tuple[tuple[str, str, Arguments, Arguments], ...] = (
    ("CLS head", _MIM, {}, _HEADLESS),
    ("CLS head", _MIM, _OFFICIAL, _HEADLESS),
    ("CLS head, of a step without tokenizer", _MIM, {**_OFFICIAL, **_GIVEN}, _HEADLESS),
    ("tokenizer, which gives the targets", _MIM, {}, _GIVEN),
    ("tokenizer, which gives the targets", _MIM, _OFFICIAL, _GIVEN),
    ("teacher, which gives the tokenizer's targets", _VQ_KD, {}, _GIVEN),
    ("3 layers of decoder, not 1", _VQ_KD, {}, {"decoder_depth": 1}),
    ("fast route", _MIM, {}, _OFFICIAL),
    ("fast route", _VQ_KD, {}, _OFFICIAL),
)
# What is published of the time and memory of training.
_PUBLISHED = ("beitv2-048", "beitv2-049", "beitv2-050", "beitv2-052", "beitv2-069", "beitv2-070", "beitv2-071")
_TEXT = """\
The paper prints no cost of its pre-training, and its authors a single remark. What a part adds is a step with it
against one that is alike but for it, in percent of the latter: the CLS head's two late layers (without:
`cls_head=False`), the network that gives the targets (`targets=given`), three layers of decoder in place of one
(`decoder_depth=1`), and the fast route in place of the official data flow (`impl=reference`). Where a step without a
part was not timed, "Where a step goes" has the time of each section. MACs are of one image, step MACs of forward and
backward together. Sections are of one batch, that at which most costs were told apart: of each cost the whole, then
shares of it. Time is of steps with marks at the borders of sections, which take time too; memory is what is alive at
the predicted peak, of which all but activations is weights, gradients, the optimizer's states and inputs. What is
published of training's cost is of other hardware or of other models, so nothing measured here stands beside it."""


def steps(evidence: Evidence) -> Exhibit:
    """What each part adds to a step, where a step goes, and what is published of training's cost."""
    frame = evidence.frame.sort_values("model", kind="stable")
    own = frame[frame["model"].map(lambda model: untagged(model).startswith("beitv2_")).astype(bool)]
    whole = own[own["arguments"].map(lambda words: not arguments.without(words, "impl")).astype(bool)]
    told = sections(cells(whole))
    missing = Picture(NAME, TITLE, "Not drawn: no step of BEiT v2's whose MACs or time were told apart is recorded.")
    return Exhibit(
        "beitv2-steps",
        "What pre-training costs",
        "No table of the paper: the cost of its method's parts (sections 2.2 to 2.4)",
        _TEXT,
        (
            table([_part(evidence, *row) for row in _PARTS], "What each part adds to a step"),
            *(() if told.empty else (Table(told, title="Where a step goes"),)),
            table([_said(evidence, one) for one in _PUBLISHED], "Published of training's cost"),
        ),
        tuple(drawn("beitv2", draw, own, missing)),
    )


def _part(evidence: Evidence, part: str, model: str, both: Arguments, without: Arguments) -> dict[str, str | Pair]:
    with_it, without_it = (
        Spec(model, mode="pretrain", model_args=tuple(words.items())) for words in (both, {**both, **without})
    )
    costs = {
        heading: evidence.pair(
            None, evidence.measure("increase", Term(with_it, metric), Term(without_it, metric)), PERCENT
        )
        for heading, metric in _COSTS.items()
    }
    return {"part": part, "step": " ".join([model, *(f"{name}={word}" for name, word in both.items())]), **costs}


def _said(evidence: Evidence, one: str) -> dict[str, str | Pair]:
    row = evidence.by_id[one]
    return {
        "of": row.claim.printed,
        "quantity": f"{row.claim.metric} ({row.claim.text.partition(' ')[2]})",
        "cost": evidence.pair(row),
        "conditions": row.claim.conditions,
    }

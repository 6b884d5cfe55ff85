"""Every claim in exactly one class: a Check, Context, or Untested."""

import re
from dataclasses import replace

from bench.spec import JsonScalar, Spec
from reports.ledger.check import Check, Context, Reading, Sorted, Term, Untested
from reports.ledger.claim import Claim, ClaimError
from reports.ledger.hardware import setting
from reports.ledger.models import BUILDS, MISSING, Build
from reports.ledger.quantities import OF_HARDWARE, QUANTITIES, Quantity
from reports.ledger.reasons import NOTES, REASONS, WHOLE
from reports.ledger.relations import RELATIONS

_SIDE = re.compile(r"\b(224|384)(?:x\1)?\b")
_BACKBONE = "backbone"  # how conditions begin where a count is one without a classifier
_WITH_CLASS_TOKEN = re.compile(r"with CLS|\+ CLS")


def sort(claim: Claim) -> Sorted:
    """The class of a claim. Raises ClaimError where the tables have no word for its model or its relation."""
    quantity = QUANTITIES[claim.metric]
    if quantity.kind == "context":
        return Context(quantity.why)
    for word, why in WHOLE.items():
        if word in f"{claim.printed} {claim.source} {claim.conditions}":
            return Untested(why)
    if claim.id in REASONS:
        return Untested(REASONS[claim.id])
    if quantity.kind == "absent":
        return Untested(quantity.why, "not comparable" if quantity.name in OF_HARDWARE else "not measured")
    if claim.id in RELATIONS:
        return RELATIONS[claim.id]
    if quantity.kind == "relation":
        raise ClaimError(f"{claim.id}: no relation for it in reports/ledger/relations.py, and no reason in reasons.py")
    if claim.printed in MISSING:
        return Untested(MISSING[claim.printed])
    build = _build(claim)
    check = _speed(claim, quantity, build) if quantity.kind == "speed" else _count(claim, quantity, build)
    return replace(check, note="; ".join(filter(None, (check.note, NOTES.get(claim.id)))))


def _build(claim: Claim) -> Build:
    side = _SIDE.search(claim.conditions)
    sizes = (int(side[1]), 224, 384) if side else (224, 384)  # a name may say more than the conditions
    for size in sizes:
        if (claim.printed, size) in BUILDS:
            return BUILDS[claim.printed, size]
    raise ClaimError(f"{claim.id}: no model for {claim.printed!r} in reports/ledger/models.py")


def _spec(build: Build, mode: str, **more: JsonScalar) -> Spec:
    given = {**build.arguments, **more}
    return Spec(build.model, mode=mode, size=(build.size, build.size), model_args=tuple(given.items()))


def _count(claim: Claim, quantity: Quantity, build: Build) -> Check:
    """The number of one model: by each of the metrics that it may be, of a backbone without a classifier first."""
    plain = _spec(build, build.mode)
    specs = {"": plain}
    if claim.conditions.startswith(_BACKBONE) and not build.model.startswith("esvit"):  # whose models have none
        specs = {"without classifier": _spec(build, build.mode, num_classes=0), "with classifier": plain}
    elif "without the classifier" in claim.conditions:
        specs = {"": _spec(build, build.mode, num_classes=0)}
    formula = "value and class token" if _WITH_CLASS_TOKEN.search(claim.conditions) else "value"
    readings = tuple(
        Reading(
            formula,
            (Term(spec, metric),),
            ", ".join(filter(None, (metric if len(quantity.metrics) > 1 else "", label))),
            metric == "macs_fvcore",
        )
        for label, spec in specs.items()
        for metric in quantity.metrics
    )
    return Check("equal", readings, build.note)


def _speed(claim: Claim, quantity: Quantity, build: Build) -> Check:
    """An absolute speed: of the hardware that the claim names, measured as it says."""
    where = setting(claim)
    spec = replace(
        _spec(build, quantity.mode), batch=where.batch or 1, precision=where.precision, layout=where.layout,
        compile=where.compile,
    )  # fmt: skip
    readings = (Reading("value", (Term(spec, "throughput", where.batch),)),)
    return Check("equal", readings, build.note, hardware=where.device)

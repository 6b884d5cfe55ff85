"""BEiT v2's models: parameters and MACs by whoever published them, and accuracies."""

from dataclasses import replace

from bench.spec import Spec
from reports.format import number
from reports.ledger.check import Term
from reports.ledger.judging import Row
from reports.papers.evidence import Evidence, published
from reports.papers.exhibit import SECONDARY, Exhibit, Pair, Table, table

_BASE, _LARGE = "ViT-B/16, 224 px", "ViT-L/16, 224 px"
_BASE_384, _LARGE_384 = "ViT-B/16, 384 px", "ViT-L/16, 384 px"
_TIMM = "timm's files"

# Model; who says it; the claims on parameters and on MACs, "" where nothing is said.
_SIZES = (
    (_BASE, "README, without classifier", "beitv2-001", ""),
    (_BASE, "README, with classifier", "beitv2-003", ""),
    (_BASE, "mmpretrain", "beitv2-064", "beitv2-063"),
    (_BASE, _TIMM, "beitv2-154", "beitv2-152"),
    (_BASE, "ExPLoRe, without relative positions", "", "beitv2-068"),
    (_LARGE, "README, without classifier", "beitv2-002", ""),
    (_LARGE, _TIMM, "beitv2-157", "beitv2-155"),
    (_BASE_384, f"{_TIMM}, of beit_base_patch16_384", "beitv2-160", "beitv2-158"),
    (_LARGE_384, f"{_TIMM}, of beit_large_patch16_384", "beitv2-163", "beitv2-161"),
    ("masked model of ViT-B/16 with its tokenizer", "mmpretrain", "beitv2-065", ""),
)
_COUNTED = (
    (_BASE, "beitv2_base", 224, "infer"),
    (_BASE, "beitv2_base_patch16_224", 224, "infer"),
    (_LARGE, "beitv2_large", 224, "infer"),
    (_LARGE, "beitv2_large_patch16_224", 224, "infer"),
    (_BASE_384, "beitv2_base", 384, "infer"),
    (_BASE_384, "beit_base_patch16_384", 384, "infer"),
    (_LARGE_384, "beitv2_large", 384, "infer"),
    (_LARGE_384, "beit_large_patch16_384", 384, "infer"),
    ("masked model of ViT-B/16 with its tokenizer", "beitv2_mim_base", 224, "pretrain"),
    ("masked model of ViT-L/16 with its tokenizer", "beitv2_mim_large", 224, "pretrain"),
    ("tokenizer with its decoder", "beitv2_vqkd_base", 224, "infer"),
    ("tokenizer in training, with its teacher", "beitv2_vqkd_base", 224, "pretrain"),
)
# Model; pre-training; the paper's claim on top-1; a third party's, by whom.
_TOP_1 = (
    (_BASE, "300 epochs", "beitv2-006", "beitv2-066", "mmpretrain's own training"),
    (_BASE, "1600 epochs", "beitv2-007", "beitv2-171", "timm's evaluation"),
    (_BASE, "1600 epochs, then ImageNet-21k", "beitv2-010", "beitv2-170", "timm's evaluation"),
    (_LARGE, "300 epochs", "beitv2-008", "", ""),
    (_LARGE, "1600 epochs", "beitv2-009", "beitv2-169", "timm's evaluation"),
    (_LARGE, "1600 epochs, then ImageNet-21k", "beitv2-011", "beitv2-168", "timm's evaluation"),
    (_LARGE_384, "1600 epochs, then ImageNet-21k", "beitv2-019", "", ""),
)
_UNSAID = "not said there"
_READINGS = {"macs": "products", "macs_fvcore": "products and norms (fvcore)"}
_TEXT = """\
The paper prints neither parameters nor MACs; the README of its code prints parameters, and the rest is of others who
built or ran the same models. "Read as" says which of our counts stands beside the published one: many tools call
fvcore's count of multiply-accumulates FLOPs, and it gives norms MACs too. timm's files have no BEiT v2 at 384 px; the
first BEiT, which they have, is built like it. The parameters of our pre-training include the tokenizer's three tables
of codes, as in the official code, and no decoder; without the two that nothing reads (270,336) they are mmpretrain's
192.81 M. A measured number without a mark has no verdict yet: it wants a further count. Accuracies are context: nothing
was trained here."""


def models(evidence: Evidence) -> Exhibit:
    """Parameters and MACs, published beside measured; what was counted of each model here; accuracies as published."""
    return Exhibit(
        "beitv2-models",
        "BEiT v2's models",
        "Table 1 and the README's list of models, with what others counted of the same models",
        _TEXT,
        (
            table([_size(evidence, *row) for row in _SIZES], "Published and measured"),
            table([_counted(evidence, *row) for row in _COUNTED], "Counted here"),
            _accuracies(evidence),
        ),
    )


def _size(evidence: Evidence, model: str, by: str, params: str, macs: str) -> dict[str, str | Pair]:
    rows = [evidence.by_id.get(one) for one in (params, macs)]
    readings = [row.first.label for row in rows if row and row.first]
    return {
        "model": model,
        "published by": by,
        "params (M)": _in_units(evidence, rows[0], 1e6),
        "MACs (G)": _in_units(evidence, rows[1], 1e9),
        "read as": "; ".join(
            ", ".join(_READINGS.get(word, word) for word in one.split(", ")) for one in readings if one
        ),
    }


def _in_units(evidence: Evidence, row: Row | None, scale: float) -> Pair:
    """Both sides in the column's unit: mmpretrain prints single parameters."""
    pair = evidence.pair(row, scale=scale, unsaid=_UNSAID)
    if row is None or row.claim.scale == scale:
        return pair
    mark = SECONDARY if row.claim.confidence == "secondary" else ""
    return replace(pair, published=f"{number(row.claim.value / scale, row.claim.digits)}{mark}")


def _counted(evidence: Evidence, model: str, name: str, side: int, mode: str) -> dict[str, str | Pair]:
    spec = Spec(name, mode=mode, size=(side, side))
    columns = {
        "params (M)": ("params", 1e6),
        "MACs (G)": ("macs", 1e9),
    }
    counts = {
        heading: evidence.pair(None, evidence.measure("value", Term(spec, metric)), scale)
        for heading, (metric, scale) in columns.items()
    }
    return {"model": model, "here": name, **counts}


def _accuracies(evidence: Evidence) -> Table:
    def said(one: str) -> str:
        row = evidence.by_id.get(one)
        return published(row) if row else ""

    return table(
        [
            {
                "model": model,
                "pre-training": training,
                "top-1 (%), published": said(own),
                "by a third party (%)": f"{said(other)}, {whose}" if said(other) else "",
            }
            for model, training, own, other, whose in _TOP_1
        ],
        "Accuracies as published",
    )

"""BEiT v2's models: parameters and MACs by whoever published them, and accuracies."""

from dataclasses import replace

from bench.spec import Spec
from reports.ledger.check import Term
from reports.ledger.judging import Row
from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit, Pair, Table, table
from reports.papers.quoted import derived, quoted
from reports.papers.units import GIGA, MEGA

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
# Model; pre-training, as the claim says it; the claim on top-1.
_TOP_1 = (
    (_BASE, "300 epochs", "beitv2-006"),
    (_BASE, "300 epochs, a reproduction", "beitv2-066"),
    (_BASE, "1600 epochs", "beitv2-007"),
    (_BASE, "epochs not said (in1k_ft_in1k)", "beitv2-171"),
    (_BASE, "1600 epochs, then ImageNet-21k", "beitv2-010"),
    (_BASE, "epochs not said (in1k_ft_in22k_in1k)", "beitv2-170"),
    (_LARGE, "300 epochs", "beitv2-008"),
    (_LARGE, "1600 epochs", "beitv2-009"),
    (_LARGE, "epochs not said (in1k_ft_in1k)", "beitv2-169"),
    (_LARGE, "1600 epochs, then ImageNet-21k", "beitv2-011"),
    (_LARGE, "epochs not said (in1k_ft_in22k_in1k)", "beitv2-168"),
    (_LARGE_384, "epochs not said, then ImageNet-21k", "beitv2-019"),
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
was trained here; timm's list names weights (in brackets) and no epochs."""


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
        "params (M)": _in_units(evidence, rows[0], MEGA),
        "MACs (G)": _in_units(evidence, rows[1], GIGA),
        "read as": "; ".join(
            ", ".join(_READINGS.get(word, word) for word in one.split(", ")) for one in readings if one
        ),
    }


def _in_units(evidence: Evidence, row: Row | None, scale: float) -> Pair:
    """Both sides in the column's unit: mmpretrain prints single parameters."""
    pair = evidence.pair(row, scale=scale, unsaid=_UNSAID)
    if row is None or row.claim.scale == scale:
        return pair
    return replace(pair, published=derived(row.claim.value / scale, row.claim.digits, row))


def _counted(evidence: Evidence, model: str, name: str, side: int, mode: str) -> dict[str, str | Pair]:
    spec = Spec(name, mode=mode, size=(side, side))
    columns = {
        "params (M)": ("params", MEGA),
        "MACs (G)": ("macs", GIGA),
    }
    counts = {
        heading: evidence.pair(None, evidence.measure("value", Term(spec, metric)), scale)
        for heading, (metric, scale) in columns.items()
    }
    return {"model": model, "here": name, **counts}


def _accuracies(evidence: Evidence) -> Table:
    return table(
        [
            {"model": model, "pre-training": training, "source": row.claim.source, "top-1 (%)": quoted(row)}
            for model, training, one in _TOP_1
            for row in [evidence.by_id[one]]
        ],
        "Accuracies as published",
    )

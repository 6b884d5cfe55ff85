"""SG-Former's tables 3 to 7 as texts quote them: fine-tuning, detection, segmentation, ablations. None is tested."""

from collections.abc import Mapping, Sequence

from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit, Pair, Table, table
from reports.papers.quoted import quoted
from reports.papers.sgformer.variants import VARIANTS

_GAINS_384 = {"above CSWin (points)": "top1_gain_vs_CSWin", "above Swin-B (points)": "top1_gain_vs_Swin-B"}
_DETECTION = {
    "parameters (M)": "params",
    "AP box (%)": "mAP_box",
    "AP50 box (%)": "AP50_box",
    "AP75 box (%)": "AP75_box",
    "AP mask (%)": "mAP_mask",
    "AP50 mask (%)": "AP50_mask",
    "AP75 mask (%)": "AP75_mask",
}
_SEGMENTATION = {
    "parameters (M)": "params",
    "MACs (G)": "macs",
    "mIoU, one scale (%)": "mIoU_ss",
    "mIoU, several (%)": "mIoU_ms",
}
# What texts say beside the tables: of what, by claim.
_SAID = (
    ("COCO: AP of boxes, schedule not named", "sgformer-026"),
    ("COCO: AP above Swin's", "sgformer-029"),
    ("COCO, Mask R-CNN 1x: AP above ResNeXt's", "sgformer-046"),
    ("COCO, Mask R-CNN 3x: AP above ResNeXt's", "sgformer-047"),
    ("ADE20K, UperNet: mIoU", "sgformer-027"),
    ("ADE20K: mIoU above Swin's", "sgformer-030"),
    ("ADE20K, Semantic FPN: mIoU", "sgformer-060"),
    ("ADE20K, Semantic FPN: mIoU above Swin's", "sgformer-061"),
    ("ADE20K, Semantic FPN: parameters below Swin's", "sgformer-062"),
    ("table 6: top-1 above one scale of local attention", "sgformer-063"),
    ("table 6: top-1 above one scale of global attention", "sgformer-064"),
    ("table 7: top-1 above a uniform map of significance", "sgformer-065"),
)

_TEXT = """
Quoted and never judged. Accuracies need the trained weights. Costs of whole detectors and segmentors are of code that
is not released; and the backbone that is takes squares of multiples of 224 px alone, not 384, 512 x 2048 or 800 px.
"""


def context(evidence: Evidence) -> Exhibit:
    """What is printed of other tasks, a row a variant; then what the text and the abstract say."""
    return Exhibit(
        "sgformer-context",
        "Tables 3 to 7",
        "SG-Former, tables 3 to 7",
        _TEXT.strip(),
        (
            _quotations(evidence, "Table 3", _GAINS_384, "Table 3: top-1 after fine-tuning at 384 px"),
            _quotations(evidence, "Table 4", _DETECTION, "Table 4: COCO, Mask R-CNN 1x"),
            _quotations(evidence, "Table 5", _SEGMENTATION, "Table 5: ADE20K, UperNet"),
            _said(evidence, _SAID),
        ),
    )


def _quotations(evidence: Evidence, source: str, columns: Mapping[str, str], title: str) -> Table:
    rows: list[dict[str, str | Pair]] = [
        {
            "model": one.printed,
            **{
                heading: quoted(evidence.claim(one.printed, metric, source, "SG-Former"))
                for heading, metric in columns.items()
            },
        }
        for one in VARIANTS
    ]
    return table(rows, title)


def _said(evidence: Evidence, claims: Sequence[tuple[str, str]]) -> Table:
    rows: list[dict[str, str | Pair]] = []
    for what, id in claims:
        claim = evidence.by_id[id].claim
        rows.append({"what": what, "model": claim.printed, "published": claim.text, "printed in": claim.source})
    return table(rows, "What the text and the abstract say")

"""What a size of groups costs a stage: the paper's sweep over random masks, and the windows that are packed."""

from dataclasses import replace

from reports import grouping
from reports.figures import Picture
from reports.figures.group_size import draw as draw_cost
from reports.figures.masked_windows import draw as draw_windows
from reports.ledger.check import Term
from reports.papers.drawn import drawn
from reports.papers.evidence import Evidence, interval
from reports.papers.exhibit import Exhibit, Pair, Table, table
from reports.papers.greenmim.steps import TableRow, family, step

_GREEN = step("greenmim_swin_base")
_PACKED = {  # claim -> what it is, and where our number of it is in the details of `padding`
    "greenmim-009": ("random masks", "masks"),
    **{
        f"greenmim-{15 + stage:03}": (f"visible tokens of stage {stage}", f"curves/stage={stage}/tokens")
        for stage in (1, 2, 3, 4)
    },
}
_TEXT = """\
Windows hold unequal numbers of visible tokens; whole windows are packed into groups of g tokens, and padding fills
them. The paper says that cost grows with the square of the group size, but for sizes that are a sum of window sizes.

- official: the released code's rule; g is the largest window, or all tokens where they are few
- search: the paper's, which no release has; the g with the cheapest attention
- packed: the packing with the cheapest attention over all g; the models' `grouping="packed"` prices the whole block,
  since padding goes through norms and FFN too, and may choose otherwise

Above the floor: by how much attention's multiply-accumulates exceed those without any padding."""
_MISSING = (
    "Not drawn: no `padding` of a GreenMIM was recorded, as by `python run_bench.py run greenmim_swin_base "
    "mode=pretrain metrics=padding`."
)
_DRAWN = (
    (draw_cost, Picture("group_size", "Cost over group size", _MISSING)),
    (draw_windows, Picture("masked_windows", "Masked windows and their groups", _MISSING)),
)


def group_size(evidence: Evidence) -> Exhibit:
    """Tokens a stage, and the paper's figure of cost over the size of groups."""
    frame = family(evidence.frame)
    # the paper's body first: a picture each is drawn of few
    frame = frame.sort_values("model", key=lambda models: models != _GREEN.model, kind="stable", ignore_index=True)
    chosen = grouping.table(frame)
    rules = () if chosen.empty else (Table(chosen, title="What each rule makes of them, in means over random masks"),)
    return Exhibit(
        "greenmim-group-size",
        "Group size against cost per stage",
        "the figure of the group-size analysis, whose curve is in no text; tokens a stage are the released code's",
        _TEXT,
        (_packed(evidence), *rules),
        tuple(picture for draw, none in _DRAWN for picture in drawn("greenmim", draw, frame, none)),
    )


def _packed(evidence: Evidence) -> Table:
    rows: list[TableRow] = [
        {"of": words, "number": _number(evidence, id, field)} for id, (words, field) in _PACKED.items()
    ]
    return table(rows, "What is packed: Swin-B at 224 px, mask ratio 0.75")


def _number(evidence: Evidence, id: str, field: str) -> Pair:
    """Whole numbers, without decimals."""
    found = evidence.measure("value", Term(_GREEN, "padding", field=field))
    pair = evidence.pair(evidence.by_id[id], found)
    return replace(pair, measured=interval(found, digits=1)) if found.interval else pair

"""SG-Former's table 1: its three variants, stage by stage, and what they cost."""

from typing import NamedTuple

from reports.papers.evidence import Evidence
from reports.papers.exhibit import Exhibit, Pair, Table, table


class Variant(NamedTuple):
    """Channels, heads and blocks of the four stages, as the released code has them."""

    printed: str
    model: str
    channels: tuple[int, ...]
    heads: tuple[int, ...]
    blocks: tuple[int, ...]


VARIANTS = (
    Variant("SG-Former-S", "sgformer_s", (64, 128, 256, 512), (2, 4, 8, 16), (2, 4, 16, 1)),
    Variant("SG-Former-M", "sgformer_m", (64, 128, 256, 512), (2, 4, 8, 16), (2, 6, 28, 2)),
    Variant("SG-Former-B", "sgformer_b", (96, 192, 384, 768), (4, 6, 12, 24), (4, 6, 24, 2)),
)
_GRIDS = ("56 x 56", "28 x 28", "14 x 14", "7 x 7")
_PRINTED = (  # model, where its cost is printed
    ("SG-Former-S", "Table 2"),
    ("SG-Former-S", "Sec. 3.1 text"),
    ("SG-Former-M", "Table 2"),
    ("SG-Former-B", "Table 2"),
)

_TEXT = """
The cells of the paper's table are in no text that was found. The configuration is the released code's, which is what
is measured here; its paper's text gives the base model four scales of attention in stage 1 and three in stage 2, the
code has two in every stage. Of SG-Former-S's parameters there are three numbers: 24.2 M in the text, 23 M in the
tables as others quote them, and the code's. Parameters and MACs of the code agree with those of the tables, so that
they are very probably of it.
"""


def variants(evidence: Evidence) -> Exhibit:
    """What each stage is made of; parameters and MACs, printed in tables and in text."""
    return Exhibit(
        "sgformer-variants",
        "The variants",
        "SG-Former, table 1",
        _TEXT.strip(),
        (_configuration(), _cost(evidence)),
    )


def _configuration() -> Table:
    rows: list[dict[str, str | Pair]] = [
        {
            "stage": str(stage + 1),
            "tokens at 224 px": grid,
            **{one.printed: f"{one.channels[stage]}, {one.heads[stage]}, {one.blocks[stage]}" for one in VARIANTS},
        }
        for stage, grid in enumerate(_GRIDS)
    ]
    return table(rows, "Channels, heads, blocks")


def _cost(evidence: Evidence) -> Table:
    rows: list[dict[str, str | Pair]] = [
        {
            "model": printed,
            "printed in": source,
            "parameters (M)": evidence.pair(evidence.claim(printed, "params", source, "SG-Former")),
            "MACs (G)": evidence.pair(evidence.claim(printed, "macs", source, "SG-Former")),
        }
        for printed, source in _PRINTED
    ]
    return table(rows, "Cost at 224 px")

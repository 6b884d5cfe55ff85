"""What is said of a paper before any number: its title, what of it is known to be missing, and how it was read."""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from reports.baselines import untagged
from reports.tables import CORRESPONDENCE


class About(NamedTuple):
    """name: as readers call it. prefixes: how the names of the zoo's models of the paper begin; metrics: what only its
    section tells of any model. headlines: the claims, by id, that the summary of a report has. missing: what of the
    paper was in no text that could be read, so that no number of it stands anywhere. readings: where paper, text and
    code disagree, and which was measured."""

    name: str
    title: str
    arxiv: str
    prefixes: tuple[str, ...]
    headlines: tuple[str, ...]
    missing: tuple[str, ...]
    readings: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()


ABOUT: Mapping[str, About] = {
    "sgformer": About(
        "SG-Former",
        "SG-Former: Self-guided Transformer with Evolving Token Reallocation",
        "2308.12216",
        ("sgformer_",),
        ("sgformer-010", "sgformer-001", "sgformer-002", "sgformer-031"),
        ("the throughputs on an RTX 2080 Ti, which the paper draws and does not print",),
        (
            "Parameters of SG-Former-S are 24.2 M in the paper's text, 23 M in tables that quote it, 22.5 M in the "
            "released code: the code's model is what was measured.",
            "The paper describes up to four scales of attention and training at 384 px; the released code has two "
            "scales and cannot run that size, nor those of the paper's detectors and segmentors.",
        ),
    ),
    "hmhsa": About(
        "hMHSA and cFFN",
        "Vision Transformer with Attention Map Hallucination and FFN Compaction",
        "2306.10875",
        ("hmhsa_",),
        ("hm-05", "hm-06", "hm-01", "hm-02", "hm-03", "hm-04"),
        (
            "the numbers of tables 1 to 8, but for some differences and one accuracy of table 5",
            "the individual values of CCS in table 4",
        ),
        ("No code is released: the models are one reading of the paper's text.",),
    ),
    "greenmim": About(
        "GreenMIM",
        "Green Hierarchical Vision Transformer for Masked Image Modeling",
        "2205.13515",
        ("greenmim_", "simmim_"),
        ("greenmim-001", "greenmim-002", "greenmim-003", "greenmim-004", "greenmim-006", "greenmim-007"),
        ("the numbers of the chart of efficiency", "the tables of the ablations, but for what the text says of them"),
        (
            "The paper searches for the cheapest size of groups; the released code does not, and takes the largest "
            "window. The code's rule was measured; the search is there too (`grouping=search`).",
            "SimMIM is compared at 192 px, its own recipe, and at 224 px, GreenMIM's: the text does not say which.",
        ),
    ),
    "esvit": About(
        "EsViT",
        "Efficient Self-supervised Vision Transformers for Representation Learning",
        "2106.09785",
        ("esvit_",),
        ("esvit-070", "esvit-071", "esvit-072", "esvit-079", "esvit-082", "esvit-083", "esvit-084", "esvit-085"),
        ("the appendix, but for what an article quotes of it",),
        (
            "Throughputs of Swin are very probably converted from the Swin paper's, not measured: ratios say more.",
            "The peer ViT-BN-L/7 has batch norm; the one that was measured has layer norm.",
        ),
        CORRESPONDENCE,
    ),
    "beitv2": About(
        "BEiT v2",
        "BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers",
        "2208.06366",
        ("beitv2_",),
        ("beitv2-001", "beitv2-002", "beitv2-063", "beitv2-065", "beitv2-068"),
        ("most of tables 4 and 5",),
        ("The paper prints no cost of pre-training; that of third parties is of other code.",),
    ),
}


def models_of(paper: str, frame: pd.DataFrame) -> list[str]:
    """The models of the tidy frame that are the paper's, with timm's tags."""
    return [name for name in frame["model"].unique() if untagged(name).startswith(ABOUT[paper].prefixes)]


def touched(frame: pd.DataFrame) -> tuple[str, ...]:
    """The papers of which a model of the zoo was measured, or that tell a metric that was asked of any model."""
    asked = set(frame["metric"])
    return tuple(paper for paper, about in ABOUT.items() if models_of(paper, frame) or asked & {*about.metrics})

"""What is published of BEiT v2 (arXiv:2208.06366), and the models here that stand for it. Data alone."""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from reports.arguments import read
from reports.baselines import untagged
from reports.claims import load

OURS, TIMMS = "ours", "timm's"
PARAMS, MACS, TOP_1 = "params", "macs_fvcore", "top1"  # what papers call FLOPs is mostly fvcore's count


class Entry(NamedTuple):
    """A published model: what it is called here; the registered models that are built like it, without arguments, by
    whose they are; size and mode in which it is spoken of; the claims on each number, with a note on their build."""

    printed: str
    models: Mapping[str, str]
    size: str = "224"
    mode: str = "infer"
    claims: Mapping[str, Mapping[str, str]] = {}


BASE = "base 224"  # what throughputs are held against
CLASSIFIERS: Mapping[str, Entry] = {
    BASE: Entry(
        "ViT-B/16, 224 px",
        {OURS: "beitv2_base", TIMMS: "beitv2_base_patch16_224"},
        claims={
            PARAMS: {"beitv2-001": "backbone", "beitv2-003": "", "beitv2-064": "", "beitv2-154": "timm's"},
            MACS: {
                "beitv2-063": "without classifier",
                "beitv2-152": "timm's",
                "beitv2-068": "without relative positions",
            },
            TOP_1: {
                "beitv2-006": "300 epochs",
                "beitv2-007": "1600 epochs",
                "beitv2-010": "1600 epochs, then ImageNet-21k",
            },
        },
    ),
    "large 224": Entry(
        "ViT-L/16, 224 px",
        {OURS: "beitv2_large", TIMMS: "beitv2_large_patch16_224"},
        claims={
            PARAMS: {"beitv2-002": "backbone", "beitv2-157": "timm's"},
            MACS: {"beitv2-155": "timm's"},
            TOP_1: {
                "beitv2-008": "300 epochs",
                "beitv2-009": "1600 epochs",
                "beitv2-011": "1600 epochs, then ImageNet-21k",
            },
        },
    ),
    # timm has BEiT v2 at 224 px only; its first BEiT at 384 px is built like it.
    "base 384": Entry(
        "ViT-B/16, 384 px",
        {OURS: "beitv2_base", TIMMS: "beit_base_patch16_384"},
        "384",
        claims={PARAMS: {"beitv2-160": "timm's"}, MACS: {"beitv2-158": "timm's"}},
    ),
    "large 384": Entry(
        "ViT-L/16, 384 px",
        {OURS: "beitv2_large", TIMMS: "beit_large_patch16_384"},
        "384",
        claims={
            PARAMS: {"beitv2-163": "timm's"},
            MACS: {"beitv2-161": "timm's"},
            TOP_1: {"beitv2-019": "1600 epochs, then ImageNet-21k"},
        },
    ),
}
ENTRIES = (
    *CLASSIFIERS.values(),
    Entry(
        "pre-training of ViT-B/16 with its tokenizer",
        {OURS: "beitv2_mim_base"},
        mode="pretrain",
        claims={PARAMS: {"beitv2-065": "mmpretrain's"}},
    ),
)

# The claims on how many codes a tokenizer uses, by decoder's depth and teacher; those without a model here last.
CODEBOOKS: Mapping[tuple[float, str] | None, tuple[str, ...]] = {
    (1, "clip"): ("beitv2-037", "hb-002"),
    (3, "clip"): ("beitv2-038", "beitv2-040", "hb-005"),
    (1, "dino"): ("beitv2-039",),
    None: ("hb-008", "beitv2-053", "hb-039", "hb-040"),
}
CODES = "beitv2-035"  # how many a codebook has
_TOKENIZER, _DECODER, _TEACHER = "beitv2_vqkd_base", 3.0, "clip"  # with what it has where no argument says otherwise


def claims_of(numbers: Mapping[str, str] | tuple[str, ...]) -> list[dict[str, str]]:
    """The claims of these ids, in their order; columns as `reports.claims.load`."""
    claims = load().set_index("id", drop=False)
    return [{str(name): str(text) for name, text in claims.loc[one].items()} for one in numbers]


def throughputs() -> pd.DataFrame:
    """timm's throughputs of models built like these, a file's on hardware of its own. Column beside: build."""
    claims = load()
    rows = claims[(claims["metric"] == "inference throughput") & claims["source"].str.startswith("timm benchmark")]
    builds = {entry.models[TIMMS]: build for build, entry in CLASSIFIERS.items()}
    return rows.assign(build=rows["model"].map(builds)).dropna(subset=["build"])


def speaks_of(model: str) -> bool:
    """Whether `model` is one of BEiT v2's, ours or timm's."""
    return untagged(model).startswith("beitv2_")


def codebooks_of(model: str, words: str) -> tuple[str, ...]:
    """The claims on a tokenizer built like `model` with `words` as arguments."""
    if untagged(model) != _TOKENIZER:
        return ()
    given = {"decoder_depth": _DECODER, "teacher": _TEACHER, **read(words)}
    match given["decoder_depth"], given["teacher"]:
        case float(depth), str(teacher):
            return CODEBOOKS.get((depth, teacher), ())
    return ()


def tokenizer(build: tuple[float, str] | None) -> str:
    """The model of a build of `CODEBOOKS`, as words."""
    if build is None:
        return "no such model here"
    depth, teacher = build
    given = {"decoder_depth": f"{depth:g}"} if depth != _DECODER else {}
    given |= {"teacher": teacher} if teacher != _TEACHER else {}
    return " ".join([_TOKENIZER, *(f"{name}={value}" for name, value in given.items())])

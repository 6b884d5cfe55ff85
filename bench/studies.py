"""Studies: what the main job asks of one family, beside what it asks of every model. Names and numbers, no paper."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bench.runner import Cell
from bench.spec import Spec

MEMORY_METRICS = ("peak_live_bytes", "peak_memory")
REFERENCE: dict[str, Any] = {"impl": "reference"}  # the design as described, where a model has another route too

# Models that are a base with something changed, and their bases: costs at more sizes.
CHANGED = "hmhsa_"
BASES = ("deit_tiny_patch16_224", "deit_small_patch16_224", "pvt_v2_b1", "nextvit_small")
CHANGED_SIZES = (384, 448)  # beside the models' own
CHANGED_METRICS = ("macs", "macs_fvcore", "peak_live_bytes")
BRANCHED, BRANCHES = "hmhsa_deit_tiny", (1, 2, 3)  # what parallel branches cost in training, and against the first base
BRANCHED_METRICS = ("params", "macs", "peak_live_bytes", "latency")
CHANGED_BATCH = 8  # what is timed
# Each part of the change without the others, or done otherwise; of the base's size, counted on the route as described.
ABLATED = "hmhsa_pvt_v2_b1"
ABLATIONS: tuple[dict[str, Any], ...] = (
    {},
    *({"hallucinate": word} for word in (False, "copy", "ihh", "chh", "chh+ihh")),
    *({"compact": word} for word in (False, "narrow", "fc1")),
    {"ratio": 0.75},
)

# Models that merge tokens by significance: where those go.
REALLOCATING = "sgformer_s"

# Pre-training on the patches that a mask leaves, on all of them, and the way that it is compared with at two sizes.
SPARSE = "greenmim_swin_tiny"
MASKED: tuple[dict[str, Any], ...] = (
    dict(model=SPARSE, size=(224, 224)),
    dict(model=SPARSE, size=(224, 224), model_args={"mask_ratio": 0}),
    dict(model="simmim_swin_tiny", size=(224, 224)),
    dict(model="simmim_swin_tiny", size=(192, 192)),
)
MASKED_BATCH = 8  # what is timed
MASKED_BATCHES = (1, 4, 16, 64)  # memory alone
RATIOS = (0.5, 0.6, 0.85)  # beside the model's own
STEP_METRICS = (
    "macs",
    *MEMORY_METRICS,
    "throughput",
)  # an epoch is a matter of throughput; a step takes seconds on a CPU
ALTERED: dict[str, tuple[Any, ...]] = {"window": (7, 14), "decoder_depth": (1, 2, 4)}
FULL_SIZE: tuple[dict[str, Any], ...] = (
    dict(model="greenmim_swin_base", size=(224, 224)),
    dict(model="simmim_swin_base", size=(224, 224)),
    dict(model="simmim_swin_base", size=(192, 192)),
)
FULL_SIZE_BATCH, FULL_SIZE_METRICS = 64, ("peak_live_bytes",)  # predicted: not every device holds it
PACKED, PACKING_METRICS = "greenmim_", ("padding",)  # those that pack windows into groups
GROUPINGS = ("search", "packed")  # beside the model's own
GROUPING_METRICS = ("macs", *PACKING_METRICS)

# Backbones of self-supervised models beside the peers that they are held against, and what each loss of a step costs.
BACKBONES: tuple[dict[str, Any], ...] = (
    *(dict(model=f"esvit_swin_{size}", window=window) for size in ("tiny", "small", "base") for window in (7, 14)),
    *(dict(model=f"esvit_{body}") for body in ("vil_2262", "cvt_tiny", "deit_small", "vit_base", "resnet50")),
)
PEERS: tuple[dict[str, Any], ...] = (
    dict(model="vit_base_patch8_224", num_classes=0),
    dict(model="vit_large_patch16_224", num_classes=0, patch_size=7),
)
BACKBONE_METRICS = ("params", "macs", "top_tokens", "throughput")
LEARNERS = ("esvit_swin_tiny", "esvit_deit_small")  # of several stages, and of one
LEARNER_BATCH = 2  # what is timed: a step of ten crops takes seconds on a CPU
LEARNER_BATCHES = (1, 12, 32)  # memory alone
LOSSES = ("view", "view+region")

# Models that predict a tokenizer's codes: the classifiers that they become beside timm's of the same name, what each
# part of a step costs, how the tokenizer's own step compares, and what of its codebook it uses.
CODED = "beitv2_mim_base"
TOKENIZER = "beitv2_vqkd_base"
CLASSIFIERS = (
    *((f"beitv2_{size}", side) for size in ("base", "large") for side in (224, 384)),
    *((f"beitv2_{size}_patch16_224", 224) for size in ("base", "large")),
    ("beit_base_patch16_384", 384),
)
CLASSIFIER_METRICS = ("params", "macs", "throughput")
COUNTED = ("macs", "step_macs")
CODED_BATCH = 2  # what is timed
CODED_BATCHES = (1, 16, 64, 128)  # memory alone
SECTIONED: dict[str, tuple[tuple[dict[str, Any], bool], ...]] = {  # model: its arguments, and whether they are timed
    CODED: (
        ({}, True),
        (REFERENCE, True),
        ({**REFERENCE, "cls_head": False}, False),
        ({"cls_head": False}, False),
        ({**REFERENCE, "targets": "given"}, False),
        ({"targets": "given"}, False),
        ({**REFERENCE, "targets": "given", "cls_head": False}, False),
    ),
    TOKENIZER: (
        ({}, True),
        ({"decoder_depth": 1}, True),
        (REFERENCE, False),
        ({"targets": "given"}, False),
    ),
}
SECTIONED_TIMES = ("step_time", "throughput")


def changed(zoo: Sequence[str], device: str) -> list[Cell]:
    """What models that change a base cost beside it: over resolution, in time, in training over their branches, and
    with parts of the change alone."""
    models = [*(name for name in zoo if name.startswith(CHANGED)), *BASES]
    sized = [Spec(model, size=(side, side), device=device) for model in models for side in CHANGED_SIZES]
    plain = Spec(BASES[0], mode="train", device=device)
    branched = [replace(plain, model=BRANCHED, model_args=(("branches", count),)) for count in BRANCHES]
    ablated = [Spec(ABLATED, device=device, model_args=tuple({**one, **REFERENCE}.items())) for one in ABLATIONS]
    return [
        *(Cell(spec, CHANGED_METRICS) for spec in sized),
        *(Cell(Spec(model, batch=CHANGED_BATCH, device=device), ("throughput",)) for model in models),
        *(Cell(spec, ("params", "macs")) for spec in ablated if ABLATED in models),
        *(Cell(spec, BRANCHED_METRICS) for spec in (plain, *branched) if BRANCHED in models),
    ]


def reallocated(zoo: Sequence[str], device: str) -> list[Cell]:
    """Where tokens go that are merged by significance."""
    return [Cell(Spec(REALLOCATING, device=device), ("significance",))] if REALLOCATING in zoo else []


def masked(zoo: Sequence[str], device: str) -> list[Cell]:
    """What a step of masked pre-training costs: time and memory against each other's, over batch and mask ratio, memory
    over window and decoder, and padding over the ways to group."""
    plain = [Spec(mode="pretrain", batch=MASKED_BATCH, device=device, **words) for words in MASKED]
    large = [Spec(mode="pretrain", batch=FULL_SIZE_BATCH, device=device, **words) for words in FULL_SIZE]
    sparse = plain[0]

    def with_(**arguments: Any) -> Spec:
        return replace(sparse, model_args=tuple(arguments.items()))

    altered = [{word: value} for word, values in ALTERED.items() for value in values]
    cells = [
        *(Cell(spec, STEP_METRICS) for spec in (*plain, *(with_(mask_ratio=ratio) for ratio in RATIOS))),
        *(Cell(replace(spec, batch=batch), MEMORY_METRICS) for spec in plain for batch in MASKED_BATCHES),
        *(Cell(with_(**own), STEP_METRICS) for own in altered),
        *(Cell(with_(**own, mask_ratio=0), MEMORY_METRICS) for own in altered),
        *(Cell(spec, FULL_SIZE_METRICS) for spec in large),
        *(Cell(replace(with_(grouping=word), batch=1), GROUPING_METRICS) for word in GROUPINGS),
    ]
    return [cell for cell in cells if cell.spec.model in zoo]


def multi_crop(zoo: Sequence[str], device: str) -> list[Cell]:
    """Throughput of self-supervised backbones beside their peers', and a step of pre-training by its losses: time, and
    memory over batch, of the official design too."""

    def backbone(model: str, **arguments: Any) -> Spec:
        given = tuple((word, value) for word, value in arguments.items() if (word, value) != ("window", 7))
        return Spec(model, size=(224, 224), device=device, model_args=given)

    learners = [Spec(model, mode="pretrain", size=(224, 224), device=device) for model in LEARNERS]

    def by_loss(batch: int, **arguments: Any) -> list[Spec]:
        """The model's own loss has no argument, so that it is the same cell as without this study."""
        given = [{**arguments, **({} if loss == LOSSES[-1] else {"loss": loss})} for loss in LOSSES]
        return [replace(spec, batch=batch, model_args=tuple(one.items())) for spec in learners for one in given]

    cells = [
        *(Cell(backbone(**words), BACKBONE_METRICS) for words in (*BACKBONES, *PEERS)),
        *(Cell(spec, STEP_METRICS) for spec in by_loss(LEARNER_BATCH)),
        *(
            Cell(spec, MEMORY_METRICS)
            for batch in LEARNER_BATCHES
            for arguments in ({}, {"impl": "reference"})
            for spec in by_loss(batch, **arguments)
        ),
    ]
    peers = {words["model"] for words in PEERS}
    known = {*zoo, *(peers if any(model in zoo for model in LEARNERS) else ())}
    return [cell for cell in cells if cell.spec.model in known]


def tokenized(zoo: Sequence[str], device: str) -> list[Cell]:
    """What a step of predicting codes costs, section by section: in products, bytes and time, of the model and of its
    tokenizer, without what may be left out; memory over batch; and what the codes and the masks are like."""

    def of(model: str, arguments: dict[str, Any], batch: int = 1, mode: str = "pretrain") -> Spec:
        given = tuple(arguments.items())
        return Spec(model, mode=mode, batch=batch, size=(224, 224), device=device, model_args=given)

    cells = [
        *(Cell(Spec(model, size=(side, side), device=device), CLASSIFIER_METRICS) for model, side in CLASSIFIERS),
        *(
            Cell(
                of(model, arguments, CODED_BATCH),
                (*COUNTED, *MEMORY_METRICS, *(SECTIONED_TIMES if timed else ())),
            )
            for model, rows in SECTIONED.items()
            for arguments, timed in rows
        ),
        *(Cell(of(CODED, one, batch), MEMORY_METRICS) for one in ({}, REFERENCE) for batch in CODED_BATCHES),
        *(Cell(of("beitv2_mim_large", one), COUNTED) for one in ({}, REFERENCE)),
        Cell(of(CODED, {}, mode="infer"), CLASSIFIER_METRICS),
        Cell(of(TOKENIZER, {}, mode="infer"), (*CLASSIFIER_METRICS, "codebook_usage")),
        Cell(of(CODED, {}), ("mask_occupancy",)),
    ]
    peers = {model for model, _ in CLASSIFIERS if "patch" in model}
    known = {*zoo, *(peers if CODED in zoo else ())}
    return [cell for cell in cells if cell.spec.model in known]

"""The main job: what is measured where nothing is asked for; of one family alone, in `bench.studies`."""

from collections.abc import Sequence

from bench.metrics import select
from bench.names import default_size, pretrains
from bench.runner import Cell
from bench.spec import Spec
from bench.studies import (
    BASES,
    MEMORY_METRICS,
    PACKED,
    PACKING_METRICS,
    changed,
    masked,
    multi_crop,
    reallocated,
    tokenized,
)

BASELINES = ("deit_small_patch16_224", "swin_tiny_patch4_window7_224", "pvt_v2_b2")
TIMED = ("sgformer_s", "hmhsa_deit_small", *BASELINES)  # one of a kind, of about 4.5 GMACs each
TIMED_BATCHES = (1, 8)
# not of random weights, which they say nothing of; hallucination costs more than all that they tell
TRAINED = ("correspondence_accuracy", "correspondence_distance", "hallucination")
STUDIED = ("codebook_usage", "significance", "step_time")  # of few models: by the study of a family
PRETRAINING_METRICS = ("mask_occupancy", "step_macs")  # of models that are nothing but pre-trained
ONCE = ("ccs", "entropy", "latency_parts")  # at the first batch only
TRAINING_METRICS = (*MEMORY_METRICS, "latency", "throughput")
MEMORY_BATCHES = {"infer": (1, 2, 4, 8, 16, 32, 64), "train": (1, 4, 16, 64)}
MEMORY_SIZES = (448, 672, 896)  # beside the models' own


def main_job(zoo: Sequence[str], device: str) -> list[Cell]:
    """Static metrics of every model of the zoo, of its bases and of baselines; of the small ones all metrics that say
    something of random weights, a training step, and memory over batch and resolution; and the families' studies."""
    left_out = {*TRAINED, *STUDIED, *PRETRAINING_METRICS, *PACKING_METRICS}
    metrics = [metric for metric in select(()) if metric.name not in left_out]
    static = tuple(metric.name for metric in metrics if metric.stage == "static")
    every = tuple(metric.name for metric in metrics)
    repeated = tuple(name for name in every if name not in ONCE)
    cells = []
    for model in dict.fromkeys((*zoo, *BASELINES, *BASES)):
        size = default_size(model)
        if pretrains(model):
            asked = (*static, *PRETRAINING_METRICS, *(PACKING_METRICS if model.startswith(PACKED) else ()))
            cells.append(Cell(Spec(model, mode="pretrain", size=size, device=device), asked))
            continue
        if model not in TIMED:
            cells.append(Cell(Spec(model, size=size, device=device), static))
            continue
        for batch in MEMORY_BATCHES["infer"]:
            asked = every if batch == TIMED_BATCHES[0] else repeated if batch in TIMED_BATCHES else MEMORY_METRICS
            cells.append(Cell(Spec(model, batch=batch, size=size, device=device), asked))
        for side in MEMORY_SIZES:
            cells.append(Cell(Spec(model, size=(side, side), device=device), ("macs", *MEMORY_METRICS)))
        for batch in MEMORY_BATCHES["train"]:
            asked = TRAINING_METRICS if batch == TIMED_BATCHES[0] else MEMORY_METRICS
            cells.append(Cell(Spec(model, mode="train", batch=batch, size=size, device=device), asked))
    return merged(
        [
            *cells,
            *(cell for study in (changed, reallocated, masked, multi_crop, tokenized) for cell in study(zoo, device)),
        ]
    )


def merged(cells: Sequence[Cell]) -> list[Cell]:
    """One cell a Spec, with all that was asked of it, each metric once."""
    asked: dict[Spec, dict[str, None]] = {}
    for cell in cells:
        asked.setdefault(cell.spec, {}).update(dict.fromkeys(cell.metrics))
    return [Cell(spec, tuple(metrics)) for spec, metrics in asked.items()]

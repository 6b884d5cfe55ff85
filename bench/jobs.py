"""The main job: what is measured where nothing is asked for."""

from collections.abc import Sequence
from dataclasses import replace

from bench.metrics import select
from bench.names import default_size
from bench.runner import Cell
from bench.spec import Spec

BASELINES = ("deit_small_patch16_224", "swin_tiny_patch4_window7_224", "pvt_v2_b2")
TIMED = ("sgformer_s", "hmhsa_deit_small", *BASELINES)  # one of a kind, of about 4.5 GMACs each
CHANGED = "hmhsa_"  # models that are a base with something changed, and their bases: costs at more sizes
BASES = ("deit_tiny_patch16_224", "deit_small_patch16_224", "pvt_v2_b1", "nextvit_small")
CHANGED_SIZES = (384, 448)  # beside the models' own
CHANGED_METRICS = ("macs", "macs_fvcore", "peak_live_bytes")
BRANCHED, BRANCHES = "hmhsa_deit_tiny", (1, 2, 3)  # what parallel branches cost in training, and against the first base
BRANCHED_METRICS = ("params", "macs", "peak_live_bytes", "latency")
TIMED_BATCHES = (1, 8)
TRAINED = ("hallucination",)  # not of random weights, which it says nothing of, and costs more than all that they tell
ONCE = ("ccs", "entropy", "latency_parts")  # at the first batch only
TRAINING_METRICS = ("peak_live_bytes", "peak_memory", "latency", "throughput")
MEMORY_METRICS = ("peak_live_bytes", "peak_memory")
MEMORY_BATCHES = {"infer": (1, 2, 4, 8, 16, 32, 64), "train": (1, 4, 16, 64)}
MEMORY_SIZES = (448, 672, 896)  # beside the models' own


def main_job(zoo: Sequence[str], device: str) -> list[Cell]:
    """Static metrics of every model of the zoo, of its bases and of baselines; of the small ones all metrics that say
    something of random weights, a training step, and memory over batch and resolution."""
    metrics = [metric for metric in select(()) if metric.name not in TRAINED]
    static = tuple(metric.name for metric in metrics if metric.stage == "static" and metric.name not in ONCE)
    every = tuple(metric.name for metric in metrics)
    repeated = tuple(name for name in every if name not in ONCE)
    cells = []
    for model in dict.fromkeys((*zoo, *BASELINES, *BASES)):
        size = default_size(model)
        if model not in TIMED:
            cells.append(Cell(Spec(model, size=size, device=device), static))
            continue
        for batch in MEMORY_BATCHES["infer"]:
            asked = every if batch == TIMED_BATCHES[0] else repeated if batch in TIMED_BATCHES else MEMORY_METRICS
            cells.append(Cell(Spec(model, batch=batch, size=size, device=device), asked))
        for side in MEMORY_SIZES:
            cells.append(Cell(Spec(model, size=(side, side), device=device), MEMORY_METRICS))
        for batch in MEMORY_BATCHES["train"]:
            asked = TRAINING_METRICS if batch == TIMED_BATCHES[0] else MEMORY_METRICS
            cells.append(Cell(Spec(model, mode="train", batch=batch, size=size, device=device), asked))
    return cells + changed(zoo, device)


def changed(zoo: Sequence[str], device: str) -> list[Cell]:
    """What models that change a base cost beside it: over resolution, and in training over their branches."""
    models = [*(name for name in zoo if name.startswith(CHANGED)), *BASES]
    sized = [Spec(model, size=(side, side), device=device) for model in models for side in CHANGED_SIZES]
    plain = Spec(BASES[0], mode="train", device=device)
    branched = [replace(plain, model=BRANCHED, model_args=(("branches", count),)) for count in BRANCHES]
    return [
        *(Cell(spec, CHANGED_METRICS) for spec in sized),
        *(Cell(spec, BRANCHED_METRICS) for spec in (plain, *branched) if BRANCHED in models),
    ]

"""The main job: what is measured where nothing is asked for."""

from collections.abc import Iterable

from bench.metrics import select
from bench.names import default_size
from bench.runner import Cell
from bench.spec import Spec

BASELINES = ("deit_small_patch16_224", "swin_tiny_patch4_window7_224", "pvt_v2_b2")
TIMED = ("sgformer_s", *BASELINES)  # one of a kind, of about 4.5 GMACs each
TIMED_BATCHES = (1, 8)
TRAINED = ("hallucination",)  # not of random weights, which it says nothing of, and costs more than all that they tell
ONCE = ("ccs", "entropy", "latency_parts")  # at the first batch only
TRAINING_METRICS = ("peak_live_bytes", "peak_memory", "latency", "throughput")
MEMORY_METRICS = ("peak_live_bytes", "peak_memory")
MEMORY_BATCHES = {"infer": (1, 2, 4, 8, 16, 32, 64), "train": (1, 4, 16, 64)}
MEMORY_SIZES = (448, 672, 896)  # beside the models' own


def main_job(zoo: Iterable[str], device: str) -> list[Cell]:
    """Static metrics of every model of the zoo and of three of timm's; of the small ones all metrics that say
    something of random weights, a training step, and memory over batch and resolution."""
    metrics = [metric for metric in select(()) if metric.name not in TRAINED]
    static = tuple(metric.name for metric in metrics if metric.stage == "static" and metric.name not in ONCE)
    every = tuple(metric.name for metric in metrics)
    repeated = tuple(name for name in every if name not in ONCE)
    cells = []
    for model in dict.fromkeys((*zoo, *BASELINES)):
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
    return cells

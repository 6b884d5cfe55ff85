"""The main job: what is measured where nothing is asked for."""

from collections.abc import Iterable

from bench.metrics import select
from bench.names import default_size
from bench.runner import Cell
from bench.spec import Spec

BASELINES = ("deit_small_patch16_224", "swin_tiny_patch4_window7_224", "pvt_v2_b2")
TIMED = ("sgformer_s", *BASELINES)  # one of a kind, of about 4.5 GMACs each
TIMED_BATCHES = (1, 8)
MEMORY_BATCHES = (1, 2, 4, 8, 16, 32, 64)
MEMORY_METRICS = ("peak_live_bytes", "peak_memory")


def main_job(zoo: Iterable[str], device: str) -> list[Cell]:
    """Every static metric of every model of the zoo and of three of timm's; all metrics of the small ones, over batch
    sizes; memory over more of them."""
    metrics = select(())
    static = tuple(metric.name for metric in metrics if metric.stage == "static")
    every = tuple(metric.name for metric in metrics)
    cells = []
    for model in dict.fromkeys((*zoo, *BASELINES)):
        timed = model in TIMED
        for batch in MEMORY_BATCHES if timed else (1,):
            asked = every if timed and batch in TIMED_BATCHES else MEMORY_METRICS if timed else static
            cells.append(Cell(Spec(model, batch=batch, size=default_size(model), device=device), asked))
    return cells

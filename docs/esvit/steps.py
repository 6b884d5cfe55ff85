#!/usr/bin/env python
"""Steps of EsViT's pre-training and inference of its backbones, timed in turn. README.md beside it has the results.

    python docs/esvit/steps.py measure     # a quarter of an hour on one core; writes steps.jsonl, a line a setting
    python docs/esvit/steps.py table       # steps.jsonl as Markdown, three tables

The settings of a group (the steps of one model at one batch; all backbones at one batch) make one call each a round;
../turns.py does it, and says why.
"""

import statistics
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from bench.metrics.macs import macs
from bench.metrics.params import params
from bench.metrics.peak_live_bytes import peak_live_bytes
from bench.spec import Spec

sys.path.append(str(Path(__file__).resolve().parent.parent))
from turns import Record, markdown, measure, multiple, run, setting

FILE = Path(__file__).resolve().parent / "steps.jsonl"

STEP = Spec("esvit_swin_tiny", mode="pretrain", device="cpu", size=(224, 224))
MODELS = ("esvit_swin_tiny", "esvit_deit_small")  # of several stages, and of one
VIEW, REGION = "view", "view+region"
REFERENCE, FAST = "reference", "fast"
STEP_ROUNDS = {1: 7, 2: 6}  # batch -> rounds
MEMORY_BATCHES = (1, 4, 12, 32)  # 12 is the batch of the paper's comparison; predicted, not run

BACKBONE = replace(STEP, mode="infer")
WITHOUT_HEAD = ("num_classes", 0)
BASE = replace(BACKBONE, model="vit_base_patch8_224", model_args=(WITHOUT_HEAD,))
LARGE = replace(BACKBONE, model="vit_large_patch16_224", model_args=(WITHOUT_HEAD, ("patch_size", 7)))
SWINS = ("esvit_swin_tiny", "esvit_swin_small", "esvit_swin_base")
OTHERS = ("esvit_vil_2262", "esvit_cvt_tiny", "esvit_deit_small", "esvit_vit_base", "esvit_resnet50")
BACKBONE_ROUNDS = {1: 6}


def steps(model: str, batch: int) -> list[Spec]:
    """Each loss by each route."""
    return [
        replace(STEP, model=model, batch=batch, model_args=(("loss", loss), ("impl", impl)))
        for impl in (REFERENCE, FAST)
        for loss in (VIEW, REGION)
    ]


def backbones(batch: int) -> list[Spec]:
    """The first is what the others are divided by."""
    swins = [replace(BACKBONE, model=model, model_args=(("window", window),)) for model in SWINS for window in (7, 14)]
    others = [replace(BACKBONE, model=model) for model in OTHERS]
    return [replace(spec, batch=batch) for spec in (BASE, *swins, *others, LARGE)]


def measured() -> Iterable[Record]:
    """Every record, group by group: what is timed first, then batches of which memory alone is asked."""
    for batch, rounds in STEP_ROUNDS.items():
        for model in MODELS:
            yield from measure(steps(model, batch), rounds, [peak_live_bytes] if batch in MEMORY_BATCHES else [])
    for batch, rounds in BACKBONE_ROUNDS.items():
        yield from measure(backbones(batch), rounds, [params, macs])
    for batch in (batch for batch in MEMORY_BATCHES if batch not in STEP_ROUNDS):
        for model in MODELS:
            yield from measure(steps(model, batch), 0, [peak_live_bytes])


def tables(records: list[Record]) -> list[str]:
    """Markdown: times of steps, memory of steps, times of backbones."""
    timed = [record for record in records if record["seconds"]]
    return [
        _times([record for record in timed if record["mode"] == "pretrain"]),
        _memory([record for record in records if "peak_live_bytes" in record]),
        _backbones([record for record in timed if record["mode"] == "infer"]),
    ]


def _times(records: list[Record]) -> str:
    return markdown(
        ["step", "batch", "s a step", f"time, `loss={VIEW}` being 1", f"time, `impl={REFERENCE}` being 1"],
        [
            (
                setting(record),
                record["batch"],
                f"{statistics.median(record['seconds']):.2f}",
                multiple(record, _beside(record, records, loss=VIEW)),
                multiple(record, _beside(record, records, impl=REFERENCE)),
            )
            for record in records
        ],
    )


def _memory(records: list[Record]) -> str:
    def cell(record: Record) -> str:
        number, view = (one["peak_live_bytes"] for one in (record, _beside(record, records, loss=VIEW)))
        return f"{number / 2**20:,.0f} ({number / view:.2f})"

    alike: dict[str, dict[int, Record]] = {}  # setting -> batch -> record
    for record in records:
        alike.setdefault(setting(record), {})[record["batch"]] = record
    return markdown(
        ["step", *(f"batch {batch}" for batch in MEMORY_BATCHES)],
        [(words, *(cell(batches[batch]) for batch in MEMORY_BATCHES)) for words, batches in alike.items()],
    )


def _backbones(records: list[Record]) -> str:
    rows = []
    for record in records:
        first = next(one for one in records if one["batch"] == record["batch"])
        rows.append(
            (
                setting(record),
                f"{record['params'] / 1e6:.1f}",
                f"{record['macs'] / 1e9:.1f}",
                record["batch"],
                f"{1e3 * statistics.median(record['seconds']) / record['batch']:,.0f}",
                multiple(record, first),
            )
        )
    return markdown(
        ["backbone", "parameters (M)", "GMACs", "batch", "ms an image", f"time, `{BASE.model}` being 1"], rows
    )


def _beside(record: Record, records: list[Record], **arguments: str) -> Record:
    """The record of the same setting but for these arguments."""
    wanted = record | {"arguments": record["arguments"] | arguments}
    keys = ("model", "mode", "batch", "size", "arguments")
    return next(one for one in records if all(one[key] == wanted[key] for key in keys))


def main(words: list[str]) -> int:
    """The commands above. Returns 2 for any other words."""
    return run(words, FILE, __doc__, measured, lambda records: "\n\n".join(tables(records)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

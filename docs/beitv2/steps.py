#!/usr/bin/env python
"""Steps of BEiT v2's pre-training and inference of its classifiers, timed in turn. README.md beside it has the results.

    python docs/beitv2/steps.py measure     # a quarter of an hour on one core; writes steps.jsonl, a line a setting
    python docs/beitv2/steps.py table       # steps.jsonl as Markdown, four tables

The settings of a group (masked modelling at one batch; the tokenizer's training; all classifiers) make one call each a
round; ../turns.py does it, and says why.
"""

import statistics
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from bench.metrics.macs import macs
from bench.metrics.params import params
from bench.metrics.peak_live_bytes import peak_live_bytes
from bench.metrics.step_macs import step_macs
from bench.spec import Spec

sys.path.append(str(Path(__file__).resolve().parent.parent))
from turns import Record, markdown, measure, multiple, run, setting

FILE = Path(__file__).resolve().parent / "steps.jsonl"

REFERENCE, FAST = "reference", "fast"
MODELLING = Spec("beitv2_mim_base", mode="pretrain", device="cpu", size=(224, 224))
CHANGES = ((), (("cls_head", False),), (("targets", "given"),))  # the whole step, without CLS head, without tokenizer
MODELLING_ROUNDS = {2: 7, 8: 5}  # batch -> rounds
TRAINING = replace(MODELLING, model="beitv2_vqkd_base")
DEPTHS = (1, 3)
TRAINING_ROUNDS = {2: 7}
MEMORY_BATCHES = (2, 8, 32, 128)  # the paper has 128 images on a GPU; predicted, not run

INFERENCE = replace(MODELLING, model="beitv2_base", mode="infer")
LARGE_SIZE = (384, 384)
CLASSIFIERS = (
    INFERENCE,
    replace(INFERENCE, model_args=(("impl", REFERENCE),)),
    replace(INFERENCE, model="beitv2_base_patch16_224"),  # timm's
    replace(INFERENCE, model="beitv2_large"),
    replace(INFERENCE, size=LARGE_SIZE),
    replace(INFERENCE, model="beitv2_large", size=LARGE_SIZE),
)
CLASSIFIER_ROUNDS = {1: 7}


def modelling(batch: int) -> list[Spec]:
    """Each change by each route."""
    return [
        replace(MODELLING, batch=batch, model_args=(("impl", impl), *change))
        for impl in (REFERENCE, FAST)
        for change in CHANGES
    ]


def training(batch: int) -> list[Spec]:
    """Each depth of the decoder by each route."""
    return [
        replace(TRAINING, batch=batch, model_args=(("impl", impl), ("decoder_depth", depth)))
        for impl in (REFERENCE, FAST)
        for depth in DEPTHS
    ]


def measured() -> Iterable[Record]:
    """Every record, group by group: what is timed first, then batches of which memory alone is asked."""
    for specs, rounds_by_batch in ((modelling, MODELLING_ROUNDS), (training, TRAINING_ROUNDS)):
        for batch, rounds in rounds_by_batch.items():
            yield from measure(specs(batch), rounds, [step_macs, peak_live_bytes])
    for batch, rounds in CLASSIFIER_ROUNDS.items():
        yield from measure([replace(spec, batch=batch) for spec in CLASSIFIERS], rounds, [params, macs])
    for batch in MEMORY_BATCHES:
        for specs, timed in ((modelling, MODELLING_ROUNDS), (training, TRAINING_ROUNDS)):
            yield from measure(specs(batch) if batch not in timed else [], 0, [peak_live_bytes])


def tables(records: list[Record]) -> list[str]:
    """Markdown: steps of masked modelling and of the tokenizer's training, their memory, inference of classifiers."""
    timed = [record for record in records if record["seconds"]]
    return [
        _steps([record for record in timed if record["model"] == MODELLING.model], dict(CHANGES[0])),
        _steps([record for record in timed if record["model"] == TRAINING.model], {"decoder_depth": DEPTHS[-1]}),
        _memory([record for record in records if "peak_live_bytes" in record]),
        _inference([record for record in timed if record["mode"] == "infer"]),
    ]


def _steps(records: list[Record], whole: dict[str, object]) -> str:
    """whole: arguments of the step that others of its route are divided by, beside `impl`."""
    rows = []
    for record in records:
        impl = record["arguments"]["impl"]
        alike = [one for one in records if one["batch"] == record["batch"]]
        base = next(one for one in alike if one["arguments"] == {"impl": impl} | whole)
        other = next(one for one in alike if one["arguments"] == record["arguments"] | {"impl": REFERENCE})
        rows.append(
            (
                setting(record),
                record["batch"],
                f"{record['step_macs'] / 1e9:.2f}",
                f"{statistics.median(record['seconds']):.2f}",
                multiple(record, base),
                multiple(record, other),
            )
        )
    words = ", ".join(f"`{name}={value}`" for name, value in whole.items()) or "the whole step"
    return markdown(
        ["step", "batch", "GMACs an image", "s", f"time, {words} being 1", f"time, `impl={REFERENCE}` being 1"], rows
    )


def _memory(records: list[Record]) -> str:
    alike: dict[str, dict[int, Record]] = {}  # setting -> batch -> record
    for record in records:
        alike.setdefault(setting(record), {})[record["batch"]] = record

    def cell(record: Record) -> str:
        other = record["arguments"] | {"impl": REFERENCE}
        same = (one for one in records if all(one[key] == record[key] for key in ("model", "batch")))
        base = next(one["peak_live_bytes"] for one in same if one["arguments"] == other)
        return f"{record['peak_live_bytes'] / 2**20:,.0f} ({record['peak_live_bytes'] / base:.2f})"

    return markdown(
        ["step", *(f"batch {batch}" for batch in MEMORY_BATCHES)],
        [(words, *(cell(batches[batch]) for batch in MEMORY_BATCHES)) for words, batches in alike.items()],
    )


def _inference(records: list[Record]) -> str:
    return markdown(
        ["classifier", "parameters (M)", "GMACs", "batch", "ms an image", "time, the first being 1"],
        [
            (
                setting(record),
                f"{record['params'] / 1e6:.1f}",
                f"{record['macs'] / 1e9:.1f}",
                record["batch"],
                f"{1e3 * statistics.median(record['seconds']) / record['batch']:,.0f}",
                multiple(record, next(one for one in records if one["batch"] == record["batch"])),
            )
            for record in records
        ],
    )


def main(words: list[str]) -> int:
    """The commands above. Returns 2 for any other words."""
    return run(words, FILE, __doc__, measured, lambda records: "\n\n".join(tables(records)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

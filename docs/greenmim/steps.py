#!/usr/bin/env python
"""A step of masked pre-training in many settings, timed in turn. README.md beside it has the results.

    python docs/greenmim/steps.py measure     # a quarter of an hour on one core; writes steps.jsonl, a line a setting
    python docs/greenmim/steps.py table       # steps.jsonl as Markdown

All settings of a batch make one step each a round; ../turns.py does it, and says why.
"""

import statistics
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from bench.spec import Spec

sys.path.append(str(Path(__file__).resolve().parent.parent))
from turns import Record, markdown, measure, multiple, run, setting

FILE = Path(__file__).resolve().parent / "steps.jsonl"
GREEN = Spec("greenmim_swin_tiny", mode="pretrain", device="cpu", size=(224, 224))
SIMMIM = replace(GREEN, model="simmim_swin_tiny")
BASES = [
    SIMMIM,
    replace(SIMMIM, size=(192, 192)),
    replace(GREEN, model_args=(("mask_ratio", 0),)),
]
ARGUMENTS = [
    *(("mask_ratio", ratio) for ratio in (0.5, 0.6, 0.85)),
    ("window", 14),
    *(("decoder_depth", depth) for depth in (2, 4)),
    *(("grouping", rule) for rule in ("search", "packed")),
    ("impl", "window"),
]
SWIN = Spec("swin_tiny_patch4_window7_224", mode="train", device="cpu", size=(224, 224))
ROUNDS = {1: 15, 8: 11, 32: 7}  # batch -> rounds
WIDE = 8  # the batch at which arguments are compared too


def settings(batch: int) -> list[Spec]:
    """The first is what the others are divided by."""
    others = [replace(GREEN, model_args=(one,)) for one in ARGUMENTS] if batch == WIDE else []
    classifier = [replace(SWIN, model_args=(("drop_path_rate", 0.0),))] if batch == WIDE else []
    return [replace(spec, batch=batch) for spec in (GREEN, *BASES, *others, *classifier)]


def measured() -> Iterable[Record]:
    """Every record, batch by batch."""
    for batch, rounds in ROUNDS.items():
        yield from measure(settings(batch), rounds)


def table(records: list[Record]) -> str:
    """Markdown: a row a setting; quotients are of the first setting of its batch."""
    headings = ["setting", "batch", "s a step", "its time as a multiple of GreenMIM's", "predicted memory (MiB)"]
    rows = []
    for record in records:
        first = next(one for one in records if one["batch"] == record["batch"])
        memory = record["peak_live_bytes"]
        rows.append(
            [
                setting(record),
                record["batch"],
                f"{statistics.median(record['seconds']):.3f}",
                multiple(record, first),
                f"{memory / 2**20:,.0f}",
                f"{memory / first['peak_live_bytes']:.2f}",
            ]
        )
    return markdown([*headings, "multiple"], rows)


def main(words: list[str]) -> int:
    """The commands above. Returns 2 for any other words."""
    return run(words, FILE, __doc__, measured, table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

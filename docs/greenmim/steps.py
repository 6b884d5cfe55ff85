#!/usr/bin/env python
"""A step of masked pre-training in many settings, timed in turn. README.md beside it has the results.

    python docs/greenmim/steps.py measure     # a quarter of an hour on one core; writes steps.jsonl, a line a setting
    python docs/greenmim/steps.py table       # steps.jsonl as Markdown

All settings of a batch live in one process and take one step each a round, in an order that turns, so that what the
machine drifts goes into all of them alike. A quotient is the median over rounds of the quotients within a round.
"""

import json
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import models
from bench import environment
from bench.build import Case
from bench.metrics.peak_live_bytes import peak_live_bytes
from bench.protocol import preset
from bench.spec import Spec
from bench.statistics import median_interval

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


def measure(specs: list[Spec], rounds: int) -> Iterable[dict[str, Any]]:
    """A record a setting: its Spec, the time (s) of its step in each round, and the predicted memory (bytes)."""
    assert {spec.model for spec in specs} <= {*models.zoo(), SWIN.model}  # `models` has registered them
    protocol = preset("quick", threads=1)
    cases = [Case(spec, protocol) for spec in specs]
    for case in cases:
        _ = case.first_call
    times: list[list[float]] = [[] for _ in cases]
    for round_ in range(rounds):
        turn = round_ % len(cases)
        for place in [*range(turn, len(cases)), *range(turn)]:
            begin = time.perf_counter()
            cases[place].call()
            times[place].append(time.perf_counter() - begin)
    for case, own in zip(cases, times, strict=True):
        spec = case.spec
        yield {
            "model": spec.model,
            "mode": spec.mode,
            "batch": spec.batch,
            "size": spec.size[0],
            "arguments": dict(spec.model_args),
            "seconds": own,
            "peak_live_bytes": peak_live_bytes(case).value,
        }


def table(records: list[dict[str, Any]]) -> str:
    """Markdown: a row a setting; quotients are of the first setting of its batch."""
    lines = [
        "| setting | batch | s a step | its time as a multiple of GreenMIM's | predicted memory (MiB) | multiple |",
        "|---|---|---|---|---|---|",
    ]
    for record in records:
        first = next(one for one in records if one["batch"] == record["batch"])
        quotients = [own / base for own, base in zip(record["seconds"], first["seconds"], strict=True)]
        low, high = median_interval(quotients) or (min(quotients), max(quotients))
        times = "1" if record is first else f"{statistics.median(quotients):.2f} ({low:.2f} to {high:.2f})"
        memory = record["peak_live_bytes"]
        words = [f"`{record['model']}`", f"{record['size']} px"]
        words += [f"`{key}={value}`" for key, value in record["arguments"].items()]
        words += ["a classifier's step"] if record["mode"] == "train" else []
        lines.append(
            f"| {', '.join(words)} | {record['batch']} | {statistics.median(record['seconds']):.3f} | {times} "
            f"| {memory / 2**20:,.0f} | {memory / first['peak_live_bytes']:.2f} |"
        )
    return "\n".join(lines)


def main(words: list[str]) -> int:
    """The commands above. Returns 2 for any other words."""
    if words == ["measure"]:
        torch.set_num_threads(1)
        machine = environment.capture("cpu", threads=1).to_dict()
        with FILE.open("w") as file:
            for batch, rounds in ROUNDS.items():
                for record in measure(settings(batch), rounds):
                    file.write(json.dumps(record | {"environment": machine}) + "\n")
                    file.flush()
        return 0
    if words == ["table"]:
        print(table([json.loads(line) for line in FILE.read_text().splitlines()]))
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

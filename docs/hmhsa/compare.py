#!/usr/bin/env python
"""MHSA and hMHSA, trained alike and compared: accuracy and head similarity (CCS). README.md beside it has the results.

    python docs/hmhsa/compare.py train            # Fashion-MNIST, one JSON line a run; goes on where it was stopped
    python docs/hmhsa/compare.py report           # tables, and comparison.png
    python docs/hmhsa/compare.py train --digits   # a minute, no download: checks the script

All numbers of the experiment are in config.toml.
"""

import gzip
import hashlib
import json
import math
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NoReturn

import numpy as np
import timm
import torch
import torch.nn.functional as F
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import t as student
from timm.optim import create_optimizer_v2
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import models
from bench import attention, environment
from bench.statistics import CONFIDENCE
from reports.style import BASE_LINE, all_looks, styled

HERE = Path(__file__).resolve().parent
FASHION = Path("/usr/share/datasets/fashion-mnist")
MODEL = "hmhsa_deit_tiny"
BASE = "mhsa"
FILES = ("train", "t10k")
PAIRS = (("hmhsa", "mhsa"), ("copy", "mhsa"), ("hmhsa", "copy"))
POWER = 0.8

Record = dict[str, Any]
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

Data = Annotated[Path, typer.Option("--data", help="Folder of Fashion-MNIST's four idx .gz files.")]
Digits = Annotated[bool, typer.Option("--digits", help="scikit-learn's digits instead: a check of the script.")]
Device = Annotated[str | None, typer.Option("--device", help="cuda where there is one, if not said.")]
Threads = Annotated[int | None, typer.Option("--threads", help="CPU threads.")]
Out = Annotated[
    Path | None, typer.Option("--out", help="File of results; beside this script, of digits in runs/, if not said.")
]


class Split(NamedTuple):
    """images (n, 1, side, side), labels (n)."""

    images: Tensor
    labels: Tensor


# ---- what is run


def experiment(digits: bool) -> Record:
    """config.toml, resolved for one of the two data sets."""
    config = tomllib.loads((HERE / "config.toml").read_text(encoding="utf-8"))
    data = config["digits" if digits else "fashion"]
    recipe = config["recipe"] | {name: data[name] for name in ("batch", "epochs", "ccs_images")}
    return config | {"data": "digits" if digits else "fashion", "model": config["model"] | data["model"], **recipe}


def config_hash(config: Record, arm: str) -> str:
    """8 hexadecimal digits over all that defines a run but its seed."""
    names = ("data", "model", "rate", "weight_decay", "warmup", "batch", "epochs", "ccs_images")
    facts = {name: config[name] for name in names} | {"arm": config["arms"][arm]}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]


def refuse(message: str) -> NoReturn:
    """End with one line about bad usage, and the project's code for it."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def load(config: Record, folder: Path) -> tuple[Split, Split]:
    """Training and test images, shifted and scaled to mean 0 and deviation 1 over the training pixels."""
    if config["data"] == "digits":
        from sklearn.datasets import load_digits

        found = load_digits()
        images, labels = found.images[:, None], found.target
        raw = [(images[:1297], labels[:1297]), (images[1297:], labels[1297:])]
    else:
        raw = [(_idx(folder, f"{part}-images-idx3")[:, None], _idx(folder, f"{part}-labels-idx1")) for part in FILES]
    mean, std = raw[0][0].mean(), raw[0][0].std()
    train, test = (
        Split(torch.tensor((images - mean) / std, dtype=torch.float32), torch.tensor(labels, dtype=torch.int64))
        for images, labels in raw
    )
    return train, test


def _idx(folder: Path, name: str) -> np.ndarray:
    """An idx file of bytes: a magic number, whose last byte counts the axes, their lengths, the bytes."""
    path = folder / f"{name}-ubyte.gz"
    if not path.is_file():
        refuse(
            f"{path} is missing. Fashion-MNIST is Debian's package dataset-fashion-mnist, or the four .gz files "
            "of github.com/zalandoresearch/fashion-mnist (data/fashion) in the folder --data; --digits needs none."
        )
    content = gzip.decompress(path.read_bytes())
    axes = content[3]
    shape = np.frombuffer(content, ">i4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 * (axes + 1)).reshape(shape)


def create(config: Record, arm: str, seed: int, **words: Any) -> nn.Module:
    """The model of an arm as `seed` draws it; what has the same name and shape in the base arm starts as it does."""

    def drawn(options: Mapping[str, Any]) -> nn.Module:
        torch.manual_seed(seed)
        return timm.create_model(MODEL, **config["model"], **options)

    model, base = drawn(config["arms"][arm] | words), drawn(config["arms"][BASE])
    own = model.state_dict()
    shared = {name: x for name, x in base.state_dict().items() if name in own and x.shape == own[name].shape}
    model.load_state_dict(own | shared)
    return model


def fit(model: nn.Module, split: Split, config: Record, rate: float, seed: int) -> None:
    """Train `model` in place. The order of the images depends on the seed alone."""
    batch, count = config["batch"], len(split.labels)
    steps = config["epochs"] * (count // batch)
    warmup = max(1, round(config["warmup"] * steps))
    optimizer = create_optimizer_v2(model, "adamw", lr=rate, weight_decay=config["weight_decay"])

    def factor(step: int) -> float:
        return min((step + 1) / warmup, (1 + math.cos(math.pi * step / steps)) / 2)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    order = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    model.train()
    for _ in range(config["epochs"]):
        for chosen in torch.randperm(count, generator=order)[: count // batch * batch].split(batch):
            loss = F.cross_entropy(model(split.images[chosen].to(device)), split.labels[chosen].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def evaluate(model: nn.Module, split: Split) -> tuple[float, float]:
    """(accuracy, cross-entropy)."""
    device = next(model.parameters()).device
    model.eval()
    logits = torch.cat([model(images.to(device)).cpu() for images in split.images.split(500)])
    right = (logits.argmax(dim=1) == split.labels).double().mean().item()
    return right, F.cross_entropy(logits, split.labels).item()


def similarities(model: nn.Module, images: Tensor) -> list[list[list[float]]]:
    """Of each block the cosine of every head with every head, averaged over rows and images."""
    device = next(model.parameters()).device
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    model.eval()
    looks = [attention.capture(model, image[None].to(device), MODEL, closely=True) for image in images]
    blocks = [torch.stack([look[block].matrix.cpu() for look in looks]).mean(dim=0) for block in range(len(looks[0]))]
    return [block.tolist() for block in blocks]


def one_run(config: Record, arm: str, seed: int, train: Split, test: Split, device: str) -> Record:
    """Train and measure. The test images are used here alone, after the last step."""
    began, cpu = time.perf_counter(), time.process_time()
    model = create(config, arm, seed).to(device)
    fit(model, train, config, config["rate"], seed)
    trained, cpu_trained = time.perf_counter() - began, time.process_time() - cpu
    accuracy, loss = evaluate(model, test)
    seen = evaluate(model, Split(train.images[: len(test.labels)], train.labels[: len(test.labels)]))
    size = config["model"]["img_size"]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        create(config, arm, seed, impl="reference").eval()(torch.zeros(1, 1, size, size))
    found = environment.capture(device, torch.get_num_threads())
    return {
        "data": config["data"],
        "arm": arm,
        "seed": seed,
        "config": config_hash(config, arm),
        "accuracy": accuracy,
        "loss": loss,
        "train_accuracy": seen[0],
        "train_loss": seen[1],
        "similarity": similarities(model, test.images[: config["ccs_images"]]),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "macs": counter.get_total_flops() // 2,
        "seconds": trained,
        "cpu_seconds": cpu_trained,
        "device": found.gpu or found.cpu,
        "threads": found.threads,
        "python": found.python,
        "packages": {name: found.packages[name] for name in ("torch", "timm", "numpy")},
        "commit": found.commit,
        "code": found.code,
    }


# ---- what is found


def ccs(record: Record, pairs: str = "all") -> list[float]:
    """By block the mean cosine of head pairs i < j; real heads come first. pairs: all, real, hallucinated, across."""
    found = []
    for rows in np.array(record["similarity"]):
        half = len(rows) // 2
        if pairs == "across":
            found.append(rows[:half, half:].mean())
            continue
        part = {"all": rows, "real": rows[:half, :half], "hallucinated": rows[half:, half:]}[pairs]
        found.append(part[np.triu_indices(len(part), 1)].mean())
    return [float(one) for one in found]


def accuracy(record: Record) -> float:
    """In per cent, of the test images."""
    return 100 * record["accuracy"]


def mean_ccs(record: Record, pairs: str = "all") -> float:
    return float(np.mean(ccs(record, pairs)))


def interval(samples: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of Student's 95 % interval of it."""
    half = student.ppf((1 + CONFIDENCE) / 2, len(samples) - 1) * np.std(samples, ddof=1) / math.sqrt(len(samples))
    return float(np.mean(samples)), float(half)


def detectable(samples: Sequence[float]) -> float:
    """The true mean that samples spread like these would tell from 0 four times in five, nearly."""
    free = len(samples) - 1
    quantiles = student.ppf((1 + CONFIDENCE) / 2, free) + student.ppf(POWER, free)
    return float(quantiles * np.std(samples, ddof=1) / math.sqrt(len(samples)))


def read(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def balanced(records: list[Record], config: Record) -> dict[str, list[Record]]:
    """Arm to its runs of this config, in the order of seeds that all arms have."""
    arms = {
        arm: {one["seed"]: one for one in records if (one["arm"], one["config"]) == (arm, config_hash(config, arm))}
        for arm in config["arms"]
    }
    seeds = sorted(set.intersection(*(set(runs) for runs in arms.values())))
    return {arm: [runs[seed] for seed in seeds] for arm, runs in arms.items()}


def tables(runs: dict[str, list[Record]]) -> str:
    """The results as Markdown."""
    seeds = len(runs[BASE])
    lines = [
        f"{seeds} seeds an arm; mean ± half of the 95 % interval (Student's, over seeds).",
        "",
        "| arm | parameters | MACs | test accuracy (%) | training accuracy (%) | CCS |",
        "|---|---|---|---|---|---|",
    ]
    for arm, records in runs.items():
        tested, trained = (_pm([100 * one[name] for one in records], 2) for name in ("accuracy", "train_accuracy"))
        sizes = f"{records[0]['parameters']:,} | {records[0]['macs']:,}"
        lines.append(f"| {arm} | {sizes} | {tested} | {trained} | {_pm([mean_ccs(one) for one in records], 4)} |")
    lines += [
        "",
        "Differences, paired by seed, with the 95 % interval; in brackets the true difference that so many seeds",
        f"would tell from 0 with a probability of {POWER:.0%}.",
        "",
        "| difference | test accuracy (points) | 0 inside | CCS | 0 inside |",
        "|---|---|---|---|---|",
    ]
    for one, other in PAIRS:
        cells = [f"{one} - {other}"]
        for value, digits in ((accuracy, 2), (mean_ccs, 4)):
            gaps = [value(a) - value(b) for a, b in zip(runs[one], runs[other], strict=True)]
            middle, half = interval(gaps)
            low, high = middle - half, middle + half
            cells.append(
                f"{middle:+.{digits}f}, {low:+.{digits}f} to {high:+.{digits}f} ({detectable(gaps):.{digits}f})"
            )
            cells.append("yes" if low <= 0 <= high else "no")
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "CCS by kind of head pair: of two real heads, of two hallucinated ones, of one and one. In mhsa all are",
        "real, and the same halves of them are only a reference.",
        "",
        "| arm | real | hallucinated | across |",
        "|---|---|---|---|",
    ]
    for arm, records in runs.items():
        kinds = [_pm([mean_ccs(one, kind) for one in records], 4) for kind in ("real", "hallucinated", "across")]
        lines.append(f"| {arm} | {' | '.join(kinds)} |")
    blocks = range(len(ccs(runs[BASE][0])))
    lines += [
        "",
        "CCS of all pairs by block.",
        "",
        f"| arm | {' | '.join(f'block {block + 1}' for block in blocks)} |",
        "|---" * (len(blocks) + 1) + "|",
    ]
    for arm, records in runs.items():
        lines.append(f"| {arm} | {' | '.join(_pm([ccs(one)[block] for one in records], 3) for block in blocks)} |")
    return "\n".join(lines)


def _pm(samples: Sequence[float], digits: int) -> str:
    middle, half = interval(samples)
    return f"{middle:.{digits}f} ± {half:.{digits}f}"


@styled
def draw(runs: dict[str, list[Record]], path: Path) -> None:
    """Accuracy and CCS, by arm and as differences: faint marks are seeds, with them the mean and its interval."""
    figure = Figure(figsize=(8, 6.4), layout="constrained")
    looks = dict(zip(runs, all_looks(), strict=False))
    measures = {"Test accuracy (%)": ("accuracy (points)", accuracy), "CCS of all head pairs": ("CCS", mean_ccs)}
    for (title, (gap, value)), (left, right) in zip(measures.items(), figure.subplots(2, 2), strict=True):
        found = {arm: [value(one) for one in records] for arm, records in runs.items()}
        for values in zip(*found.values(), strict=True):
            left.plot(range(len(runs)), values, color="#cccccc", linewidth=0.8, zorder=1)
        for place, (arm, values) in enumerate(found.items()):
            _dots(left, place, values, looks[arm])
        for place, (one, other) in enumerate(PAIRS):
            gaps = [a - b for a, b in zip(found[one], found[other], strict=True)]
            _dots(right, place, gaps, {"color": "#000000", "marker": "D"})
        right.axhline(0, **BASE_LINE)
        left.set_title(f"{title}; a line joins a seed's", fontsize="medium")
        right.set_title(f"Difference of {gap}", fontsize="medium")
        left.set_xticks(range(len(runs)), list(runs))
        right.set_xticks(range(len(PAIRS)), [f"{one} - {other}" for one, other in PAIRS])
        for axes in (left, right):
            axes.set_xlim(-0.5, 2.5)
    figure.savefig(path, dpi=150)


def _dots(axes: Axes, place: int, values: Sequence[float], look: Mapping[str, Any]) -> None:
    """A faint mark a value, and beside them their mean with its interval."""
    axes.plot([place] * len(values), values, linestyle="", markersize=4, alpha=0.5, **look)
    middle, half = interval(values)
    axes.errorbar(place + 0.2, middle, half, **look)


# ---- commands


def _start(device: str | None, threads: int | None) -> str:
    if threads:
        torch.set_num_threads(threads)
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def _results(out: Path | None, digits: bool) -> Path:
    return out or (Path("runs", "hmhsa-digits") if digits else HERE) / "results.jsonl"


def _append(path: Path, record: Record) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, allow_nan=False) + "\n")


@app.command()
def train(
    data: Data = FASHION,
    digits: Digits = False,
    device: Device = None,
    threads: Threads = None,
    out: Out = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="As in 0,2; all of config.toml's if not said.")] = None,
) -> None:
    """Train every arm with every seed, seed by seed; runs that the file of results holds are left out."""
    config, device = experiment(digits), _start(device, threads)
    path = _results(out, digits)
    done = {(one["arm"], one["seed"], one["config"]) for one in read(path)}
    train_split, test_split = load(config, data)
    for seed in map(int, seeds.split(",")) if seeds else range(config["seeds"]):
        for arm in config["arms"]:
            if (arm, seed, config_hash(config, arm)) not in done:
                found = one_run(config, arm, seed, train_split, test_split, device)
                _append(path, found)
                print(
                    f"seed {seed} {arm:6} {found['accuracy']:.4f} CCS {mean_ccs(found):.4f} {found['seconds']:.0f} s",
                    flush=True,
                )


@app.command()
def tune(data: Data = FASHION, device: Device = None, threads: Threads = None) -> None:
    """Try the learning rates on the base arm, trained without the held-out part of the training images."""
    config, device = experiment(digits=False), _start(device, threads)
    split, _ = load(config, data)
    held_out, seed = config["tune"]["held_out"], config["tune"]["seed"]
    kept, asked = (Split(*(x[part] for x in split)) for part in (slice(-held_out), slice(-held_out, None)))
    for rate in config["tune"]["rates"]:
        model = create(config, BASE, seed).to(device)
        fit(model, kept, config, rate, seed)
        accuracy, loss = evaluate(model, asked)
        _append(HERE / "tuning.jsonl", {"arm": BASE, "seed": seed, "rate": rate, "accuracy": accuracy, "loss": loss})
        print(f"rate {rate:g}: {accuracy:.4f}, loss {loss:.4f}", flush=True)


@app.command()
def report(
    digits: Digits = False,
    out: Out = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="PNG; beside the results if not said.")] = None,
) -> None:
    """Print the tables and draw the picture, of the seeds that all arms have."""
    path = _results(out, digits)
    runs = balanced(read(path), experiment(digits))
    if len(runs[BASE]) < 2:
        refuse(f"{path} holds {len(runs[BASE])} complete seeds of this config.toml, and 2 are needed.")
    print(tables(runs))
    draw(runs, picture or path.with_name("comparison.png"))


assert models  # imported for the names that it registers

if __name__ == "__main__":
    app()

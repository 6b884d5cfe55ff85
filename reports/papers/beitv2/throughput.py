"""Throughput of BEiT v2's classifiers beside timm's published benchmark files."""

import re
from collections.abc import Iterator, Sequence

from bench.spec import Spec
from reports.format import number
from reports.ledger.check import Term
from reports.ledger.judging import Row
from reports.papers.evidence import Evidence, published
from reports.papers.exhibit import SECONDARY, UNSAID, Exhibit, Pair, table

# Build; the model here; timm's, as it is and as its files call it for training; the side in pixels. The first is what
# the others are held against.
_BUILDS = (
    ("ViT-B/16, 224 px", "beitv2_base", ("beitv2_base_patch16_224", "beit_base_patch16_224"), 224),
    ("ViT-L/16, 224 px", "beitv2_large", ("beitv2_large_patch16_224", "beit_large_patch16_224"), 224),
    ("ViT-B/16, 384 px", "beitv2_base", ("beit_base_patch16_384",), 384),
    ("ViT-L/16, 384 px", "beitv2_large", ("beit_large_patch16_384",), 384),
)
_FIRST = _BUILDS[0][0]
_METRICS = ("inference throughput", "train throughput")
_TEXT = """\
The paper has no throughput. timm's benchmark files have those of models built alike (at 384 px the first BEiT's),
each on hardware and at a batch of its own, so that only shares compare: each throughput as a share of ViT-B/16's at
224 px in the same file, or in the same setting here. A published share is the range over the files of inference."""


def throughput(evidence: Evidence) -> Exhibit:
    """Throughputs here and their shares of the smallest's, and all that timm's files have."""
    files = list(_files(evidence))
    return Exhibit(
        "beitv2-throughput",
        "Throughput beside timm's",
        "No table of the paper: what it left out, beside timm's benchmark files",
        _TEXT,
        (
            table([_share(evidence, files, *build) for build in _BUILDS], "Measured here, and as shares"),
            table([_file(rows) for rows in files], "As in timm's files (img/s)"),
        ),
    )


def _share(
    evidence: Evidence, files: Sequence[dict[str, Row]], build: str, ours: str, names: Sequence[str], side: int
) -> dict[str, str | Pair]:
    _, our_first, their_firsts, first_side = _BUILDS[0]
    row: dict[str, str | Pair] = {"model": build}
    shares: dict[str, str | Pair] = {}
    for whose, model, first in (("ours", ours, our_first), ("timm's", names[0], their_firsts[0])):
        speed, base = (
            Term(Spec(name, size=(px, px)), "throughput") for name, px in ((model, side), (first, first_side))
        )
        row[f"{whose} (img/s)"] = evidence.pair(None, evidence.measure("value", speed))
        quotient = evidence.pair(None, evidence.measure("ratio", speed, base))
        said = _range(build, files) if whose == "ours" else ""
        own = Pair(said, quotient.measured, unsaid=UNSAID, missing=quotient.missing, place=quotient.place)
        shares["share of the first" if whose == "ours" else f"share of the first, {whose}"] = (
            "1" if build == _FIRST else own
        )
    return row | shares


def _range(build: str, files: Sequence[dict[str, Row]]) -> str:
    quotients = [
        rows[build].claim.value / rows[_FIRST].claim.value
        for rows in files
        if rows.keys() >= {build, _FIRST} and rows[build].claim.metric == _METRICS[0]
    ]
    return f"{number(min(quotients), 3)} to {number(max(quotients), 3)}{SECONDARY}" if quotients else ""


def _files(evidence: Evidence) -> Iterator[dict[str, Row]]:
    """Of each file of timm's the rows of the ledger by build."""
    builds = {name: build for build, _, names, _ in _BUILDS for name in names}
    found: dict[str, dict[str, Row]] = {}
    for row in evidence.rows:
        build = builds.get(row.claim.printed.split(" ")[0])
        if row.claim.paper == "beitv2" and row.claim.metric in _METRICS and build:
            found.setdefault(row.claim.source, {})[build] = row
    yield from found.values()


def _file(rows: dict[str, Row]) -> dict[str, str | Pair]:
    conditions = [row.claim.conditions for row in rows.values()]
    batches = [found[1] for found in (re.search(r"batch (\d+)", words) for words in conditions) if found]
    metric = next(iter(rows.values())).claim.metric
    return {
        "of": metric.removesuffix(" throughput"),
        "file": conditions[0].partition(", batch")[0],
        "batch": ", ".join(dict.fromkeys(batches)),
        **{build: published(rows[build]) if build in rows else "" for build, *_ in _BUILDS},
    }

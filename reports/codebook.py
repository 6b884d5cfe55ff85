"""How many of its codes a tokenizer uses: what was measured beside what is published."""

import pandas as pd

from reports.attention import looked
from reports.format import number, percent, scale
from reports.roster_beitv2 import CODEBOOKS, CODES, claims_of, codebooks_of, tokenizer

METRIC = "codebook_usage"


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a series, as words: weights, images, codes used, the most that so many patches could use, and what is
    published of tokenizers built alike; empty if nobody asked."""
    shown = scale(METRIC, "1")
    rows = []
    for row in looked(frame, METRIC).to_dict("records"):
        details = row["details"]
        said = claims_of(codebooks_of(row["model"], row["arguments"]))
        rows.append(
            {
                "model": row["series"],
                "weights": details["weights"],
                "images": details["images"],
                "patches": f"{details['patches']:,}",
                "codes used": f"{len(details['counts']):,} of {details['codes']:,}",
                f"usage ({shown.unit})": number(row["value"] * shown.factor, shown.digits),
                f"at most ({shown.unit})": number(most(details) * shown.factor, shown.digits),
                "perplexity": number(details["perplexity"], 4),
                "published": "; ".join(f"{_used(claim)}, {claim['confidence']}" for claim in said) or "-",
            }
        )
    return pd.DataFrame(rows)


def most(details: dict[str, int]) -> float:
    """The share of codes that so many patches can use at most."""
    return min(1.0, details["patches"] / details["codes"])


def published() -> pd.DataFrame:
    """What is published of codebooks, a row a claim."""
    return pd.DataFrame(
        [
            {
                "tokenizer": claim["model"],
                "here": tokenizer(build),
                "published": _used(claim),
                "conditions": claim["conditions"],
                "source": claim["source"],
                "read in": claim["provenance"],
                "confidence": claim["confidence"],
                "id": claim["id"],
            }
            for build, numbers in CODEBOOKS.items()
            for claim in claims_of(numbers)
        ]
    )


def _used(claim: dict[str, str]) -> str:
    """`97 %`; of a claim on codes that are not used `7,342 unused codes, so 10.4 % used`."""
    if claim["metric"] == METRIC.replace("_", " "):
        return f"{claim['value']} {claim['unit']}"
    [codes] = claims_of((CODES,))
    unused = int(claim["value"])
    return f"{unused:,} unused codes, so {percent(1 - unused / int(codes['value']))} used"

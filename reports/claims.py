"""The papers' numbers, as data: `claims/*.csv`, each row with its table, its conditions and where it was read."""

from functools import cache
from pathlib import Path

import pandas as pd

from reports.ledger.models import BUILDS

_FOLDER = Path(__file__).parent / "claims"

# Works whose accuracies at 224 px are of models trained on ImageNet-1K's labels, by how their names begin.
_LABELLED = ("SG-Former", "RMT", "InceptionNeXt", "Swin Transformer", "2012.12877", "2106.13797", "2207.05501")
_MORE_LABELS = "22K"  # what conditions say of those that had others too
_SIDE = 224


@cache
def load() -> pd.DataFrame:
    """All claims. Columns: id, paper, source, model, metric, value, unit, conditions, provenance, confidence.

    Values are the text that was read: some are words ("fastest at similar accuracy"). confidence is `confirmed`, or
    `secondary` where the number was quoted, derived or measured by somebody else.
    """
    return pd.concat(
        [pd.read_csv(path, dtype=str, keep_default_na=False) for path in sorted(_FOLDER.glob("*.csv"))],
        ignore_index=True,
    )


def published_top1() -> pd.DataFrame:
    """Published ImageNet-1K top-1 accuracy at 224 px of registered models, trained with labels only; a row a model.

    Columns: name (registered), top1 (%), and id, model, source, provenance, confidence of the claim. Where several
    rows speak of a model, a confirmed one goes before a secondary one, then the first in the files.
    """
    claims = load()
    built = {printed: build for (printed, side), build in BUILDS.items() if side == _SIDE == build.size}
    plain = {printed: build.model for printed, build in built.items() if build.mode == "infer" and not build.arguments}
    rows = claims[
        (claims["metric"] == "top1")
        & claims["model"].isin(list(plain))
        & claims["paper"].str.startswith(_LABELLED)
        & claims["conditions"].str.contains(str(_SIDE), regex=False)
        & ~claims["conditions"].str.contains(_MORE_LABELS, regex=False, case=False)
    ]
    rows = rows.sort_values("confidence", kind="stable").drop_duplicates("model")  # confirmed < secondary
    return rows.assign(name=rows["model"].map(plain), top1=rows["value"].astype(float))[
        ["name", "top1", "id", "model", "source", "provenance", "confidence"]
    ].reset_index(drop=True)

"""Whose attention is looked at: the paper's models and their bases, and any model whose weights were trained."""

import pandas as pd

from reports.papers.drawn import of_models
from reports.papers.hmhsa.models import NAMES


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of such models, in their order."""
    return frame.loc[frame.index.isin(of_models(frame, NAMES).index) | frame["weights"].ne("random")]

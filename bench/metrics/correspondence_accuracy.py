"""Correspondence accuracy: how often a region is found again in another view."""

from statistics import fmean

from bench.build import Case
from bench.correspondence import Correspondence, correspond
from bench.details import jpeg, short
from bench.metrics import Measurement, metric


@metric(unit="1", better="higher", stage="device")
def correspondence_accuracy(case: Case) -> Measurement:
    """Share of a picture's ten best matched regions that a mirrored, grey view has in the true place, mean of images.

    Matches are of the highest cosine between regions of the top layer (`bench.correspondence`); a place is true or it
    is not, to the cell. details hold the matches of the first image, and of each head of attention the entropy on
    both views. Always on the eager path, each view alone. Random weights say nothing. Raises what
    `bench.correspondence.correspond` raises.
    """
    found = case.once(correspond)
    per_image = {name: (rows[:, -1] == 0).double().mean().item() for name, rows in found.matches.items()}
    details = {
        "weights": found.weights,
        "images": found.images,
        "grid": list(found.grid),
        "size": list(case.spec.size),
        "kept": found.kept,
        "per_image": per_image,
        "pair": _pair(found),
        "entropy": found.entropy,
        "entropy_missing": found.entropy_missing,
    }
    return Measurement(fmean(per_image.values()), note=found.note, details=details)


def _pair(found: Correspondence) -> dict[str, object]:
    """The two views of the first image with its matches."""
    name, rows = next(iter(found.matches.items()))
    return {"image": name, "jpegs": [jpeg(view) for view in found.first], "matches": short(rows)}

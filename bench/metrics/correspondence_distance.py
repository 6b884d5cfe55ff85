"""Correspondence distance: how far from its place a region is found in another view."""

from statistics import fmean

from bench.build import Case
from bench.correspondence import correspond
from bench.metrics import Measurement, metric


@metric(unit="px", better="lower", stage="device")
def correspondence_distance(case: Case) -> Measurement:
    """Distance of a picture's ten best matched regions from their true places in a mirrored, grey view, mean of images.

    Of the same matches as `correspondence_accuracy`, between centres of cells: what it can be depends on the grid.
    Raises what `bench.correspondence.correspond` raises.
    """
    found = case.once(correspond)
    per_image = {name: rows[:, -1].mean().item() for name, rows in found.matches.items()}
    details = {"weights": found.weights, "images": found.images, "per_image": per_image}
    return Measurement(fmean(per_image.values()), note=found.note, details=details)

"""How often a tokenizer's codes occur, the most frequent first. A line a series."""

import pandas as pd

from reports.attention import looked, origins, tag
from reports.figures.picture import Picture, legend, log_x, log_y, names
from reports.figures.series import lines
from reports.format import number
from reports.style import BASE_LINE, canvas

METRIC = "codebook_usage"
NAME, TITLE = "codebook_ranks", "How often codes are used"


def draw(frame: pd.DataFrame) -> list[Picture]:
    """Occurrences over rank, both logarithmic; what is never used is in the legend."""
    rows = looked(frame, METRIC)
    if rows.empty:
        asked = METRIC in set(frame["metric"])
        return [Picture(NAME, TITLE, "Not drawn: codebook usage was asked for, and no cell has it.")] if asked else []
    figure, axes = canvas()
    for name, own, look in lines(rows):
        details = own["details"].iloc[0]
        counts, codes = details["counts"], details["codes"]
        used = f"{number(len(counts), 1)} codes used, {number(codes - len(counts), 1)} never"
        look |= {"markersize": 4, "markevery": 0.1}  # of the way, or marks of thousands of codes would hide the line
        axes.plot(range(1, len(counts) + 1), counts, label=f"{name}: {used}", **look)
    sizes = sorted({details["codes"] for details in rows["details"]})
    for codes in sizes:
        axes.axvline(codes, label=f"size of the codebook: {number(codes, 1)}", **BASE_LINE)
    decades = [10**power for power in range(5) if 3 * 10**power <= sizes[0]]  # and no word upon the codebook's size
    log_x(axes, {place: number(place, 1) for place in (*decades, *sizes)})
    log_y(axes)
    axes.set_xlim(0.9, 1.3 * sizes[-1])
    axes.set_xlabel("rank of a code, the most frequent first")
    axes.set_ylabel("patches with that code")
    legend(figure, axes)
    patches = names(number(details["patches"], 1) for details in rows["details"])
    return [
        Picture(
            NAME,
            TITLE,
            f"{tag(rows)}How many of {patches} patches get each code, sorted; codes that no patch gets are not on the "
            "line. A flat line that ends at the size of the codebook (dashed) uses all codes alike; so many patches "
            f"can use at most as many codes. {origins(rows)}",
            f"Lines of occurrences over rank of codes for {names(rows['series'])}.",
            figure,
        )
    ]

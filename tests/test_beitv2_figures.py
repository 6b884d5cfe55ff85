"""BEiT v2's pictures: what is drawn where. Records written by hand."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex, to_rgb

from bench.record import Value
from bench.spec import Spec
from reports.figures import with_looks
from reports.figures.codebook_ranks import draw as codebook_ranks
from reports.figures.mask_occupancy import draw as mask_occupancy
from reports.figures.step_sections import draw as step_sections
from reports.style import FILLS, styled

MIM, VQ_KD = "beitv2_mim_base", "beitv2_vqkd_base"
MIB = 2**20


@styled
def drawn(frame):
    frame = with_looks(frame)
    draws = (step_sections, mask_occupancy, codebook_ranks)
    return {picture.name: picture for draw in draws for picture in draw(frame)}


def failed(value):
    return dataclasses.replace(value, value=None, interval=None, details={}, status="failed", note="why")


def step(model=MIM, batch=2, **arguments):
    return Spec(model, mode="pretrain", batch=batch, model_args=arguments)


def told(metric, unit, *parts):
    """A value that is the sum of its parts."""
    return Value(metric, unit, sum(number for *_, number in parts), details={"parts": list(map(list, parts))})


# Where a step goes.

MACS = told("step_macs", "MAC", ("tokenizer", "forward", 20 * 10**9), ("encoder", "forward", 20 * 10**9),
            ("encoder", "backward", 40 * 10**9))  # fmt: skip
TIME = told("step_time", "s", ("tokenizer", "forward", 0.1), ("encoder", "forward", 0.1), ("encoder", "backward", 0.2),
            ("all", "optimizer", 0.1))  # fmt: skip
MEMORY = told("peak_live_bytes", "B", ("encoder", "weights", 3 * MIB), ("encoder", "activations", MIB),
              ("tokenizer", "weights", 4 * MIB))  # fmt: skip


def bars(axes):
    """Cost by the word at its bar -> its parts from the left: (start, end, colour), those that have a width."""
    words = {round(tick, 6): label.get_text() for tick, label in zip(axes.get_yticks(), axes.get_yticklabels(),
                                                                       strict=True)}  # fmt: skip
    found = {}
    for bar in axes.patches:
        place = round(bar.get_y() + bar.get_height() / 2, 6)
        if bar.get_width():
            found.setdefault((place, words[place]), []).append(
                (bar.get_x(), bar.get_x() + bar.get_width(), to_hex(bar.get_facecolor()), bar.get_hatch())
            )
    return [(word, parts) for (_, word), parts in sorted(found.items())]


def pale(colour):
    return to_hex([channel + 0.6 * (1 - channel) for channel in to_rgb(colour)])


def test_a_step_has_a_bar_for_each_cost_whose_parts_are_sections(frame_of):
    picture = drawn(frame_of((step(), MACS, TIME, MEMORY)))["step_sections_masked-image-modelling"]
    [axes] = picture.figure.axes
    (first, dots), (second, stripes), (third, points) = ((to_hex(one), hatch) for one, hatch in FILLS[:3])
    expected = [
        ("MACs", [(0, 0.25, first, dots), (0.25, 0.5, second, stripes), (0.5, 1, pale(second), stripes)]),
        ("time", [(0, 0.2, first, dots), (0.2, 0.4, second, stripes), (0.4, 0.8, pale(second), stripes),
                  (0.8, 1, third, points)]),
        ("memory", [(0, 0.5, pale(first), dots), (0.5, 0.625, second, stripes), (0.625, 1, pale(second), stripes)]),
    ]  # fmt: skip
    for (word, found), (other, parts) in zip(bars(axes), expected, strict=True):
        assert word == other
        assert [part[2:] for part in found] == [part[2:] for part in parts]
        np.testing.assert_allclose([part[:2] for part in found], [part[:2] for part in parts])
    texts = [text.get_text() for text in axes.texts]
    assert {f"{MIM} b2", "80.00 GMACs", "500 ms", "8.000 MiB", "25 %", "50 %", "38 %", "12 %"} <= set(texts)
    [legend] = picture.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "tokenizer", "encoder", "optimizer", "full: forward, activations", "pale: backward, the rest",
    ]  # fmt: skip
    assert (axes.get_xlim(), axes.get_xlabel()) == ((0, 1), "share of the whole (%)")


def test_pale_is_lighter_than_every_full_colour_in_grey():
    def grey(colour):
        return np.dot(to_rgb(colour), [0.299, 0.587, 0.114])

    for colour, _ in FILLS:
        assert grey(pale(colour)) > max(grey(one) for one, _ in FILLS)


def test_masked_modelling_and_tokenizer_have_a_picture_each(frame_of):
    found = drawn(frame_of((step(), MACS), (step(VQ_KD), TIME), (step(impl="reference"), MACS)))
    assert list(found) == ["step_sections_masked-image-modelling", "step_sections_tokenizer"]
    [axes] = found["step_sections_masked-image-modelling"].figure.axes
    assert [word for word, _ in bars(axes)] == ["MACs", "MACs"]
    assert [text.get_text() for text in axes.texts if MIM in text.get_text()] == [
        f"{MIM} b2",
        f"{MIM} impl=reference b2",
    ]
    train, other = Spec("beitv2_base", mode="train"), Spec("simmim_swin_tiny", mode="pretrain")
    assert list(drawn(frame_of((train, MACS), (other, MACS)))) == [
        "step_sections_classifier", "step_sections_pre-training",
    ]  # fmt: skip


def test_a_cost_that_was_not_measured_says_so(frame_of):
    found = drawn(frame_of((step(), MACS, TIME), (step(impl="reference"), MACS, failed(TIME))))
    [axes] = found["step_sections_masked-image-modelling"].figure.axes
    assert [text.get_text() for text in axes.texts].count("not measured") == 1
    assert [word for word, _ in bars(axes)] == ["MACs", "time", "MACs"]


def test_at_most_six_steps_are_drawn_those_of_which_most_was_told(frame_of):
    cells = [(step(depth=number), MACS) for number in range(6)]
    cells += [(step(depth=6), MACS, TIME, MEMORY), (step(depth=7), MACS, TIME)]
    picture = drawn(frame_of(*cells))["step_sections_masked-image-modelling"]
    [axes] = picture.figure.axes
    names = [text.get_text() for text in axes.texts if MIM in text.get_text()]
    assert names == [f"{MIM} depth={number} b2" for number in (0, 1, 2, 3, 6, 7)]
    assert f"Not drawn, since 6 are: {MIM} depth=4 b2, {MIM} depth=5 b2." in picture.caption
    assert "Not drawn" not in drawn(frame_of(*cells[:6]))["step_sections_masked-image-modelling"].caption


def test_cells_without_parts_have_no_picture(frame_of):
    plain = (step(), Value("step_macs", "MAC", 5), failed(TIME))
    assert not drawn(frame_of(plain, (step(batch=64), MEMORY)))


sections = st.sampled_from([f"section {letter}" for letter in "abcdefghij"])
parts_ = st.tuples(sections, st.sampled_from(["forward", "backward"]), st.integers(1, 10**12))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(parts_, min_size=1, max_size=12, unique_by=lambda part: part[:2]))
def test_a_bar_is_filled_from_end_to_end_whatever_its_sections(frame_of, parts):
    [axes] = drawn(frame_of((step(), told("step_macs", "MAC", *parts))))[
        "step_sections_masked-image-modelling"
    ].figure.axes
    [(_, found)] = bars(axes)
    edges = np.array([part[:2] for part in found])
    np.testing.assert_allclose(edges[0, 0], 0, atol=1e-9)
    np.testing.assert_allclose(edges[1:, 0], edges[:-1, 1], atol=1e-9)
    np.testing.assert_allclose(edges[-1, 1], 1)
    assert len(found) == len(parts)


# Where masks fall.


def occupancy(model=MIM, cells=((0.5, 1.0), (0.0, 0.5)), removed=2.0, **arguments):
    details = {"masks": 2000, "removed": removed, "occupancy": [list(row) for row in cells]}
    spread = max(map(max, cells)) - min(map(min, cells))
    return (step(model, 1, **arguments), Value("mask_occupancy", "1", spread, details=details))


def test_masks_have_a_panel_a_generator_on_one_scale(frame_of):
    block = occupancy()
    uniform = occupancy("simmim_swin_base", ((0.4, 0.4, 0.4),) * 3, removed=3.6)
    picture = drawn(frame_of(block, uniform, occupancy("beitv2_mim_large"), occupancy(impl="reference")))[
        "mask_occupancy"
    ]
    first, second, bar = picture.figure.axes
    titles = [axes.get_title(loc="left").splitlines() for axes in (first, second)]
    assert titles == [
        [f"{MIM}, beitv2_mim_large", "2.00 of 4 cells masked, each 0.0 % to 100.0 %"],
        ["simmim_swin_base", "3.60 of 9 cells masked, each 40.0 % to 40.0 %"],
    ]
    np.testing.assert_array_equal(first.images[0].get_array(), [[0.5, 1], [0, 0.5]])
    assert [axes.images[0].get_clim() for axes in (first, second)] == [(0, 1)] * 2
    assert [text.get_text() for text in first.texts] == ["50", "100", "0", "50"]
    assert bar.get_ylabel() == "share of masks (%)"
    assert picture.table.to_dict("records")[1] == {
        "model": "simmim_swin_base", "masks": "2,000", "grid": "3 x 3", "masked cells of a mask (mean)": "3.600",
        "lowest": "40.0 %", "highest": "40.0 %", "mean": "40.0 %",
    }  # fmt: skip
    assert "2,000 random masks" in picture.caption


@pytest.mark.parametrize(("side", "written"), [(14, True), (24, False)])
def test_shares_are_written_where_there_is_room(frame_of, side, written):
    cells = tuple((0.25,) * side for _ in range(side))
    axes = drawn(frame_of(occupancy(cells=cells)))["mask_occupancy"].figure.axes[0]
    assert [text.get_text() for text in axes.texts] == (["25"] * side**2 if written else [])


def test_at_most_four_generators_are_drawn(frame_of):
    cells = [occupancy(cells=((0.1 * number,),), kind=number) for number in range(1, 6)]
    picture = drawn(frame_of(*cells))["mask_occupancy"]
    assert len(picture.figure.axes) == 4 + 1
    assert f"Not drawn, since 4 are: {MIM} kind=5." in picture.caption


# How often codes are used.


def usage(counts, model=VQ_KD, weights="random", codes=8192):
    details = {
        "weights": f"{weights} words", "images": "2 photographs", "codes": codes, "patches": sum(counts),
        "counts": counts, "perplexity": 3.5, "per_image": {"a": 2},
    }  # fmt: skip
    return (Spec(model, weights=weights), Value("codebook_usage", "1", len(counts) / codes, details=details))


def test_codes_are_drawn_by_rank_up_to_the_size_of_the_codebook(frame_of):
    trained = usage([4, 2, 1, 1], weights="a.pth@0123456789ab")
    picture = drawn(frame_of(usage([900, 50]), trained))["codebook_ranks"]
    [axes] = picture.figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == [
        f"{VQ_KD} random weights: 2 codes used, 8,190 never",
        f"{VQ_KD} a.pth@0123456789ab weights: 4 codes used, 8,188 never",
        "size of the codebook: 8,192",
    ]
    first, second, size = lines.values()
    assert [list(first.get_xdata()), list(first.get_ydata())] == [[1, 2], [900, 50]]
    assert [list(second.get_xdata()), list(second.get_ydata())] == [[1, 2, 3, 4], [4, 2, 1, 1]]
    assert set(size.get_xdata()) == {8192}
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert first.get_color() != second.get_color()
    assert first.get_marker() != second.get_marker()
    assert axes.get_xlim()[1] > 8192
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "10", "100", "1,000", "8,192"]
    assert "**Random weights**" in picture.caption
    assert "2 photographs" in picture.caption
    assert "950, 8 patches" in picture.caption


def test_trained_weights_carry_no_tag(frame_of):
    picture = drawn(frame_of(usage([3], weights="a.pth@0123456789ab")))["codebook_ranks"]
    assert "Random" not in picture.caption


def test_codebooks_of_several_sizes_have_a_line_each(frame_of):
    [axes] = drawn(frame_of(usage([3]), usage([3, 1], "mine:tokenizer", codes=16)))["codebook_ranks"].figure.axes
    assert [line.get_label() for line in axes.lines[2:]] == ["size of the codebook: 16", "size of the codebook: 8,192"]


# What is missing.


def test_what_was_asked_for_and_is_not_there_is_said(frame_of):
    cells = [usage([3]), occupancy()]
    found = drawn(frame_of(*[(spec, failed(value)) for spec, value in cells]))
    assert {name: picture.figure for name, picture in found.items()} == {"mask_occupancy": None, "codebook_ranks": None}
    assert all(picture.caption.startswith("Not drawn: ") for picture in found.values())
    assert not drawn(frame_of((step(), Value("macs", "MAC", 5))))

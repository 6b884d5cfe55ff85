"""The picture of where tokens go that are merged by significance, from details written by hand."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from bench.record import Value
from bench.spec import Spec
from reports.figures import with_looks
from reports.figures.significance import draw, mean_colours
from reports.style import styled

TOKEN = [[0, 0, 0, 0], [0, 0, 1, 1], [1, 2, 2, 3], [4, 5, 6, 7]]
LENGTH = [[6, 6, 6, 6], [6, 6, 3, 3], [3, 2, 2, 1], [1, 1, 1, 1]]
SIGNIFICANCE = [[1, 1, 1, 1], [1, 1, 2, 2], [2, 3, 3, 4], [4, 4, 4, 4]]


def details(*names):
    file = io.BytesIO()
    Image.new("RGB", (32, 32), "#336699").save(file, "PNG")
    maps = [{"name": name, "significance": SIGNIFICANCE, "token": TOKEN, "length": LENGTH} for name in names]
    return {
        "weights": "words on weights",
        "images": "1 photograph",
        "image": "a_cat",
        "jpeg": base64.b64encode(file.getvalue()).decode(),
        "maps": maps,
        "blocks": [{"name": name, "value": 0.425} for name in names],
    }


def value(*names):
    return Value("significance", "1", 0.425, details=details(*names))


@pytest.fixture
def drawn(frame_of):
    return styled(lambda *cells: draw(with_looks(frame_of(*cells))))


def test_a_row_a_grid_with_photograph_significance_length_and_colours(drawn):
    [picture] = drawn((Spec("sgformer_s"), value("block1.1.attn", "block2.1.attn")))
    axes = [one for one in picture.figure.axes if one.get_images() and one.get_label() != "<colorbar>"]
    assert len(axes) == 2 * 4
    assert [one.get_ylabel() for one in axes[::4]] == ["block1.1.attn", "block2.1.attn"]
    assert [one.get_title() for one in axes[:4]] == [
        *("photograph", "significance", "tokens merged into one", "mean colour of each"),
    ]
    photograph, significance, length, colours = (one.get_images()[0] for one in axes[:4])
    assert photograph.get_array().shape == (32, 32, 3)
    np.testing.assert_allclose(significance.get_array(), np.array(SIGNIFICANCE) / np.mean(SIGNIFICANCE))
    assert length.get_array().tolist() == [[3, 3, 3, 3], [3, 3, 2, 2], [2, 1, 1, 0], [0, 0, 0, 0]]
    assert {to_hex(one) for one in colours.get_array().reshape(-1, 3) / 255} == {"#336699"}
    bars = [one for one in picture.figure.axes if one.get_label() == "<colorbar>"]
    assert [word.get_text() for word in bars[1].get_yticklabels()] == ["1", "2", "3", "6"]


def test_finer_grain_is_brighter(drawn):
    [picture] = drawn((Spec("sgformer_s"), value("block1.1.attn")))
    [image] = picture.figure.axes[2].get_images()
    brightness = [sum(image.to_rgba(image.get_array())[at][:3]) for at in ((0, 0), (1, 2), (2, 1), (3, 3))]
    assert brightness == sorted(brightness)


def test_tokens_that_are_merged_have_the_mean_of_their_photograph():
    photograph = np.zeros((4, 8, 3), np.uint8)
    photograph[:2, :4], photograph[2:, 4:] = (200, 100, 0), (100, 50, 10)
    assert mean_colours(photograph, np.array([[0, 1], [1, 0]])).tolist() == [
        [[150, 75, 5], [0, 0, 0]],
        [[0, 0, 0], [150, 75, 5]],
    ]
    assert mean_colours(photograph, np.array([[0, 2], [3, 4]]))[1, 1].tolist() == [100, 50, 10]


def test_the_caption_warns_of_random_weights_and_names_what_was_looked_at(drawn):
    random, trained = Spec("sgformer_s"), Spec("sgformer_s", weights="pretrained")
    [picture] = drawn((random, value("block1.1.attn")))
    assert picture.caption.startswith("**Random weights**")
    for words in ("a_cat", "words on weights", "1 photograph"):
        assert words in picture.caption
    [picture] = drawn((trained, value("block1.1.attn")))
    assert "Random" not in picture.caption
    assert picture.table.to_numpy().tolist() == [["block1.1.attn", "0.425"]]


def test_nothing_is_drawn_of_what_was_skipped_or_not_asked(drawn):
    skipped = replace(value("a"), value=None, details={}, status="skipped", note="why")
    assert drawn((Spec("sgformer_s"), skipped)) == []
    assert drawn((Spec("sgformer_s"), Value("params", "1", 5))) == []


def test_no_more_than_four_models_are_drawn_and_the_others_named(drawn):
    pictures = drawn(*[(Spec(f"model_{number}"), value("a")) for number in range(5)])
    assert len({picture.name for picture in pictures}) == 4
    assert all("model_4" in picture.caption for picture in pictures)

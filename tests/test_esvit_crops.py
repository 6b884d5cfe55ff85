"""The multi-crop augmentation of EsViT: every number of its recipe, read off crops of images that give it away."""

import colorsys
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from bench import photographs
from models.esvit.crops import GLOBAL_1, GLOBAL_2, LOCAL, MultiCrop, Recipe
from tests.randomness import untouched

PAPER = (GLOBAL_1, GLOBAL_2, LOCAL)
OFF = {"flip": 0.0, "jitter": 0.0, "grey": 0.0, "blur": 0.0, "solarise": 0.0}
WHOLE = OFF | {"scale": (1.0, 1.0)}  # of a square image
SIDE = 64
DRAWS = 200  # of uniform numbers, these come within a 20th of the range of both its ends: 2 * .95**200 is 7e-5
KINDS = [0, 1, 2]  # global 1, global 2, local


def crops_of(image, seed=0, sizes=SIDE, changes=OFF, **words):
    """The levels, 0 to 255, of [global 1, global 2, local 1]: the paper's recipes but for `changes`."""
    words = {"local_crops": 1, "recipes": tuple(replace(recipe, **changes) for recipe in PAPER)} | words
    crops = MultiCrop(sizes, sizes, **words)(image, seed)
    return [levels(crop) for crop in crops]


def levels(crop):
    """A normalised crop as (size, size, 3) levels: whole numbers, as Pillow leaves them."""
    found = 255 * (crop.permute(1, 2, 0).numpy() * np.array(IMAGENET_DEFAULT_STD) + np.array(IMAGENET_DEFAULT_MEAN))
    assert np.abs(found - found.round()).max() < 1e-3
    return found.round().astype(int)


def flat(*colour, side=8):
    return Image.new("RGB", (side, side), colour)


def halves(left, right, side=SIDE):
    image = flat(left, left, left, side=side)
    image.paste((right, right, right), (side // 2, 0, side, side))
    return image


def stripes():
    """Columns of one pixel, which the weakest blur changes and crops of the same size leave as they are."""
    return Image.fromarray(np.broadcast_to(np.arange(SIDE)[None, :, None] % 2 * 255, (SIDE, SIDE, 3)).astype(np.uint8))


def coordinates(width=256, height=256):
    """Red says the column and green the row, from 0 to 255."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 0 * x], axis=-1).round().astype(np.uint8))


def extent(crop):
    """Width and height of a crop of `coordinates`, in shares of the image; negative where it was flipped. Taken from
    its middle, since bicubic interpolation bends slopes at borders."""
    low, high = SIDE // 4, 3 * SIDE // 4
    across = (crop[:, high, 0] - crop[:, low, 0]).mean() * SIDE / (high - low) / 256
    down = (crop[high, :, 1] - crop[low, :, 1]).mean() * SIDE / (high - low) / 256
    return across, down


def close(count, probability, draws):
    """Whether so many of `draws` are within four standard deviations of what the probability says."""
    return abs(count - probability * draws) <= 4 * math.sqrt(draws * probability * (1 - probability))


@pytest.mark.parametrize(
    ("recipe", "scale", "blur", "solarise"),
    [(GLOBAL_1, (0.4, 1.0), 1.0, 0.0), (GLOBAL_2, (0.4, 1.0), 0.1, 0.2), (LOCAL, (0.05, 0.4), 0.5, 0.0)],
)
def test_the_rows_are_the_papers(recipe, scale, blur, solarise):
    """To the digit, where shares of draws below tell numbers apart that are farther from each other."""
    assert recipe == Recipe(scale, blur, solarise, 0.5, 0.8, (0.4, 0.4, 0.2, 0.1), 0.2, (0.1, 2.0))


def test_the_paper_takes_two_global_and_eight_local_crops_in_this_order():
    crops = MultiCrop()(coordinates(), 0)
    assert [crop.shape for crop in crops] == [(3, 224, 224)] * 2 + [(3, 96, 96)] * 8
    assert all(crop.dtype == torch.float32 and crop.is_contiguous() for crop in crops)


@pytest.mark.parametrize("kind", KINDS)
def test_area_aspect_and_flip_are_within_their_ranges_and_fill_them(kind):
    found = [extent(crops_of(coordinates(), seed, changes=OFF | {"flip": 0.5})[kind]) for seed in range(DRAWS)]
    assert close(sum(across < 0 for across, _ in found), 0.5, DRAWS)
    assert all(down > 0 for _, down in found)
    low, high = (0.05, 0.4) if kind == 2 else (0.4, 1.0)
    areas = [abs(across) * down for across, down in found]
    assert min(areas) == pytest.approx(low, abs=(high - low) / 20)
    assert high - (high - low) / 8 < max(areas) < 1.02 * high  # few shapes of the largest fit into the image
    aspects = [math.log(abs(across) / down) for across, down in found]
    assert math.exp(min(aspects)) == pytest.approx(3 / 4, rel=0.04)  # levels are whole numbers
    assert math.exp(max(aspects)) == pytest.approx(4 / 3, rel=0.04)


def test_crops_lie_anywhere_in_the_image():
    middles = [crops_of(coordinates(), seed)[2][SIDE // 2, SIDE // 2, :2] for seed in range(DRAWS)]
    assert np.min(middles, axis=0).max() < 60
    assert np.max(middles, axis=0).min() > 195


def test_crops_are_resized_by_bicubic_interpolation():
    image = halves(40, 200, side=2 * SIDE)
    expected = np.array(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    assert len(np.unique(expected)) > 2  # overshoots, which other interpolations don't
    for crop in crops_of(image, changes=WHOLE):
        np.testing.assert_array_equal(crop, expected)


@pytest.mark.parametrize(
    ("index", "strength", "read"),
    [
        (0, 0.4, lambda crop: crop.mean() / 100),
        (1, 0.4, lambda crop: (crop.max() - crop.min()) / 100),
        (2, 0.2, lambda crop: np.ptp(crop[0, 0]) / 100),
        (3, 0.1, lambda crop: 1 + (colorsys.rgb_to_hsv(*crop[0, 0])[0] - 0.5)),
    ],
    ids=["brightness", "contrast", "saturation", "hue"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_strengths_of_the_colour_jitter(index, strength, read, kind):
    image = [flat(100, 100, 100), halves(50, 150, side=8), flat(150, 100, 50), flat(50, 150, 150)][index]
    assert read(np.array(image)) == pytest.approx(1)
    alone = tuple(number if place == index else 0.0 for place, number in enumerate(PAPER[kind].colour))
    changes = WHOLE | {"jitter": 1.0, "colour": alone}
    found = [read(crops_of(image, seed, sizes=8, changes=changes)[kind]) for seed in range(DRAWS)]
    for end, expected in [(min(found), 1 - strength), (max(found), 1 + strength)]:
        assert end == pytest.approx(expected, abs=strength / 10 + 0.01)  # a level of a hundred


SHARES = {  # of the change: the paper's, what gives it away, and how it is read off
    "jitter": ((0.8, 0.8, 0.8), flat(180, 120, 60), lambda crop, image: (crop != image).any()),
    "grey": ((0.2, 0.2, 0.2), flat(180, 120, 60), lambda crop, _: np.ptp(crop[0, 0]) == 0),
    "blur": ((1.0, 0.1, 0.5), stripes(), lambda crop, image: (crop != image).any()),
    "solarise": ((0.0, 0.2, 0.0), flat(200, 127, 128), lambda crop, _: crop[0, 0].tolist() == [55, 127, 127]),
}


@pytest.mark.parametrize("change", SHARES)
def test_each_change_has_its_probability_in_each_crop(change):
    shares, image, changed = SHARES[change]
    others = {key: value for key, value in WHOLE.items() if key != change}
    plain = np.array(image)
    every = [crops_of(image, seed, image.width, others) for seed in range(400)]
    counts = [sum(bool(changed(crops[kind], plain)) for crops in every) for kind in KINDS]
    assert all(close(count, share, 400) for count, share in zip(counts, shares, strict=True)), counts
    assert all(changed(crop, plain) or (crop == plain).all() for crops in every for crop in crops)


@pytest.mark.parametrize("kind", KINDS)
def test_the_blur_has_a_deviation_between_a_tenth_and_two_pixels_of_the_crop(kind):
    def edge(crop):
        """The level beside the border of black and white: 0 without a blur, near half of white with a wide one."""
        return int(crop[SIDE // 2, SIDE // 2 - 1, 0])

    image = halves(0, 255)
    ends = [edge(np.array(image.filter(ImageFilter.GaussianBlur(radius)))) for radius in (0.1, 2.0)]
    found = [edge(crops_of(image, seed, changes=WHOLE | {"blur": 1.0})[kind]) for seed in range(DRAWS)]
    assert ends[0] <= min(found) <= ends[0] + 2
    assert ends[1] - 2 <= max(found) <= ends[1]


def test_changes_come_in_the_order_of_the_recipe():
    """Crop, flip, jitter, grey, blur, solarise: each pair that doesn't commute."""
    wide = halves(0, 255, side=4 * SIDE)
    fixed = {"blur": 1.0, "radius": (2.0, 2.0)}
    blurred = wide.resize((SIDE, SIDE), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))
    [crop, *_] = crops_of(wide, changes=WHOLE | fixed)  # cropped, then blurred
    np.testing.assert_array_equal(crop, np.array(blurred))
    [crop, *_] = crops_of(wide, changes=WHOLE | fixed | {"solarise": 1.0})  # blurred, then solarised
    np.testing.assert_array_equal(crop, np.where(np.array(blurred) < 128, blurred, 255 - np.array(blurred)))
    luma = (299 * 200 + 587 * 100 + 114 * 100) // 1000
    [crop, *_] = crops_of(flat(200, 100, 100), changes=WHOLE | {"grey": 1.0, "solarise": 1.0})
    assert (crop == 255 - luma - 1).all() or (crop == 255 - luma).all()  # grey, then solarised; else below 100
    hues = {"jitter": 1.0, "colour": (0.0, 0.0, 0.0, 0.1), "grey": 1.0}
    greys = {crops_of(flat(0, 200, 200), seed, 8, WHOLE | hues)[0].max() for seed in range(20)}
    assert len(greys) > 5  # jittered, then grey: grey has no hue to shift


def test_crops_are_normalised_by_the_mean_and_deviation_of_imagenet():
    [crop, *_] = MultiCrop(8, 8, recipes=(Recipe(**WHOLE),) * 3)(flat(255, 0, 51), 0)
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225]
    torch.testing.assert_close(crop[:, 3, 5], torch.tensor(expected))


def test_further_global_crops_take_the_second_recipe():
    """Solarising is on crops beyond the first, as often as on the second."""
    words = {"changes": {key: value for key, value in WHOLE.items() if key != "solarise"}, "global_crops": 4}
    every = [crops_of(flat(200, 200, 200), seed, 4, **words) for seed in range(400)]
    counts = [sum(int(crops[place][0, 0, 0] == 55) for crops in every) for place in range(5)]
    assert (counts[0], counts[4]) == (0, 0)
    assert all(close(count, 0.2, 400) for count in counts[1:4]), counts
    assert len({tuple(int(crops[place][0, 0, 0]) for place in (1, 2, 3)) for crops in every}) == 8  # each by itself


def test_the_same_seed_gives_the_same_crops_and_another_others():
    multi = MultiCrop(48, 32, local_crops=3)
    first, again, other = (multi(coordinates(), seed) for seed in (7, 7, 8))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    flattened = [crop.flatten()[:1000] for crop in first]
    assert not any(torch.equal(a, b) for i, a in enumerate(flattened) for b in flattened[:i])


def test_a_generator_goes_on_and_an_integer_is_the_seed_of_a_new_one():
    multi, generator = MultiCrop(16, 8, local_crops=1), torch.Generator().manual_seed(3)
    first, second = multi(coordinates(), generator), multi(coordinates(), generator)
    assert torch.equal(first[0], multi(coordinates(), 3)[0])
    assert not torch.equal(first[0], second[0])


@given(seed=st.integers(0, 2**64 - 1), before=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_global_generators_are_neither_read_nor_moved(seed, before):
    multi, image = MultiCrop(16, 8, local_crops=1), coordinates(32, 32)
    expected = multi(image, seed)
    torch.manual_seed(before)
    with untouched():
        found = multi(image, seed)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    numbers=st.tuples(st.integers(2, 4), st.integers(0, 3)),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=50, deadline=None)
def test_any_image_gives_crops_of_the_sizes_and_numbers_asked_for(width, height, sizes, numbers, seed):
    multi = MultiCrop(*sizes, local_crops=numbers[1], global_crops=numbers[0])
    crops = multi(coordinates(width, height), seed)
    assert [crop.shape[1:] for crop in crops] == [(sizes[0],) * 2] * numbers[0] + [(sizes[1],) * 2] * numbers[1]
    for crop in crops:
        assert levels(crop).min() >= 0
        assert levels(crop).max() <= 255
    more = MultiCrop(*sizes, local_crops=numbers[1] + 1, global_crops=numbers[0])(coordinates(width, height), seed)
    assert all(torch.equal(a, b) for a, b in zip(crops, more, strict=False))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "La", "CMYK", "HSV", "I;16", "F"])
def test_an_image_of_any_mode_is_made_rgb(mode):
    image = Image.new(mode, (16, 16), 1)
    crops = MultiCrop(8, 4, local_crops=1)(image, 0)
    assert [crop.shape for crop in crops] == [(3, 8, 8), (3, 8, 8), (3, 4, 4)]


def test_transparency_is_dropped_and_grey_is_grey():
    def whole(image):
        return crops_of(image, sizes=8, changes=WHOLE)[0][0, 0].tolist()

    assert whole(Image.new("RGBA", (8, 8), (10, 20, 30, 0))) == [10, 20, 30]
    assert whole(Image.new("L", (8, 8), 77)) == [77] * 3
    palette = flat(10, 20, 30).quantize(2)
    palette.info["transparency"] = b"\0\0"  # of which Pillow warns on the way to RGB
    assert whole(palette) == [10, 20, 30]


def test_a_batch_is_the_images_crops_stacked():
    images = [Image.fromarray(pixels) for pixels in photographs_of(96)]
    multi = MultiCrop(48, 32, local_crops=2)
    crops = multi.batch(iter(images), 5)
    assert [crop.shape for crop in crops] == [(6, 3, 48, 48)] * 2 + [(6, 3, 32, 32)] * 2
    generator = torch.Generator().manual_seed(5)
    for place, image in enumerate(images):
        for own, stacked in zip(multi(image, generator), crops, strict=True):
            assert torch.equal(own, stacked[place])
    assert torch.equal(torch.stack(crops[:2]), torch.stack(multi.batch(images, torch.Generator().manual_seed(5))[:2]))


def photographs_of(side):
    """The six photographs as arrays (side, side, 3)."""
    for _, pixels in photographs.load("photographs", (side, side), (0.0,) * 3, (1.0,) * 3):
        yield (255 * pixels.permute(1, 2, 0)).round().byte().numpy()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"global_size": 0}, "MultiCrop has no global_size=0. Use a whole number from 1"),
        ({"global_size": 224.0}, "MultiCrop has no global_size=224.0. Use a whole number from 1"),
        ({"local_size": -96}, "MultiCrop has no local_size=-96. Use a whole number from 1"),
        ({"local_size": True}, "MultiCrop has no local_size=True."),
        ({"local_size": (96, 96)}, "MultiCrop has no local_size=(96, 96)."),
        ({"global_crops": 1}, "MultiCrop has no global_crops=1. Use a whole number from 2"),
        ({"local_crops": -1}, "MultiCrop has no local_crops=-1. Use a whole number from 0"),
    ],
)
def test_what_makes_no_crops_is_refused(words, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MultiCrop(**words)


@pytest.mark.parametrize("name", ["flip", "jitter", "grey", "blur", "solarise"])
@pytest.mark.parametrize("value", [-0.1, 50, math.nan])
def test_a_recipe_has_probabilities(name, value):
    with pytest.raises(ValueError, match=f"{name}={value} is no probability. Use a number from 0 to 1."):
        replace(GLOBAL_1, **{name: value})


@pytest.mark.parametrize("scale", [(0.0, 1.0), (0.5, 0.4), (0.4, 1.1)])
def test_a_recipe_has_a_range_of_shares(scale):
    with pytest.raises(ValueError, match=re.escape(f"scale={scale} is no range of shares.")):
        replace(GLOBAL_1, scale=scale)


def test_what_is_no_image_is_refused():
    multi = MultiCrop(8, 8)
    with pytest.raises(ValueError, match="the image is 0 pixels wide and 5 high"):
        multi(Image.new("RGB", (0, 5)), 0)
    with pytest.raises(ValueError, match="the image is of type Tensor"):
        multi(torch.zeros(3, 8, 8), 0)
    with pytest.raises(ValueError, match="there are no images to crop"):
        multi.batch([], 0)

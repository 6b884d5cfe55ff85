"""BEiT v2's augmentation: what each step draws, and the numbers of the recipe, read off views that give them away."""

import math
import re
from contextlib import ExitStack, contextmanager
from unittest import mock

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from models.beitv2.masks import BlockMasks
from models.beitv2.views import PretrainingViews, TokenizerCrop, Views
from tests.randomness import untouched
from tests.test_esvit_crops import SIDE, close, coordinates, extent, halves, photographs_of

BLOCKS = BlockMasks((4, 4), masked=6, least=2)  # of SIDE
DRAWS = 200  # see tests/test_esvit_crops.py
COLOURS = ["adjust_brightness", "adjust_contrast", "adjust_saturation"]
STEPS = [*COLOURS, "adjust_hue", "hflip", "crop"]


def small():
    return PretrainingViews(SIDE, BLOCKS)


def without_colours():
    """The views, their colours as they come."""
    with mock.patch("models.beitv2.views.ColorJitter", lambda *_: lambda image: image):
        return small()


def levels(pixels):
    """Pixels in [0, 1] as (size, size, 3) levels: whole numbers, as Pillow leaves them."""
    found = 255 * pixels.permute(1, 2, 0).double().numpy()
    assert np.abs(found - found.round()).max() < 1e-4
    return found.round().astype(int)


def drawn(kind, image, seed):
    """The levels of a view without jitter, or of the tokenizer's crop."""
    return levels(without_colours()(image, seed).tokenizer if kind == "views" else TokenizerCrop(SIDE)(image, seed))


every_kind = pytest.mark.parametrize("kind", ["views", "crop"])


def test_the_paper_has_a_view_for_each_and_a_mask():
    views = PretrainingViews()(coordinates(), 0)
    assert [(x.shape, x.dtype) for x in views] == [
        ((3, 224, 224), torch.float32),
        ((3, 224, 224), torch.float32),
        ((14, 14), torch.bool),
    ]
    assert views.mask.sum() == 75
    crop = TokenizerCrop()(coordinates(), 0)
    assert (crop.shape, crop.dtype) == ((3, 224, 224), torch.float32)


@contextmanager
def written_down():
    """What torchvision does meanwhile, and the numbers that it drew for it."""
    steps = []

    def spy(name, plain):
        return mock.patch.object(F, name, lambda x, *numbers: (steps.append((name, numbers)), plain(x, *numbers))[1])

    with ExitStack() as spies:
        for name in STEPS:
            spies.enter_context(spy(name, getattr(F, name)))
        yield steps


@pytest.mark.parametrize("seed", range(8))
def test_colours_then_flip_then_crop(seed):
    """What is drawn is written down, and done again step by step."""
    image = Image.fromarray(next(photographs_of(96)))
    with written_down() as steps:
        views = small()(image, seed)
    names = [name for name, _ in steps]
    assert sorted(names[:3]) == COLOURS
    assert names[3:] in (["crop"], ["hflip", "crop"])
    for name, numbers in steps:
        image = getattr(F, name)(image, *numbers)
    image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(levels(views.tokenizer), np.array(image))


def test_strengths_of_the_colour_jitter():
    draw, image = small(), coordinates(32, 32)
    with written_down() as steps:
        for seed in range(DRAWS):
            draw(image, seed)
    for colour in COLOURS:
        factors = [numbers[0] for name, numbers in steps if name == colour]
        assert len(factors) == DRAWS
        assert 0.6 <= min(factors) < 0.64
        assert 1.36 < max(factors) <= 1.4
    assert "adjust_hue" not in {name for name, _ in steps}


def test_student_and_tokenizer_have_the_same_pixels():
    student, tokenizer, _ = small()(coordinates(), 0)
    assert 0 <= tokenizer.min() < tokenizer.max() <= 1
    mean, deviation = (torch.tensor(x)[:, None, None] for x in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    torch.testing.assert_close(student * deviation + mean, tokenizer, rtol=0, atol=1e-6)
    assert mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert deviation.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])


@pytest.mark.parametrize(("kind", "low"), [("views", 0.2), ("crop", 0.08)])
def test_area_aspect_and_flip_are_within_their_ranges_and_fill_them(kind, low):
    found = [extent(drawn(kind, coordinates(), seed)) for seed in range(DRAWS)]
    assert {across < 0 for across, _ in found} == {False, True}
    assert all(down > 0 for _, down in found)
    areas = [abs(across) * down for across, down in found]
    assert min(areas) == pytest.approx(low, abs=(1 - low) / 20)
    assert 1 - (1 - low) / 8 < max(areas) < 1.02  # few shapes of the largest fit into the image
    aspects = [math.log(abs(across) / down) for across, down in found]
    assert math.exp(min(aspects)) == pytest.approx(3 / 4, rel=0.06)  # levels are whole numbers
    assert math.exp(max(aspects)) == pytest.approx(4 / 3, rel=0.06)


@pytest.mark.parametrize(
    "draw", [PretrainingViews(16, BlockMasks((1, 1), 1, 1)), TokenizerCrop(16)], ids=["views", "crop"]
)
def test_every_other_view_is_flipped(draw):
    image, draws = coordinates(8, 8), 4000
    with written_down() as steps:
        for seed in range(draws):
            draw(image, seed)
    assert close(sum(name == "hflip" for name, _ in steps), 0.5, draws)


@every_kind
def test_crops_lie_anywhere_and_are_resized_by_bicubic_interpolation(kind):
    middles = [drawn(kind, coordinates(), seed)[SIDE // 2, SIDE // 2, :2] for seed in range(DRAWS)]
    assert np.min(middles, axis=0).max() < 80
    assert np.max(middles, axis=0).min() > 175
    edges = [drawn(kind, halves(40, 200, side=2 * SIDE), seed) for seed in range(20)]
    assert min(edge.min() for edge in edges) < 40  # overshoots, which bilinear interpolation doesn't
    assert max(edge.max() for edge in edges) > 200


@every_kind
def test_the_same_seed_gives_the_same_views_and_another_others(kind):
    draw = small() if kind == "views" else lambda *words: [TokenizerCrop(SIDE)(*words)]
    first, again, other = (draw(coordinates(), seed) for seed in (7, 7, 8))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    generator = torch.Generator().manual_seed(7)
    assert all(torch.equal(a, b) for a, b in zip(draw(coordinates(), generator), first, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(draw(coordinates(), generator), first, strict=True))


@given(seed=st.integers(0, 2**64 - 1), before=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_global_generators_are_neither_read_nor_moved(seed, before):
    draws, image = (small(), TokenizerCrop(16)), coordinates(32, 32)
    expected = [draw(image, seed) for draw in draws]
    torch.manual_seed(before)
    with untouched():
        found = [draw(image, seed) for draw in draws]
    assert all(torch.equal(a, b) for a, b in zip(found[0], expected[0], strict=True))
    assert torch.equal(found[1], expected[1])


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    side=st.integers(2, 5),
    size=st.integers(1, 40),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=50, deadline=None)
def test_any_image_gives_views_of_the_size_asked_for(width, height, side, size, seed):
    blocks = BlockMasks((side, side), masked=side, least=1)
    student, tokenizer, mask = PretrainingViews(16 * side, blocks)(coordinates(width, height), seed)
    assert student.shape == tokenizer.shape == (3, 16 * side, 16 * side)
    assert (mask.shape, mask.sum()) == ((side, side), side)
    crop = TokenizerCrop(size)(coordinates(width, height), seed)
    assert crop.shape == (3, size, size)
    for pixels in (tokenizer, crop):
        assert 0 <= levels(pixels).min() <= levels(pixels).max() <= 255


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "La", "CMYK", "HSV", "I;16", "F"])
def test_an_image_of_any_mode_is_made_rgb(mode):
    image = Image.new(mode, (16, 16), 1)
    assert small()(image, 0).student.shape == (3, SIDE, SIDE)
    assert TokenizerCrop(8)(image, 0).shape == (3, 8, 8)


def test_a_batch_is_the_images_views_stacked():
    images = [Image.fromarray(pixels) for pixels in photographs_of(96)]
    batch, crops = small().batch(iter(images), 5), TokenizerCrop(24).batch(images, 5)
    assert isinstance(batch, Views)
    assert [x.shape for x in batch] == [(6, 3, SIDE, SIDE), (6, 3, SIDE, SIDE), (6, 4, 4)]
    assert crops.shape == (6, 3, 24, 24)
    generators = [torch.Generator().manual_seed(5) for _ in range(2)]
    for place, image in enumerate(images):
        views = small()(image, generators[0])
        assert all(torch.equal(own, stacked[place]) for own, stacked in zip(views, batch, strict=True))
        assert torch.equal(TokenizerCrop(24)(image, generators[1]), crops[place])
    assert len({tuple(mask.flatten().tolist()) for mask in batch.mask}) > 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PretrainingViews(0), "PretrainingViews has no size=0. Use a whole number from 16."),
        (lambda: PretrainingViews(225), "PretrainingViews has no size=225. Use a multiple of 16."),
        (
            lambda: PretrainingViews(384),
            "PretrainingViews of size=384 have 24x24 patches, and the masks are of 14x14. Give blocks=BlockMasks((24, ",
        ),
        (lambda: PretrainingViews(224, BLOCKS), "have 14x14 patches, and the masks are of 4x4."),
        (lambda: TokenizerCrop(0), "TokenizerCrop has no size=0. Use a whole number from 1."),
        (lambda: TokenizerCrop(224.0), "TokenizerCrop has no size=224.0."),
    ],
)
def test_what_makes_no_views_is_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


@pytest.mark.parametrize("draw", [small(), TokenizerCrop(8)], ids=["views", "crop"])
def test_what_is_no_image_is_refused(draw):
    with pytest.raises(ValueError, match="the image is 0 pixels wide and 5 high"):
        draw(Image.new("RGB", (0, 5)), 0)
    with pytest.raises(ValueError, match="the image is of type Tensor"):
        draw(torch.zeros(3, 8, 8), 0)
    with pytest.raises(ValueError, match="there are no images to crop"):
        draw.batch([], 0)

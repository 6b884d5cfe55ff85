"""Regions of the top layer: of timm's families, row by row, and what is said where there are none."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.models import register_model
from torch import nn

from bench.build import Case
from bench.errors import Skip
from bench.metrics import all_metrics
from bench.model import create
from bench.names import default_size
from bench.protocol import preset
from bench.regions import _covers, grid_of, regions
from bench.spec import Spec

PROTOCOL = preset("quick", 1)


def of(model, size=None, device="meta"):
    """The regions of an empty image in a model of the registry."""
    size = size or default_size(model)
    return regions(create(Spec(model, size=size), device), torch.zeros(1, 3, *size, device=device), model)


@pytest.mark.parametrize(
    ("model", "grid", "width"),
    [
        ("vit_tiny_patch16_224", (14, 14), 192),
        ("deit_tiny_distilled_patch16_224", (14, 14), 192),  # two leading tokens
        ("vit_small_patch14_reg4_dinov2", (37, 37), 384),  # five
        ("vit_relpos_small_patch16_224", (14, 14), 384),  # none
        ("vit_tiny_patch16_dinov3_qkvb", (16, 16), 192),
        ("beit_base_patch16_224", (14, 14), 768),
        ("cait_xxs24_224", (14, 14), 192),
        ("mixer_s32_224", (7, 7), 512),
        ("levit_128s", (4, 4), 384),
        ("twins_svt_small", (7, 7), 512),
        ("hiera_tiny_224", (7, 7), 768),
        ("mvitv2_small_cls", (7, 7), 768),
        ("swin_tiny_patch4_window7_224", (7, 7), 768),  # (B, h, w, C)
        ("swinv2_tiny_window8_256", (8, 8), 768),
        ("swinv2_cr_tiny_ns_224", (7, 7), 768),  # (B, C, h, w)
        ("sequencer2d_s", (16, 16), 384),
        ("convnext_atto", (7, 7), 320),
        ("resnet18", (7, 7), 512),
        ("pvt_v2_b0", (7, 7), 256),
        ("mobilevit_xxs", (8, 8), 320),
        ("maxvit_tiny_tf_224", (7, 7), 512),
        ("tinynet_e", (4, 4), 1280),  # of 106 px, rounded up
        ("inception_v3", (8, 8), 2048),  # of 299, rounded down
    ],
)
def test_regions_of_many_families_of_timm(model, grid, width):
    found = of(model)
    assert found.grid == grid
    assert found.features.shape == (1, grid[0] * grid[1], width)


@pytest.mark.parametrize(
    ("model", "size", "grid"),
    [
        ("test_vit", (160, 96), (10, 6)),
        ("swin_tiny_patch4_window7_224", (224, 448), (7, 14)),
        ("resnet18", (224, 100), (7, 4)),
        ("convnext_atto", (100, 333), (3, 10)),
        ("pvt_v2_b0", (64, 320), (2, 10)),
    ],
)
def test_rectangles_have_rows_before_columns(model, size, grid):
    assert of(model, size).grid == grid


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("coat_lite_tiny", r"50 tokens behind 0 leading ones \(num_prefix_tokens=None\) are no grid of .* of 224$"),
        ("volo_d1_224", "197 tokens behind 0 leading ones"),
        ("pit_ti_224", "1 tokens behind 0 leading ones"),  # its class token
        ("coat_tiny", "forward_features returns something of type list, neither tokens"),
        ("crossvit_tiny_240", "of type list"),
    ],
)
def test_families_without_regions_say_why(model, reason):
    with pytest.raises(Skip, match=f"^{model}: .*{reason}"):
        of(model)


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("test_vit", (160, 96)),
        ("test_convnext3", (96, 160)),
        ("swin_tiny_patch4_window7_224", (224, 224)),
        ("hiera_tiny_224", (224, 224)),  # whose tokens are in another order on the way
        ("twins_svt_small", (224, 224)),
        ("pvt_v2_b0", (160, 224)),
        ("resnet18", (224, 160)),
    ],
)
def test_what_changes_in_a_place_changes_the_region_of_that_place(model, size):
    torch.manual_seed(0)
    net = create(Spec(model, size=size), "cpu")
    images = torch.randn(1, 3, *size)
    before = regions(net, images, model)
    rows, columns = before.grid
    for row, column in [(0, columns - 1), (rows - 1, 0)]:
        changed = images.clone()
        height, width = size[0] // rows, size[1] // columns
        changed[..., row * height : (row + 1) * height, column * width : (column + 1) * width] = 3.0
        change = (regions(net, changed, model).features - before.features).norm(dim=-1)
        assert change.argmax().item() == row * columns + column


class Returning(nn.Module):
    """A user's module, whose forward_features returns what it was given, and that says what it was told to say."""

    def __init__(self, found, **said):
        super().__init__()
        self.found = found
        vars(self).update(said)

    def forward_features(self, images):
        return self.found


IMAGES = torch.zeros(2, 3, 64, 32)


def test_leading_tokens_are_dropped_and_no_others():
    tokens = torch.randn(2, 11, 5)
    found = regions(Returning(tokens, num_prefix_tokens=3), IMAGES, "mine")
    assert found.grid == (4, 2)
    assert torch.equal(found.features, tokens[:, 3:])
    assert torch.equal(regions(Returning(tokens[:, 3:]), IMAGES, "mine").features, tokens[:, 3:])


@pytest.mark.parametrize("said", [{"num_features": 5}, {"output_fmt": "NCHW"}, {"output_fmt": "NHWC"}])
def test_a_map_becomes_rows(said):
    tokens = torch.randn(2, 8, 5)
    by_channel = tokens.transpose(1, 2).unflatten(2, (4, 2))
    given = tokens.unflatten(1, (4, 2)) if said.get("output_fmt") == "NHWC" else by_channel
    found = regions(Returning(given, **said), IMAGES, "mine")
    assert found.grid == (4, 2)
    assert torch.equal(found.features, tokens)


def test_what_the_model_says_of_its_format_comes_before_its_width():
    given = torch.randn(2, 4, 2, 4)  # (B, h, w, C), where the width is also the number of rows
    assert regions(Returning(given, num_features=4, output_fmt="NHWC"), IMAGES, "mine").grid == (4, 2)
    with pytest.raises(Skip, match="does not say where its channels are"):
        regions(Returning(given, num_features=4), IMAGES, "mine")


@pytest.mark.parametrize(
    ("found", "said", "reason"),
    [
        (torch.zeros(2, 9, 5), {}, r"^mine: 9 tokens behind 0 leading ones .* proportions of 64x32$"),
        (torch.zeros(2, 16, 5), {}, "no grid of the proportions of 64x32"),  # a square
        (torch.zeros(2, 9, 5), {"num_prefix_tokens": 9}, "0 tokens behind 9"),
        (torch.zeros(2, 5, 2, 4), {"num_features": 5}, r"^mine: a map of 2x4 regions has not the proportions of 64x32"),
        (
            torch.zeros(2, 4, 2, 5),
            {},
            r"shape \(2, 4, 2, 5\) .* \(num_features=None\); give the model output_fmt, NCHW",
        ),
        (torch.zeros(2, 4, 2, 5), {"num_features": 6}, "num_features=6"),
        (torch.zeros(2, 5), {}, r"returns something of shape \(2, 5\), neither tokens \(B, N, C\) nor a map"),
        ((torch.zeros(2, 8, 5),), {}, "of type tuple"),
    ],
)
def test_what_is_no_grid_of_regions_is_skipped_with_its_reason(found, said, reason):
    with pytest.raises(Skip, match=reason):
        regions(Returning(found, **said), IMAGES, "mine")


def test_a_module_without_forward_features_is_told_what_is_missing():
    with pytest.raises(Skip, match=r"^mine has no forward_features, "):
        regions(nn.Identity(), IMAGES, "mine")


def test_regions_keep_no_graph():
    assert not of("test_vit", device="cpu").features.requires_grad


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 32))
def test_a_grid_of_squares_is_found_from_its_number(rows, columns, patch):
    assert grid_of(rows * columns, (rows * patch, columns * patch)) == (rows, columns)


@given(st.integers(1, 64), st.tuples(*[st.tuples(st.integers(64, 999), st.booleans())] * 2))
def test_a_stride_may_round_either_side_up_or_down(stride, sides):
    grid = tuple(-(-side // stride) if up else side // stride for side, up in sides)
    assert _covers(grid, tuple(side for side, _ in sides))


def test_a_grid_of_other_proportions_covers_no_image():
    assert not _covers((7, 14), (224, 224))
    assert not _covers((14, 7), (224, 448))
    assert not _covers((7, 512), (224, 224))


def measure(*args, **kwargs):
    return all_metrics()["top_tokens"].measure(Case(Spec(*args, **kwargs), PROTOCOL))


@pytest.mark.parametrize(
    ("model", "size", "number"),
    [
        ("deit_small_patch16_224", (224, 224), 196),
        ("deit_small_patch16_224", (96, 96), 36),
        ("swin_tiny_patch4_window7_224", (224, 224), 49),
        ("resnet50", (224, 224), 49),
        ("resnet50", (96, 96), 9),
        ("esvit_swin_tiny", (224, 224), 49),
        ("esvit_deit_small", (224, 224), 196),
    ],
)
def test_top_tokens_are_those_of_the_paper(model, size, number):
    value = measure(model, size=size, batch=8)
    assert (value.value, value.note, value.unit) == (number, "", "1")


class Asking(nn.Module):
    """Looks at its numbers, which meta tensors have none of."""

    def forward_features(self, images):
        assert images.mean().item() == 0
        return images[:, :, ::16, ::16].flatten(2).transpose(1, 2)


@register_model
def vitbench_regions_asking(pretrained=False, **kwargs):
    return Asking()


def test_top_tokens_are_counted_on_real_tensors_where_meta_has_no_answer():
    value = measure("vitbench_regions_asking", size=(64, 32))
    assert value.value == 8
    assert value.note.startswith("counted on real tensors, since on meta: ")


def test_top_tokens_are_skipped_where_there_are_none():
    for mode in ("train", "pretrain"):
        value = measure("test_vit", size=(160, 160), mode=mode)
        assert (value.status, value.note) == ("skipped", "regions are counted in mode infer")
    value = measure("vitbench_asking", size=(32, 32))
    assert (value.status, value.note[:38]) == ("skipped", "vitbench_asking has no forward_feature")
    assert measure("test_vit", size=(160, 160), model_args={"in_chans": 1}).value == 100

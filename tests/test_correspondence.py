"""Correspondence of regions: known answers, the stored ones of the official code, and what is said where it fails."""

import base64
import dataclasses
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from timm.models import register_model
from torch import nn

from bench import correspondence, photographs
from bench.build import Case
from bench.correspondence import KEPT, correspond, match, views
from bench.details import jpeg
from bench.errors import Skip
from bench.metrics import all_metrics
from bench.protocol import preset
from bench.regions import Regions, regions
from bench.spec import Spec
from tests import detfill
from tests.randomness import untouched

PROTOCOL = preset("quick", 1)
BOTH = ("correspondence_accuracy", "correspondence_distance")
GOLDEN = json.loads((Path(__file__).parent / "goldens" / "esvit" / "correspondence.json").read_text())
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def one_hot(places, grid, width=None):
    """Regions that are all different: the one at k is what `places` says of it, on an axis of its own."""
    return Regions(F.one_hot(torch.tensor(places), width or len(places)).double()[None], grid)


def mirror(found):
    """The same regions in the mirrored picture."""
    rows, columns = found.grid
    return Regions(found.features.unflatten(1, (rows, columns)).flip(2).flatten(1, 2), found.grid)


grids = st.tuples(st.integers(1, 9), st.integers(1, 9)).filter(lambda grid: math.prod(grid) > 1)
sizes = st.tuples(st.integers(1, 999), st.integers(1, 999))


@given(grids, sizes, st.integers(0, 99), st.sampled_from([torch.float64, torch.float32]))
def test_what_is_mirrored_with_the_picture_is_in_its_place_exactly(grid, size, seed, dtype):
    features = torch.randn(1, math.prod(grid), 16, generator=torch.Generator().manual_seed(seed)).to(dtype)
    found = Regions(features, grid)
    rows = match(found, mirror(found), size)
    assert rows.dtype == torch.float64
    assert len(rows) == min(KEPT, math.prod(grid))
    assert torch.equal(rows[:, 5], torch.zeros(len(rows), dtype=torch.float64))
    assert rows[:, 4].tolist() == pytest.approx([1] * len(rows))
    for y1, x1, y2, x2, *_ in rows.tolist():
        assert (y1, x1) == (y2, pytest.approx(size[1] - x2))


@given(st.data(), grids, sizes)
def test_matches_are_those_worked_out_by_hand(data, grid, size):
    """Each region of view 1 is met by one of view 2, drawn at random; only the places of these are to be got right."""
    number = math.prod(grid)
    places = data.draw(st.permutations(range(number)))  # of view 2: what region k holds
    rows = match(one_hot(list(range(number)), grid), one_hot(places, grid), size).tolist()
    assert len(rows) == min(KEPT, number)
    height, width = size[0] / grid[0], size[1] / grid[1]
    for first, row in enumerate(rows):  # all cosines are 1: the first regions are kept, in order
        second = places.index(first)
        (r1, c1), (r2, c2) = divmod(first, grid[1]), divmod(second, grid[1])
        y1, x1, y2, x2 = (r1 + 0.5) * height, (c1 + 0.5) * width, (r2 + 0.5) * height, (c2 + 0.5) * width
        error = math.hypot(y2 - y1, x2 - (size[1] - x1))
        assert row == pytest.approx([y1, x1, y2, x2, 1, error], abs=1e-9 * max(size))
        assert (row[5] == 0) == (r1 == r2 and c1 + c2 == grid[1] - 1)


def test_of_equals_the_first_is_taken():
    before = one_hot([0, 1, 2, 3], (2, 2))
    after = one_hot([3, 1, 1, 0], (2, 2), width=4)  # 2 is met by none: all of view 2 are as unlike
    rows = match(before, after, (64, 32))
    assert rows.tolist() == [
        [16, 8, 48, 24, 1, pytest.approx(32)],  # region 0 is the last of view 2; its place was the second
        [16, 24, 16, 24, 1, pytest.approx(16)],  # region 1 is the second and the third
        [48, 24, 16, 8, 1, pytest.approx(32)],
        [48, 8, 16, 8, 0, pytest.approx(math.hypot(32, 16))],
    ]


def test_the_ten_of_the_highest_cosines_are_kept_whatever_their_lengths():
    number = 24
    cosines = torch.linspace(0.2, 0.9, number, dtype=torch.float64)[torch.randperm(number)]
    before, off = (
        torch.eye(2 * number, dtype=torch.float64)[:number],
        torch.eye(2 * number, dtype=torch.float64)[number:],
    )
    after = cosines[:, None] * before + (1 - cosines**2).sqrt()[:, None] * off
    lengths = torch.rand(number, 1, dtype=torch.float64) + 0.1
    found = Regions((lengths * before)[None], (4, 6))
    rows = match(found, Regions((lengths.flip(0) * after)[None], (4, 6)), (40, 60))
    best = cosines.argsort(descending=True)[:KEPT]
    assert rows[:, 4].tolist() == pytest.approx(cosines[best].tolist())
    assert rows[:, 0].tolist() == (best // 6 * 10 + 5).tolist()
    assert rows[:, 1].tolist() == (best % 6 * 10 + 5).tolist()
    assert torch.equal(rows[:, :2], rows[:, 2:4])


def test_cosines_are_taken_in_more_than_half_precision():
    """Two regions whose cosines differ by 1e-5, of features that bfloat16 holds."""
    before = Regions(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]], dtype=torch.bfloat16), (1, 2))
    after = Regions(torch.tensor([[[256.0, 1.5], [256.0, 1.0]]], dtype=torch.bfloat16), (1, 2))
    assert match(before, after, (1, 2))[0, 3].item() == 1.5  # the second, though by little
    assert match(before, after, (1, 2))[0, 4].item() == pytest.approx(1 / math.hypot(1, 1 / 256), abs=1e-12)


def test_regions_without_numbers_and_a_lone_region_are_refused():
    broken = one_hot([0, 1, 2, 3], (2, 2))
    for bad in (math.nan, math.inf):
        broken.features[0, 2, 1] = bad
        for pair in ((broken, one_hot([0, 1, 2, 3], (2, 2))), (one_hot([0, 1, 2, 3], (2, 2)), broken)):
            with pytest.raises(Skip, match=r"^regions of the top layer are not finite$"):
                match(*pair, (32, 32))
    with pytest.raises(Skip, match=r"^there is one region at the top layer"):
        match(one_hot([0], (1, 1)), one_hot([0], (1, 1)), (32, 32))


def coloured(height=24, width=40, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def same(one, other):
    return one.mode == other.mode and one.size == other.size and one.tobytes() == other.tobytes()


def test_view_two_is_mirrored_and_grey():
    picture = coloured()
    first, second = views(picture, seed=None)
    assert same(first, picture)
    grey = ImageOps.mirror(picture.convert("L"))
    assert same(second, Image.merge("RGB", [grey] * 3))


def test_jitter_is_of_its_seed_alone_and_takes_four_pictures_of_five():
    picture = coloured()
    with untouched():
        seconds = [views(picture, seed)[1] for seed in range(200)]
    torch.manual_seed(2)
    assert all(same(views(picture, seed)[1], seconds[seed]) for seed in range(9))
    plain = views(picture, None)[1]
    jittered = [not same(one, plain) for one in seconds]
    assert 140 < sum(jittered) < 180
    assert len({one.tobytes() for one in seconds}) == sum(jittered) + 1
    assert all(same(views(picture, seed)[0], picture) for seed in range(9))
    channels = [one.split() for one in seconds]
    assert all(red.tobytes() == green.tobytes() == blue.tobytes() for red, green, blue in channels)


def synthetic(kind):
    """The two pictures that the stored numbers are of, as `_how` in their file says."""
    if kind == "smooth":
        coarse = np.random.default_rng(0).random((1, 3, 14, 14)).astype(np.float32)
        image = F.interpolate(torch.from_numpy(coarse), size=(224, 224), mode="bilinear", align_corners=False)
    else:
        image = torch.from_numpy(np.random.default_rng(1).random((1, 3, 224, 224)).astype(np.float32))
    return Image.fromarray((image[0] * 255).byte().permute(1, 2, 0).numpy())  # truncated


@pytest.mark.parametrize(
    ("golden", "model", "arguments", "grid"),
    [
        ("swin_tiny_w7", "esvit_swin_tiny", {}, (7, 7)),
        ("swin_tiny_w14", "esvit_swin_tiny", {"window": 14}, (7, 7)),
        ("deit_small_p16", "esvit_deit_small", {}, (14, 14)),
    ],
)
def test_stored_numbers_of_the_official_code_are_met(golden, model, arguments, grid):
    net = detfill.fill(timm.create_model(model, **arguments).double().eval())
    for kind in ("smooth", "noise"):
        pair = [photographs.normalised(view, MEAN, STD)[None].double() for view in views(synthetic(kind), None)]
        before, after = (regions(net, view, model) for view in pair)
        assert before.grid == after.grid == grid
        rows = match(before, after, (224, 224))
        stored = GOLDEN[f"{golden}/{kind}"]
        assert (rows[:, 5] == 0).double().mean().item() == pytest.approx(stored["accuracy"])
        assert rows[:, 5].mean().item() == pytest.approx(stored["distance_error"], abs=1e-4)
        assert rows[-1, 4].item() >= stored["eleventh_similarity"] - 1e-6


def measure(name, *args, **kwargs):
    value = all_metrics()[name].measure(Case(Spec(*args, **kwargs), PROTOCOL))
    assert json.loads(json.dumps(value.details, allow_nan=False)) == value.details
    return value


class Levels(nn.Module):
    """Knows of each cell how bright it is, and nothing else: a direction of its own for each brightness."""

    cells = 16
    calls = 0

    def forward_features(self, images):
        Levels.calls += 1
        angles = F.avg_pool2d(images.mean(dim=1), self.cells).flatten(1) * 0.5
        return torch.stack([angles.cos(), angles.sin()], dim=-1)


@register_model
def vitbench_levels(pretrained=False, **kwargs):
    return Levels()


@register_model
def vitbench_levels_by_number(pretrained=False, **kwargs):
    """What it knows of a place it knows of that place in any picture: mirrored or not."""
    net = Levels()
    net.forward_features = lambda images: torch.eye(images[0, 0, ::16, ::16].numel())[None]
    return net


@pytest.fixture
def gradient(tmp_path):
    """A folder with one grey picture that is darker from row to row, and from column to column."""
    rows, columns = np.mgrid[:128, :128]
    Image.fromarray((rows // 16 * 24 + columns // 16 * 3 + columns / 64).astype(np.uint8)).save(tmp_path / "grey.png")
    return photographs.identify(str(tmp_path))


@pytest.mark.parametrize("size", [(64, 64), (96, 32), (32, 96)])
def test_a_model_that_knows_each_cell_finds_all(gradient, monkeypatch, size):
    monkeypatch.setattr(correspondence, "_JITTER", lambda picture: picture)
    accuracy, distance = (measure(name, "vitbench_levels", size=size, images=gradient) for name in BOTH)
    assert (accuracy.value, accuracy.unit, distance.value, distance.unit) == (1, "1", 0, "px")
    assert accuracy.details["per_image"] == {"grey.png": 1}
    assert distance.details["per_image"] == {"grey.png": 0}
    assert accuracy.details["grid"] == [size[0] // 16, size[1] // 16]
    assert accuracy.details["size"] == list(size)
    assert accuracy.details["entropy"] is None
    assert accuracy.details["entropy_missing"].startswith("vitbench_levels computes no attention map")


def test_a_model_that_knows_places_alone_is_off_by_how_far_they_are_from_the_middle(gradient):
    value = measure("correspondence_distance", "vitbench_levels_by_number", size=(32, 64), images=gradient)
    assert value.value == pytest.approx((48 + 16 + 16 + 48) / 4)  # 4 columns of 16 px, mirrored
    assert measure(BOTH[0], "vitbench_levels_by_number", size=(32, 64), images=gradient).value == 0
    assert measure(BOTH[0], "vitbench_levels_by_number", size=(32, 48), images=gradient).value == pytest.approx(1 / 3)


def test_fewer_regions_than_ten_are_all_kept_and_the_note_says_so(gradient):
    value = measure(BOTH[0], "vitbench_levels", size=(48, 48), images=gradient)
    assert value.details["kept"] == len(value.details["pair"]["matches"]) == 9
    assert "all 9 regions of 3x3 count, there are no 10" in value.note
    assert "there are no 10" not in measure(BOTH[0], "vitbench_levels", size=(64, 64), images=gradient).note


def test_both_metrics_are_of_one_pass_over_both_views(two_images):
    Levels.calls = 0
    case = Case(Spec("vitbench_levels", size=(64, 64)), PROTOCOL)
    assert [all_metrics()[name].measure(case).status for name in BOTH] == ["ok", "ok"]
    assert Levels.calls == 2 * 2 + 1  # and the first view again, whose maps were looked for in vain


def test_details_are_of_what_was_seen(two_images):
    spec = dict(size=(160, 96), precision="float32")
    accuracy, distance = (measure(name, "test_vit", **spec) for name in BOTH)
    details = accuracy.details
    assert list(details) == [
        "weights", "images", "grid", "size", "kept", "per_image", "pair", "entropy", "entropy_missing",
    ]  # fmt: skip
    assert list(distance.details) == ["weights", "images", "per_image"]
    assert (details["grid"], details["size"], details["kept"]) == ([10, 6], [160, 96], 10)
    for value in (accuracy, distance):
        assert "6 photographs" in value.note
        assert "random weights (seed 0): says nothing" in value.note
        assert value.note == f"{value.details['images']}; {value.details['weights']}"
        assert list(value.details["per_image"]) == ["astronaut", "chelsea"]
        assert value.value == pytest.approx(sum(value.details["per_image"].values()) / 2)
    pair = details["pair"]
    matches = np.array(pair["matches"])
    assert pair["image"] == "astronaut"
    assert matches.shape == (10, 6)
    assert (matches[:, 5] == 0).mean() == details["per_image"]["astronaut"]
    assert matches[:, 5].mean() == pytest.approx(distance.details["per_image"]["astronaut"], rel=1e-6)
    assert (np.diff(matches[:, 4]) <= 0).all()
    assert (matches[:, :4] % 16 == 8).all()
    astronaut = next(photographs.pictures("photographs", (160, 96), MEAN, STD))[1]
    assert pair["jpegs"] == [jpeg(view) for view in views(astronaut, PROTOCOL.seed)]
    first, second = (Image.open(io.BytesIO(base64.b64decode(one))) for one in pair["jpegs"])
    assert first.size == second.size == (96, 160)
    red, green, blue = (np.array(channel, dtype=int) for channel in second.split())
    assert max(abs(red - green).max(), abs(red - blue).max()) <= 2
    assert np.ptp(np.array(first, dtype=int), axis=-1).max() > 50
    assert len(json.dumps(details)) < 60_000


def test_entropies_are_those_of_either_view(two_images, monkeypatch):
    spec = dict(size=(160, 160))
    blocks = measure(BOTH[0], "test_vit", **spec).details["entropy"]
    alone = measure("entropy", "test_vit", **spec).details["blocks"]  # of the first view, by the other metric
    assert [block["name"] for block in blocks] == [block["name"] for block in alone]
    for block, other in zip(blocks, alone, strict=True):
        assert block["views"][0] == pytest.approx(other["entropy"], rel=1e-5)
        assert len(block["views"][1]) == len(block["views"][0])
        assert block["views"][1] != block["views"][0]
    monkeypatch.setattr(correspondence, "views", lambda picture, seed: (picture, picture))
    for block in measure(BOTH[0], "test_vit", **spec).details["entropy"]:
        assert block["views"][0] == block["views"][1]


def test_blocks_of_several_maps_have_a_row_a_map(two_images):
    found = correspond(Case(Spec("sgformer_s"), PROTOCOL))
    assert found.grid == (7, 7)
    hybrid = [block["name"] for block in found.entropy if block["name"].startswith("block2.0.")]
    assert hybrid == ["block2.0.attn/global_attn_drop", "block2.0.attn/local_attn_drop"]


class Hiding(Levels):
    """Attends where nobody sees it, from some image on."""

    def __init__(self, kind, shown=0):
        super().__init__()
        self.kind, self.shown, self.passes = kind, shown, 0
        self.attn_drop = nn.Identity()
        self.num_heads = 1

    def forward_features(self, images):
        x = super().forward_features(images)
        self.passes += 1
        p = (x @ x.transpose(1, 2)).softmax(dim=-1)[:, None]
        if self.passes <= self.shown:
            self.attn_drop(p)
        elif self.kind == "fused":
            F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])
        elif self.kind == "no map":
            self.attn_drop(p * 2)
        return x


@register_model
def vitbench_levels_hiding(pretrained=False, kind="hidden", shown=0, img_size=None, **kwargs):
    return Hiding(kind, shown)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("hidden", "hides attention maps: 1 softmaxes over a last axis and 0 fused attention calls, but 0 maps"),
        ("fused", "1 fused attention calls"),
        ("no map", "what attn_drop is given is no softmaxed map"),
    ],
)
@pytest.mark.parametrize("shown", [0, 1, 3])
def test_hidden_maps_cost_the_entropies_and_nothing_else(kind, reason, shown, two_images):
    arguments = {"kind": kind, "shown": shown}
    plain, hiding = (
        [measure(name, model, size=(64, 64), **words) for name in BOTH]
        for model, words in (("vitbench_levels", {}), ("vitbench_levels_hiding", {"model_args": arguments}))
    )
    assert [value.value for value in hiding] == [value.value for value in plain]
    assert [value.details["per_image"] for value in hiding] == [value.details["per_image"] for value in plain]
    assert hiding[0].details["pair"] == plain[0].details["pair"]
    assert hiding[0].details["entropy"] is None
    assert reason in hiding[0].details["entropy_missing"]


@pytest.mark.parametrize(
    ("model", "axes", "reason"),
    [
        ("test_vit", {"model_args": {"in_chans": 1}}, "photographs have 3 channels, and this model takes 1"),
        ("test_vit", {"mode": "pretrain"}, "images are looked at in mode infer"),
        ("test_vit", {"mode": "train"}, "images are looked at in mode infer"),
        ("vitbench_telling", {}, "vitbench_telling has no forward_features, where timm's models show what they know"),
        ("coat_lite_tiny", {"size": (224, 224)}, "coat_lite_tiny: 50 tokens behind 0 leading ones"),
    ],
)
def test_what_does_not_correspond_is_skipped_with_its_reason(model, axes, reason, two_images):
    for name in BOTH:
        value = measure(name, model, **{"size": (160, 160), **axes})
        assert value.status == "skipped"
        assert value.note.startswith(reason)


@pytest.mark.parametrize("precision", ["bfloat16", "amp_bfloat16"])
def test_half_precision_is_that_of_the_model_alone(precision, two_images):
    whole, half = (measure(BOTH[0], "test_vit", size=(160, 160), precision=one) for one in ("float32", precision))
    assert half.status == "ok"
    assert half.details["entropy"] != whole.details["entropy"]
    best, other = (np.array(value.details["pair"]["matches"])[:, 4] for value in (whole, half))
    assert other == pytest.approx(best, abs=0.02)
    assert (other != best).any()


def test_noise_is_seen_as_a_picture():
    value = measure(BOTH[0], "test_vit", size=(160, 160), images="noise")
    assert list(value.details["per_image"]) == [f"noise {number}" for number in range(1, 7)]
    assert "6 images of white noise" in value.note


def test_jitter_is_of_the_protocols_seed_and_the_images_number(two_images, monkeypatch):
    def distance(seed):
        protocol = dataclasses.replace(PROTOCOL, seed=seed)
        return all_metrics()[BOTH[1]].measure(Case(Spec("vitbench_levels", size=(64, 64)), protocol))

    assert distance(0) == distance(0)
    assert distance(0).value != distance(1).value
    seeds = []
    monkeypatch.setattr(correspondence, "views", lambda picture, seed: seeds.append(seed) or views(picture, seed))
    distance(7)
    assert seeds == [7, 8]

"""EsViT's pictures: what is drawn where. Records written by hand."""

import base64
import dataclasses
import io

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from bench.record import Value
from bench.spec import Spec
from reports.figures import correspondences, head_entropies, heat_maps, with_looks
from reports.figures.heat_maps import bits, most
from reports.figures.losses_batch import draw as losses_batch
from reports.style import styled

SWIN, DEIT = "esvit_swin_tiny", "esvit_deit_small"
OURS = (losses_batch, heat_maps, head_entropies, correspondences)
ORIGIN = {"weights": "words on weights", "images": "1 photograph"}
RIGHT, WRONG = "#009e73", "#d55e00"


@styled
def drawn(frame):
    frame = with_looks(frame)
    return {picture.name: picture for draw in OURS for picture in draw(frame)}


def trained(model=SWIN):
    return Spec(model, weights="pretrained")


def failed(value):
    return dataclasses.replace(value, value=None, interval=None, details={}, status="failed", note="why")


def jpeg(colour, width=32, height=16):
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, "JPEG")
    return base64.b64encode(file.getvalue()).decode()


# Memory over the batch.


def step(model, batch, loss=None, **arguments):
    return Spec(model, mode="pretrain", batch=batch, model_args={**arguments, **({"loss": loss} if loss else {})})


def memory(mib, metric="peak_live_bytes"):
    return Value(metric, "B", mib * 2**20)


def curves(axes):
    return {line.get_label(): [*map(list, line.get_data()), line.get_linestyle()] for line in axes.lines}


def test_memory_of_both_losses_has_a_panel_a_model(frame_of):
    cells = [
        (step(model, batch, loss), memory(scale * batch * (3 if loss is None else 1)))
        for model, scale in ((SWIN, 100), (DEIT, 200))
        for loss in (None, "view")
        for batch in (4, 1, 12)
    ]
    picture = drawn(frame_of(*cells))["losses_batch"]
    found = {axes.get_title(loc="left"): curves(axes) for axes in picture.figure.axes}
    assert found == {
        f"{DEIT}, mono-stage": {
            "view+region loss": [[1, 4, 12], [600, 2400, 7200], "-"], "view loss": [[1, 4, 12], [200, 800, 2400], "--"],
        },
        f"{SWIN}, multi-stage": {
            "view+region loss": [[1, 4, 12], [300, 1200, 3600], "-"], "view loss": [[1, 4, 12], [100, 400, 1200], "--"],
        },
    }  # fmt: skip
    one, two = picture.figure.axes
    assert one.get_ylim() == two.get_ylim()
    assert (one.get_xscale(), one.get_yscale(), one.get_ylabel()) == ("log", "log", "peak live bytes (MiB)")
    assert [text.get_text() for text in two.get_xticklabels()] == ["1", "4", "12"]


def test_routes_are_lines_and_what_lacks_a_loss_is_left_out(frame_of):
    def ladder(model, loss=None, metric="peak_live_bytes", **arguments):
        return [(step(model, batch, loss, **arguments), memory(batch, metric)) for batch in (1, 2)]

    own = ladder(SWIN) + ladder(SWIN, "view")
    reference = ladder(SWIN, impl="reference") + ladder(SWIN, "view", impl="reference")
    [axes] = drawn(frame_of(*own, *reference, *ladder(DEIT)))["losses_batch"].figure.axes
    assert set(curves(axes)) == {f"{loss} loss{route}" for loss in ("view", "view+region")
                                 for route in ("", " impl=reference")}  # fmt: skip
    colours = {line.get_label(): line.get_color() for line in axes.lines}
    assert colours["view loss"] == colours["view+region loss"] != colours["view loss impl=reference"]
    said = ladder(SWIN, "view+region") + ladder(SWIN, "view")  # the default, said
    assert set(curves(drawn(frame_of(*said))["losses_batch"].figure.axes[0])) == {"view loss", "view+region loss"}
    for too_few in (ladder(SWIN), own[:1] + own[2:], own[:1] + own[2:3]):
        assert "losses_batch" not in drawn(frame_of(*too_few))


def test_measured_memory_of_the_losses_goes_before_predicted_and_failures_are_said(frame_of):
    cells = [
        (step(SWIN, batch, loss), memory(batch), memory(10 * batch, "peak_memory"))
        for loss in (None, "view")
        for batch in (1, 2)
    ]
    [axes] = drawn(frame_of(*cells))["losses_batch"].figure.axes
    assert axes.get_ylabel() == "peak memory (MiB)"
    assert curves(axes)["view loss"][1] == [10, 20]
    picture = drawn(frame_of(*[(spec, failed(value)) for spec, value, _ in cells]))["losses_batch"]
    assert (picture.figure, picture.caption[:9]) == (None, "Not drawn")


# Heat maps.


def gallery(heads, name="last", grid=(1, 2), model=SWIN, weights="pretrained"):
    blocks = [
        {"name": "first", "query": "class token", "grid": [1, 2], "heads": [[1.0, 0.0]]},
        {"name": name, "query": "centre patch", "grid": list(grid), "heads": heads},
    ]
    details = {**ORIGIN, "all_pairs": 0.5, "per_image": {"astronaut": 0.5}, "similarity": {},
               "blocks": [{"name": name, "heads": len(heads), "ccs": 0.5, "all_pairs": 0.5}],
               "gallery": {"image": "astronaut", "jpeg": jpeg((90, 120, 150)), "blocks": blocks}}  # fmt: skip
    return Spec(model, weights=weights), Value("ccs", "1", 0.5, details=details)


def test_heads_are_drawn_by_entropy_with_most_of_their_mass(frame_of):
    heads = [[0.9, 0.1], [0.5, 0.5], [0.3, 0.7]]
    picture = drawn(frame_of(gallery(heads)))["heat_maps_esvit-swin-tiny"]
    photograph, *panels = [axes for axes in picture.figure.axes if axes.images]
    titles = [axes.get_title() for axes in panels]
    assert titles == ["head 2: 1.00 bit", "head 3: 0.881 bit", "head 1: 0.469 bit"]
    assert photograph.images[0].get_array().shape == (16, 32, 3)
    assert (photograph.images[0].get_array()[0, 0] == photograph.images[0].get_array()[-1, -1]).all()
    drawn_at = []
    for axes in panels:
        colours = axes.images[0].get_array()
        grey = [np.ptp(colours[0, x]) < 1e-9 for x in (0, 31)]
        assert (colours[:, :16] == colours[0, 0]).all()
        drawn_at.append([not one for one in grey])
    assert drawn_at == [[True, True], [False, True], [True, False]]  # 0.3 is below the last 60 %
    assert "in last to each patch of astronaut" in picture.caption
    assert "60% of all" in picture.caption
    assert len([axes for axes in picture.figure.axes if not axes.images]) == 8 - 4  # empty ones show nothing


def test_what_is_kept_is_the_largest_that_hold_the_mass():
    weights = np.array([[0.1, 0.4], [0.2, 0.3]])
    assert most(weights).tolist() == [[False, True], [False, True]]  # sums 0.1, 0.3, 0.6, 1.0 above 0.4
    assert most(10 * weights).tolist() == most(weights).tolist()  # a share of whatever there is
    assert most(weights, 0.75).tolist() == [[False, True], [True, True]]
    assert not most(np.zeros((2, 2))).any()
    assert bits(np.full((2, 2), 0.1)) == pytest.approx(2)
    assert bits(np.array([0.0, 0.7])) == 0
    assert bits(np.zeros(3)) == 0


def test_many_heads_are_spread_over_all(frame_of):
    heads = [[0.5 + n / 200, 0.5 - n / 200] for n in range(48)]
    picture = drawn(frame_of(gallery(heads)))["heat_maps_esvit-swin-tiny"]
    panels = [axes for axes in picture.figure.axes if axes.images]
    assert len(panels) == 1 + 31
    assert panels[1].get_title().startswith("head 1:")
    assert panels[-1].get_title().startswith("head 48:")
    assert "Of 48 heads 31 are shown." in picture.caption


def test_heat_maps_are_of_trained_weights_of_any_model(frame_of):
    heads = [[0.5, 0.5]]
    assert not drawn(frame_of(gallery(heads, weights="random")))
    assert set(drawn(frame_of(gallery(heads, model="vit_tiny_patch16_224")))) == {"heat_maps_vit-tiny-patch16-224"}


# Entropies of heads.


def entropy(last, before=(9.0, 9.0)):
    blocks = [
        {"name": name, "heads": len(heads), "entropy": list(heads), "relative": [0.5] * len(heads)}
        for name, heads in (("first", before), ("last", last))
    ]
    return Value("entropy", "bit", 2.0, details={**ORIGIN, "per_image": {"astronaut": 2.0}, "blocks": blocks})


def correspondence(matches=(), entropies=None, size=(16, 32), grid=(2, 4), kept=10):
    pair = {"image": "astronaut", "jpegs": [jpeg((200, 10, 10)), jpeg((90, 90, 90))], "matches": list(matches)}
    details = {**ORIGIN, "grid": list(grid), "size": list(size), "kept": kept, "per_image": {"astronaut": 0.5},
               "pair": pair, "entropy": entropies, "entropy_missing": "" if entropies else "no maps"}  # fmt: skip
    return Value("correspondence_accuracy", "1", 0.5, details=details)


def test_entropies_of_the_last_block_are_sorted(frame_of):
    picture = drawn(frame_of((trained(), entropy([1.0, 4.0, 2.0])), (trained(DEIT), entropy([5.0]))))["head_entropies"]
    [axes] = picture.figure.axes
    assert {label: data[:2] for label, data in curves(axes).items()} == {
        SWIN: [[1, 2, 3], [4, 2, 1]], DEIT: [[1], [5]],
    }  # fmt: skip
    assert axes.get_ylim()[0] == 0
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("head, the widest first", "entropy of a row (bit)")
    assert "second view" not in picture.caption


def test_both_views_are_drawn_where_correspondences_have_them(frame_of):
    views = [{"name": "first", "views": [[9.0], [9.0]]}, {"name": "last", "views": [[1.0, 3.0], [2.5, 0.5]]}]
    frame = frame_of((trained(), entropy([1.0, 2.0]), correspondence(entropies=views)))
    picture = drawn(frame)["head_entropies"]
    mean, both = picture.figure.axes
    assert curves(mean) == {SWIN: [[1, 2], [2, 1], "-"]}
    assert curves(both) == {SWIN: [[1, 2], [3, 1], "-"], f"{SWIN}, second view": [[1, 2], [2.5, 0.5], "--"]}
    assert mean.get_ylim() == both.get_ylim()
    assert "Dashed: the second view" in picture.caption
    [alone] = drawn(frame_of((trained(), correspondence(entropies=views))))["head_entropies"].figure.axes
    assert set(curves(alone)) == {SWIN, f"{SWIN}, second view"}
    assert "head_entropies" not in drawn(frame_of((trained(), correspondence())))
    random = drawn(frame_of((Spec(SWIN), entropy([1.0]), correspondence(entropies=views))))
    assert set(random) == {"correspondences"}


# Correspondences.


def test_matches_are_lines_from_one_view_to_the_other(frame_of):
    matches = [[4, 4, 4, 28, 0.9, 0.0], [12, 20, 4, 12, 0.8, 8.0], [4, 12, 4, 20, 0.7, 0.0]]
    picture = drawn(frame_of((Spec(SWIN), correspondence(matches))))["correspondences"]
    [axes] = picture.figure.axes
    shift = 32 * 1.06
    first, second = (image.get_extent() for image in axes.images)
    assert first == [0, 32, 16, 0]
    assert second == pytest.approx([shift, shift + 32, 16, 0])
    assert axes.images[0].get_array()[0, 0].tolist() != axes.images[1].get_array()[0, 0].tolist()
    assert axes.images[0].get_array()[8, 8, 0] > 150  # the first view is the red one
    lines = [line for line in axes.lines if len(line.get_xdata())]
    assert [[*map(list, line.get_data())] for line in lines] == [
        [[4, pytest.approx(28 + shift)], [4, 4]],
        [[20, pytest.approx(12 + shift)], [12, 4]],
        [[12, pytest.approx(20 + shift)], [4, 4]],
    ]
    assert [to_hex(line.get_color()) for line in lines] == [RIGHT, WRONG, RIGHT]
    assert lines[0].get_linestyle() != lines[1].get_linestyle()  # told apart without colour
    assert axes.get_title(loc="left") == f"{SWIN}\n2 of 3 right, regions 2 x 4"
    labels = [text.get_text() for text in picture.figure.legends[0].get_texts()]
    assert labels == ["right: the region itself", "wrong: another region"]
    assert (axes.get_xlim(), axes.get_ylim()) == (pytest.approx((0, shift + 32)), (16, 0))
    assert "right: its view, flipped and grey." in picture.caption


def test_a_model_has_a_panel_trained_ones_first_and_not_too_many(frame_of):
    cells = [(Spec(f"m{i}", weights="random" if i < 5 else "pretrained"), correspondence()) for i in range(6)]
    picture = drawn(frame_of(*cells))["correspondences"]
    titles = [axes.get_title(loc="left").splitlines()[0] for axes in picture.figure.axes]
    assert titles == ["m5 pretrained weights", *(f"m{i} random weights" for i in range(3))]
    assert "Not drawn, since 4 are: m3 random weights, m4 random weights." in picture.caption
    assert picture.caption.startswith("**Random weights** (m0 random weights")
    trained = drawn(frame_of(cells[5]))["correspondences"]
    assert "Random" not in trained.caption


def test_long_names_leave_the_next_panel_its_title(frame_of):
    cells = [(Spec(name * 30), correspondence()) for name in ("esvit ", "other ")]
    figure = drawn(frame_of(*cells))["correspondences"].figure
    figure.draw_without_rendering()
    one, two = (axes.title if axes.get_title() else axes._left_title for axes in figure.axes)
    assert one.get_window_extent().x1 < two.get_window_extent().x0
    assert one.get_window_extent().y1 <= figure.bbox.y1


def test_what_was_asked_and_failed_is_said(frame_of):
    found = drawn(frame_of((trained(), failed(correspondence()), failed(entropy([1.0])))))
    assert set(found) == {"correspondences", "head_entropies"}
    for picture in found.values():
        assert picture.figure is None
        assert picture.caption.startswith("Not drawn: ")


def test_every_picture_has_words_for_who_cannot_see(frame_of):
    views = [{"name": "last", "views": [[1.0, 3.0], [2.5, 0.5]]}]
    cells = [gallery([[0.5, 0.5]]), (trained(), entropy([1.0]), correspondence(entropies=views))]
    cells += [(step(SWIN, batch, loss), memory(batch)) for loss in (None, "view") for batch in (1, 2)]
    found = drawn(frame_of(*cells))
    assert len(found) == 4
    for picture in found.values():
        assert SWIN in picture.alt
        assert picture.figure is not None
        picture.figure.draw_without_rendering()

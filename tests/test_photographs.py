"""Images to look at: where they come from, how they are cropped, and what is said where there are none."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from bench import photographs
from bench.errors import UsageError
from bench.photographs import as_picture, identify, load, normalised, origin, pictures, plain
from bench.plan import plan

HALF = (0.5, 0.5, 0.5)


@pytest.mark.parametrize("size", [(224, 224), (64, 32), (32, 64), (100, 333)])
def test_the_six_photographs_are_cropped_to_any_size(size):
    images = dict(load("photographs", size, HALF, HALF))
    assert list(images) == ["astronaut", "chelsea", "coffee", "rocket", "china", "flower"]
    for image in images.values():
        assert image.shape == (3, *size)
        assert image.dtype == torch.float32
        assert -1 <= image.min() < -0.5
        assert 0.4 < image.max() <= 1
    assert origin("photographs") == "6 photographs of scikit-image and scikit-learn"


def test_photographs_need_no_import_of_their_packages():
    script = (
        "import sys; from bench.photographs import load;"
        "assert len(list(load('photographs', (8, 8), (0,) * 3, (1,) * 3))) == 6;"
        "assert not {'skimage', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parent.parent)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(photographs, "find_spec", lambda package: None)
    with pytest.raises(UsageError, match="images=photographs needs the package skimage, which is not installed"):
        next(load("photographs", (8, 8), HALF, HALF))


def test_noise_is_standard_normal_and_always_the_same():
    first, again = (dict(load("noise", (64, 64), (9.0,) * 3, (9.0,) * 3)) for _ in range(2))
    assert len(first) == 6
    assert all(torch.equal(first[name], again[name]) for name in first)
    every = torch.stack(list(first.values()))
    assert every.mean().item() == pytest.approx(0, abs=0.02)
    assert every.std().item() == pytest.approx(1, abs=0.02)
    assert origin("noise") == "6 images of white noise"


@pytest.mark.parametrize("images", ["photographs", "noise"])
def test_pictures_are_what_is_loaded_before_it_is_normalised(images):
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    loaded, shown = dict(load(images, (40, 24), mean, std)), dict(pictures(images, (40, 24), mean, std))
    assert list(shown) == list(loaded)
    for name, image in shown.items():
        assert (image.mode, image.size) == ("RGB", (24, 40))
        again = normalised(image, mean, std)
        if images == "photographs":
            assert torch.equal(again, loaded[name])
            assert as_picture(plain(again, mean, std)).tobytes() == image.tobytes()
        else:  # as far as 256 levels from black to white reach
            held = (loaded[name] > -1.7) & (loaded[name] < 2.2)
            assert 0.9 < held.float().mean() < 1
            assert (again - loaded[name])[held].abs().max() <= 0.5 / 255 / min(std) + 1e-6


def test_a_square_is_the_centre_of_the_shorter_side_at_256(tmp_path):
    image = Image.new("RGB", (600, 400))
    image.paste("white", (300, 0, 600, 400))
    image.save(tmp_path / "halves.png")
    [(name, pixels)] = load(identify(str(tmp_path)), (224, 224), (0.0,) * 3, (1.0,) * 3)
    assert name == "halves.png"
    resized = image.resize((384, 256), Image.Resampling.BICUBIC).crop((80, 16, 304, 240))
    assert torch.equal(
        (pixels * 255).round().byte(), torch.tensor(list(resized.tobytes())).view(224, 224, 3).permute(2, 0, 1)
    )
    assert pixels[:, :, :110].max() == 0
    assert pixels[:, :, 114:].min() == 1


@pytest.mark.parametrize("shape", [(40, 30), (30, 40), (300, 20), (20, 300)])
@pytest.mark.parametrize("size", [(32, 32), (64, 16), (16, 64)])
def test_a_crop_never_leaves_the_image(tmp_path, shape, size):
    Image.new("RGB", shape, "white").save(tmp_path / "white.png")
    [(_, pixels)] = load(identify(str(tmp_path)), size, (0.0,) * 3, (1.0,) * 3)
    assert pixels.shape == (3, *size)
    assert pixels.min() == 1


def test_the_mean_and_deviation_are_those_asked_for(tmp_path):
    Image.new("RGB", (50, 50), (255, 0, 51)).save(tmp_path / "flat.png")
    [(_, pixels)] = load(identify(str(tmp_path)), (16, 16), (0.5, 0.25, 0.2), (0.5, 0.25, 0.1))
    assert pixels[:, 8, 8].tolist() == pytest.approx([1, -1, 0], abs=1e-6)


def test_a_folder_is_read_in_order_whatever_the_format(tmp_path):
    for name, mode in [("c.PNG", "RGBA"), ("a.jpg", "RGB"), ("d.webp", "RGB"), ("b.bmp", "L")]:
        Image.new(mode, (40, 30)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    identify(str(tmp_path))
    assert [name for name, _ in load(identify(str(tmp_path)), (16, 16), HALF, HALF)] == [
        "a.jpg",
        "b.bmp",
        "c.PNG",
        "d.webp",
    ]
    assert origin(identify(str(tmp_path))).startswith(f"4 images of the folder {tmp_path.name} (")


def test_other_images_are_another_experiment_and_a_change_meanwhile_is_refused(tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    planned = identify(str(tmp_path))
    assert identify(f"{tmp_path}/../{tmp_path.name}/") == planned
    Image.new("RGB", (40, 30), "blue").save(tmp_path / "a.png")
    assert identify(str(tmp_path)) != planned
    with pytest.raises(UsageError, match="have changed since the run was planned"):
        next(load(planned, (8, 8), HALF, HALF))


def test_a_planned_cell_names_the_folder_with_its_digest(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    [cell] = plan(["test_vit", "metrics=ccs", f"images={tmp_path}"])
    assert cell.spec.images == identify(str(tmp_path))


def test_what_is_no_folder_of_images_is_refused_by_name(tmp_path):
    identify("photographs")
    identify("noise")
    with pytest.raises(UsageError, match="images=nowhere: no such folder; want photographs, noise or a folder"):
        identify("nowhere")
    with pytest.raises(UsageError, match="the folder holds no image"):
        identify(str(tmp_path))
    (tmp_path / "a.png").write_bytes(b"not an image")
    identify(str(tmp_path))
    with pytest.raises(UsageError, match=r"cannot read the image .*a\.png: "):
        next(load(identify(str(tmp_path)), (8, 8), HALF, HALF))

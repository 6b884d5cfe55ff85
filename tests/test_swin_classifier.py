"""Pre-training checkpoints as timm's Swin classifiers."""

from itertools import pairwise

import numpy as np
import pytest
import timm
import torch
from numpy.testing import assert_allclose
from safetensors.torch import load_file
from torch import nn

import models.greenmim as greenmim
import models.simmim as simmim
from models.masked.swin_names import _geometric, resize_bias_table, swap_merge_order
from models.swin_classifier import main, to_classifier
from tests.detfill import fill, image
from tests.test_greenmim import HERE, official_state

MICRO = {"embed_dim": 32, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)}
NAME = "swin_tiny_patch4_window7_224"


def small(**words):
    return timm.create_model(NAME, **MICRO, **words)


def test_the_official_classifiers_logits_equal_golden():
    golden = np.load(HERE / "goldens/greenmim/finetune_swin_base_w7_224.npz")
    model = timm.create_model("swin_base_patch4_window7_224").double().eval()
    model.load_state_dict(to_classifier(official_state("finetune_swin_base_w7_224"), model))
    with torch.no_grad():
        assert_allclose(model(image()).numpy(), golden["output"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("golden", ["greenmim_swin_micro_w7_224", "simmim_swin_micro_w7_224"])
def test_an_official_encoder_becomes_the_classifiers(golden):
    state, model = official_state(golden), small()
    head = model.head.fc.weight.clone()
    model.load_state_dict(to_classifier(state, model))
    assert torch.equal(model.head.fc.weight, head)
    given = state["encoder.layers.1.downsample.reduction.weight"]
    assert torch.equal(model.layers[2].downsample.reduction.weight, given.float())
    assert torch.equal(model.norm.bias, state["encoder.norm.bias"].float())


@pytest.mark.parametrize(("name", "family"), [("greenmim_swin_micro", greenmim), ("simmim_swin_micro", simmim)])
def test_a_checkpoint_of_the_zoo_gives_the_classifier_its_features(name, family):
    model = fill(timm.create_model(name).double().eval())
    swin = small(num_classes=0).double().eval()
    swin.load_state_dict(to_classifier(model.state_dict(), swin))
    for module in (*model.modules(), *swin.modules()):
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6  # GreenMIM's; timm's is 1e-5
    with torch.no_grad():
        features = model.forward_features(image())
        features = features if features.ndim == 4 else features.transpose(1, 2).unflatten(2, (7, 7))
        expected = swin.forward_features(image()).permute(0, 3, 1, 2)
    torch.testing.assert_close(features, expected, rtol=1e-9, atol=1e-9)


def test_checkpoints_of_2022_read_squares_row_by_row():
    """The order of January 2023 on permuted weights is the order before on the weights as they were."""
    model = fill(timm.create_model("greenmim_swin_micro").double().eval())
    state = {name: x.clone() for name, x in model.state_dict().items()}
    mask = torch.arange(49) % 4 > 0
    with torch.no_grad():
        now = model.forward_features(image(), mask)
        model.load_state_dict(greenmim.checkpoint_filter_fn(state, model, merge_order=2022))
        then = model.forward_features(image(), mask)
        assert not torch.allclose(now, then)
        for stage in model.encoder.layers[:3]:  # by hand: rows first
            merge, dim = stage.downsample, stage.downsample.norm.normalized_shape[0] // 4
            rows_first = torch.arange(4 * dim).view(2, 2, dim).transpose(0, 1).flatten()
            merge.reduction.weight.copy_(merge.reduction.weight[:, rows_first])
            merge.norm.weight.copy_(merge.norm.weight[rows_first])
            merge.norm.bias.copy_(merge.norm.bias[rows_first])
        assert torch.equal(model.forward_features(image(), mask), now)
    swin = small()
    converted = [to_classifier(state, swin, order) for order in (2022, 2023)]
    assert torch.equal(
        converted[0]["layers.1.downsample.norm.weight"],
        swap_merge_order(converted[1])["layers.1.downsample.norm.weight"],
    )
    assert converted[0].keys() == converted[1].keys()
    for filters in (
        lambda: to_classifier(state, swin, 2021),
        lambda: greenmim.checkpoint_filter_fn(state, model, 2021),
    ):
        with pytest.raises(ValueError, match=r"merge_order=2021.*2023, 2022"):
            filters()


# Bias tables.


@pytest.mark.parametrize(("old", "new"), [(6, 7), (7, 14), (7, 12), (12, 14)])
def test_known_offsets_end_where_new_ones_do(old, new):
    grid = _geometric(old - 1, new - 1)
    assert len(grid) == 2 * old - 1
    assert_allclose(grid, -grid[::-1])
    assert grid[-1] == pytest.approx(new - 1, abs=1e-3)
    steps = np.diff(grid[old - 1 :])
    ratios = {round(b / a, 6) for a, b in pairwise(steps)}
    assert len(ratios) == 1
    assert steps[0] == pytest.approx(1)


def test_a_table_is_resized_head_by_head():
    """A smooth function of the offset survives; what is at offset 0 stays there exactly."""
    offsets = _geometric(6, 13)
    table = torch.from_numpy(np.stack([np.add.outer(offsets, 2 * offsets), np.multiply.outer(offsets, offsets)]))
    resized = resize_bias_table(table.flatten(1).T, 27)
    exact = np.arange(-13, 14)
    expected = np.stack([np.add.outer(exact, 2 * exact), np.multiply.outer(exact, exact)])
    assert resized.shape == (27**2, 2)
    assert_allclose(resized.T.reshape(2, 27, 27), expected, atol=1e-3)
    noise = torch.randn(13**2, 3)
    assert_allclose(resize_bias_table(noise, 27)[27**2 // 2], noise[13**2 // 2], atol=1e-5)
    assert resize_bias_table(noise, 13) is noise
    assert resize_bias_table(noise.half(), 15).dtype == torch.float16


def test_windows_of_6_become_windows_of_7():
    given = simmim.checkpoint_filter_fn(
        official_state("simmim_swin_base_w6_192"), timm.create_model("simmim_swin_base")
    )
    with torch.device("meta"):
        other = timm.create_model("simmim_swin_base", img_size=224)
        model = timm.create_model("swin_base_patch4_window7_224")
    table = "layers.0.blocks.0.attn.relative_position_bias_table"
    expected = resize_bias_table(given[f"encoder.{table}"], 13)
    assert torch.equal(simmim.checkpoint_filter_fn(given, other)[f"encoder.{table}"], expected)
    assert torch.equal(to_classifier(given, model)[table], expected)
    green = official_state("greenmim_swin_base_w6_192")
    with torch.device("meta"):
        larger = timm.create_model("greenmim_swin_base")
    larger.load_state_dict(greenmim.checkpoint_filter_fn(green, larger), assign=True)
    assert larger.encoder.layers[3].blocks[0].attn.relative_position_bias_table.shape == (169, 32)


# The command.


def test_the_command_writes_a_checkpoint_that_timm_takes(tmp_path, capsys):
    state = official_state("simmim_swin_tiny_w7_224")
    torch.save({"model": state}, tmp_path / "official.pth")
    assert main([str(tmp_path / "official.pth"), str(tmp_path / "swin.safetensors"), "--model", NAME]) == 0
    assert f"for {NAME} with img_size=224" in capsys.readouterr().out
    model = timm.create_model(NAME)
    model.load_state_dict(load_file(tmp_path / "swin.safetensors"))
    assert torch.equal(model.norm.bias, state["encoder.norm.bias"].float())


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["absent.pth", "out", "--model", NAME], "absent.pth"),
        (["given.pth", "out", "--model", "deit_tiny_patch16_224"], "not a Swin"),
        (["given.pth", "out", "--model", "swin_of_nobody"], "swin_of_nobody"),
        (["given.pth", "out", "--model", "swin_base_patch4_window7_224"], "same width and depths"),
        (["noise.pth", "out", "--model", NAME], "error"),
        (["given.pth", "absent/out", "--model", NAME], "error"),
    ],
)
def test_the_command_says_in_one_line_what_it_cannot_do(tmp_path, monkeypatch, capsys, words, reason):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": fill(timm.create_model("simmim_swin_tiny")).state_dict()}, "given.pth")
    (tmp_path / "noise.pth").write_bytes(b"no checkpoint")
    assert main(words) == 2
    err = capsys.readouterr().err
    assert reason in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()

"""A step of EsViT against the official code's losses, matches, centres and gradients, and against plain definitions."""

import math

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from bench.build import Case
from bench.metrics.macs import macs
from bench.metrics.peak_live_bytes import peak_live_bytes
from bench.protocol import preset
from bench.spec import Spec
from models.esvit import EsViT, checkpoint_filter_fn, losses, pretraining
from models.esvit.multistage import IMPLS
from models.esvit.network import Head
from models.esvit.schedules import teacher_momentum, teacher_temperature
from tests.detfill import values
from tests.esvit import GOLDENS, crops, draw, fill_network, golden, index, official_state, small, tiny

ROUTES = [impl for impl in IMPLS if impl != "auto"]


# Against the official code.


class Step:
    """One step with the golden's weights, centres and crops."""

    def __init__(self, name: str, impl: str):
        facts, self.golden = index("index_loss")[name], golden(name)
        model = {"swin": "esvit_swin_tiny", "vil_": "esvit_vil_2262"}[facts["model"][:4]]
        arguments = {"window": 14} if facts["model"].endswith("w14") else {}
        self.facts, self.impl = facts, impl
        self.module = pretraining(
            model, out_dim=facts["out_dim"], local_crops=facts["n_local"], impl=impl, **arguments
        ).double()
        self.module.eval()
        fill_network(self.module.student)
        fill_network(self.module.teacher, "teacher.")
        for buffer, known in ((self.module.center, "center"), (self.module.center_grid, "center_grid")):
            buffer.copy_(torch.from_numpy(values(known, (1, facts["out_dim"]))))
        self.out = self.module(crops(facts["batch"], facts["n_local"]), epoch=facts["epoch"])
        if facts["gradients"]:
            self.out["loss"].backward()
        self.module.after_step()


@pytest.fixture(scope="module")
def step(request) -> Step:
    return Step(*request.param)


SOON = {  # golden -> the routes that the default run has; the others are slow
    "loss_swin_tiny_w7": ROUTES,
    "loss_swin_tiny_w14": [],
    "loss_vil_2262": ["reference"],
    "loss_swin_tiny_w7_K65536": ["fast"],
}
every_step = pytest.mark.parametrize(
    "step",
    [
        pytest.param((name, impl), id=f"{name}-{impl}", marks=[] if impl in soon else [pytest.mark.slow])
        for name, soon in SOON.items()
        for impl in ROUTES
    ],
    indirect=True,
    scope="module",
)


def assert_equal(ours, theirs, atol=1e-9):
    ours = ours.detach().numpy() if isinstance(ours, torch.Tensor) else np.asarray(ours)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)


@every_step
def test_losses_matches_and_centres_are_the_official_ones(step):
    out, theirs = step.out, step.golden
    assert_equal(out["loss"], theirs["loss"])
    assert_equal(out["view_loss"], theirs["L_V"])
    assert_equal(out["region_loss"], theirs["L_R"])
    assert SOON.keys() == index("index_loss").keys()
    assert set(out["matches"]) == set(losses.pairs(2, 2 + step.facts["n_local"]))
    for (teacher, student), match in out["matches"].items():
        assert np.array_equal(match.numpy(), theirs[f"match_t{teacher}_s{student}"])
    assert_equal(step.module.center, theirs["center_after"], 1e-14)
    assert_equal(step.module.center_grid, theirs["center_grid_after"], 1e-14)
    if step.impl == "reference":
        for kind in ("view", "region"):
            known = theirs[f"pair_{kind}"]
            assert np.isnan(known).sum() == 2
            for pair, found in out[f"{kind}_pairs"].items():
                assert_equal(found, known[pair])


@every_step
def test_gradients_are_the_official_ones(step):
    if not step.facts["gradients"]:
        return
    theirs = step.golden
    ours = {name.removeprefix("backbone."): p.grad for name, p in step.module.student.named_parameters()}
    assert list(ours.keys() ^ set(theirs["grad_names"].tolist())) == []
    for name, norm, total in zip(theirs["grad_names"], theirs["grad_l2"], theirs["grad_sum"], strict=True):
        assert_equal(ours[name].norm() / norm, 1)
        assert_equal((ours[name].sum() - total) / norm, 0)
    assert all(p.grad is None for p in step.module.teacher.parameters())


def test_names_and_counts_are_the_official_ones():
    official = official_state(GOLDENS / "train_swin_tiny_w7_K1024.tsv")
    student = pretraining("esvit_swin_tiny", out_dim=1024).student
    fitted = checkpoint_filter_fn(official, student)
    student.load_state_dict(fitted)
    assert torch.equal(student.head_dense.last_layer.weight_v, official["head_dense.last_layer.weight_v"].float())
    for name, facts in index("index_loss").items():
        if "swin_tiny_w7" in name:
            with torch.device("meta"):
                built = pretraining("esvit_swin_tiny", out_dim=facts["out_dim"])
            assert sum(p.numel() for p in built.student.parameters()) == facts["params_total_with_heads"]
            assert sum(p.numel() for p in built.student.backbone.parameters()) == facts["params_backbone"]


# Whole steps, of a small backbone.


def defined(module: EsViT, crops, epoch, weights=(0.5, 0.5)):
    """The loss by the words of the spec, image by image and region by region."""
    first = module.global_crops
    temperature = np.interp(epoch, [0, 29], [0.04, 0.07])
    sides = {}
    for name, net, given_ in (("t", module.teacher, crops[:first]), ("s", module.student, crops)):
        for number, crop in enumerate(given_):
            view, regions = net.backbone.forward_regions(crop)
            sides[name, number] = view, net.head(view), regions, net.head_dense(regions)

    def entropy(q, s, centre):
        q = ((q - centre) / temperature).softmax(-1)
        return -(q * (s / 0.1).log_softmax(-1)).sum()

    view, region = [], []
    for t in range(first):
        for s in range(len(crops)):
            if s == t:
                continue
            q, p = sides["t", t], sides["s", s]
            images = range(len(crops[0]))
            view.append(sum(entropy(q[1][b], p[1][b], module.center[0]) for b in images) / len(images))
            found = []
            for b in images:
                for i in range(p[2].shape[1]):
                    j = max(range(q[2].shape[1]), key=lambda j: F.cosine_similarity(p[2][b, i], q[2][b, j], dim=0))
                    found.append(entropy(q[3][b, j], p[3][b, i], module.center_grid[0]))
            region.append(sum(found) / len(found))
    V, R = sum(view) / len(view), sum(region) / len(region)
    return weights[0] * V + weights[1] * R


LAYOUTS = {
    "paper's": (32, 32, 16, 16, 16),
    "no local crops": (32, 32),
    "two local sizes": (32, 32, 16, 24),
    "mixed local sizes": (32, 32, 16, 24, 16),
    "local as large": (32, 32, 32),
}


@pytest.mark.parametrize("impl", ROUTES)
@pytest.mark.parametrize("sizes", LAYOUTS.values(), ids=LAYOUTS)
def test_loss_by_its_definition(sizes, impl):
    """The official code crashes without local crops, and with local crops of two sizes."""
    module = small(impl, sizes).eval()
    nn.init.normal_(module.center)
    nn.init.normal_(module.center_grid)
    inputs = draw(module)
    out = module(inputs["crops"], epoch=7)
    torch.testing.assert_close(out["loss"], defined(module, inputs["crops"], 7), rtol=1e-10, atol=1e-10)
    assert [tuple(x.shape) for x in inputs["crops"]] == [(2, 3, size, size) for size in sizes]


@pytest.mark.parametrize("impl", ROUTES)
def test_more_than_two_global_crops(impl):
    module = small(impl, (32, 32, 32, 16), global_crops=3).eval()
    inputs = draw(module)
    torch.testing.assert_close(module(**inputs)["loss"], defined(module, inputs["crops"], 0), rtol=1e-10, atol=1e-10)


def test_weights_of_the_paper_and_of_the_official_code():
    outs = [small(loss_weights=word).eval()(**draw(small())) for word in ("official", "paper")]
    for out, weight in zip(outs, (0.5, 1.0), strict=True):
        torch.testing.assert_close(out["loss"], weight * (out["view_loss"] + out["region_loss"]))
    torch.testing.assert_close(2 * outs[0]["loss"], outs[1]["loss"])


def test_view_loss_alone():
    module, both = small(dense=0), small()
    module.student.load_state_dict(both.student.state_dict(), strict=False)
    module.teacher.load_state_dict(both.teacher.state_dict(), strict=False)
    out = module(**draw(module))
    assert out.keys() == {"loss", "view_loss"}
    torch.testing.assert_close(out["loss"], both(**draw(both))["view_loss"])
    module.after_step()


def test_teacher_follows_and_centres_move_after_the_step():
    for impl in ROUTES:
        module = small(impl, steps=100).train()
        inputs = draw(module)
        with torch.no_grad():
            for p in module.student.parameters():
                p.add_(0.1)
        before = [p.clone() for p in module.teacher.parameters()]
        statistics = module.student.backbone.norm.running_mean.clone()
        for step in range(3):
            centre, grid = module.center.clone(), module.center_grid.clone()
            module(**inputs)
            assert torch.equal(module.center, centre), "a step's loss uses the centres from before it"
            with torch.no_grad():  # in one pass, as in the step: in training batch norm is by batch
                view, regions = module.teacher.backbone.forward_regions(torch.cat(inputs["crops"][:2]))
                said = module.teacher.head(view).mean(0)
                said_grid = module.teacher.head_dense(regions).mean((0, 1))
            module.after_step()
            share = 1 - 0.5 * 0.004 * (1 + math.cos(math.pi * step / 100))
            before = [share * t + (1 - share) * s for t, s in zip(before, module.student.parameters(), strict=True)]
            for t, known in zip(module.teacher.parameters(), before, strict=True):
                torch.testing.assert_close(t, known, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(module.center, 0.9 * centre + 0.1 * said, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(module.center_grid, 0.9 * grid + 0.1 * said_grid, rtol=1e-12, atol=1e-12)
            assert not torch.equal(module.center, centre)
        centre = module.center.clone()
        module.after_step()
        assert torch.equal(module.center, centre), "of the last forward pass, once"
        assert not torch.equal(module.student.backbone.norm.running_mean, statistics)  # of its own passes, not averaged


@pytest.mark.parametrize("impl", ROUTES)
def test_centres_are_of_all_processes(impl, monkeypatch):
    """Two of them, of which the other's teacher says 3 everywhere."""
    found = []
    for processes in (1, 2):
        if processes == 2:
            monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
            monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
            monkeypatch.setattr(torch.distributed, "all_reduce", lambda mean: mean.add_(3))
        module = small(impl).eval()
        module(**draw(module))
        module.after_step()
        found.append((module.center, module.center_grid))
    for alone, together in zip(*found, strict=True):
        torch.testing.assert_close(together, (alone + 0.1 * 3) / 2)


@pytest.mark.parametrize("impl", ROUTES)
def test_step_in_mixed_precision(impl):
    """Centres stay float32, whatever the heads say."""
    module = small(impl).float()
    inputs = module.sample_inputs(2, torch.Generator().manual_seed(0), "cpu", torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = module(**inputs)["loss"]
    loss.backward()
    module.after_step()
    assert module.center.dtype == module.center_grid.dtype == torch.float32
    assert module.center.any()
    assert all(p.grad.isfinite().all() for p in module.student.parameters())


def test_teacher_starts_as_a_copy_and_is_not_trained():
    module = pretraining("esvit_swin_tiny", out_dim=64, drop_path_rate=0.1)
    for (name, s), (other, t) in zip(module.student.named_parameters(), module.teacher.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(s, t)
        assert s.requires_grad
        assert not t.requires_grad
    drops = [
        [m for m in net.modules() if isinstance(m, timm.layers.DropPath)] for net in (module.student, module.teacher)
    ]
    assert len(drops[0]) == 11
    assert drops[1] == []


def test_frozen_last_layer():
    module = pretraining("esvit_swin_tiny", out_dim=64, norm_last_layer=True)
    heads = (module.student.head, module.student.head_dense)
    assert not any(head.last_layer.weight_g.requires_grad for head in heads)
    torch.testing.assert_close(heads[0].last_layer.weight.norm(dim=1), torch.ones(64))
    assert all(head.last_layer.weight_v.requires_grad for head in heads)


def test_heads_by_their_definition():
    torch.manual_seed(0)
    head = Head(8, 12, False).double()
    nn.init.uniform_(head.last_layer.weight_g)
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    hidden = F.normalize(head.mlp(x), dim=-1)
    v, g = head.last_layer.weight_v, head.last_layer.weight_g
    known = torch.stack([g[k] * (hidden @ v[k]) / v[k].norm() for k in range(12)], dim=-1)
    torch.testing.assert_close(head(x), known)
    assert [type(layer) for layer in head.mlp] == [nn.Linear, nn.GELU, nn.Linear, nn.GELU, nn.Linear]
    assert [layer.out_features for layer in head.mlp[::2]] == [2048, 2048, 256]
    for layer in head.mlp[::2]:
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert not layer.bias.any()


def test_schedules():
    np.testing.assert_allclose(
        [teacher_temperature(e) for e in range(40)], [*np.linspace(0.04, 0.07, 30), *[0.07] * 10]
    )
    assert teacher_momentum(0, 100) == 0.996
    assert teacher_momentum(50, 100) == pytest.approx(0.998)
    assert teacher_momentum(100, 100) == teacher_momentum(101, 100) == 1
    for epoch in (-1, 1.5, True):
        with pytest.raises(ValueError, match=r"epoch=.*whole number from 0"):
            teacher_temperature(epoch)


# What a step of registered models takes and refuses.


def test_arguments_arrive():
    words = dict(depths=(1, 1, 1, 1), out_dim=8, steps=77, global_crops=3, local_crops=1, in_chans=1, window=14)
    with torch.device("meta"):
        usual = pretraining("esvit_swin_tiny", out_dim=8)
        module = pretraining(
            "esvit_swin_tiny", loss_weights="paper", img_size=[64, 32], local_size=32, impl="reference", **words
        )
    assert usual.impl == usual.student.backbone.impl == "fast"
    assert usual.steps == 300 * (1_281_167 // 512) == 750_600
    assert usual.sizes == 2 * [(224, 224)] + 8 * [(96, 96)]
    assert (usual.global_crops, usual.loss_weights) == (2, "official")
    assert module.sizes == 3 * [(64, 32)] + [(32, 32)]
    assert (module.steps, module.global_crops, module.loss_weights) == (77, 3, "paper")
    for net in (module.student, module.teacher):
        assert module.impl == net.backbone.impl == "reference"
        assert (net.backbone.in_chans, net.backbone.layers[0].window) == (1, 14)
    crops = module.sample_inputs(2, torch.Generator().manual_seed(0), "cpu", torch.bfloat16)["crops"]
    assert [tuple(crop.shape) for crop in crops] == 3 * [(2, 1, 64, 32)] + [(2, 1, 32, 32)]
    assert {crop.dtype for crop in crops} == {torch.bfloat16}


def test_checkpointing_is_the_students():
    module = pretraining("esvit_swin_tiny", depths=(1, 1, 1, 1), out_dim=8, img_size=32, local_size=32, local_crops=1)
    inputs = module.sample_inputs(1, torch.Generator().manual_seed(0), "cpu", torch.float32)
    calls = []
    for net in (module.student, module.teacher):
        net.backbone.layers[0].blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    found = []
    for words, expected in (([], 3), ([True], 3), ([False], 2)):
        module.set_grad_checkpointing(*words)
        calls.clear()
        module.zero_grad()
        module(**inputs)["loss"].backward()
        assert len(calls) == expected  # a pass of the student, one of the teacher, and the student's again
        found.append(module.student.backbone.patch_embed.proj.weight.grad)
    torch.testing.assert_close(found[1], found[2])


@pytest.mark.parametrize("impl", ROUTES)
@pytest.mark.parametrize("name", ["esvit_vil_2262", "esvit_resnet50", "esvit_deit_small"])
def test_same_inputs_give_the_same_loss_in_training(name, impl):
    torch.manual_seed(0)
    module = pretraining(name, out_dim=64, local_crops=1, img_size=64, local_size=32, impl=impl).train()
    one, two = (module.sample_inputs(2, torch.Generator().manual_seed(0), "cpu", torch.float32) for _ in range(2))
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert ("neighbours" in one) == (name == "esvit_vil_2262")
    state = {key: x.clone() for key, x in module.state_dict().items()}
    losses_ = []
    for inputs in (one, two):
        module.load_state_dict(state)  # batch norm's statistics
        losses_.append(module(**inputs)["loss"])
    torch.testing.assert_close(*losses_, rtol=1e-6, atol=0)
    losses_[1].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.student.parameters())


def test_neighbours_of_vil_change_the_loss_and_are_checked():
    module = pretraining("esvit_vil_2262", out_dim=64, local_crops=1, img_size=64, local_size=32).train()
    inputs = module.sample_inputs(1, torch.Generator().manual_seed(0), "cpu", torch.float32)
    assert [len(one) for one in inputs["neighbours"]] == [4, 4, 4]  # global and local crops, and the teacher's
    with torch.no_grad():
        loss = module(**inputs)["loss"]
        given_ = inputs["neighbours"]
        others = [[1 + one % 8 for one in pass_] for pass_ in given_]
        for number in range(3):  # each pass has its own
            changed = [*given_[:number], others[number], *given_[number + 1 :]]
            assert module(**inputs | {"neighbours": changed})["loss"] != loss
        for wrong in (given_[:2], given_ + given_[:1]):
            with pytest.raises(ValueError, match=rf"2 passes of the student.* neighbours for {len(wrong)}"):
                module(**inputs | {"neighbours": wrong})


def test_every_neighbour_is_drawn():
    module = small()
    for net in (module.student, module.teacher):
        net.backbone.sparse_layers = 200
    drawn = draw(module)["neighbours"]
    assert [len(one) for one in drawn] == [200, 200, 200]
    assert {one for pass_ in drawn for one in pass_} == set(range(1, 9))


@pytest.mark.parametrize("impl", ROUTES)
def test_a_step_runs_without_numbers(impl):
    """MACs are counted on `meta` and memory is predicted on fake tensors, without falling back to real ones."""
    arguments = (("out_dim", 1024), ("impl", impl), ("local_crops", 2), ("depths", (2, 2, 2, 1)))
    spec = Spec("esvit_swin_tiny", mode="pretrain", size=(224, 224), device="cpu", model_args=arguments)
    case = Case(spec, preset("quick"))
    for metric in (macs, peak_live_bytes):
        assert "real" not in metric(case).note


def test_fast_step_stores_no_rows_of_the_heads_width():
    """The reference stores, for each pair of crops and row of the student, log-softmax and gathered distribution."""
    peaks = []
    for impl in ROUTES:
        arguments = (("impl", impl), ("local_crops", 0), ("depths", (1, 1, 1, 1)))
        spec = Spec("esvit_swin_tiny", mode="pretrain", size=(224, 224), device="cpu", batch=16, model_args=arguments)
        peaks.append(peak_live_bytes(Case(spec, preset("quick"))).value)
    assert ROUTES == ["reference", "fast"]
    rows, row = 16 * 2 * 49, 65536 * 4
    assert peaks[0] - peaks[1] > 2 * rows * row


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"loss": "region"}, r"loss='region'.*'view\+region', 'view'"),
        ({"loss_weights": "half"}, r"loss_weights='half'.*'official', 'paper'"),
        ({"img_size": 225}, r"multiples of 4.*225"),
        ({"local_size": 50}, r"multiples of 4.*50"),
        ({"global_crops": 1}, r"global_crops=1.*from 2"),
        ({"local_crops": -1}, r"local_crops=-1.*from 0"),
        ({"out_dim": 0}, r"out_dim=0.*from 1"),
        ({"out_dim": 8.0}, r"out_dim=8\.0.*from 1"),
        ({"out_dim": True}, r"out_dim=True.*from 1"),
        ({"steps": 0}, r"steps=0.*from 1"),
        ({"local_size": (32, 0)}, r"crop size=0.*from 1"),
        ({"num_classes": 10}, r"no classifier"),
        ({"impl": "official"}, r"impl='official'.*'reference'"),
    ],
)
def test_arguments_are_refused_with_a_way_out(words, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        pretraining("esvit_swin_tiny", **words)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([32], "compares 2 global crops with all others, got 1 crops"),
        ([], "got 0 crops"),
        ([32, 16, 16], "compares 2 global crops of one size"),
    ],
)
def test_fewer_than_two_global_crops_are_refused(sizes, message):
    module = small()
    with pytest.raises(ValueError, match=message):
        module([torch.zeros(2, 3, size, size, dtype=torch.float64) for size in sizes])


def test_crops_of_other_batches_and_sizes_are_refused():
    module = small()
    with pytest.raises(ValueError, match="as many images"):
        module([torch.zeros(n, 3, 32, 32, dtype=torch.float64) for n in (2, 2, 1)])
    with pytest.raises(ValueError, match="multiples of 8"):
        module([torch.zeros(2, 3, size, size, dtype=torch.float64) for size in (32, 32, 15)])


def test_heads_of_views_and_regions_may_differ_in_width():
    for impl in ROUTES:
        module = small(impl, dense=24)
        module(**draw(module))
        module.after_step()
        assert (module.center.shape, module.center_grid.shape) == ((1, 20), (1, 24))


def test_heads_of_different_width_are_refused():
    for one, other in (((20, 20), (24, 20)), ((20, 20), (20, 24)), ((20, 20), (20, 0))):
        with pytest.raises(ValueError, match=r"heads of student and teacher differ in width.*same out_dim"):
            EsViT(tiny(*one), tiny(*other), [(32, 32)] * 2)

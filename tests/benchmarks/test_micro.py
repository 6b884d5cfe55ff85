"""Times of single parts: `make microbench`. Nothing is asserted of them; compare two runs on one quiet machine."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from bench.attention import head_similarity, similarity_matrix
from bench.cost import Borders
from bench.live_bytes import LiveBytes
from bench.statistics import median_interval, summarise
from models.greenmim.grouping import packed, partition, search, sweep


@pytest.fixture(scope="module")
def sgformer():
    with torch.inference_mode():
        yield timm.create_model("sgformer_s").eval()


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("kind", ["hybrid", "guided"])
def test_sgformer_attention(benchmark, sgformer, stage, kind):
    hybrid, guided = getattr(sgformer, f"block{stage}")[:2]
    x = torch.randn(2, (56 // 2 ** (stage - 1)) ** 2, 64 * 2 ** (stage - 1))
    _, significance = hybrid.attn(x, None)
    if kind == "hybrid":
        benchmark(hybrid.attn, x, None)
    else:
        benchmark(guided.attn, x, significance)


@pytest.mark.parametrize("size", [224, 384])
@pytest.mark.parametrize("impl", ["base", "reference", "maps", "folded", "sdpa"])
def test_hallucinated_attention(benchmark, impl, size):
    """Of DeiT-S; base is plain attention with 6 heads."""
    name, words = ("deit_small_patch16_224", {}) if impl == "base" else ("hmhsa_deit_small", {"impl": impl})
    attn = timm.create_model(name, img_size=size, depth=1, **words).eval().blocks[0].attn
    x = torch.randn(2, (size // 16) ** 2 + 1, 384)
    with torch.inference_mode():
        benchmark(attn, x)


@pytest.mark.parametrize("form", ["base", "training", "deployed"])
def test_compact_ffn(benchmark, form):
    """Of DeiT-S, in inference."""
    model = timm.create_model("deit_small_patch16_224" if form == "base" else "hmhsa_deit_small", depth=1).eval()
    mlp = (model.deploy() if form == "deployed" else model).blocks[0].mlp
    x = torch.randn(8, 197, 384)
    with torch.inference_mode():
        benchmark(mlp, x)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("greenmim_swin_tiny", {}),
        ("greenmim_swin_tiny", {"impl": "window"}),
        ("greenmim_swin_tiny", {"grouping": "packed"}),
        ("greenmim_swin_tiny", {"mask_ratio": 0}),
        ("simmim_swin_tiny", {}),
        ("simmim_swin_tiny", {"img_size": 192}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_step_of_masked_pretraining(benchmark, name, words):
    """Forward and backward pass, without an optimizer."""
    model = timm.create_model(name, **words)
    inputs = model.sample_inputs(4, torch.Generator().manual_seed(0), "cpu", torch.float32)
    benchmark(lambda: model(**inputs)["loss"].backward())


@pytest.mark.parametrize("grouping", ["official", "search", "packed"])
def test_plan_of_a_mask(benchmark, grouping):
    with torch.device("meta"):
        model = timm.create_model("greenmim_swin_tiny", grouping=grouping)
    inputs = model.sample_inputs(1, torch.Generator().manual_seed(0), "cpu", torch.float32)
    benchmark(lambda: model.plan(**inputs))


@pytest.mark.parametrize("model", ["sgformer_s", "deit_small_patch16_224"])
def test_build_on_meta(benchmark, model):
    def build():
        with torch.device("meta"):
            return timm.create_model(model)

    benchmark(build)


@pytest.mark.parametrize("tracked", [False, True])
def test_live_bytes_tracker(benchmark, tracked):
    with torch.device("meta"):
        model = timm.create_model("deit_tiny_patch16_224").eval()
        images = torch.empty(1, 3, 224, 224)

    def forward():
        if tracked:
            with LiveBytes([*model.parameters(), images]):
                return model(images)
        return model(images)

    with torch.no_grad():
        benchmark(forward)


@pytest.mark.parametrize("form", [head_similarity, similarity_matrix], ids=["O(heads)", "O(heads^2)"])
def test_similarity_of_heads(benchmark, form):
    benchmark(form, torch.randn(1, 12, 197, 197).softmax(dim=-1))


@pytest.mark.parametrize("split", [False, True])
def test_forward_with_borders(benchmark, split):
    model, images = timm.create_model("deit_tiny_patch16_224").eval(), torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        if not split:
            benchmark(model, images)
            return
        with Borders(model, time.perf_counter) as borders:

            def forward():
                borders.clear()
                model(images)

            benchmark(forward)


def test_median_interval(benchmark):
    benchmark(median_interval, list(np.random.default_rng(0).random(1000)))


def test_interval_over_processes(benchmark):
    processes = list(1 + np.random.default_rng(0).random((3, 200)))
    benchmark.pedantic(summarise, [processes], rounds=3)


@pytest.fixture(
    params=["i224_w7_r0.75_seed0_s1_shift0", "i224_w7_r0.5_seed0_s1_shift0"], ids=["720 sizes", "1488 sizes"]
)
def windows(request):
    """Visible tokens of the windows of a mask, which leaves so many sizes of groups to choose from."""
    lists = json.loads((Path(__file__).parents[1] / "goldens/greenmim/grouping.json").read_text())["lists"]
    return next(one["windows"] for one in lists if one["name"] == request.param)


def test_partition_of_windows(benchmark, windows):
    benchmark(partition, max(windows), windows)


@pytest.mark.parametrize("rule", [sweep, search, packed], ids=lambda rule: rule.__name__)
def test_grouping_of_windows(benchmark, windows, rule):
    benchmark(rule, windows, 128)

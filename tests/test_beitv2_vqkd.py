"""BEiT v2's tokenizer against the official code's codes, codebooks and features, and against plain definitions."""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from bench.model import fused_attention
from models.beitv2.vqkd import distance, scaled
from tests.beitv2 import (
    CODEBOOK,
    ROUTES,
    Known,
    as_maps,
    by_route,
    check,
    close,
    each_route,
    filled,
    flops,
    gradients,
    pictures,
    scalar,
    small_tokenizer,
    traced,
    unit,
)
from tests.detfill import image

# Against the official code, in float64.


@pytest.fixture(scope="module")
def known() -> Known:
    return Known("beitv2_vqkd_base", "vqkd_base_dec3_clip")


class Pass:
    """What a route makes of the golden's images, with a codebook of unit rows."""

    def __init__(self, known: Known, impl: str):
        self.golden, self.model = known.golden, known.models[impl]
        self.quantize = self.model.quantize
        self.restart(F.normalize(CODEBOOK, dim=1))
        encoded = []
        hook = self.model.encode_task_layer.register_forward_hook(lambda module, args, out: encoded.append(out))
        with torch.no_grad():
            self.out = self.model(image(2, 224).sigmoid(), filled("target_512", 2, 196, 512))
        hook.remove()
        [self.encoded] = encoded
        self.usage = self.quantize.cluster_size.clone()

    def restart(self, codes: torch.Tensor) -> None:
        """The routes of a Known share their numbers."""
        self.quantize.embedding.weight.data = codes.clone()
        self.quantize.cluster_size = torch.zeros(8192, dtype=torch.float64)


passed, both_routes = by_route(Pass)


@both_routes
def test_codes_features_and_losses_are_the_official_ones(passed):
    out, theirs = passed.out, passed.golden
    check(passed.encoded, theirs, "encoder_codes_before_quantizer")
    assert torch.equal(out["ids"], torch.from_numpy(theirs["indices"]))
    check(out["features"], theirs, "output")
    close(out["quantizer_loss"], scalar(theirs, "quant_loss"))
    close(out["feature_loss"], scalar(theirs, "rec_loss"))
    close(out["loss"], scalar(theirs, "loss"))
    assert (passed.usage == 0).sum() == theirs["unused_codes"].item()
    assert out.keys() == {"ids", "features", "quantizer_loss", "feature_loss", "loss"}


@both_routes
def test_a_codebook_that_is_not_of_unit_rows(passed):
    theirs = passed.golden
    passed.restart(CODEBOOK)
    _, loss, ids = passed.quantize(passed.encoded)
    assert torch.equal(ids, torch.from_numpy(theirs["indices_raw_codebook"]))
    close(loss, scalar(theirs, "quant_loss_raw_codebook"))
    used = passed.quantize.cluster_size.nonzero().flatten()
    assert used.tolist() == theirs["cluster_size_raw_nonzero_index"].tolist()
    close(passed.quantize.cluster_size[used], theirs["cluster_size_raw_nonzero_value"])


@both_routes
def test_a_training_step_of_the_quantizer_is_the_official_one(passed):
    theirs, quantize = passed.golden, passed.quantize
    passed.restart(F.normalize(CODEBOOK, dim=1))
    check(as_maps(quantize(passed.encoded)[0]), theirs, "quantized")
    quantize.cluster_size.zero_()
    quantize.train()
    z = passed.encoded.clone().requires_grad_()
    found, loss, ids = quantize(z)
    (loss + (as_maps(found) * filled("grad_probe", 2, 32, 14, 14)).sum()).backward()
    quantize.after_step()
    quantize.eval()
    assert torch.equal(ids, torch.from_numpy(theirs["train_indices"]))
    close(loss, scalar(theirs, "train_quant_loss"))
    close(as_maps(z.grad), theirs["train_input_grad"])
    check(quantize.embedding.weight, theirs, "train_codebook_after")
    changed = torch.from_numpy(theirs["train_codebook_changed_rows"])
    close(quantize.embedding.weight[changed], theirs["train_codebook_rows_after"])
    assert torch.equal(ids.unique(), changed)
    close(quantize.cluster_size.sum(), scalar(theirs, "train_cluster_size_sum"))


@both_routes
def test_tokens_are_the_official_ones(passed):
    """An image beyond 1 is taken as it is."""
    model, theirs = passed.model, passed.golden
    passed.restart(F.normalize(CODEBOOK, dim=1))
    first = torch.tensor([[3, 195, 0, 77]])
    ids = model.tokenize(image(2, 224).sigmoid()[:1], first)
    assert ids.tolist() == [theirs["indices_from_get_codebook_indices"][0, first[0].numpy()].tolist()]
    assert torch.equal(
        model.tokenize(image(2, 224)[:1])[0], torch.from_numpy(theirs["indices_unscaled_normal_image"][0])
    )


# Counts.


@pytest.mark.parametrize("name", [pytest.param("tokenize", marks=pytest.mark.slow), "tokenize_and_decode"])
def test_fvcore_counts_of_the_reference_are_the_official_ones(known, name):
    """Officially the distances are an einsum, of whose 196 · 8192 · 32 products fvcore keeps three digits; here they
    are a matrix product."""
    model, exact = known.models["reference"], 196 * 8192 * 32
    # The official counts are of lookup and decoding without what only losses and statistics need.
    calls = {
        "tokenize": lambda images: model.quantize.lookup(model.encode(scaled(images))),
        "tokenize_and_decode": lambda images: model(images)["features"],
    }
    theirs = dict(known.facts["flops"][name]["fvcore_by_operator"])
    assert theirs.pop("einsum") == 51_400_000
    theirs["matmul"] += exact
    assert traced(model, calls[name], image(1, 224).sigmoid()) == theirs
    assert known.facts["flops"][name]["fvcore_macs"] - sum(theirs.values()) == 51_400_000 - exact


@each_route
def test_flops(impl, known):
    """Of both routes as officially; of codes that few patches get less, by what the last block need not compute."""
    with torch.device("meta"), fused_attention(impl == "fast"):
        model = timm.create_model("beitv2_vqkd_base", impl=impl).eval()
        images, some = torch.empty(1, 3, 224, 224), torch.empty(1, 75, dtype=torch.int64)
    theirs = {name: facts["torch_flop_counter_flops"] for name, facts in known.facts["flops"].items()}
    assert flops(model.encode, images) == theirs["encoder_and_task_layer"]
    assert flops(model.tokenize, images) == theirs["tokenize"]
    assert flops(model, images) == theirs["tokenize_and_decode"]
    block = 2 * (196 - 74) * (10 * 768**2 + 2 * 197 * 768)  # of 197 queries 75: all but keys and values
    rest = 2 * (196 - 75) * (768**2 + 768 * 32 + 32 * 8192)
    saved = block + rest if impl == "fast" else 0
    assert flops(model.tokenize, images, some) == theirs["tokenize"] - saved


# The tokenizer, small ones.


def test_images_are_scaled_as_officially():
    """From [0, 1], but as from [0, 255] where a single number of the batch is above 1."""
    images = pictures()
    close(scaled(images), 2 * images - 1, 1e-12)
    images[1, 2, 3, 4] = 1
    close(scaled(images), 2 * images - 1, 1e-12)
    images[1, 2, 3, 4] = 1.01
    close(scaled(images), images / 127.5 - 1, 1e-12)
    close(scaled(255 * pictures()), 2 * pictures() - 1, 1e-12)
    assert scaled(torch.ones(1).bfloat16()).dtype == torch.bfloat16


def test_distance_of_features():
    features, target = 3 * unit(2, 5, 4) + 1, 0.1 * unit(2, 5, 4, seed=1)
    close(distance(features, target), (1 - F.cosine_similarity(features, target, dim=-1)).mean(), 1e-12)
    assert distance(features.half(), target.half()).dtype == torch.float32


@each_route
def test_a_pass_by_its_definition(impl):
    model, images = small_tokenizer(impl), pictures()
    target = unit(3, 16, 512)
    out = model(images, target)
    x = model.encoder.fc_norm(model.encoder.forward_features(2 * images - 1))[:, 1:]
    z = model.encode_task_layer(x)
    found, loss, ids = model.quantize(z)
    y = model.decoder.fc_norm(model.decoder.forward_features(found.mT.reshape(3, 8, 4, 4)))[:, 1:]
    features = model.decode_task_layer(y)
    assert torch.equal(out["ids"], ids)
    assert ids.unique().numel() > 2
    close(out["features"], features, 1e-12)
    close(out["quantizer_loss"], loss, 1e-12)
    close(out["loss"], loss + (1 - F.cosine_similarity(features, target, dim=-1)).mean(), 1e-12)
    assert model(images).keys() == {"ids", "features", "quantizer_loss"}
    layers = model.encode_task_layer
    close(z, torch.tanh(x @ layers[0].weight.T + layers[0].bias) @ layers[2].weight.T + layers[2].bias, 1e-12)


@each_route
def test_tokens_of_some_patches_are_those_of_all(impl):
    model, images = small_tokenizer(impl), pictures()
    whole = model.tokenize(images)
    assert torch.equal(whole, model(images)["ids"])
    assert not whole.requires_grad
    some = torch.tensor([[0, 15, 3], [7, 2, 2], [9, 8, 14]])
    assert torch.equal(model.tokenize(images, some), whole.gather(1, some))


@each_route
def test_to_tokenize_counts_codes_in_the_reference_alone(impl):
    model = small_tokenizer(impl)
    ids = model.tokenize(pictures())
    known = 0.01 * torch.bincount(ids.flatten(), minlength=37).double()
    close(model.quantize.cluster_size, known if impl == "reference" else torch.zeros_like(known), 1e-12)
    model.train().tokenize(pictures())
    model.after_step()
    assert torch.equal(model.quantize.embedding.weight, small_tokenizer().quantize.embedding.weight)


@pytest.mark.parametrize("kmeans_init", [False, True])
@pytest.mark.parametrize("saving", [False, True])
def test_the_fast_route_trains_as_the_reference(kmeans_init, saving):
    """Two steps: losses, gradients, codebook and usage."""
    found, target = [], unit(3, 16, 512)
    for impl in ROUTES:
        model = small_tokenizer(impl, kmeans_init=kmeans_init).train()
        model.set_grad_checkpointing(saving and impl == "fast")
        steps = []
        for _ in range(2):
            loss = model(pictures(), target, torch.arange(37) if kmeans_init else None)["loss"]
            steps.append((loss.detach(), gradients(model, loss)))
            model.after_step()
        found.append((steps, model.state_dict()))
    torch.testing.assert_close(*found, rtol=0, atol=1e-9)
    codebook = {"quantize.embedding.weight", "quantize.embedding.embed_avg", "quantize.embedding.cluster_size"}
    assert {name for name, g in found[0][0][0][1].items() if g is None} == codebook
    assert found[0][1]["quantize.cluster_size"].any()


def test_checkpointing_is_of_both_halves():
    model, calls = small_tokenizer().train(), []
    for block in (*model.encoder.blocks, *model.decoder.blocks):
        block.register_forward_pre_hook(lambda *_: calls.append(1))
    for saving, again in ((False, 0), (True, 3)):
        model.set_grad_checkpointing(saving)
        loss = model(pictures(), unit(3, 16, 512))["loss"]
        calls.clear()
        loss.backward()
        assert len(calls) == again


def test_codes_are_decided_in_float32_under_autocast():
    model, seen = small_tokenizer().float(), {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda module, args, out, name=name: seen.update({name: out.dtype}))
    with torch.autocast("cpu", torch.bfloat16):
        out = model.train()(pictures().float(), unit(3, 16, 512).float())
    assert {name for name, dtype in seen.items() if dtype == torch.float32} == {
        "encode_task_layer.0",
        "encode_task_layer.2",
    }
    exact = model.eval()(pictures().float(), unit(3, 16, 512).float())
    torch.testing.assert_close(out["loss"], exact["loss"], rtol=0.03, atol=0)
    assert out["loss"].dtype == torch.float32
    assert (out["ids"] == exact["ids"]).double().mean() > 0.8
    out["loss"].backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_the_decoder_is_for_a_teacher():
    assert small_tokenizer(teacher="dino")(pictures())["features"].shape == (3, 16, 768)
    assert small_tokenizer(decoder_depth=3).decoder.patch_embed.proj.weight.shape == (32, 8, 1, 1)
    assert small_tokenizer(in_chans=4).tokenize(pictures(channels=4)).shape == (3, 16)
    model = small_tokenizer()
    with pytest.raises(ValueError, match=r"target has shape \(3, 16, 768\).*\(3, 16, 512\), of teacher='clip'"):
        model(pictures(), unit(3, 16, 768))


@each_route
def test_a_tokenizer_without_a_decoder(impl):
    """It is used, and not trained."""
    model, whole, images = small_tokenizer(impl, decoder_depth=0), small_tokenizer(impl), pictures()
    out, with_decoder = model(images), whole(images)
    assert out.keys() == {"ids", "quantizer_loss"}
    torch.testing.assert_close(out, {key: with_decoder[key] for key in out}, rtol=0, atol=0)
    assert torch.equal(model.tokenize(images), whole.tokenize(images))
    with pytest.raises(ValueError, match=r"decoder_depth=0 decodes nothing.*\(1, 3\)"):
        model(images, unit(3, 16, 512))
    model.set_grad_checkpointing()
    assert model.encoder.grad_checkpointing
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"encoder", "quantize", "encode_task_layer"}
    assert model.no_weight_decay() == {"encoder.cls_token", "encoder.pos_embed", "quantize.embedding.weight"}


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"decoder_depth": 2}, r"decoder_depth=2. Use one of: 0, 1, 3"),
        ({"teacher": "mae"}, r"teacher='mae'. Use one of: 'clip', 'dino'"),
        ({"num_classes": 10}, r"no classifier, got num_classes=10"),
        ({"vocab_size": 0}, r"vocab_size=0. Use a whole number from 1"),
        ({"impl": "slow"}, r"impl='slow'"),
    ],
)
def test_tokenizers_that_there_are_none_of_are_refused(words, match):
    with pytest.raises(ValueError, match=match):
        small_tokenizer(**words)

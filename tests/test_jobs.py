"""The main job: what is asked of which model. Names and sizes alone; nothing is built."""

from types import SimpleNamespace

import pytest
import timm

from bench.jobs import main_job
from bench.names import pretrains

STATIC = {"activations", "macs", "macs_fvcore", "params", "peak_live_bytes", "top_tokens"}
MEMORY = {"peak_live_bytes", "peak_memory"}
STEP = {"macs", *MEMORY, "throughput"}
PRETRAINING = {"mask_occupancy", "step_macs"}
SIZES = {
    "greenmim_swin_micro": 224,
    "greenmim_swin_tiny": 224,
    "greenmim_swin_base": 224,
    "simmim_swin_tiny": 224,
    "simmim_swin_base": 192,
    "beitv2_mim_base": 224,
    "beitv2_mim_large": 224,
    "beitv2_vqkd_base": 224,
}
CLASSIFIERS = {"beitv2_base": 224, "beitv2_large": 224}


@pytest.fixture
def job(monkeypatch):
    """The main job's cells of models that the registry may not know: of SIZES, pre-training ones, and CLASSIFIERS."""
    known = timm.get_pretrained_cfg

    def config(model):
        size = (SIZES | CLASSIFIERS).get(model)
        classes = -1 if model in SIZES else 1000
        return SimpleNamespace(input_size=(3, size, size), num_classes=classes) if size else known(model)

    monkeypatch.setattr(timm, "get_pretrained_cfg", config)
    return lambda *zoo: main_job(zoo, "cpu")


def asked(cells, model, **fields):
    """The metrics of a model's cells whose Spec has these fields, and no arguments but those named."""
    fields = {"model_args": (), **fields}
    found = [cell for cell in cells if cell.spec.model == model]
    return [{*cell.metrics} for cell in found if all(getattr(cell.spec, key) == value for key, value in fields.items())]


def test_what_a_model_is_for_is_read_off_the_registry(job):
    assert pretrains("simmim_swin_base")
    assert not any(pretrains(name) for name in ("sgformer_s", "deit_small_patch16_224", "mine.py:mine"))


def test_a_pre_training_model_is_measured_at_its_step(job):
    cells = job("sgformer_s", *SIZES)
    for model in SIZES:
        own = [cell for cell in cells if cell.spec.model == model]
        assert {cell.spec.mode for cell in own} == {
            "pretrain",
            *(["infer"] if model in ("beitv2_mim_base", "beitv2_vqkd_base") else []),
        }
        packed = {"padding"} if model.startswith("greenmim_") else set()
        [metrics] = asked(cells, model, batch=1, size=(SIZES[model],) * 2, mode="pretrain")
        assert metrics - {"peak_memory"} == STATIC | PRETRAINING | packed
    others = [cell for cell in cells if cell.spec.model not in SIZES]
    assert not any({"padding", *PRETRAINING} & {*cell.metrics} or cell.spec.mode == "pretrain" for cell in others)


def test_what_few_models_have_is_asked_of_them_alone(job):
    cells = job("sgformer_s", "hmhsa_deit_small", "esvit_deit_small", *SIZES, *CLASSIFIERS)
    assert {cell.spec.model for cell in cells if "codebook_usage" in cell.metrics} == {"beitv2_vqkd_base"}
    assert {cell.spec.model for cell in cells if "step_time" in cell.metrics} == {"beitv2_mim_base", "beitv2_vqkd_base"}
    assert {cell.spec.model for cell in cells if "significance" in cell.metrics} == {"sgformer_s"}


def test_what_says_nothing_of_random_weights_is_not_asked(job):
    trained = {"correspondence_accuracy", "correspondence_distance", "hallucination"}
    assert not any(trained & {*cell.metrics} for cell in job("sgformer_s", *SIZES))


def test_masked_pre_training_is_timed_against_what_it_is_compared_with(job):
    cells = job(*SIZES)
    compared = [("greenmim_swin_tiny", 224, ()), ("greenmim_swin_tiny", 224, (("mask_ratio", 0),))]
    compared += [("simmim_swin_tiny", 224, ()), ("simmim_swin_tiny", 192, ())]
    for model, side, arguments in compared:
        of = dict(size=(side, side), model_args=arguments)
        [metrics] = asked(cells, model, batch=8, **of)
        assert metrics == STEP
        for batch in (1, 4, 16, 64):
            [metrics] = asked(cells, model, batch=batch, **of)
            assert metrics >= MEMORY
            assert "throughput" not in metrics
    for ratio in (0.5, 0.6, 0.85):
        [metrics] = asked(cells, "greenmim_swin_tiny", batch=8, model_args=(("mask_ratio", ratio),))
        assert metrics == STEP
    for words in (("window", 7), ("window", 14), ("decoder_depth", 4)):
        all_tokens = ("mask_ratio", 0)
        for arguments, wanted in (((words,), STEP), (tuple(sorted((words, all_tokens))), MEMORY)):
            assert asked(cells, "greenmim_swin_tiny", batch=8, model_args=arguments) == [wanted]
    for model, side in (("greenmim_swin_base", 224), ("simmim_swin_base", 224), ("simmim_swin_base", 192)):
        assert asked(cells, model, batch=64, size=(side, side)) == [{"peak_live_bytes"}]
    for grouping in ("search", "packed"):
        assert asked(cells, "greenmim_swin_tiny", model_args=(("grouping", grouping),)) == [{"macs", "padding"}]


def test_steps_on_codes_are_measured_section_by_section(job):
    cells = job(*SIZES, *CLASSIFIERS)
    reference, given = ("impl", "reference"), ("targets", "given")
    counted = {"macs", "step_macs", "peak_live_bytes", "peak_memory"}
    for model, rows in {
        "beitv2_mim_base": {
            (): True,
            (reference,): True,
            (("cls_head", False), reference): False,
            (("cls_head", False),): False,
            (reference, given): False,
            (given,): False,
            (("cls_head", False), reference, given): False,
        },
        "beitv2_vqkd_base": {(): True, (("decoder_depth", 1),): True, (reference,): False, (given,): False},
    }.items():
        for arguments, timed in rows.items():
            [metrics] = asked(cells, model, batch=2, mode="pretrain", model_args=arguments)
            assert metrics == counted | ({"step_time", "throughput"} if timed else set())
    for arguments in ((), (reference,)):
        for batch in (1, 16, 64, 128):
            [metrics] = asked(cells, "beitv2_mim_base", batch=batch, mode="pretrain", model_args=arguments)
            assert metrics >= MEMORY
            assert batch == 1 or "macs" not in metrics
        [metrics] = asked(cells, "beitv2_mim_large", model_args=arguments)
        assert {"macs", "step_macs"} <= metrics
    assert asked(cells, "beitv2_mim_base", mode="infer") == [{"params", "macs", "throughput"}]
    assert asked(cells, "beitv2_vqkd_base", mode="infer") == [{"params", "macs", "throughput", "codebook_usage"}]


def test_classifiers_are_measured_beside_those_of_the_same_name(job):
    cells = job(*SIZES, *CLASSIFIERS)
    for model in CLASSIFIERS:
        [metrics] = asked(cells, model, size=(224, 224))
        assert metrics - {"peak_memory"} == STATIC | {"throughput"}
        assert asked(cells, model, size=(384, 384)) == [{"params", "macs", "throughput"}]
    for model, side in (("beitv2_base_patch16", 224), ("beitv2_large_patch16", 224), ("beit_base_patch16", 384)):
        [metrics] = asked(cells, f"{model}_{side}", size=(side, side), batch=1, mode="infer")
        assert metrics == {"params", "macs", "throughput"}
    assert not any("patch16_384" in cell.spec.model for cell in job("sgformer_s"))


def test_losses_of_many_crops_are_measured_against_each_other(job):
    learners = ("esvit_swin_tiny", "esvit_deit_small")
    cells = job(*learners)
    for model in learners:
        for arguments in ((), (("loss", "view"),)):
            of = dict(mode="pretrain", size=(224, 224), model_args=arguments)
            [metrics] = asked(cells, model, batch=2, **of)
            assert metrics == STEP
            for batch in (1, 12, 32):
                assert asked(cells, model, batch=batch, **of) == [MEMORY]
                official = {**of, "model_args": tuple(sorted((*arguments, ("impl", "reference"))))}
                assert asked(cells, model, batch=batch, **official) == [MEMORY]


def test_backbones_are_measured_beside_their_peers(job):
    cells = job("esvit_swin_tiny", "esvit_swin_base")
    for model in ("esvit_swin_tiny", "esvit_swin_base"):
        [metrics] = asked(cells, model, batch=1, mode="infer")
        assert metrics - {"peak_memory"} == STATIC | {"throughput"}
        [metrics] = asked(cells, model, batch=1, model_args=(("window", 14),))
        assert metrics == {"params", "macs", "top_tokens", "throughput"}
    for model, arguments in (("base_patch8", ()), ("large_patch16", (("patch_size", 7),))):
        [metrics] = asked(cells, f"vit_{model}_224", model_args=(("num_classes", 0), *arguments))
        assert metrics == {"params", "macs", "top_tokens", "throughput"}
    assert not any(cell.spec.model.startswith("vit_") for cell in job("sgformer_s"))


def test_nothing_is_asked_of_models_that_are_not_there(job):
    models = {cell.spec.model for cell in job("simmim_swin_tiny")}
    assert {model for model in models if "mim" in model} == {"simmim_swin_tiny"}
    assert not any(model.startswith(("hmhsa_", "sgformer_", "beit")) for model in models)


def test_a_spec_is_one_cell_and_a_metric_of_it_is_asked_once(job):
    cells = job("sgformer_s", "hmhsa_deit_tiny", "hmhsa_deit_small", *SIZES)
    assert len({cell.spec.id for cell in cells}) == len(cells)
    assert all(len({*cell.metrics}) == len(cell.metrics) for cell in cells)
    [both] = asked(cells, "hmhsa_deit_small", size=(448, 448))
    assert both == {*MEMORY, "macs", "macs_fvcore"}


def test_what_changes_a_base_is_timed_beside_it_and_counted_part_by_part(job):
    cells = job("hmhsa_deit_small", "hmhsa_pvt_v2_b1")
    for model in ("hmhsa_deit_small", "deit_small_patch16_224", "hmhsa_pvt_v2_b1", "pvt_v2_b1"):
        [metrics] = asked(cells, model, batch=8)
        assert "throughput" in metrics
    reference = ("impl", "reference")
    changes = [("hallucinate", word) for word in (False, "copy", "ihh", "chh", "chh+ihh")]
    changes += [("compact", word) for word in (False, "narrow", "fc1")]
    for own in ((), *((one,) for one in (*changes, ("ratio", 0.75)))):
        arguments = tuple(sorted((*own, reference)))
        assert asked(cells, "hmhsa_pvt_v2_b1", model_args=arguments) == [{"params", "macs"}]
    assert not asked(job("hmhsa_deit_small"), "hmhsa_pvt_v2_b1", model_args=(reference,))


def test_macs_are_counted_wherever_memory_is_over_sizes(job):
    for side in (448, 672, 896):
        assert asked(job("sgformer_s"), "sgformer_s", size=(side, side)) == [{*MEMORY, "macs"}]

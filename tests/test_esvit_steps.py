"""The steps of docs/esvit: which settings are timed and asked for memory, and the tables that they become."""

from dataclasses import replace

import pytest

from tests.steps_of_docs import made_up, script

steps = script("esvit")
GROUPS = 4  # a model's steps: two losses by two routes


@pytest.fixture
def planned(monkeypatch):
    """What `measure` writes, of numbers made up."""
    monkeypatch.setattr(steps, "measure", made_up)
    return list(steps.measured())


def test_steps_are_timed_by_every_route_and_their_memory_asked_at_every_batch(planned):
    found = [one for one in planned if one["mode"] == "pretrain"]
    assert {one["batch"] for one in found if one["seconds"]} == {1, 2}
    assert {one["batch"] for one in found if "peak_live_bytes" in one} == {*steps.MEMORY_BATCHES} == {1, 4, 12, 32}
    for model in steps.MODELS:
        for batch in (1, 2, 4, 12, 32):
            pairs = [
                (one["arguments"]["loss"], one["arguments"]["impl"])
                for one in found
                if (one["model"], one["batch"]) == (model, batch)
            ]
            assert {*pairs} == {(loss, impl) for loss in ("view", "view+region") for impl in ("reference", "fast")}


def test_backbones_have_no_head_and_a_base_at_every_batch():
    for batch in steps.BACKBONE_ROUNDS:
        first, *others = steps.backbones(batch)
        assert first == replace(steps.BASE, batch=batch)
        assert all(spec.mode == "infer" and spec.batch == batch for spec in others)
        assert all(
            spec.model.startswith("esvit_") or ("num_classes", 0) in spec.model_args for spec in (first, *others)
        )
    assert steps.LARGE in steps.backbones(1)


def test_steps_stand_beside_the_view_loss_and_beside_the_reference(planned):
    times, _, _ = (table.splitlines() for table in steps.tables(planned))
    assert len(times) == 2 + GROUPS * len(steps.MODELS) * len(steps.STEP_ROUNDS)
    assert times[2:6] == [
        "| `esvit_swin_tiny`, 224 px, `impl=reference`, `loss=view` | 1 | 1.00 | 1 | 1 |",
        "| `esvit_swin_tiny`, 224 px, `impl=reference`, `loss=view+region` | 1 | 2.00 | 2.00 (2.00 to 2.00) | 1 |",
        "| `esvit_swin_tiny`, 224 px, `impl=fast`, `loss=view` | 1 | 3.00 | 1 | 3.00 (3.00 to 3.00) |",
        "| `esvit_swin_tiny`, 224 px, `impl=fast`, `loss=view+region` | 1 | 4.00 | 1.33 (1.33 to 1.33) "
        "| 2.00 (2.00 to 2.00) |",
    ]


def test_memory_is_a_row_a_step_and_a_column_a_batch(planned):
    _, memory, _ = (table.splitlines() for table in steps.tables(planned))
    assert memory[0] == "| step | batch 1 | batch 4 | batch 12 | batch 32 |"
    assert len(memory) == 2 + GROUPS * len(steps.MODELS)
    last = "`esvit_deit_small`, 224 px, `impl=fast`, `loss=view+region`"
    assert memory[-1] == f"| {last} |{' 4,096 (1.33) |' * 4}"


def test_backbones_stand_beside_the_first_of_their_batch(planned):
    _, _, backbones = (table.splitlines() for table in steps.tables(planned))
    assert len(backbones) == 2 + sum(len(steps.backbones(batch)) for batch in steps.BACKBONE_ROUNDS)
    assert backbones[2] == "| `vit_base_patch8_224`, 224 px, `num_classes=0` | 1.0 | 1.0 | 1 | 1,000 | 1 |"
    assert backbones[3].endswith("`window=7` | 2.0 | 2.0 | 1 | 2,000 | 2.00 (2.00 to 2.00) |")

"""The steps of docs/beitv2: which settings are timed and asked for memory, and the tables that they become."""

import pytest

from tests.steps_of_docs import made_up, script

steps = script("beitv2")


@pytest.fixture
def planned(monkeypatch):
    """What `measure` writes, of numbers made up."""
    monkeypatch.setattr(steps, "measure", made_up)
    return list(steps.measured())


def test_steps_are_timed_by_both_routes_and_their_memory_asked_at_every_batch(planned):
    for model, batches, count in (("beitv2_mim_base", {2, 8}, 6), ("beitv2_vqkd_base", {2}, 4)):
        own = [one for one in planned if one["model"] == model]
        assert {one["batch"] for one in own if one["seconds"]} == batches
        for batch in (2, 8, 32, 128):
            asked = [one["arguments"] for one in own if one["batch"] == batch and "peak_live_bytes" in one]
            assert len(asked) == count
            assert [one["impl"] for one in asked] == ["reference"] * (count // 2) + ["fast"] * (count // 2)


def test_steps_stand_beside_the_whole_step_and_beside_the_reference(planned):
    modelling, training, _, _ = (table.splitlines() for table in steps.tables(planned))
    assert len(modelling) == 2 + 6 * 2
    assert modelling[2:8] == [
        "| `beitv2_mim_base`, 224 px, `impl=reference` | 2 | 1.00 | 1.00 | 1 | 1 |",
        "| `beitv2_mim_base`, 224 px, `cls_head=False`, `impl=reference` | 2 | 2.00 | 2.00 | 2.00 (2.00 to 2.00) | 1 |",
        "| `beitv2_mim_base`, 224 px, `impl=reference`, `targets=given` | 2 | 3.00 | 3.00 | 3.00 (3.00 to 3.00) | 1 |",
        "| `beitv2_mim_base`, 224 px, `impl=fast` | 2 | 4.00 | 4.00 | 1 | 4.00 (4.00 to 4.00) |",
        "| `beitv2_mim_base`, 224 px, `cls_head=False`, `impl=fast` | 2 | 5.00 | 5.00 | 1.25 (1.25 to 1.25) "
        "| 2.50 (2.50 to 2.50) |",
        "| `beitv2_mim_base`, 224 px, `impl=fast`, `targets=given` | 2 | 6.00 | 6.00 | 1.50 (1.50 to 1.50) "
        "| 2.00 (2.00 to 2.00) |",
    ]
    assert training[0].split("|")[5] == " time, `decoder_depth=3` being 1 "
    assert training[2:4] == [
        "| `beitv2_vqkd_base`, 224 px, `decoder_depth=1`, `impl=reference` | 2 | 1.00 | 1.00 | 0.50 (0.50 to 0.50) "
        "| 1 |",
        "| `beitv2_vqkd_base`, 224 px, `decoder_depth=3`, `impl=reference` | 2 | 2.00 | 2.00 | 1 | 1 |",
    ]


def test_memory_is_a_row_a_step_and_a_column_a_batch(planned):
    memory = steps.tables(planned)[2].splitlines()
    assert memory[0] == "| step | batch 2 | batch 8 | batch 32 | batch 128 |"
    assert len(memory) == 2 + 6 + 4
    assert memory[-1] == f"| `beitv2_vqkd_base`, 224 px, `decoder_depth=3`, `impl=fast` |{' 4,096 (2.00) |' * 4}"


def test_classifiers_stand_beside_the_first(planned):
    classifiers = steps.tables(planned)[3].splitlines()
    assert classifiers[2] == "| `beitv2_base`, 224 px | 1.0 | 1.0 | 1 | 1,000 | 1 |"
    assert classifiers[4] == "| `beitv2_base_patch16_224`, 224 px | 3.0 | 3.0 | 1 | 3,000 | 3.00 (3.00 to 3.00) |"
    assert classifiers[6] == "| `beitv2_base`, 384 px | 5.0 | 5.0 | 1 | 5,000 | 5.00 (5.00 to 5.00) |"

"""The steps of docs/greenmim: the script on small models, and its settings and quotients."""

from dataclasses import replace

from tests.steps_of_docs import script

steps = script("greenmim")


def test_every_setting_is_timed_once_a_round():
    specs = [replace(steps.GREEN, model="greenmim_swin_micro"), replace(steps.SIMMIM, model="simmim_swin_micro")]
    own, base = steps.measure(specs, rounds=2)
    assert (own["model"], own["batch"], own["size"], own["arguments"]) == ("greenmim_swin_micro", 1, 224, {})
    assert [len(one["seconds"]) for one in (own, base)] == [2, 2]
    assert 0 < own["peak_live_bytes"] < base["peak_live_bytes"]


def test_the_comparison_is_of_the_same_batch():
    for batch in steps.ROUNDS:
        specs = steps.settings(batch)
        assert {spec.batch for spec in specs} == {batch}
        assert specs[0].model_args == ()
        assert len({spec.id for spec in specs}) == len(specs)


def test_every_batch_is_measured(monkeypatch):
    monkeypatch.setattr(steps, "measure", lambda specs, rounds: [(spec.batch, rounds) for spec in specs])
    assert dict(steps.measured()) == steps.ROUNDS


def test_quotients_are_of_the_same_round():
    records = [
        {"model": "a", "mode": "pretrain", "batch": 1, "size": 224, "arguments": {}, "seconds": [1, 2, 4]},
        {"model": "b", "mode": "train", "batch": 1, "size": 192, "arguments": {"x": 1}, "seconds": [3, 4, 12]},
    ]
    records = [record | {"peak_live_bytes": number} for record, number in zip(records, (2**20, 2**21), strict=True)]
    *_, first, second = steps.table(records).splitlines()
    assert first == "| `a`, 224 px | 1 | 2.000 | 1 | 1 | 1.00 |"
    assert second == "| `b`, 192 px, `x=1`, a classifier's step | 1 | 4.000 | 3.00 (2.00 to 3.00) | 2 | 2.00 |"

"""The trained comparison of docs/hmhsa: its script on a few digits, its arithmetic, and that its README says what its
results do."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ttest_rel

FOLDER = Path(__file__).parent.parent / "docs" / "hmhsa"


def script():
    spec = importlib.util.spec_from_file_location("compare", FOLDER / "compare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


compare = script()


@pytest.fixture
def few(monkeypatch):
    """Digits, so few that a run takes a second."""
    config = compare.experiment(digits=True) | {"epochs": 1, "batch": 32, "ccs_images": 2}
    splits = [compare.Split(*(x[:96] for x in split)) for split in compare.load(config, Path())]
    monkeypatch.setattr(compare, "experiment", lambda digits: config)
    monkeypatch.setattr(compare, "load", lambda config, folder: splits)
    return config, splits


def test_a_stopped_training_goes_on_where_it_was_and_ends_where_it_would_have(few, tmp_path, capsys):
    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    compare.train(digits=True, device="cpu", seeds="0,1", out=whole)
    parts.write_text("".join(whole.read_text().splitlines(keepends=True)[:4]))
    compare.train(digits=True, device="cpu", seeds="0,1", out=parts)
    records = compare.read(parts)
    assert [(one["seed"], one["arm"]) for one in records] == [(seed, arm) for seed in (0, 1) for arm in few[0]["arms"]]
    for name in ("accuracy", "loss", "similarity", "config"):
        assert [one[name] for one in records] == [one[name] for one in compare.read(whole)]
    mhsa, hmhsa, copy = records[:3]
    for name in ("parameters", "macs"):
        assert copy[name] < hmhsa[name] < mhsa[name]
    assert all(0 < one < 1 for record in records for one in compare.ccs(record))
    assert compare.ccs(copy, "real") == pytest.approx(compare.ccs(copy, "hallucinated"))
    assert set(map(len, compare.balanced(records[:5], few[0]).values())) == {1}
    capsys.readouterr()
    compare.report(digits=True, out=parts)
    assert capsys.readouterr().out.startswith("2 seeds an arm")
    assert (tmp_path / "comparison.png").stat().st_size > 10_000


def test_arms_start_alike_but_for_what_hallucination_changes(few):
    config, _ = few
    mhsa, hmhsa = (compare.create(config, arm, seed=3).state_dict() for arm in ("mhsa", "hmhsa"))
    differ = {
        name for name in mhsa.keys() | hmhsa.keys() if not torch.equal(mhsa.get(name, mhsa["norm.bias"]), hmhsa[name])
    }
    assert {name.split(".", 2)[2] for name in differ} == {
        "attn.qkv.weight",
        "attn.qkv.bias",
        "attn.halluc.ihh.weight",
        "attn.halluc.chh.weight",
    }


def test_training_learns_and_the_order_of_images_is_the_seeds(few):
    config, (split, _) = few
    losses = []
    for seed in (0, 0, 1):
        model = compare.create(config, "mhsa", seed=5)
        before = compare.evaluate(model, split)[1]
        compare.fit(model, split, config | {"epochs": 10}, 2e-3, seed)
        losses.append(compare.evaluate(model, split)[1])
        assert losses[-1] < before
    assert losses[0] == losses[1] != losses[2]


def test_ccs_by_kind_of_head_pair():
    matrix = [[1, 0.1, 0.2, 0.3], [0.1, 1, 0.4, 0.5], [0.2, 0.4, 1, 0.6], [0.3, 0.5, 0.6, 1]]
    record = {"similarity": [matrix, np.ones((4, 4)).tolist()]}
    found = {kind: compare.ccs(record, kind) for kind in ("all", "real", "hallucinated", "across")}
    expected = {"all": 2.1 / 6, "real": 0.1, "hallucinated": 0.6, "across": 1.4 / 4}
    assert found == {kind: pytest.approx([value, 1]) for kind, value in expected.items()}


def test_the_interval_of_paired_differences_is_the_paired_t_test():
    one, other = np.random.default_rng(0).normal(size=(2, 7))
    middle, half = compare.interval(one - other)
    assert (middle - half, middle + half) == pytest.approx(tuple(ttest_rel(one, other).confidence_interval()))


def test_missing_data_are_one_clear_line_and_code_2(tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        compare.load(compare.experiment(digits=False), tmp_path)
    [line] = capsys.readouterr().err.splitlines()
    assert re.search(r"^error: .*train-images.* is missing\. .*--digits needs none", line)


def test_the_readme_has_the_tables_of_the_committed_results():
    runs = compare.balanced(compare.read(FOLDER / "results.jsonl"), compare.experiment(digits=False))
    assert len(runs["mhsa"]) >= 5
    assert compare.tables(runs) in (FOLDER / "README.md").read_text(encoding="utf-8")

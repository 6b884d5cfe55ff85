"""The scripts of docs that time steps: what they ask twice, what their READMEs say, and which words they refuse."""

import json

import pytest

from tests.steps_of_docs import DOCS, made_up, script

FOLDERS = ("beitv2", "esvit", "greenmim")
SETTING = ("model", "mode", "batch", "size", "arguments")

each_folder = pytest.mark.parametrize("folder", FOLDERS)


def planned(folder, monkeypatch):
    """The script, and what it would write."""
    steps = script(folder)
    monkeypatch.setattr(steps, "measure", made_up)
    return steps, list(steps.measured())


@each_folder
def test_no_setting_is_timed_or_asked_twice(folder, monkeypatch):
    _, records = planned(folder, monkeypatch)
    for asked in ("seconds", "peak_live_bytes", "params"):
        found = [json.dumps([one[key] for key in SETTING], sort_keys=True) for one in records if one.get(asked)]
        assert len(set(found)) == len(found)
        assert found or (folder, asked) == ("greenmim", "params")


@each_folder
def test_the_readme_has_the_tables_of_the_records(folder, monkeypatch):
    steps, expected = planned(folder, monkeypatch)
    records = [json.loads(line) for line in steps.FILE.read_text().splitlines()]
    assert [[one[key] for key in SETTING] for one in records] == [[one[key] for key in SETTING] for one in expected]
    page = (DOCS / folder / "README.md").read_text()
    tables = steps.tables(records) if hasattr(steps, "tables") else [steps.table(records)]
    assert [table for table in tables if table not in page] == []


@each_folder
@pytest.mark.parametrize("words", [[], ["measur"], ["table", "twice"]])
def test_other_words_are_refused(folder, words, capsys):
    assert script(folder).main(words) == 2
    assert f"docs/{folder}/steps.py measure" in capsys.readouterr().err

"""A user's own models: plugin files, module:function, file.py:function, constructor arguments."""

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

import run_bench
from bench import jsonl, plugins
from bench.build import Case
from bench.errors import UsageError
from bench.metrics import all_metrics
from bench.protocol import preset
from bench.record import Record
from bench.spec import Spec

PLUGIN = """
import torch
from timm.models import register_model
from torch import nn


class Colours(nn.Module):
    def __init__(self, width=8, img_size=32):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 1)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.stem(x).mean((2, 3)))


def colours(**kwargs):
    return Colours(**kwargs)


def broken(**kwargs):
    weight = torch.zeros(3)
    return weight @ torch.zeros(4)


def nothing(**kwargs):
    return None


@register_model
def {name}(pretrained=False, **kwargs):
    return Colours()
"""
RAISES = PLUGIN.splitlines().index("    return weight @ torch.zeros(4)") + 1
PARAMS = 3 * 8 + 8 + 8 * 10 + 10
STATIC = ["size=32", "metrics=params,macs"]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def plugin(request):
    """A plugin file in the working folder, registering a model under a name that only this test has."""
    name = f"vitbench_{request.node.name.partition('[')[0][5:45]}"
    path = Path("mine.py")
    path.write_text(PLUGIN.replace("{name}", name))
    return path, name


def call(capsys, *arguments):
    code = run_bench.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def values(path="runs/records.jsonl"):
    return {record.spec.model: record for record in jsonl.read(Path(path))}


@dataclass
class Outcome:
    """What a run came to."""

    code: int
    err: str
    records: dict[str, Record]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """One run of users' models of every kind, sound and not, from a working folder where they lie."""
    folder = tmp_path_factory.mktemp("sweep")
    for name, text in {
        "mine.py": PLUGIN.replace("{name}", "vitbench_of_a_function"),
        "registering.py": PLUGIN.replace("{name}", "vitbench_of_a_plugin"),
        "vitbench_package/__init__.py": "",
        "vitbench_package/nets.py": PLUGIN.replace("@register_model", "").replace("{name}", "unregistered"),
        "sub/vitbench_beside.py": "WIDTH = 5\n",
        "sub/net.py": "from torch import nn\nfrom vitbench_beside import WIDTH\n"
        "def net():\n    return nn.Conv2d(3, WIDTH, 1)\n",
        "vitbench_broken/__init__.py": "1 / 0\n",
        "vitbench_broken/mod.py": "def net(): ...\n",
        "bad.py": "x = 1\nraise KeyError('mine')\n",
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    words = [
        "mine.py:colours",
        "mine.py:broken",
        "mine.py:nothing",
        "vitbench_package.nets:colours",
        "./sub/../sub/net.py:net",
        "vitbench_broken.mod:net",
        "bad.py:anything",
        "vitbench_of_a_plugi?",
        "test_vit",
    ]
    err = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(err):
        patch.chdir(folder)
        code = run_bench.main(["run", *words, *STATIC, "--plugin", "registering.py", "--resume"])
        return Outcome(code, err.getvalue(), values())


def test_functions_of_files_and_modules_are_measured_and_what_fails_stops_nothing_else(sweep):
    assert sweep.code == 3
    assert "Traceback" not in sweep.err
    assert "9 records in runs/records.jsonl: 10 values, 8 failed" in sweep.err
    assert {model for model, record in sweep.records.items() if not record.failed} == {
        "mine.py:colours",
        "vitbench_package.nets:colours",
        "sub/net.py:net",
        "vitbench_of_a_plugin",
        "test_vit",
    }


def test_a_function_of_a_module_in_the_working_folder(sweep):
    assert sweep.records["vitbench_package.nets:colours"]["params"].value == PARAMS


def test_a_file_finds_what_lies_beside_it_wherever_it_is_called_from(sweep):
    assert sweep.records["sub/net.py:net"]["params"].value == 4 * 5


def test_a_package_that_cannot_be_imported_fails_its_cells_only(sweep):
    assert "ZeroDivisionError: division by zero" in sweep.err
    assert sweep.records["vitbench_broken.mod:net"]["params"].status == "failed"


def test_a_plugin_registers_names_that_patterns_match(capsys, plugin, sweep):
    path, name = plugin
    code, out, _ = call(capsys, "list", f"{name[:-1]}*", "--plugin", path)
    assert (code, out.split()) == (0, [name])
    assert sweep.records["vitbench_of_a_plugin"]["params"].value == PARAMS


def test_what_a_users_function_raises_is_shown_with_its_place(sweep):
    assert "params failed: RuntimeError: " in sweep.err
    assert f"(mine.py:{RAISES})" in sweep.err
    assert f"(mine.py:{RAISES})" in sweep.records["mine.py:broken"]["macs"].note
    assert sweep.records["mine.py:colours"]["params"].value == PARAMS
    note = sweep.records["mine.py:nothing"]["params"].note
    assert note.startswith("TypeError: the model's function returned a NoneType")


def test_a_function_of_a_file_that_cannot_be_loaded_fails(sweep):
    assert "params failed: KeyError: 'mine' (bad.py:2)" in sweep.err
    assert sweep.records["bad.py:anything"]["params"].status == "failed"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\nraise KeyError('mine')\n", "KeyError: 'mine' (bad.py:2)"),
        ("x = 1\nx = = 2\n", "SyntaxError: invalid syntax (bad.py, line 2)"),
        (
            "import vitbench_no_such_module\n",
            "ModuleNotFoundError: No module named 'vitbench_no_such_module' (bad.py:1)",
        ),
        ("import sys\nsys.exit(0)\n", "RuntimeError: importing the plugin ended in exit(0)"),
        (
            "from timm.models import register_model\n@register_model\ndef resnet18(pretrained=False, **kw): ...\n",
            "Overwriting resnet18 in registry",
        ),
    ],
    ids=["raises", "syntax", "import", "exit", "taken name"],
)
@pytest.mark.filterwarnings("default")  # as outside of tests, where timm's warning alone would stop nothing
def test_a_plugin_that_cannot_be_loaded_is_code_3_and_the_rest_goes_on(capsys, text, says):
    Path("bad.py").write_text(text)
    code, out, err = call(capsys, "run", "test_vit", "--plugin", "bad.py", "metrics=params", "--dry-run")
    assert code == 3
    assert "plugin bad.py failed: " in err
    assert says in err
    assert "test_vit" in out
    code, _, err = call(capsys, "run", "vitbench_of_the_plugin", "--plugin", "bad.py", "metrics=params")
    assert code == 3
    assert "no model 'vitbench_of_the_plugin'" in err
    assert "a plugin that failed may define it" in err
    code, out, err = call(capsys, "list", "test_vit", "--plugin", "bad.py")
    assert (code, out) == (3, "test_vit\n")


def test_a_function_of_a_file_is_measured_with_its_arguments_and_on_resume_if_it_was_changed(capsys, plugin):
    path, _ = plugin
    words = ["run", "mine.py:colours", *STATIC, "--model-arg", "width=16", "--resume"]
    for text, kept in ((None, 0), (None, 1), ("\n", 0)):
        if text:
            path.write_text(path.read_text() + text)
        code, _, err = call(capsys, *words)
        assert code == 0, err
        assert err.count("recorded before") == kept
    record = values()["mine.py:colours"]
    assert record["params"].value == 3 * 16 + 16 + 16 * 10 + 10
    assert record["macs"].value == 32 * 32 * 3 * 16 + 16 * 10
    assert dict(record.spec.model_args) == {"width": 16}


def test_loading_twice_runs_the_file_once_and_another_of_its_name_is_another(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.py").write_text(f"here = {folder!r}\n")
    first = plugins.load("a/same.py")
    assert plugins.load(str(tmp_path / "a" / "same.py")) is first
    assert plugins.load("b/same.py").here == "b"


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a=1", 1),
        ("a=0.5", 0.5),
        ("a=true", True),
        ("a=False", False),
        ("a=None", None),
        ("a=chh+ihh", "chh+ihh"),
        ('a="1"', "1"),
        ("a=x=y", "x=y"),
        ("a=", ""),
        ("a=NaN", "NaN"),
        ("a=1e999", "1e999"),
        ('a="x,y"', "x,y"),
    ],
)
def test_arguments_are_read_as_json_or_as_words(word, value):
    from bench.plan import plan

    Path("any.py").write_text("def build(**kwargs): raise ValueError('not now')\n")
    [cell] = plan(["any.py:build", "metrics=params"], [word])
    found = dict(cell.spec.model_args)["a"]
    assert (found, type(found)) == (value, type(value))
    json.dumps(cell.spec.to_dict(), allow_nan=False)


def test_a_function_that_is_not_there_says_what_is(plugin):
    with pytest.raises(UsageError, match="it has Colours, colours, broken, nothing"):
        plugins.function("mine.py:colour")


FOREIGN = """
from torch import nn


class Foreign(nn.Module):
    def __init__(self):
        super().__init__()
        self.impl = nn.Linear(2, 2)
        self.layer = nn.Conv2d(3, 5, 1)

    def choose_impl(self):
        raise AssertionError

    def deploy(self, target):
        raise AssertionError

    def forward(self, x):
        return self.layer(x).mean((2, 3))


def foreign():
    return Foreign()


def in_place():
    model = Foreign()
    model.choose_impl = "auto"
    model.deploy = lambda: setattr(model, "layer", nn.Conv2d(3, 2, 1))
    return model
"""


def test_methods_of_a_users_own_that_share_our_names_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("foreign.py").write_text(FOREIGN)
    case = Case(Spec("foreign.py:foreign"), preset("quick"))
    assert all_metrics()["params"].measure(case).value == 5 * 3 + 5 + 2 * 2 + 2
    assert (case.impl, case.form) == (None, None)


def test_users_model_is_deployed_in_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("foreign.py").write_text(FOREIGN)
    found = {}
    for mode, form in (("infer", "auto"), ("infer", "training"), ("train", "auto")):
        case = Case(Spec("foreign.py:in_place", mode=mode, form=form), preset("quick"))
        found[mode, form] = case.form, all_metrics()["params"].measure(case).value
    assert found["infer", "auto"] == ("deployed", 2 * 3 + 2 + 6)
    assert found["infer", "training"] == found["train", "auto"] == ("training", 5 * 3 + 5 + 6)

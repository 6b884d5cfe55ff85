"""The error table: what a person can get wrong, what they are told, with which exit code, and that nothing is lost."""

import pickle
from pathlib import Path

import pytest
import timm
import torch

import run_bench

GOOD = (Path(__file__).parent / "goldens" / "report" / "records.jsonl").read_bytes().splitlines(keepends=True)[0]
PLUGIN = "def build(**kwargs): raise ValueError('not now')\ndef other(): ...\n"


class Payload:
    """What a pickle would run when it is read."""

    def __reduce__(self):
        return Path.touch, (Path("executed"),)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with one file of each kind of trouble; compared with itself afterwards."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    state = timm.create_model("test_vit").state_dict()
    for name, content in {
        "foreign.txt": b"hello\n",
        "good.jsonl": GOOD,
        "cut.jsonl": GOOD + GOOD[:99],
        "empty.jsonl": b"",
        "old.jsonl": b'{"schema": 0}\n',
        "mine.py": PLUGIN.encode(),
        "pickle.pth": pickle.dumps(Payload()),
    }.items():
        Path(name).write_bytes(content)
    for name, content in {
        "fits.pth": state,
        "list.pth": [1, 2],
        "hollow.pth": {"model": {}},
        "numbers.pth": {"epoch": 3},
        "code.pth": {"model": Payload()},
        "missing.pth": {key: tensor for key, tensor in state.items() if key != "norm.bias"},
        "extra.pth": {**state, "extra": torch.zeros(1)},
        "shape.pth": {**state, "head.bias": torch.zeros(7)},
    }.items():
        torch.save(content, name)
    Path("no_pictures").mkdir()
    Path("no_pictures/readme.txt").write_text("hello")
    Path("bad_pictures").mkdir()
    Path("bad_pictures/a.png").write_text("hello")
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


WORDS = [
    (["run"], "no model named; as in: run_bench.py run sgformer_s"),
    (["run", "sgformer_x"], "no model 'sgformer_x' (did you mean sgformer_"),
    (["run", "nothing_like_*"], "no model 'nothing_like_*'; `run_bench.py list` shows all"),
    (["run", "vit_tiny_patch16_224.nonsense"], "no tag 'nonsense' of vit_tiny_patch16_224; there are vit_tiny_"),
    (["run", "sgformer_s", "batsh=1"], "no axis 'batsh' (did you mean batch?); axes are batch, size"),
    (["run", "sgformer_s", "batch=0"], "batch=0: want a positive whole number, as in batch=1,8"),
    (["run", "sgformer_s", "batch=1", "batch=8"], "batch= is given twice"),
    (["run", "sgformer_s", "batch="], "batch=: a value is missing; write batch=1,8"),
    (["run", "sgformer_s", "mode=trian"], "mode=trian (did you mean train or pretrain?): want one of infer, train"),
    (["run", "sgformer_s", "precision=half"], "precision=half: want one of float32, tf32"),
    (["run", "sgformer_s", "metrics=speed"], "no metric 'speed'; metrics are activations, macs, macs_fvcore, mask_oc"),
    (["run", "sgformer_s", "size=384"], "sgformer_s refuses size=384: SG-Former takes square images"),
    (["run", "sgformer_s", "size=225x224"], "multiple of 224 (7x7 windows at strides 4 to 32), got 225x224. Use"),
    (["run", "sgformer_s", "size=224,448x112"], "sgformer_s refuses size=448x112"),
    (["run", "greenmim_swin_tiny", "mode=pretrain", "size=200"], "greenmim_swin_tiny refuses size=200: GreenMIM takes"),
    (["run", "simmim_swin_tiny", "mode=pretrain", "size=192x224"], "square images whose side is a multiple of 32"),
    (["run", "greenmim_swin_tiny", "--model-arg", "mask_ratio=1"], "GreenMIM has no mask_ratio=1. Use a number from 0"),
    (["run", "greenmim_swin_tiny", "--model-arg", "mask_ratio=0.99"], "leaves none of 49 cells visible"),
    (["run", "greenmim_swin_tiny", "--model-arg", "window=6"], "window=6 doesn't divide GreenMIM's grids at 224 px"),
    (["run", "simmim_swin_tiny", "--model-arg", "window=6", "size=224,256"], "window=6 doesn't divide SimMIM's grids"),
    (["run", "greenmim_swin_tiny", "--model-arg", "grouping=best"], "no grouping='best'. Use one of: 'official', 'sea"),
    (["run", "greenmim_swin_tiny", "--model-arg", "decoder_depth=-1"], "no decoder_depth=-1. Use a whole number"),
    (["run", "simmim_swin_tiny", "--model-arg", "num_classes=10"], "has no classifier, got num_classes=10"),
    (["run", "sgformer_s", "device=cuda:99"], "device=cuda:99: PyTorch"),
    (["run", "sgformer_s", "device=tpu"], "device=tpu: want cpu, cuda, or cuda:N"),
]
OPTIONS = [
    (["run", "sgformer_s", "--preset", "fast"], "no preset 'fast'; presets are quick, standard, paper"),
    (["run", "sgformer_s", "--threads", "0"], "threads=0: want a positive whole number"),
    (["run", "sgformer_s", "--threads", "two"], "Invalid value for '--threads': "),
    (["run", "sgformer_s", "--colour", "red"], "No such option"),
    (["measure"], "No such command 'measure'"),
    (["list", "sgformer_x"], "no model 'sgformer_x'"),
    (["--dry-run", "list"], "belong to the main job"),
]
FILES = [
    (["run", "sgformer_s", "-o", "."], "cannot write to .: Is a directory"),
    (["run", "sgformer_s", "-o", "foreign.txt"], "foreign.txt: line 1 is not a record but b'hello"),
    (["run", "sgformer_s", "-o", "cut.jsonl"], "cut.jsonl: line 2 is cut off; the 1 records before it are whole."),
    (["run", "sgformer_s", "-o", "foreign.txt/a.jsonl"], "cannot write to foreign.txt/a.jsonl: "),
    (["run", "sgformer_s", "-o", "x" * 300], "File name too long"),
    (["report"], "cannot read runs/records.jsonl: No such file or directory"),
    (["report", "foreign.txt"], "foreign.txt: line 1 is not a record but b'hello"),
    (["report", "cut.jsonl"], "cut.jsonl: line 2 is cut off; the 1 records before it are whole."),
    (["report", "empty.jsonl"], "no records in empty.jsonl"),
    (["report", "old.jsonl"], "schema 0, where this version reads 1 and 2"),
    (["report", "good.jsonl", "-o", "foreign.txt"], "cannot write the report to foreign.txt"),
    (["run", "test_vit", "images=gone"], "images=gone: no such folder; want photographs, noise or a folder of images"),
    (["run", "test_vit", "images=no_pictures"], "images=no_pictures: the folder holds no image"),
]
PLUGINS = [
    (["run", "gone.py:build"], "no plugin file "),
    (["run", "mine.py:gone"], "mine.py has no function 'gone'; it has build, other"),
    (["run", "vitbench_gone:build"], "no module 'vitbench_gone'; it must be installed, or lie in the working folder"),
    (["run", "json.gone:build"], "no module 'json.gone'"),
    (["run", ":build"], "'' is not the name of a module, nor of a file ending in .py"),
    (["run", "models.mine:build"], "the package is VitBench's own; name yours by its file, models/mine.py"),
    (["run", "..:build"], "'..' is not the name of a module"),
    (["run", "test_vit", "--plugin", "gone.py"], "no plugin file "),
    (["run", "test_vit", "--plugin", "vitbench_gone"], "no module 'vitbench_gone'"),
    (["list", "--plugin", "gone.py"], "no plugin file "),
    (
        ["run", "mine.py:build", "weights=pretrained"],
        "timm names no weights of mine.py:build; give a file with --checkp",
    ),
]
ARGUMENTS = [
    (["run", "test_vit", "--model-arg", "width"], "--model-arg width: want name=value"),
    (["run", "test_vit", "--model-arg", "=3"], "--model-arg =3: want name=value"),
    (["run", "test_vit", "--model-arg", "depth=[1,2]"], "--model-arg depth=[1,2]: want one number, word, true"),
    (["run", "test_vit", "--model-arg", "img_size=32"], "img_size is named by the axis size"),
    (["run", "test_vit", "--model-arg", "pretrained=true"], "pretrained is named by weights=pretrained"),
    (["run", "test_vit", "--model-arg", "a=1", "--model-arg", "a=2"], "--model-arg a is given twice"),
    (["run", "test_vit", "--model-arg", "depth=1,,2"], "--model-arg depth=1,,2: a value is missing; write depth=A,B"),
    (["run", "test_vit", "--model-arg", "depth=1,"], "--model-arg depth=1,: a value is missing; write depth=A,B"),
    (["run", "test_vit", "--model-arg", 'name="x,y'], "a double quote is not closed"),
    (["run", "test_vit", "--model-arg", "depth=1,[2]"], "--model-arg depth=1,[2]: want one number, word, true"),
    (["run", "test_vit", "--model-arg", "num_classes=5,red"], "test_vit refuses size=160 num_classes=red: "),
    (["run", "test_vit", "--model-arg", "colour=red"], "test_vit refuses size=160 colour=red: TypeError: "),
    (["run", "test_vit", "--model-arg", "in_chans=three"], "test_vit refuses size=160 in_chans=three: "),
]
CHECKPOINTS = [
    (["run", "sgformer_s", "weights=pretrained"], "timm names no weights of sgformer_s; give a file with --checkpoint"),
    *(
        (["run", "test_vit", "--checkpoint", name], says)
        for name, says in {
            "gone.pth": "cannot read the checkpoint gone.pth: No such file",
            "no_pictures": "cannot read the checkpoint no_pictures: Is a directory",
            "two\nlines.pth": r"cannot read the checkpoint two\nlines.pth: No such file",
            "empty.jsonl": "empty.jsonl is not a checkpoint",
            "foreign.txt": "foreign.txt is not a checkpoint",
            "pickle.pth": "pickle.pth is not a checkpoint",
            "code.pth": "code.pth is not a checkpoint",
            "list.pth": "list.pth is not a ",
            "hollow.pth": "hollow.pth is not a state dict",
            "numbers.pth": "numbers.pth is not a state dict",
            "missing.pth": "missing.pth does not fit VisionTransformer: missing: norm.bias",
            "extra.pth": "extra.pth does not fit VisionTransformer: not known: extra",
            "shape.pth": "shape.pth does not fit VisionTransformer: of another shape: head.bias is (7,), not (1000,)",
        }.items()
    ),
    (["run", "resnet18", "--checkpoint", "fits.pth"], "fits.pth does not fit ResNet: missing: conv1.weight"),
    (["run", "test_vit", "weights=random", "--checkpoint", "fits.pth"], "weights= is given twice"),
]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [*WORDS, *OPTIONS, *FILES, *PLUGINS, *ARGUMENTS, *CHECKPOINTS],
    ids=lambda part: " ".join(part)[:60] if isinstance(part, list) else "says",
)
def test_bad_usage_is_one_clear_line_and_code_2_and_leaves_everything_as_it_was(folder, capsys, arguments, says):
    before = contents(folder)
    code = run_bench.main(arguments)
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert says in err
    assert contents(folder) == before

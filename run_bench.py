#!/usr/bin/env python
"""VitBench's command line: parse, call one function of a room, print, exit code.

0 fine · 1 a gate failed · 2 bad usage · 3 a cell failed, a plugin raised, or nothing was measured · 4 unclear, in a
strict mode · 70 an error of ours · 130 Ctrl-C. PyTorch and timm are imported inside the commands that need them.
"""

import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from bench.errors import BenchError, UsageError, one_line
from bench.protocol import PRESETS, preset

if TYPE_CHECKING:
    from bench.protocol import Protocol
    from bench.record import Record
    from bench.runner import Cell
    from reports.ledger.planning import Wanted

RUNS = Path("runs")
MAIN_RECORDS = RUNS / "main.jsonl"
RECORDS = RUNS / "records.jsonl"
REPORT = RUNS / "report"
CLAIMS = RUNS / "claims"
STOPPED = 130
REGISTER = ("models",)  # modules that a worker imports to know our names

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
human = Console(stderr=True, highlight=False, soft_wrap=True)

Words = Annotated[list[str] | None, typer.Argument(metavar="WORD...", show_default=False)]
Preset = Annotated[str, typer.Option("--preset", help=f"How carefully: {', '.join(PRESETS)}.")]
Threads = Annotated[int | None, typer.Option("--threads", help="CPU threads; one a physical core if not said.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON to the standard output.")]
Plugin = Annotated[
    list[str] | None, typer.Option("--plugin", metavar="FILE.py", help="Load a file that registers models with timm.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be measured, and stop.")]


@app.callback(invoke_without_command=True)
def main_job(
    context: typer.Context,
    again: Annotated[bool, typer.Option("--again", help="Measure also what this code has recorded here.")] = False,
    dry_run: DryRun = False,
) -> None:
    """python run_bench.py

    Without a command: the main job. Static numbers of every model of the zoo, of timm's baselines and of what the
    papers claim, the small ones timed, then a report: runs/main.jsonl, runs/report/report.md and report.html. Asked
    a second time, it measures only what is not recorded yet (--again measures anew).
    """
    if context.invoked_subcommand is not None:
        if again or dry_run:
            raise UsageError("--again and --dry-run before a command belong to the main job; put them behind it")
        return
    import models
    from bench.jobs import main_job, merged
    from bench.plan import default_device
    from reports.ledger import ledger, planning

    device, protocol = default_device(), preset("quick")
    claimed = planning.clockless(wanted_claims(ledger.papers_of([]), device, protocol))
    cells = merged([*main_job(models.zoo(), device), *as_cells(claimed)])
    if dry_run:
        show_plan(cells, protocol)
        return
    code = measure(cells, protocol, MAIN_RECORDS, REGISTER, resume=not again)
    write_report([MAIN_RECORDS], REPORT)
    show_ledger([MAIN_RECORDS])
    raise typer.Exit(code)


@app.command()
def run(
    words: Words = None,
    preset_name: Preset = "standard",
    threads: Threads = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The records file, appended to.")] = RECORDS,
    resume: Annotated[bool, typer.Option("--resume", help="Leave out what the file holds already.")] = False,
    plugins: Plugin = None,
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", metavar="FILE", help="Load these weights: the same as weights=FILE.")
    ] = None,
    model_args: Annotated[
        list[str] | None,
        typer.Option("--model-arg", metavar="NAME=VALUE", help="An argument of the models' constructor; repeatable."),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """python run_bench.py run sgformer_s deit_small_patch16_224 batch=1,8 --preset quick

    Measure models. A WORD is a model, an axis, or metrics=params,macs,latency. Models: names and patterns of the zoo
    and of timm ('deit_*_patch16_224'), package.module:function, file.py:function. Axes: mode=infer,train batch=1,8
    size=224,448 precision=float32,amp_bfloat16 device=cuda attention=fused,eager layout=channels_last
    compile=none,default weights=random,pretrained images=photographs. The product of all axes is measured, a record a
    cell; `list` shows names.
    """
    register, broken = load_plugins(plugins or [])
    from bench.plan import plan

    protocol = preset(preset_name, threads)
    try:
        cells = plan(words or [], model_args or [], checkpoint)
    except UsageError as error:
        if not broken:
            raise
        human.print(f"[red]error:[/] {safe(str(error))}; a plugin that failed may define it")
        raise typer.Exit(3) from error
    if dry_run:
        show_plan(cells, protocol, as_json)
        code = 0
    else:
        code = measure(cells, protocol, output, register, resume, as_json)
    raise typer.Exit(3 if broken else code)


@app.command()
def report(
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE...", show_default=str(RECORDS))] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.")] = REPORT,
) -> None:
    """python run_bench.py report runs/main.jsonl -o runs/report

    Write report.md with its tables (also as CSV) and pictures (PNG and SVG) from records files alone.
    """
    write_report(files or [RECORDS], output)


@app.command()
def claims(
    papers: Annotated[list[str] | None, typer.Argument(metavar="PAPER...", show_default="all")] = None,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="static", help="Counts alone, which take no clock and less than a minute."),
    ] = None,
    preset_name: Preset = "quick",
    threads: Threads = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write the ledger to.")] = CLAIMS,
    records_file: Annotated[
        Path, typer.Option("--records", metavar="FILE", help="The records file, appended to and judged from.")
    ] = CLAIMS / "records.jsonl",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """python run_bench.py claims greenmim --only static

    Test what papers claim: sgformer, hmhsa, greenmim, esvit, beitv2, or all of them. Measures what is not in the
    records file yet, and writes ledger.md, ledger.csv and ledger.json: every published number beside ours, with a
    verdict. Other records can be put into the file: those of a GPU, say.
    """
    if only not in (None, "static"):
        raise UsageError(f"--only {only}: want static, or nothing")
    from reports.ledger import ledger, planning

    chosen = ledger.papers_of(papers or [])
    load_plugins([])
    from bench import jsonl
    from bench.plan import default_device

    protocol = preset(preset_name, threads)
    device = default_device()
    taken = planning.quick if only else list
    cells = as_cells(taken(wanted_claims(chosen, device, protocol)))
    if dry_run:
        show_claims_plan(cells, protocol, records_file, as_json)
        return
    records = record(cells, protocol, records_file, REGISTER, resume=True)
    judged = ledger.rows(jsonl.read(records_file), chosen)
    waited = as_cells(taken(planning.costly(judged, ledger.sorted_claims(), device)))
    if waited:
        records += record(waited, protocol, records_file, REGISTER, resume=True)
        judged = ledger.rows(jsonl.read(records_file), chosen)
    page = ledger.write(judged, output)
    if as_json:
        print(ledger.to_json(judged), end="")
    human.print(f"\nTables and figures of it: run_bench.py report {records_file} -o {output}", markup=False)
    human.print(f"{ledger.line(judged)}\nLedger: {page}, from {records_file}", markup=False)
    raise typer.Exit(code_of(records))


@app.command("list")
def list_(
    patterns: Annotated[list[str] | None, typer.Argument(metavar="PATTERN...", show_default=False)] = None,
    metrics: Annotated[bool, typer.Option("--metrics", help="Only the metrics.")] = False,
    presets: Annotated[bool, typer.Option("--presets", help="Only the presets.")] = False,
    plugins: Plugin = None,
    as_json: AsJson = False,
) -> None:
    """python run_bench.py list 'sgformer_*' 'deit_*_patch16_224'

    Show models, metrics and presets: the zoo's models, or whatever of the zoo and timm matches a PATTERN.
    """
    found: dict[str, Any] = {}
    broken = False
    if not (metrics or presets):
        _, broken = load_plugins(plugins or [])
        import models
        from bench.names import resolve

        found["models"] = resolve(patterns) if patterns else models.zoo()
    if metrics or not (presets or patterns):
        from bench.metrics import all_metrics

        found["metrics"] = {
            metric.name: {"unit": metric.unit, "better": metric.better, "stage": metric.stage, "is": metric.summary}
            for metric in all_metrics().values()
        }
    if presets or not (metrics or patterns):
        found["presets"] = PRESETS
    if as_json:
        print(json.dumps(found, indent=2))
        raise typer.Exit(3 if broken else 0)
    for name in found.get("models", ()):
        print(name)
    width = max(map(len, found.get("metrics", ())), default=0)
    for name, facts in found.get("metrics", {}).items():
        print(f"{name:{width}} {facts['unit']:6} {facts['better']:7} is better  {facts['is']}")
    for name, facts in found.get("presets", {}).items():
        print(f"{name:16} {' '.join(f'{key}={value:g}' for key, value in facts.items())}")
    if "models" in found and not patterns:
        human.print("Any timm model can stand beside these: `run_bench.py list 'deit_*'` shows which match.")
    raise typer.Exit(3 if broken else 0)


def load_plugins(files: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Load the zoo and the plugins; returns what workers must load too, and whether a plugin raised: it is shown with
    its place, and the others go on."""
    from bench import plugins

    for name in REGISTER:
        plugins.load(name)
    sound = [*REGISTER]
    for file in files:
        try:
            plugins.load(file)
            sound.append(file)
        except BenchError:
            raise
        except Exception as error:
            human.print(f"[red]plugin {safe(file)} failed:[/] {safe(one_line(error))}")
    return tuple(sound), len(sound) < len(REGISTER) + len(files)


def measure(
    cells: Sequence["Cell"],
    protocol: "Protocol",
    path: Path,
    register: Sequence[str],
    resume: bool,
    as_json: bool = False,
) -> int:
    """Run the cells, show their numbers; returns the exit code."""
    records = record(cells, protocol, path, register, resume)
    if as_json:
        for one in records:
            print(json.dumps(one.to_dict(), allow_nan=False))
    return conclude(records, path)


def record(
    cells: Sequence["Cell"], protocol: "Protocol", path: Path, register: Sequence[str], resume: bool
) -> list["Record"]:
    """Run the cells under a progress display."""
    from bench.progress import Board
    from bench.runner import run

    with Board(human, cells, protocol) as board:
        return run(cells, protocol, path, board, register=register, resume=resume)


def conclude(records: Sequence["Record"], path: Path) -> int:
    """Show the numbers, say where the records are and whether all is well."""
    from reports.report import summary

    human.print(f"\n{summary(records)}\n", markup=False)
    values = [value for record in records for value in record.values]
    measured = sum(value.status == "ok" for value in values)
    failed = sum(value.status == "failed" for value in values)
    human.print(f"{len(records)} records in {path}: {measured} values, {failed} failed", markup=False)
    return code_of(records)


def code_of(records: Sequence["Record"]) -> int:
    """The exit code of a run: whether something failed, or nothing was measured."""
    statuses = {value.status for record in records for value in record.values}
    return 3 if "failed" in statuses or "ok" not in statuses else 0


def write_report(files: Sequence[Path], folder: Path) -> None:
    """Read, render, say where."""
    from bench.jsonl import read_all
    from reports.report import write

    page = write(read_all(files), folder)
    human.print(f"Report: {page}", markup=False)


def show_ledger(files: Sequence[Path]) -> None:
    """How the papers' claims stand by these records alone."""
    from bench.jsonl import read_all
    from reports.ledger import ledger

    human.print(f"{ledger.line(ledger.rows(read_all(files)))}; `run_bench.py claims` tests more", markup=False)


def wanted_claims(papers: Sequence[str], device: str, protocol: "Protocol") -> "Wanted":
    """What the claims of papers need on this machine."""
    from bench.environment import capture
    from reports.ledger import ledger, planning

    here = capture(device, protocol.threads)
    return planning.wanted(ledger.sorted_claims(), papers, device, here.gpu or here.cpu)


def as_cells(wanted: "Wanted") -> list["Cell"]:
    """What the ledger wants, as cells."""
    from bench.runner import Cell

    return [Cell(spec, metrics) for spec, metrics in wanted]


def show_claims_plan(cells: Sequence["Cell"], protocol: "Protocol", path: Path, as_json: bool) -> None:
    """The dry run of the ledger: every cell, whether it is recorded, and a guess of the time of the others."""
    from bench.jsonl import read
    from bench.progress import expected_seconds
    from bench.runner import recorded

    present = read(path) if path.exists() else []
    marks = [recorded(cell, protocol, present, REGISTER) is not None for cell in cells]
    for cell, mark in zip(cells, marks, strict=True):
        if as_json:
            spec = cell.spec.to_dict()
            print(json.dumps({"id": cell.spec.id, "spec": spec, "metrics": cell.metrics, "recorded": mark}))
        else:
            print(f"{cell.spec.id}  {cell.spec}  metrics={','.join(cell.metrics)}{'  (recorded)' if mark else ''}")
    left = sum(expected_seconds(cell, protocol) for cell, mark in zip(cells, marks, strict=True) if not mark)
    human.print(
        f"{len(cells)} cells, {sum(marks)} of them recorded; the others: about {max(1, round(left / 60))} min by the "
        f"limits of preset {protocol.preset}, more where single calls take longer than those. Where macs are not the "
        "printed number, macs_fvcore is taken too; which these are is known then."
        if not all(marks)
        else f"{len(cells)} cells, all of them recorded",
        markup=False,
    )


def show_plan(cells: Sequence["Cell"], protocol: "Protocol", as_json: bool = False) -> None:
    """The dry run: every cell with its metrics, and a guess of the time."""
    from bench.progress import expected_seconds

    if as_json:
        for cell in cells:
            print(json.dumps({"id": cell.spec.id, "spec": cell.spec.to_dict(), "metrics": cell.metrics}))
        return
    for cell in cells:
        print(f"{cell.spec.id}  {cell.spec}  metrics={','.join(cell.metrics)}")
    seconds = sum(expected_seconds(cell, protocol) for cell in cells)
    human.print(f"{len(cells)} cells, preset {protocol.preset}: about {max(1, round(seconds / 60))} min")


def refuse(message: str) -> int:
    """Print one line about bad usage; returns its exit code."""
    human.print(f"[red]error:[/] {safe(message)}")
    return 2


def safe(text: str) -> str:
    """`text` for the console on one line: neither markup nor control characters of what was typed do anything."""
    return escape("".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. Only an error of ours prints a traceback."""
    try:
        code = int(app(arguments, prog_name="run_bench.py", standalone_mode=False) or 0)
        if code == STOPPED:  # Typer's own answer to Ctrl-C
            human.print("[red]stopped[/] by Ctrl-C; what was recorded is kept, and `run --resume` goes on from there")
        return code
    except SystemExit:  # Typer's answer to a reader of our output that has left, as in `list | head`
        return 0
    except BenchError as error:
        return refuse(str(error))
    except typer.BadParameter as error:  # an option's value
        return refuse(f"{error.format_message()}; see run_bench.py --help")
    except typer.TyperException as error:  # an unknown command or option
        return refuse(f"{error}; see run_bench.py --help")
    except Exception:
        traceback.print_exc()
        human.print("[red]error:[/] this is a defect of VitBench; please report it with the lines above")
        return 70


if __name__ == "__main__":
    sys.exit(main())

"""The commands of `compress`: each parses, calls a function of the same sense, and prints.

Whatever a command needs is imported inside it: `compress --help` and `compress check` start in a moment and never see torch.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from compress.cli.bundles import bundles
from compress.cli.results import PLAIN, RUNS, Device, Overrides, RecipePath, Runs, Shared, Threads, results
from compress.cli.sweeps import sweeps
from compress.errors import BUDGET_MISSED, CompressError, ParityError, RecipeError


class Commands(TyperGroup):
    """Where every command's errors end: one line each on stderr, and the exit code of the error's type."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except RecipeError as error:
            _end(error.problems, error.exit_code)
        except CompressError as error:
            _end([str(error)], error.exit_code)
        except KeyboardInterrupt:
            print("\ninterrupted; run the same command again to go on", file=sys.stderr)
            raise typer.Exit(130) from None


app = typer.Typer(cls=Commands, help="Turn a big multimodal teacher into a small student that ships to devices.", **PLAIN)
store_app = typer.Typer(help="Look into the store of artifacts, and clear it.", **PLAIN)
app.add_typer(results)
app.add_typer(bundles)
app.add_typer(sweeps, name="sweep")
app.add_typer(store_app, name="store")


@app.command()
def check(recipe: RecipePath, override: Overrides = None) -> None:
    """Check a recipe, and list all of its errors at once, or the packages that it asks for and that are not installed."""
    from compress.recipe.grammar import load_recipe
    from compress.recipe.packages import require_packages

    loaded = load_recipe(recipe, override or [])
    require_packages(loaded.recipe)
    how = f" with {', '.join(loaded.overrides)}" if override else f"; run it with `compress run {recipe}`"
    print(f"{recipe}: no errors{how}")


@app.command()
def plan(
    recipe: RecipePath,
    override: Overrides = None,
    threads: Threads = None,
    device: Device = "auto",
    runs: Runs = RUNS,
    store: Shared = None,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Tell costs for so many processes.")] = 1,
) -> None:
    """Say for each stage whether it would be reused or run, and why, and what asking the teacher and training the student costs."""
    from compress.recipe.grammar import load_recipe

    loaded = load_recipe(recipe, override or [])
    from compress.pipeline import plan as plan_stages

    planned = plan_stages(loaded, runs=runs, threads=threads, device=device, store=store)
    for stage in planned:
        print(f"{stage.index:>2}-{stage.name:<14} {stage.action:<6} {stage.reason}")
    from compress.data.forecast import forecast

    for line in forecast(loaded.recipe, planned, runs, processes=processes):
        print(line)


@app.command()
def run(
    recipe: RecipePath,
    override: Overrides = None,
    first: Annotated[str | None, typer.Option("--from", metavar="STAGE", help="Run this stage and the later ones again.")] = None,
    last: Annotated[str | None, typer.Option("--until", metavar="STAGE", help="Stop after this stage.")] = None,
    budget: Annotated[
        Path | None, typer.Option("--budget", metavar="FILE", help="Lines as in the recipe's budget, checked besides.")
    ] = None,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write each line of the budgets as JUnit XML.")] = None,
    threads: Threads = None,
    device: Device = "auto",
    runs: Runs = RUNS,
    store: Shared = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as the last line of stdout, all else on stderr.")] = False,
    trial: Annotated[bool, typer.Option("--as-trial", hidden=True)] = False,
) -> None:
    """Run a recipe, from data to bundle; stages whose result is in the store are reused."""
    import json

    from compress.recipe.grammar import load_budget, load_recipe

    if trial:
        _end_with_parent()
    from compress.ranks.group import join

    join()  # of several processes the first one alone prints, an error in the recipe too
    _check_stages({"--from": first, "--until": last})
    if last and (budget or junit):
        raise RecipeError([f"--until {last}: a budget is checked at the end of the run; leave out --budget and --junit, or --until"])
    loaded = load_recipe(recipe, override or [])
    budgets = {"recipe": loaded.recipe.budget} | ({budget.name: load_budget(budget)} if budget else {})
    from compress.pipeline import run as run_stages

    say = _say_stderr if as_json else print
    tell = (lambda event: print(json.dumps(event), flush=True)) if trial else None
    result = run_stages(loaded, runs=runs, threads=threads, device=device, store=store, first=first, last=last, say=say, tell=tell)
    misses = list(result.budget_misses)
    if budget or junit:
        from compress.reporting.budgets import check_summary, write_junit

        lines = {name: check_summary(result.summary, limits) for name, limits in budgets.items()}
        misses = list(dict.fromkeys([*misses, *(line.text for found in lines.values() for line in found if line.missed)]))
        if junit:
            write_junit(junit, lines)
    for miss in misses:
        _say_stderr(f"budget missed: {miss}")
    for miss in result.parity_misses:
        _say_stderr(f"error: {miss}")
    if as_json:
        print(json.dumps(result.summary))
    if result.parity_misses:
        raise typer.Exit(ParityError.exit_code)
    if misses:
        raise typer.Exit(BUDGET_MISSED)


@app.command(hidden=True)
def make_beside(
    recipe: RecipePath,
    stage: Annotated[str, typer.Option("--stage", help="The stage.")],
    override: Overrides = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")] = 1,
    device: Device = "auto",
    runs: Runs = RUNS,
    store: Shared = None,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", help="End when the input is closed, as it is when the run is gone.")
    ] = False,
) -> None:
    """Make one stage of a recipe whose inputs are in the store; a run starts this beside itself."""
    from compress.pipeline import make_beside as make_stage
    from compress.recipe.grammar import load_recipe

    if with_parent:
        _end_with_parent()
    make_stage(load_recipe(recipe, override or []), stage, runs=runs, threads=threads, device=device, store=store)


@app.command("list")
def list_names(
    what: Annotated[
        str,
        typer.Argument(
            help="losses, datasets, modalities, tasks, image_encoders, text_encoders, models, quantizers, runtimes, stages or recipes"
        ),
    ],
    name: Annotated[str | None, typer.Argument(help="One of them: all that it says of itself, such as `compress list losses kd`.")] = None,
) -> None:
    """List what a recipe may name, with its options."""
    from compress.listing import lines_of

    for line in lines_of(what, name):
        print(line)


@app.command()
def schema(
    document: Annotated[str, typer.Argument(help="recipe, or measurements: of the measurements.json of a run's benchmark.")] = "recipe",
) -> None:
    """Print the JSON Schema of a recipe, for editors, or of measurements.json, for scripts."""
    import json

    if document not in ("recipe", "measurements"):
        raise CompressError(f"schema {document}: unknown; there are recipe and measurements")
    from compress.measures.document import json_schema as schema_of_measurements
    from compress.recipe.grammar import json_schema as schema_of_recipe

    print(json.dumps(schema_of_recipe() if document == "recipe" else schema_of_measurements(), indent=1))


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="Where to write the recipe.")],
    train: Annotated[
        Path | None,
        typer.Option("--train", help="Your training rows: CSV, JSONL, Parquet, or shards, such as 'a-{000..009}.tar' in quotes."),
    ] = None,
    test: Annotated[Path | None, typer.Option("--test", help="Your test rows, never trained on.")] = None,
    validation: Annotated[Path | None, typer.Option("--validation", help="Your validation rows.  [default: cut from training]")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label", metavar="COLUMN", help="Column of the labels; of --task several one a head.  [default: guessed, as the others]"
        ),
    ] = None,
    image: Annotated[str | None, typer.Option("--image", metavar="COLUMN", help="Column of the pictures: paths, or their content.")] = None,
    audio: Annotated[str | None, typer.Option("--audio", metavar="COLUMN", help="Column of the sounds: paths, or their content.")] = None,
    text: Annotated[str | None, typer.Option("--text", metavar="COLUMN", help="Column of the texts.")] = None,
    group: Annotated[
        str | None, typer.Option("--group", metavar="COLUMN", help="Column of what keeps rows together, such as a patient.")
    ] = None,
    task: Annotated[str, typer.Option("--task", help="What is asked of the rows: one of `compress list tasks`.")] = "single_label",
    name: Annotated[str | None, typer.Option("--name", help="Name of the run.  [default: the file's]")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Look at your own files and write the recipe for them, every choice explained; without --train, an example."""
    from compress.recipe.starter import check_free, run_name, starter_text, write_recipe

    files = {"train": train, "validation": validation, "test": test}
    check_free(file, force=force)
    if not any((*files.values(), image, audio, text, label, group)):
        write_recipe(file, starter_text(name or run_name(file)), force=force)
        print(f"{file} written; put in the paths of your files, then run `compress check {file}`")
        return
    if train is None or test is None:
        raise CompressError("init looks at both the training and the test rows: give --train FILE and --test FILE")
    from compress.data.survey import survey
    from compress.recipe.choices import choose
    from compress.recipe.messages import did_you_mean
    from compress.recipe.writer import recipe_text, told
    from compress.tables import TASKS

    if task not in TASKS:
        raise CompressError(f"--task: unknown task {task!r}{did_you_mean(task, TASKS)}. See 'compress list tasks'")
    given = {split: path for split, path in files.items() if path is not None}
    several = {"heads": label or []} if task == "several" else {"label": label[-1] if label else None}
    if label and len(label) > 1 and task != "several":
        raise CompressError(f"--label: {' and '.join(label)}; --task several learns more than one, a head each")
    seen = survey(given, base=file.parent, image=image, audio=audio, text=text, group=group, task=task, **several)
    choice = choose(seen)
    write_recipe(file, recipe_text(name or run_name(file), str(file), seen, choice), force=force)
    for line in told(seen, choice, file=str(file)):
        print(line)


@app.command()
def doctor() -> None:
    """Say what is installed, what is missing, and what each missing part costs."""
    from compress.doctor import examine, render

    findings = examine()
    for line in render(findings):
        print(line)
    if any(finding.state != "ok" and finding.required for finding in findings):
        raise typer.Exit(1)


@store_app.command("ls")
def store_ls(runs: Runs = RUNS) -> None:
    """List what is in the store, with size, age and the runs that use it."""
    for entry in _store(runs).ls():
        print(_entry_line(entry))


@store_app.command("gc")
def store_gc(
    runs: Runs = RUNS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    store: Shared = None,
) -> None:
    """Remove what no run uses; with --store also what was half written there a day ago and more."""
    removed = _store(runs, store).gc(dry_run=dry_run)
    for entry in removed:
        print(_entry_line(entry))
    size_mb = sum(entry.size_bytes for entry in removed) / 1e6
    print(f"{'would remove' if dry_run else 'removed'} {len(removed)} entries, {size_mb:.1f} MB")


def main() -> None:
    """The console script."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait slow each other down on cores that are busy
    app()


def _end(messages: list[str], code: int) -> NoReturn:
    for message in messages:
        print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(code) from None


def _say_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _end_with_parent() -> None:
    from compress.store.beside import Beside

    Beside.end_with_parent()


def _check_stages(options: dict[str, str | None]) -> None:
    from compress.tables import STAGES

    unknown = [(option, name) for option, name in options.items() if name is not None and name not in STAGES]
    if unknown:
        from compress.recipe.messages import did_you_mean

        raise RecipeError([f"{o} {n}: unknown stage{did_you_mean(n, STAGES)}; there are {', '.join(STAGES)}" for o, n in unknown])


def _store(runs: Path, url: str | None = None) -> Any:
    from compress.store.at_url import open_store

    return open_store(url, runs)


def _entry_line(entry: Any) -> str:
    users = ", ".join(entry.used_by) or "no run"
    return f"{entry.state:<10} {entry.stage:<10} {entry.fingerprint[:12]} {entry.size_bytes / 1e6:>9.2f} MB  {entry.created}  {users}"

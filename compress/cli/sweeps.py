"""The commands of `compress` that try a recipe with many values; as in the package itself, each parses and calls."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from compress.cli.results import PLAIN, RUNS, Device, Overrides, RecipePath, Runs, Shared, Threads

Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL|FILE",
        help="Where trials are kept that several machines share: a database such as postgresql://host/name, or a journal file.  "
        "[default: SQLite in the sweep's folder]",
    ),
]


class StartIsUnderstood(TyperGroup):
    """`compress sweep RECIPE SWEEP` for `compress sweep start RECIPE SWEEP`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["start", *args]
        return super().parse_args(ctx, args)


sweeps = typer.Typer(cls=StartIsUnderstood, help="Try a recipe with many values: compress sweep RECIPE SWEEP.yaml.", **PLAIN)


@sweeps.command()
def start(
    recipe: RecipePath,
    file: Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep file: places, objectives, sampler.")],
    override: Overrides = None,
    threads: Threads = None,
    device: Device = "auto",
    runs: Runs = RUNS,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, help="Trials at once; what is timed is timed alone.  [default: 1, or what the cluster has]"),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS", help="Run the trials on this Ray cluster: host:port, or auto for this machine's."),
    ] = None,
    storage: Storage = None,
    store: Shared = None,
) -> None:
    """Run the trials of a sweep that are missing, each a run, and report them; `start` itself may be left out."""
    from compress.placement import find_device
    from compress.recipe.grammar import load_recipe, load_section
    from compress.recipe.packages import require_packages
    from compress.recipe.sweep import Sweep

    loaded = load_recipe(recipe, override or [])
    config = load_section(file, Sweep, like="a sweep is lines such as `places: {student.head_width: [32, 64]}`")
    require_packages(loaded.recipe)
    name = config.name or f"{loaded.recipe.name}-{file.stem}"
    from compress.sweeping.report import sweep_markdown
    from compress.sweeping.study import Where
    from compress.sweeping.study import sweep as run_sweep

    where = Where(jobs, ray, storage, store)
    result = run_sweep(
        loaded, config, name=name, runs=runs, threads=threads, device=find_device(device), say=partial(print, flush=True), where=where
    )
    page = runs / name / "sweep.md"
    page.write_text(sweep_markdown(result))
    print(f"\n{page.read_text()}\n{page} written; `compress sweep best {name}` writes the winning recipe")


@sweeps.command()
def best(
    name: Annotated[str, typer.Argument(help="The sweep's name.")],
    trial: Annotated[int | None, typer.Option("--trial", min=0, help="This trial.  [default: the best by the first objective]")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where to write it.  [default: RECIPE.best.yaml beside the recipe]")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    runs: Runs = RUNS,
    storage: Storage = None,
) -> None:
    """Write the winning recipe of a sweep, or that of one trial."""
    from compress.sweeping.report import choose, write_best
    from compress.sweeping.study import read_sweep

    result = read_sweep(name, runs=runs, storage=storage)
    chosen = choose(result, trial)
    place = write_best(result, chosen, out, force=force)
    print(f"{place} written: {chosen.name}; its run reuses all that the trial made: compress run {place}")

"""The commands of `compress` that look at data and at what runs have left; as in the package itself, each parses, calls a function of the same sense, and prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from compress.errors import CompressError

# Plain help: rich would add 60 ms to every start. Completion scripts write to the user's shell files, which nobody asked for.
PLAIN: dict[str, Any] = {"rich_markup_mode": None, "add_completion": False, "pretty_exceptions_enable": False, "no_args_is_help": True}
results = typer.Typer(**PLAIN)

Runs = Annotated[Path, typer.Option("--runs", help="Folder of the run folders and of the store.")]
Folder = Annotated[str, typer.Argument(metavar="RUN|BUNDLE", help="A run's name or folder, or a bundle's folder.")]
RUNS = Path("runs")
RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file, such as recipes/mobile_vqa.yaml.")]
Overrides = Annotated[list[str] | None, typer.Option("-o", "--override", metavar="PLACE=VALUE", help="Set one value of the recipe.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads for training; default: all cores.")]
Shared = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="A store that machines share, such as s3://bucket/store; mirrored to the runs folder."),
]
Device = Annotated[str, typer.Option("--device", help="Where models run: cpu, cuda, cuda:1, mps; auto: the accelerator, if there is one.")]


@results.command()
def data(
    recipe: RecipePath,
    override: Overrides = None,
    out: Annotated[Path | None, typer.Option("--out", help="The page.  [default: data.html in the run's folder]")] = None,
    samples: Annotated[int, typer.Option("--samples", min=0, help="Rows of each split to look at.")] = 24,
    threads: Threads = None,
    runs: Runs = RUNS,
) -> None:
    """Show a recipe's data: counts, balance, sizes, duplicates, broken rows; prints Markdown, writes a page with rows to look at and to hear."""
    from compress.recipe.grammar import load_recipe

    loaded = load_recipe(recipe, override or [])
    from compress.data.prepared import open_data
    from compress.pipeline import run
    from compress.reporting.data_sheet import data_markdown, write_sheet

    made = run(loaded, runs=runs, threads=threads, last="data")
    assert made.artifacts["data"].path
    found, place = open_data(made.artifacts["data"].path), out or made.folder / "data.html"
    write_sheet(place, found, name=loaded.recipe.name, description=loaded.recipe.description or "", samples=samples)
    print(f"\n{data_markdown(found)}\n\n{place} written")


@results.command()
def show(
    run: Annotated[str, typer.Argument(help="A run's name or folder.")],
    as_summary: Annotated[bool, typer.Option("--summary", help="Print every key of summary.json in its place.")] = False,
    runs: Runs = RUNS,
) -> None:
    """Print a run's figures, as its report.md has them."""
    from compress.listing import find_run, summary_lines

    folder = find_run(run, runs=runs)
    if as_summary:
        print("\n".join(summary_lines(folder)))
        return
    from compress.reporting.budgets import check_summary
    from compress.reporting.markdown import render_markdown
    from compress.reporting.runs import read_run

    found = read_run(folder)
    print(render_markdown(found.summary, found.measurements, check_summary(found.summary, found.budget)), end="")


@results.command()
def compare(
    names: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Two or more runs, each by its name or folder.")],
    out: Annotated[Path | None, typer.Option("--out", help="The page.  [default: compare.html in the folder of the runs]")] = None,
    runs: Runs = RUNS,
) -> None:
    """Put several runs side by side: prints Markdown, writes a page; paired differences where the test rows are the same."""
    from compress.listing import find_run

    if len(names) < 2:
        raise CompressError(f"compare {names[0]}: give two or more runs; `compress show {names[0]}` prints one")
    from compress.reporting.compare import compare_runs, comparison_markdown, write_comparison
    from compress.reporting.runs import read_run

    found = [read_run(find_run(name, runs=runs)) for name in names]
    comparison, place = compare_runs(found), out or runs / "compare.html"
    write_comparison(place, found, comparison)
    print(comparison_markdown(comparison))
    print(f"\n{place} written")


@results.command()
def serve(
    target: Folder,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; others than this machine's own need --token-file.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port.")] = 8321,
    token_file: Annotated[Path | None, typer.Option("--token-file", help="File with the token that every question must bring.")] = None,
    name: Annotated[list[str] | None, typer.Option("--name", help="A further name that it is asked under.")] = None,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", help="Certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Its key, PEM.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Ask this model of the bundle.  [default: the one that ships]")] = None,
    teacher: Annotated[bool, typer.Option(help="Ask a run's teacher beside the student.")] = True,
    queue: Annotated[int, typer.Option("--queue", min=1, help="Questions at once; one more is told to come again.")] = 32,
    upload_mb: Annotated[int, typer.Option("--upload-mb", min=1, help="Largest question, MB (10^6 bytes).")] = 16,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Keep samples that were answered wrongly here, with the right answer.")
    ] = None,
    keep_mb: Annotated[int, typer.Option("--keep-mb", min=1, help="Most that is kept there, MB.")] = 100,
    runs: Runs = RUNS,
) -> None:
    """Serve a page to try a bundle with your own input, teacher and student side by side, and the same as an HTTP API."""
    from compress.listing import find_bundle, find_run
    from compress.serving.server import Address, read_token
    from compress.serving.server import serve as start

    folder, address = find_run(target, runs=runs), Address(host, port, tuple(name or ()), tls_cert, tls_key)
    run = folder if teacher and any(folder.glob("*-export_teacher")) else None
    token = read_token(token_file) if token_file else None
    limits = {"queue": queue, "upload_bytes": upload_mb * 10**6}
    keeping: dict[str, Any] = {"keep": keep, "keep_bytes": keep_mb * 10**6}
    start(find_bundle(target, runs=runs), run, address=address, token=token, limits=limits, model=model, **keeping)

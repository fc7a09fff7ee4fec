"""The commands of `compress` for what ships: a bundle that answers, verifies itself and is measured; as in the package itself, each parses and calls."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from compress.cli.results import PLAIN, RUNS, Folder, Runs
from compress.errors import BUDGET_MISSED, CompressError

bundles = typer.Typer(**PLAIN)


class Several(TyperCommand):
    """A command whose repeatable options take several values in a row: `--batches 1 8` for `--batches 1 --batches 8`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        repeatable = {name for parameter in self.params if getattr(parameter, "multiple", False) for name in parameter.opts}
        words: list[str] = []
        option, taken = None, False
        for word in args:
            if word.startswith("-"):
                option, taken = (word if word in repeatable else None), False
            elif option and taken:
                words.append(option)
            words.append(word)
            taken = not word.startswith("-")
        return super().parse_args(ctx, words)


@bundles.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def predict(ctx: typer.Context, target: Folder, runs: Runs = RUNS) -> None:
    """Answer with a bundle, by its own runner: an option for each input, such as --image FILE --question TEXT or --numbers LIST."""
    from compress.listing import find_bundle

    raise typer.Exit(_call_runner(find_bundle(target, runs=runs), ["predict", *ctx.args]))


@bundles.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def explain(
    ctx: typer.Context,
    target: Folder,
    gradients: Annotated[
        bool, typer.Option("--gradients", help="Of a run: also integrated gradients, of its float32 student in torch.")
    ] = False,
    runs: Runs = RUNS,
) -> None:
    """Answer as `predict` does, and say what each input was worth for the answer."""
    from compress.listing import find_bundle, find_student

    bundle = find_bundle(target, runs=runs)
    student = find_student(target, runs=runs) if gradients else None
    code = _call_runner(bundle, ["explain", *ctx.args])
    if student and not code:
        import json

        from compress.device.errors import DeviceError
        from compress.models.gradients import explain_row

        try:
            found, lines = explain_row(bundle, student, ctx.args)
        except DeviceError as error:
            raise CompressError(str(error)) from error
        print(json.dumps(found) if "--json" in ctx.args else "\n".join(lines))
    raise typer.Exit(code)


@bundles.command()
def verify(
    target: Folder,
    key: Annotated[Path | None, typer.Option("--key", help="Public key (PEM, Ed25519) that must have signed the bundle.")] = None,
    runs: Runs = RUNS,
) -> None:
    """Check every file of a bundle against its manifest, then its golden answers."""
    from compress.device.errors import DeviceError
    from compress.device.manifest import verify_folder
    from compress.device.signature import verify_signature
    from compress.errors import BundleError
    from compress.listing import find_bundle

    bundle = find_bundle(target, runs=runs)
    try:  # by our own code and before the bundle's runner is started: a changed bundle could hold a changed runner
        if key is not None:
            verify_signature(bundle, _read_key(key))
        verify_folder(bundle)
    except DeviceError as error:
        raise BundleError(str(error)) from error
    raise typer.Exit(_call_runner(bundle, ["verify"]))


@bundles.command(cls=Several)
def bench(
    target: Folder,
    device: Annotated[str | None, typer.Option("--on", metavar="ssh://USER@HOST[:PORT][/FOLDER]", help="Measure there, over ssh.")] = None,
    runtime: Annotated[str, typer.Option("--runtime", help="One of `compress list runtimes`.")] = "onnxruntime_cpu",
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")] = 1,
    batches: Annotated[list[int] | None, typer.Option("--batches", metavar="N...", min=1, help="Batch sizes.  [default: 1 8]")] = None,
    rounds: Annotated[int | None, typer.Option("--rounds", min=1, help="Timed calls a model and batch.  [default: 200]")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Measure this model of the bundle only.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Default: measurements.json, or measurements-HOST.json, beside the bundle.")
    ] = None,
    python: Annotated[str, typer.Option("--python", help="With --on: the Python there.")] = "python3",
    keep: Annotated[bool, typer.Option("--keep", help="With --on: leave the copy there.")] = False,
    ssh_option: Annotated[list[str] | None, typer.Option("--ssh-option", metavar="NAME=VALUE", help="With --on: as in ssh_config.")] = None,
    fleet: Annotated[
        Path | None, typer.Option("--fleet", metavar="FILE", help="Measure on every device of this file, which says all but the bundle.")
    ] = None,
    runs: Runs = RUNS,
) -> None:
    """Measure the latency of a bundle's models, here, on another device or on a fleet of them, by the bundle's own runner."""
    from compress.fleet.measurements import BenchOptions, bench_here, measurement_lines, place_beside
    from compress.listing import find_bundle

    if fleet is not None:
        if device or batches or rounds or model or ssh_option or keep:
            raise CompressError("--fleet: what is measured, where and how stands in the file; leave the other options out")
        _bench_fleet(find_bundle(target, runs=runs), fleet, folder=place_beside(target, runs=runs), out=out)
        return
    options = BenchOptions(runtime=runtime, threads=threads, batches=tuple(batches or ()), rounds=rounds, model=model)
    bundle, beside = find_bundle(target, runs=runs), place_beside(target, runs=runs)
    if device is None:
        place = out or beside / "measurements.json"
        measured = bench_here(bundle, place, options)
    else:
        from compress.fleet.remote import bench_there, parse_device

        where = parse_device(device)
        place = out or beside / f"measurements-{where.host.replace(':', '_')}.json"
        settings: dict[str, Any] = {"python": python, "keep": keep, "ssh_options": ssh_option, "say": _say}
        measured = bench_there(bundle, place, options, device=where, **settings)
    for line in [*measurement_lines(measured), f"written to {place}"]:
        print(line)


@bundles.command(cls=Several)
def report(
    target: Folder,
    add: Annotated[list[Path], typer.Option("--add", metavar="MEASUREMENTS...", help="What `compress bench` wrote, a file a device.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Default: report-devices.html in the run's folder, or beside the bundle.")
    ] = None,
    runs: Runs = RUNS,
) -> None:
    """Put the measurements of several devices side by side in one page."""
    from compress.fleet.measurements import place_beside
    from compress.listing import find_bundle
    from compress.reporting.devices import write_devices

    place = out or place_beside(target, runs=runs) / "report-devices.html"
    write_devices(place, find_bundle(target, runs=runs), add)
    print(f"{place} written: {len(add)} file(s) of measurements")


def _bench_fleet(bundle: Path, file: Path, *, folder: Path, out: Path | None) -> None:
    """Measures, prints and writes the page; raises CompressError where no device could be measured, and ends with BUDGET_MISSED where none
    meets the budget."""
    from compress.fleet.fleet import bench_fleet, rank
    from compress.recipe.fleet import Fleet
    from compress.recipe.grammar import load_section
    from compress.reporting.devices import fleet_markdown, write_fleet

    asked = load_section(file, Fleet, like="a fleet is lines such as `devices: {board: ssh://pi@raspberry}`")
    outcomes, place = bench_fleet(bundle, folder, asked, say=_say), out or folder / "report-fleet.html"
    write_fleet(place, bundle, asked, outcomes)
    print(f"{fleet_markdown(asked, outcomes)}\n\n{place} written")
    lines = rank(outcomes, asked.budget)
    if not lines:
        raise CompressError(f"{file}: no device could be measured")
    if not any(line.met for line in lines):
        raise typer.Exit(BUDGET_MISSED)


def _call_runner(bundle: Path, arguments: list[str]) -> int:
    """Exit code of the bundle's own runner, in a process of its own: it is what runs on a device."""
    import subprocess

    return subprocess.run([sys.executable, str(bundle / "run.py"), *arguments], check=False).returncode


def _read_key(key: Path) -> bytes:
    try:
        return key.read_bytes()
    except OSError as error:
        raise CompressError(f"--key {key}: cannot be read: {error.strerror}") from error


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

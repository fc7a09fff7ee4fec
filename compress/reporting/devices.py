"""report-devices.html and report-fleet.html: the measurements of one bundle from several devices side by side, device x model x batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compress.device.manifest import read_manifest
from compress.errors import CompressError
from compress.fleet.fleet import Line, Outcome, rank
from compress.fleet.measurements import read_measurements, require_same_models
from compress.recipe.fleet import Fleet
from compress.reporting.cells import show_bytes, significant
from compress.reporting.markdown import escape, table
from compress.reporting.page import find_template


def write_devices(out: Path, bundle: Path, files: list[Path]) -> None:
    """Writes the page. Raises BundleError for measurements of other models than the bundle's, CompressError for any other unusable file."""
    measured = [read_measurements(path) for path in files]
    for path, entry in zip(files, measured, strict=True):
        require_same_models(entry, bundle, place=str(path))
    _write(out, render_devices(measured, name=_name(bundle), sources=[path.name for path in files]))


def write_fleet(out: Path, bundle: Path, fleet: Fleet, outcomes: list[Outcome]) -> None:
    """Writes the page of a fleet: every line ranked, what failed, and the devices side by side."""
    there = [outcome for outcome in outcomes if outcome.measured]
    measured = [outcome.measured for outcome in there if outcome.measured]
    ranked = {"rows": [fleet_row(line) for line in rank(outcomes, fleet.budget)], "failed": [o for o in outcomes if o.error]}
    _write(out, render_devices(measured, name=_name(bundle), sources=[outcome.name for outcome in there], fleet=ranked))


def fleet_row(line: Line) -> dict[str, str]:
    """One line of a fleet as it is shown."""
    entry = line.entry
    verdict = f"batch {entry['batch']}" if line.misses is None else "meets the budget" if line.met else f"misses {'; '.join(line.misses)}"
    return {
        "device": line.name,
        "price": "–" if line.price is None else f"{line.price:g}",
        "model": entry["model"],
        "batch": str(entry["batch"]),
        "median, ms": significant(entry["median_ms"]),
        "95 %": f"{significant(entry['low_ms'])} to {significant(entry['high_ms'])}",
        "p95, ms": significant(entry["p95_ms"]),
        "size": show_bytes(entry["size_bytes"]),
        "budget": verdict,
    }


def fleet_markdown(fleet: Fleet, outcomes: list[Outcome]) -> str:
    """The same as a table that also reads well in a terminal, with a line for each device that failed."""
    rows = [fleet_row(line) for line in rank(outcomes, fleet.budget)]
    parts = [table([*rows[0]], [[*row.values()] for row in rows])] if rows else []
    return "\n\n".join([*parts, *(f"{escape(o.name)}: not measured: {escape(o.error)}" for o in outcomes if o.error)])


def _name(bundle: Path) -> str:
    return str(read_manifest(bundle).get("name") or bundle.name)


def _write(out: Path, page: str) -> None:
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise CompressError(f"{out}: cannot be written ({error.strerror}); give another place with --out") from error


def render_devices(measured: list[dict[str, Any]], *, name: str, sources: list[str], fleet: dict[str, Any] | None = None) -> str:
    """The page as text, self-contained; every value is escaped. `measured` are contents of files that `run.py bench` wrote; fleet:
    {rows: [{...}], failed: [Outcome]}, shown first."""
    devices = [{"name": m["device"]["name"], "runtime": m["runtime"]["name"], "threads": m["threads"]} for m in measured]
    facts = _facts(measured, sources)
    return find_template("devices.html.j2").render(name=name, devices=devices, rows=tabulate(measured), facts=facts, fleet=fleet)


def tabulate(measured: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """[{batch, model, sha256, size_bytes, cells}] by batch, then as measured; cells has a line of each device, or None."""
    lines = [{(line["batch"], line["model"], line["sha256"]): line for line in m["measurements"]} for m in measured]
    keys = sorted(dict.fromkeys(key for table in lines for key in table), key=lambda key: key[0])  # a stable sort keeps the models' order
    fastest = [_fastest(table) for table in lines]
    rows = []
    for key in keys:
        batch, model, sha256 = key
        cells = [
            None if (line := table.get(key)) is None else {**line, "fastest": key in best}
            for table, best in zip(lines, fastest, strict=True)
        ]
        size = next(cell["size_bytes"] for cell in cells if cell)
        rows.append({"batch": batch, "model": model, "sha256": sha256, "size_bytes": size, "cells": cells})
    return rows


def _fastest(table: dict[tuple, dict[str, Any]]) -> set[tuple]:
    """The keys of the lowest median of each batch that has more than one model."""
    best = set()
    for batch in {key[0] for key in table}:
        keys = [key for key in table if key[0] == batch]
        if len(keys) > 1:
            best.add(min(keys, key=lambda key: table[key]["median_ms"]))
    return best


def _facts(measured: list[dict[str, Any]], sources: list[str]) -> dict[str, list[Any]]:
    """What each device is, by title, in the order of `measured`."""
    titles = {"machine": "architecture", "cores": "cores", "memory_mib": "memory, MiB", "gpu": "GPU", "flags": "instruction sets"}
    titles |= {"system": "system", "python": "Python"}
    facts: dict[str, list[Any]] = {"file": list(sources)}
    facts |= {title: [m["device"].get(key) for m in measured] for key, title in titles.items()}
    facts["runtime"] = [m["runtime"]["version"] for m in measured]
    facts["clock, MHz, before and after"] = [_sensor(m, "clocks_mhz") for m in measured]
    facts["hottest, °C, before and after"] = [_sensor(m, "temperatures_c") for m in measured]
    facts["bundle's manifest"] = [m["bundle"][:12] for m in measured]
    return facts


def _sensor(measured: dict[str, Any], key: str) -> str | None:
    """The highest reading before and after, or None where the device gives none: a clock that fell shows a device that was throttled."""
    peaks = [max(measured["sensors"][when][key].values(), default=None) for when in ("before", "after")]
    return None if None in peaks else " – ".join(f"{peak:.0f}" for peak in peaks)

"""report.html from JSON and a few images: `render_page` fills page.html.j2, which holds every word and all style.

Everything is inside the one file (inline style, inline SVG, images as data URIs), so it opens from disk and travels by mail.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from compress.measures.paired import describe_paired
from compress.reporting.cells import cell, count, percent, show_bytes, significant
from compress.reporting.markdown import against_teacher, differing_in_words, origin
from compress.reporting.plots import plot_bars, plot_curves, plot_terms, plot_tradeoff
from compress.reporting.quality import quality_parts
from compress.reporting.retrieval import retrieval_parts

MAX_BARS = 30
CONTENTS = "<!-- contents -->"
EXTRAS = (
    "deciders",
    "description",
    "command",
    "notes",
    "near_duplicates",
    "skipped",
    "stages",
    "differing",
    "environment",
    "history",
    "sensitivity",
    "parity",
    "coverage",
    "tables",
)


def render_page(
    *, summary: dict[str, Any], measurements: dict[str, Any], extras: dict[str, Any], samples: list[dict[str, Any]], misses: list[str]
) -> str:
    """The page as text. See `write_report` for the arguments; every value is escaped. Raises ValueError for an unknown key of `extras`."""
    if unknown := sorted(set(extras) - set(EXTRAS)):
        raise ValueError(f"extras has unknown keys {', '.join(unknown)}; known: {', '.join(EXTRAS)}")
    extras = {**dict.fromkeys(EXTRAS), **extras}
    models = measurements["models"]
    compared = [n for n, m in models.items() if m["role"] != "variant" and (m["precision"] == "fp32" or n == summary["shipped_model"])]
    page = find_template("page.html.j2").render(
        summary=summary,
        measurements=measurements,
        models=models,
        batches=_batches(models),
        **retrieval_parts(models, compared, shipped=summary["shipped_model"]),
        compared=compared,
        variants=sorted({m["runtime"] for m in models.values() if m["role"] == "variant"}),
        extras=extras,
        **quality_parts(models, compared, shipped=summary["shipped_model"], labels=measurements.get("labels") or []),
        misses=misses,
        tradeoff=_tradeoff(models, summary["shipped_model"], summary["measure"]),
        curves=_curves(extras.get("history") or {}, summary["measure"]),
        deciders=_deciders(extras["deciders"]),
        sensitivity=_sensitivity(extras.get("sensitivity") or []),
        tables=[{**table, "columns": _columns(table["rows"])} for table in _tables(extras)],
        samples=_marked(samples),
        differing=_marked(extras["differing"] or []),
        near_duplicates=[
            {**pair, "test": Markup(pair["test"]), "train": Markup(pair["train"])} for pair in extras["near_duplicates"] or []
        ],
    )
    return with_contents(page)


def with_contents(page: str) -> str:
    """The page with a table of contents at its mark, of every heading of the second order, each of which gets an address."""
    entries: list[str] = []

    def address(found: re.Match[str]) -> str:
        title = found[1]
        place = re.sub(r"[^a-z0-9]+", "-", re.sub(r"<[^>]*>|&[^;]*;", "", title).lower()).strip("-")
        entries.append(f'<li><a href="#{place}">{title}</a></li>')
        return f'<h2 id="{place}">{title}</h2>'

    addressed = re.sub(r"<h2[^>]*>(.*?)</h2>", address, page)
    return addressed.replace(CONTENTS, f'<nav aria-label="Contents"><ul class="contents">{"".join(entries)}</ul></nav>')


def find_template(name: str) -> Template:
    """A template of this folder, with the filters that show numbers; every value is escaped, and an unknown name is an error."""
    environment = Environment(
        loader=PackageLoader("compress.reporting", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "significant": significant, "bytes": show_bytes, "count": count, "cell": cell}
    environment.filters |= {"paired": describe_paired, "against_teacher": against_teacher}
    environment.filters |= {"differing": differing_in_words, "origin": origin}
    return environment.get_template(name)


def _tables(extras: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """The tables that are shown as they come: a title, a note and rows, each a flat dict."""
    coverage = extras.get("coverage") or {}
    share = coverage.get("int8_share")
    note = "" if share is None else f"{percent(share)} % of the multiply-adds run in int8 after the runtime's optimisation."
    named = [
        {
            "title": "Parity at every hop",
            "note": "How far each form of the student is from the one before it, on real samples. Distance, bias (of a class, on average) and layer are "
            "shares of what they are taken from, gain is the error of a slope, steps are int8 steps; agreement is that of the sure rows, and of "
            "fewer than 30 there is none.",
            "rows": extras.get("parity"),
        },
        {"title": "int8 coverage", "note": note, "rows": coverage.get("nodes")},
        {"title": "What stays in float, and why", "note": "", "rows": coverage.get("float")},
    ]
    return [table for table in [*named, *(extras.get("tables") or [])] if table["rows"]]


def _marked(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    def safe(shown: dict[str, str]) -> dict[str, Markup]:
        return {name: Markup(html) for name, html in shown.items()}

    return [{**sample, "inputs": safe(sample["inputs"]), "drawn": safe(sample.get("drawn") or {})} for sample in samples]


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _batches(models: dict[str, Any]) -> list[str]:
    return sorted({batch for model in models.values() for batch in model["latency"] or {}}, key=int)


def _tradeoff(models: dict[str, Any], shipped: str, measure: str) -> Markup | None:
    points = [
        {"name": name, "role": model["role"], "shipped": name == shipped, "latency_ms": model["latency"]["1"]["median_ms"]}
        | {key: model["accuracy"][source] for key, source in (("accuracy", "value"), ("low", "low"), ("high", "high"))}
        for name, model in models.items()
        if model["role"] != "variant" and (model["latency"] or {}).get("1")
    ]
    return Markup(plot_tradeoff(points, measure=measure)) if points else None


def _curves(history: dict[str, list[dict]], measure: str) -> Markup | None:
    curves = {name: curve for name, curve in history.items() if curve}
    terms = [plot_terms(name, curve) for name, curve in curves.items() if len(curve[0].get("terms", {})) > 1]
    return Markup(plot_curves(curves, measure=measure) + "".join(terms)) if curves else None


def _deciders(found: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    return [{**part, "plot": Markup(plot_bars(part["bars"], label=part["label"]))} for part in found or []]


def _sensitivity(rows: list[dict[str, Any]]) -> Markup | None:
    worst = sorted(rows, key=lambda row: -row["drop_points"])[:MAX_BARS]
    return (
        Markup(plot_bars({row["layer"]: row["drop_points"] for row in worst}, label="points lost when this layer alone is int8"))
        if worst
        else None
    )

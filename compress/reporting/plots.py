"""The report's plots as SVG text whose colours follow the page, light or dark.

Matplotlib writes fixed colours, so each role is drawn in a colour that occurs nowhere else, which then becomes a CSS variable.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure  # without pyplot: no display, no global figures
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

INK, SOFT, TEACHER, STUDENT, SHIPPED = "#010203", "#010204", "#010205", "#010206", "#010207"
VARIABLES = {INK: "--ink", SOFT: "--soft", TEACHER: "--teacher", STUDENT: "--student", SHIPPED: "--shipped"}
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: sharp, searchable, in the page's font
    "svg.hashsalt": "compress",  # ids do not change from run to run
    "text.parse_math": False,  # a "$" in a model's name is no formula
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), SOFT),
}


@matplotlib.rc_context(SETTINGS)
def plot_tradeoff(points: Sequence[dict], *, measure: str = "accuracy", width: float = 7.2) -> str:
    """Accuracy, or another `measure` (percent, with its interval), and beside it median latency (ms, logarithmic): a line a model, the best on top.

    Two panels and no points in a plane: students lie on each other there, and lines from names to points cross other points.
    points: [{name, role, shipped, latency_ms, accuracy, low, high}], shares as fractions."""
    figure = Figure(figsize=(width, 0.9 + 0.3 * len(points)), layout="constrained", facecolor="none")
    left, right = figure.subplots(1, 2, sharey=True)
    ordered = sorted(points, key=lambda point: (point["accuracy"], -point["latency_ms"]))
    for line, point in enumerate(ordered):
        colour = SHIPPED if point["shipped"] else TEACHER if point["role"] in ("teacher", "member") else STUDENT
        value = 100 * point["accuracy"]
        errors = [[max(0.0, value - 100 * point["low"])], [max(0.0, 100 * point["high"] - value)]]
        left.errorbar(value, line, xerr=errors, fmt="o", color=colour, ecolor=colour, elinewidth=1.2, capsize=3, markersize=7)
        right.plot(point["latency_ms"], line, "o", color=colour, markersize=7)
        right.annotate(
            f"{point['latency_ms']:.3g}", (point["latency_ms"], line), (6, 5), textcoords="offset points", color=colour, fontsize=8
        )
    for axes in (left, right):
        axes.set_facecolor("none")
        axes.grid(visible=True, linewidth=0.5, alpha=0.5)
        axes.set_axisbelow(True)
        axes.margins(x=0.12, y=0.5 / max(1, len(points)))
    left.set_yticks(range(len(ordered)), [point["name"] for point in ordered])
    right.set_xscale("log")
    _plain_log_ticks(right, [point["latency_ms"] for point in points])
    left.set(xlabel=f"test {measure}, %")
    right.set(xlabel="median latency, batch 1, ms (logarithmic)")
    return _to_svg(figure, f"{measure.capitalize()} and latency of {len(points)} models")


@matplotlib.rc_context(SETTINGS)
def plot_reliability(bins: Mapping[str, Sequence[dict]], *, shipped: str, size: tuple[float, float] = (5.0, 3.6)) -> str:
    """How often an answer is right against how probable the model takes it to be (both percent), and the diagonal where they are the same.

    bins: {name: [{confidence, accuracy: {value, low, high}}]}, shares as fractions."""
    figure, axes = _new_axes(size)
    axes.plot([0, 100], [0, 100], color=SOFT, linewidth=1, linestyle="--")
    for place, (name, some) in enumerate(bins.items()):
        colour = SHIPPED if name == shipped else (TEACHER, STUDENT, INK)[place % 3]
        x, y = [100 * b["confidence"] for b in some], [100 * b["accuracy"]["value"] for b in some]
        below, above = ([100 * abs(b["accuracy"][end] - b["accuracy"]["value"]) for b in some] for end in ("low", "high"))
        axes.errorbar(x, y, yerr=[below, above], color=colour, ecolor=colour, elinewidth=1, capsize=2, marker="o", markersize=4, label=name)
    axes.set(xlabel="probability of the answer, %", ylabel="right, %", ylim=(-3, 103))
    axes.legend(frameon=False, loc="upper left")
    return _to_svg(figure, "How sure the models are, and how right")


@matplotlib.rc_context(SETTINGS)
def plot_curves(curves: Mapping[str, Sequence[dict]], *, measure: str = "accuracy", size: tuple[float, float] = (7.2, 3.0)) -> str:
    """Validation accuracy, or another `measure` (percent), over the steps, one line a training run. curves: {name: [{step, accuracy}]}."""
    figure, axes = _new_axes(size)
    colours = (SHIPPED, STUDENT, TEACHER, INK)
    for place, (name, curve) in enumerate(curves.items()):
        steps, values = [entry["step"] for entry in curve], [100 * entry["accuracy"] for entry in curve]
        axes.plot(steps, values, color=colours[place % 4], linewidth=1.8, marker="o", markersize=3, label=name)
    axes.set(xlabel="step", ylabel=f"validation {measure}, %")
    axes.legend(frameon=False, loc="lower right")
    return _to_svg(figure, f"Validation {measure} while training")


@matplotlib.rc_context(SETTINGS)
def plot_terms(name: str, curve: Sequence[dict], *, size: tuple[float, float] = (7.2, 2.6)) -> str:
    """Each unweighted term of a training's loss (logarithmic) over the steps. curve: [{step, terms: {term: value}}]."""
    figure, axes = _new_axes(size)
    styles = [(colour, line) for line in ("-", "--", ":") for colour in (SHIPPED, STUDENT, TEACHER, INK)]
    for place, term in enumerate(curve[0]["terms"]):
        colour, line = styles[place % len(styles)]
        values = [entry["terms"][term] or float("nan") for entry in curve]  # 0 has no logarithm
        axes.plot([entry["step"] for entry in curve], values, line, color=colour, linewidth=1.6, label=term)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="step", ylabel=f"{name}: terms of the loss")
    axes.legend(frameon=False, loc="upper right", ncols=2)
    return _to_svg(figure, f"Terms of the loss, {name}")


@matplotlib.rc_context(SETTINGS)
def plot_bars(values: dict[str, float], *, label: str, width: float = 7.2) -> str:
    """Horizontal bars, the first one on top. values: {name: value in the unit that `label` says}."""
    figure, axes = _new_axes((width, 0.6 + 0.26 * len(values)))
    names = list(values)[::-1]
    axes.barh(names, [values[name] for name in names], color=STUDENT, height=0.62)
    axes.grid(visible=False, axis="y")
    axes.set(xlabel=label)
    return _to_svg(figure, label)


def _new_axes(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained", facecolor="none")
    axes = figure.add_subplot(facecolor="none")
    axes.grid(visible=True, linewidth=0.5, alpha=0.5)
    axes.set_axisbelow(True)
    return figure, axes


def _plain_log_ticks(axes: Axes, values: Sequence[float]) -> None:
    narrow = max(values) < 30 * min(values)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator() if narrow else LogLocator(subs=(2, 5)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _to_svg(figure: Figure, title: str) -> str:
    text = io.StringIO()
    FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]  # a page takes no XML prologue
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*; ", "", svg)
    svg = re.sub(r' width="[\d.]+pt"', "", re.sub(r' height="[\d.]+pt"', "", svg, count=1), count=1)  # the page decides how wide
    label = title.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)

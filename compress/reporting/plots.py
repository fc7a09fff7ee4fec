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
def plot_tradeoff(points: Sequence[dict], *, measure: str = "accuracy", size: tuple[float, float] = (7.2, 3.6)) -> str:
    """Accuracy, or another `measure` (percent, with its interval), against median latency (ms, logarithmic), one point a model; names stand in a column beside it.

    points: [{name, role, shipped, latency_ms, accuracy, low, high}], shares as fractions."""
    figure, axes = _new_axes(size)
    for line, point in enumerate(sorted(points, key=lambda point: (point["accuracy"], point["latency_ms"]))):
        colour = SHIPPED if point["shipped"] else TEACHER if point["role"] == "teacher" else STUDENT
        place = point["latency_ms"], 100 * point["accuracy"]
        errors = [[max(0.0, place[1] - 100 * point["low"])], [max(0.0, 100 * point["high"] - place[1])]]
        axes.errorbar(*place, yerr=errors, fmt="o", color=colour, ecolor=colour, elinewidth=1.2, capsize=3, markersize=7)
        beside = (1.05, (line + 0.5) / len(points))  # points may lie on each other, lines of the column never do
        leader = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "alpha": 0.6, "shrinkA": 2, "shrinkB": 4, "relpos": (0, 0.5)}
        axes.annotate(point["name"], place, beside, textcoords="axes fraction", color=colour, verticalalignment="center", arrowprops=leader)
    axes.set_xscale("log")
    axes.margins(x=0.1, y=0.15)
    _plain_log_ticks(axes, [point["latency_ms"] for point in points])
    axes.set(xlabel="median latency, batch 1, ms (logarithmic)", ylabel=f"test {measure}, %")
    return _to_svg(figure, f"{measure.capitalize()} against latency of {len(points)} models")


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

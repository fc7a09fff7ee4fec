"""The plots: well-formed SVG that follows the page's colours and shows names as they are."""

import re
from xml.etree import ElementTree

import pytest

from compress.reporting.plots import plot_bars, plot_curves, plot_reliability, plot_terms, plot_tradeoff

POINT = {"role": "student", "shipped": True, "latency_ms": 0.3, "accuracy": 0.99, "low": 0.98, "high": 0.995}
PLOTS = {
    "tradeoff": lambda: plot_tradeoff(
        [{**POINT, "name": "$a<b&"}, {**POINT, "name": "teacher", "role": "teacher", "shipped": False, "latency_ms": 6.6}]
    ),
    "curves": lambda: plot_curves({"$a<b&": [{"step": 1, "accuracy": 0.5}, {"step": 2, "accuracy": 0.7}]}),
    "terms": lambda: plot_terms("$a<b&", [{"step": 1, "terms": {"kd": 0.5, "hint": 2.0}}, {"step": 2, "terms": {"kd": 0.3, "hint": 0.0}}]),
    "reliability": lambda: plot_reliability(
        {"$a<b&": [{"confidence": 0.9, "accuracy": {"value": 0.8, "low": 0.7, "high": 0.9}}]}, shipped="$a<b&"
    ),
    "bars": lambda: plot_bars({"$a<b&": 1.5, "other": 0.2}, label="points"),
}


@pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)
def test_plot_is_svg_in_the_colours_of_the_page(plot):
    svg = plot()
    ElementTree.fromstring(svg)
    assert "var(--ink)" in svg and not re.search(r"#0[0-9a-f]{5}\b", svg)


@pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)
def test_plot_shows_names_as_they_are(plot):
    assert "$a<b&" in "".join(ElementTree.fromstring(plot()).itertext())


def test_plot_is_the_same_each_time():
    assert PLOTS["tradeoff"]() == PLOTS["tradeoff"]()


def test_tradeoff_of_a_single_point_works():
    ElementTree.fromstring(plot_tradeoff([{**POINT, "name": "alone"}]))


def test_every_term_has_a_line_of_its_name():
    text = "".join(ElementTree.fromstring(PLOTS["terms"]()).itertext())
    assert "kd" in text and "hint" in text

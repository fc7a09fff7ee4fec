"""The page around its parts: a table of contents that leads to every heading, and nothing asked of the network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from finished import write_run

from compress.reporting.page import CONTENTS, render_page, with_contents
from compress.reporting.runs import read_run


@pytest.fixture
def page(tmp_path: Path) -> str:
    hits = {"teacher": [True] * 90 + [False] * 10, "fp32": [True] * 80 + [False] * 20, "int8_qat": [True] * 80 + [False] * 20}
    run = read_run(write_run(tmp_path / "run", right=hits))
    run.measurements["command"] = "python -m compress.stages.benchmark job.json measurements.json"
    return render_page(summary=run.summary, measurements=run.measurements, extras={}, samples=[], misses=[])


def test_contents_lead_to_every_heading(page: str) -> None:
    links = re.findall(r'<a href="#([^"]+)">', page)
    assert links and links == re.findall(r'<h2 id="([^"]+)">', page) and len(set(links)) == len(links)
    assert CONTENTS not in page and page.count("<nav") == 1


def test_headings_get_plain_addresses() -> None:
    told = with_contents(f'{CONTENTS}<h2 class="x">Where they are right, %</h2><h2>What &lt;b&gt; takes</h2>')
    assert '<h2 id="where-they-are-right">' in told and '<a href="#what-b-takes">What &lt;b&gt; takes</a>' in told


def test_page_is_small_and_asks_nothing_of_the_network(page: str) -> None:
    assert len(page.encode()) < 3_000_000
    assert not re.search(r'(src|href)="(?!#|data:)|@import|url\((?!#)', page.replace('xlink:href="#', ""))

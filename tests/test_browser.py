"""Report, comparison and served page in a browser, wide and narrow, light and dark: nothing is said on the console, nothing asked of the network, and
axe-core finds nothing. COMPRESS_SCREENSHOTS names a folder for pictures of them.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from finished import write_run
from hearing import LENGTH, RATE, write_sound_bundle

from compress.device.predictor import Predictor
from compress.reporting.compare import compare_runs, write_comparison
from compress.reporting.runs import read_run
from compress.serving.app import make_app
from compress.serving.kept import Kept
from compress.serving.served import open_served

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; the extra test brings it")
soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed; the extra audio brings it")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed; the extra test brings it"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium; Debian's package of that name brings one"),
    pytest.mark.parametrize("scheme", ["light", "dark"]),
    pytest.mark.parametrize("width", [1280, 390]),
]
QUESTION = "what colour is the square ?"
Open = Callable[[str], Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Any, width: int, scheme: str) -> Iterator[Open]:
    """Opens a page; at the end of the test it has said nothing on the console, and has asked nobody but where it came from."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(120_000)  # milliseconds; a busy machine is slow, not broken
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))

    def go(address: str) -> Any:
        page.goto(address)
        home.append(address)
        return page

    home: list[str] = []
    yield go
    context.close()
    (address,) = home
    own = address if address.startswith("file:") else address.removesuffix("/") + "/"
    assert said == [] and [url for url in asked if not url.startswith((own, "data:", f"blob:{own}"))] == []


def check(page: Any, name: str) -> None:
    """The page is as wide as its window, and axe-core finds nothing; its picture is kept where that was asked for."""
    size = page.viewport_size
    if folder := os.environ.get("COMPRESS_SCREENSHOTS"):
        scheme = "dark" if page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else "light"
        page.screenshot(path=Path(folder) / f"{name}-{size['width']}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    found = axe.Axe().run(page).response["violations"]
    assert [f"{fault['id']} {node['target']}: {node['failureSummary']}" for fault in found for node in fault["nodes"]] == []


def test_report(visit: Open, whole_run: Any) -> None:
    page = visit(whole_run.result.report.resolve().as_uri())
    links = page.locator(".contents a")
    for number in range(links.count()):
        links.nth(number).click()
        assert page.locator(page.evaluate("location.hash")).bounding_box()["height"] > 0
    assert links.count() > 3
    check(page, "report")


def test_comparison(visit: Open, tmp_path: Path) -> None:
    def hits(shipped: int) -> dict[str, list[bool]]:
        return {
            name: [True] * right + [False] * (100 - right) for name, right in (("teacher", 90), ("fp32", shipped), ("int8_qat", shipped))
        }

    recipes = [{"name": name, "seed": seed} for seed, name in enumerate(("one", "other"))]
    runs = [read_run(write_run(tmp_path / r["name"], right=hits(70 + 10 * r["seed"]), recipe=r)) for r in recipes]  # type: ignore[operator]
    write_comparison(tmp_path / "compare.html", runs, compare_runs(runs))
    page = visit((tmp_path / "compare.html").as_uri())
    assert page.get_by_role("heading", level=1).inner_text() == "2 runs side by side"
    check(page, "comparison")


@contextmanager
def serving(bundle: Path, kept: Path) -> Iterator[str]:
    """The address of a server of that bundle, which keeps what it is told to."""
    served = open_served(bundle, None)
    app = make_app(served, hosts=("localhost",), kept=Kept(kept, served.bundle, most_bytes=10**6))
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="critical", ws="none", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://localhost:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(30)


def probabilities(page: Any) -> list[tuple[str, str]]:
    shown = [line.split(" % ") for line in page.locator(".answer.student li").all_inner_texts()]
    return [(label.strip(), p) for p, label in shown]


def told(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(top["label"], f"{100 * top['probability']:.1f}") for top in answer["top"]]


def test_served_page_of_pictures_and_texts(visit: Open, bundle: Path, picture: Path, tmp_path: Path) -> None:
    with serving(bundle, tmp_path / "kept") as address:
        ask_about_a_picture(visit(address), bundle, picture, tmp_path / "kept" / "rows.jsonl")


def test_served_page_of_sounds(visit: Open, tmp_path: Path) -> None:
    bundle, sound = write_sound_bundle(tmp_path), tmp_path / "word.wav"
    soundfile.write(sound, np.full(LENGTH, -0.5), RATE)
    with serving(bundle, tmp_path / "kept") as address:
        page = visit(address)
        page.get_by_label("audio", exact=True).set_input_files(sound)
        page.get_by_role("button", name="Ask", exact=True).click()
        page.locator("#wrong").wait_for()
        with Predictor(bundle) as predictor:
            assert probabilities(page) == told(predictor.predict(audio=sound))
        check(page, "sounds")
        page.get_by_label("right answer").fill("up")
        page.get_by_role("button", name="Keep it").click()
        page.get_by_text("kept for the next training").wait_for()
    row = json.loads((tmp_path / "kept" / "rows.jsonl").read_text())
    assert row["label"] == "up" and (tmp_path / "kept" / row["audio"]).suffix == ".wav"


def ask_about_a_picture(page: Any, bundle: Path, picture: Path, rows: Path) -> None:
    """A sample, a picture of one's own, what was wrong with the answer, and a question without its text."""
    page.locator(".samples button").first.click()
    answer = page.locator(".answer.student")
    answer.wait_for()
    assert not page.locator("#wrong").is_visible()  # a row that models are tested with is not kept

    page.get_by_label("image").set_input_files(picture)
    page.get_by_label("text").fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator("#wrong").wait_for()
    with Predictor(bundle) as predictor:
        expected = predictor.predict(image=picture, text=QUESTION)
    assert answer.locator(".given").inner_text() == expected["label"] and probabilities(page) == told(expected)
    check(page, "served")

    page.get_by_label("right answer").fill("blue")
    page.get_by_role("button", name="Keep it").click()
    page.get_by_text("kept for the next training").wait_for()
    assert len(rows.read_text().splitlines()) == 1
    page.get_by_label("text").fill("")
    page.get_by_role("button", name="Ask", exact=True).click()  # the browser itself asks for what is missing
    assert page.locator("#status").inner_text() == "kept for the next training"

"""The page and its API: what is answered, what is refused, and that hostile requests change nothing."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from compress.device.predictor import Predictor
from compress.serving.app import make_app
from compress.serving.requests import Limits
from compress.serving.served import Served, open_served
from compress.stages.bundle import write_bundle

QUESTION = "what colour is the square ?"


def asked(client: TestClient, picture: bytes, text: str = QUESTION, **more: Any) -> Any:
    return client.post("/predict", files={"image": ("x.png", picture, "image/png")}, data={"text": text}, **more)


def huge_png(width: int, height: int) -> bytes:
    """A header that promises many pixels, and a few bytes of them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def test_upload_gives_the_answer_of_predict(client: TestClient, bundle: Path, picture: Path) -> None:
    response = asked(client, picture.read_bytes())
    assert response.status_code == 200
    (answer,) = response.json()["answers"]
    with Predictor(bundle) as predictor:
        expected = predictor.predict(image=picture, text=QUESTION)
    assert {key: answer[key] for key in expected} == expected
    assert answer["role"] == "student" and answer["model_ms"] > 0 and answer["size_bytes"] == (bundle / "model.onnx").stat().st_size


def test_json_gives_the_same_answer_as_a_form(client: TestClient, picture: Path) -> None:
    body = {"image": {"base64": base64.b64encode(picture.read_bytes()).decode()}, "text": QUESTION}
    told = [response.json()["answers"][0] for response in (asked(client, picture.read_bytes()), client.post("/predict", json=body))]
    assert told[0]["top"] == told[1]["top"]


def test_inputs_may_be_left_out_where_the_model_takes_gaps(tmp_path: Path, bundle_arguments, picture: Path) -> None:
    write_bundle(tmp_path / "gaps", **bundle_arguments(("image", "text", "present")))
    app = make_app(open_served(tmp_path / "gaps", None), hosts=("localhost",), token=None, limits=Limits())
    with TestClient(app, base_url="http://localhost:8321") as client:
        assert asked(client, b"").json()["answers"][0]["missing"] == ["image"]  # as a browser sends an empty field
        assert asked(client, picture.read_bytes()).json()["answers"][0]["missing"] == []
        assert client.post("/predict", json={}).status_code == client.post("/predict", json={"present": [1, 1]}).status_code == 400
        assert set(client.get("/samples").json()[0]["shown"]) == {"image", "text"}
        assert "required" not in client.get("/").text


def test_samples_are_shown_and_asked_by_number(client: TestClient, served: Served) -> None:
    offered = client.get("/samples").json()
    assert len(offered) == 12 and offered[3]["shown"]["image"].startswith("<img") and offered[3]["label"] in served.bundle.labels
    answers = [client.post("/predict", json={"sample": number}).json()["answers"][0]["label"] for number in range(12)]
    assert answers == [entry["label"] for entry in offered]  # the tiny bundle's labels are its own answers


def test_page_asks_for_every_input_and_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    assert 'type="file" accept="image/*"' in page.text and 'name="text"' in page.text and "http" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"] and page.headers["x-content-type-options"] == "nosniff"
    for path, kind in (("/page.js", "text/javascript"), ("/page.css", "text/css")):
        loaded = client.get(path)
        assert loaded.status_code == 200 and loaded.headers["content-type"].startswith(kind) and "http" not in loaded.text


def test_metrics_count_requests_and_answers(client: TestClient, picture: Path) -> None:
    for _ in range(3):
        asked(client, picture.read_bytes())
    client.post("/predict", json={})
    lines = client.get("/metrics").text.splitlines()
    assert 'compress_requests_total{route="/predict",code="200"} 3' in lines
    assert 'compress_requests_total{route="/predict",code="400"} 1' in lines
    assert 'compress_answer_seconds_bucket{role="student",le="+Inf"} 3' in lines and "compress_busy 0" in lines


def test_openapi_document_names_inputs_and_refusals(make_client: Callable[..., TestClient]) -> None:
    document = make_client(token="a" * 20).get("/openapi.json", headers={"Authorization": "Bearer " + "a" * 20}).json()
    question = document["paths"]["/predict"]["post"]
    form = question["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["image", "text"] and form["properties"]["image"]["format"] == "binary"
    assert {"200", "400", "413", "503"} <= set(question["responses"]) and document["security"] == [{"token": []}]


PNG = b"\x89PNG\r\n\x1a\n"
HOSTILE: dict[str, tuple[int, dict[str, Any]]] = {  # what it is: the status, and the request
    "no body": (415, {}),
    "text instead of a form": (415, {"content": b"hello", "headers": {"content-type": "text/plain"}}),
    "form without a boundary": (400, {"content": b"x", "headers": {"content-type": "multipart/form-data"}}),
    "form that ends early": (
        400,
        {"content": b'--b\r\nContent-Disposition: form-data; name="im', "headers": {"content-type": "multipart/form-data; boundary=b"}},
    ),
    "form of nonsense": (400, {"content": bytes(range(256)) * 9, "headers": {"content-type": "multipart/form-data; boundary=b"}}),
    "odd charset": (400, {"content": b"--b--\r\n", "headers": {"content-type": "multipart/form-data; boundary=b; charset=nope"}}),
    "urlencoded": (415, {"data": {"text": "x"}}),
    "no JSON": (400, {"content": b"{", "headers": {"content-type": "application/json"}}),
    "JSON that is no UTF-8": (400, {"content": b'{"text": "\xff"}', "headers": {"content-type": "application/json"}}),
    "deep JSON": (400, {"content": b"[" * 200_000, "headers": {"content-type": "application/json"}}),
    "NaN": (400, {"content": b'{"text": NaN}', "headers": {"content-type": "application/json"}}),
    "a list": (400, {"json": [1]}),
    "nothing": (400, {"json": {}}),
    "an input that is not there": (400, {"json": {"sound": "x", "text": "what", "image": "y"}}),
    "many inputs": (400, {"json": {str(i): "x" for i in range(100)}}),
    "a path for a picture": (400, {"json": {"image": "/etc/passwd", "text": "what"}}),
    "a path in a form": (400, {"data": {"image": "/etc/passwd", "text": "what"}, "files": {"x": b""}}),
    "a path as a field of a form": (400, {"files": {"image": (None, "../../etc/passwd"), "text": (None, "what")}}),
    "a file address": (400, {"json": {"image": "file:///etc/passwd", "text": "what"}}),
    "no base64": (400, {"json": {"image": {"base64": "*"}, "text": "what"}}),
    "an object": (400, {"json": {"image": {"path": "/etc/passwd"}, "text": "what"}}),
    "numbers for a text": (400, {"json": {"image": {"base64": ""}, "text": [1, 2]}}),
    "an empty picture": (400, {"files": {"image": ("x.png", b""), "text": (None, "what")}}),
    "no picture": (400, {"files": {"image": ("x.png", b"not a picture"), "text": (None, "what")}}),
    "half a picture": (400, {"files": {"image": ("x.png", PNG + b"\0" * 50), "text": (None, "what")}}),
    "a file name that climbs": (400, {"files": {"image": ("../../../etc/passwd", b"no picture"), "text": (None, "what")}}),
    "a huge picture": (413, {"files": {"image": ("x.png", huge_png(6000, 6000)), "text": (None, "what")}}),
    "an impossible picture": (400, {"files": {"image": ("x.png", huge_png(60_000, 60_000)), "text": (None, "what")}}),
    "an SVG": (400, {"files": {"image": ("x.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>'), "text": (None, "what")}}),
    "an EPS": (400, {"files": {"image": ("x.eps", b"%!PS-Adobe"), "text": (None, "what")}}),
    "no text": (400, {"files": {"image": ("x.png", PNG), "text": (None, "   ")}}),
    "a field given twice": (400, {"files": [("image", ("x", PNG)), ("image", ("y", PNG)), ("text", (None, "what"))]}),
    "many files": (400, {"files": [(f"f{i}", ("x", b"x")) for i in range(100)]}),
    "too many bytes": (413, {"files": {"image": ("x.png", b"\0" * 2_000_000), "text": (None, "what")}}),
    "a text that is too long": (413, {"json": {"image": {"base64": ""}, "text": "x" * 2_000_000}}),
    "a sample that is not there": (404, {"json": {"sample": 999}}),
    "a sample below zero": (400, {"json": {"sample": -1}}),
    "a sample that is no number": (400, {"json": {"sample": "../1"}}),
    "a sample that is a huge number": (400, {"json": {"sample": 10**30}}),
    "a sample that is true": (400, {"json": {"sample": True}}),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_requests_are_refused_in_a_line_that_names_no_path(make_client: Callable[..., TestClient], bundle: Path, what: str) -> None:
    client = make_client(upload_bytes=1_000_000)
    status, request = HOSTILE[what]
    response = client.post("/predict", **request)
    assert response.status_code == status, response.text
    told = response.json()["error"]
    assert told and "\n" not in told and str(bundle) not in response.text and "site-packages" not in response.text and "root:" not in told
    assert client.post("/predict", json={"sample": 0}).status_code == 200  # it answers as before


@pytest.mark.parametrize(
    "path",
    [
        "/../etc/passwd",
        "/%2e%2e/etc/passwd",
        "/page.js/../../app.py",
        "/samples/../../x",
        "//etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/static/x",
    ],
)
def test_no_path_of_a_request_leads_to_a_file(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in (404, 405)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"])
def test_other_methods_are_refused(client: TestClient, method: str) -> None:
    assert client.request(method, "/predict").status_code == 405


def test_body_without_a_length_is_counted_while_it_comes(make_client: Callable[..., TestClient]) -> None:
    def endless() -> Any:
        for _ in range(100):
            yield b"\0" * 100_000

    client = make_client(upload_bytes=1_000_000)
    response = client.post("/predict", content=endless(), headers={"content-type": "application/json"})
    assert response.status_code == 413


def test_lying_length_does_not_get_past_the_limit(make_client: Callable[..., TestClient]) -> None:
    client = make_client(upload_bytes=1_000)
    headers = {"content-type": "application/json", "content-length": "10"}
    assert client.post("/predict", content=b"\0" * 5_000, headers=headers).status_code == 413
    headers["content-length"] = "9" * 5_000
    assert client.post("/predict", content=b"{}", headers=headers).status_code == 413


def test_body_that_comes_too_slowly_is_given_up(served: Served) -> None:
    """Through ASGI itself: a body that never comes to its end."""
    import anyio

    from compress.serving.app import make_app
    from compress.serving.requests import Limits

    app, sent = make_app(served, hosts=("localhost",), limits=Limits(body_seconds=0.05)), []

    async def receive() -> dict[str, Any]:
        await anyio.sleep_forever()
        return {}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "raw_path": b"/predict", "query_string": b"", "headers": headers}
    anyio.run(
        app, {**scope, "http_version": "1.1", "scheme": "http", "server": ("localhost", 80), "client": ("127.0.0.1", 9)}, receive, send
    )
    assert sent[0]["status"] == 408


def test_questions_beyond_the_queue_are_told_to_come_again(
    make_client: Callable[..., TestClient], picture: Path, served: Served, monkeypatch
) -> None:
    from threading import Event

    started, go_on, answer = Event(), Event(), Served.answer_sample

    def slow(self: Served, number: int) -> Any:
        started.set()
        assert go_on.wait(30)
        return answer(self, number)

    monkeypatch.setattr(Served, "answer_sample", slow)
    client = make_client(queue=1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/predict", json={"sample": 0})
        assert started.wait(30)
        refused = client.post("/predict", json={"sample": 0})
        assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
        assert client.get("/healthz").status_code == 200  # a monitor is answered meanwhile
        go_on.set()
        assert first.result().status_code == 200
    assert client.post("/predict", json={"sample": 0}).status_code == 200


def test_two_hundred_at_once_are_answered_or_told_to_come_again(make_client: Callable[..., TestClient], picture: Path) -> None:
    client, content = make_client(queue=8), picture.read_bytes()
    with ThreadPoolExecutor(32) as pool:
        statuses = list(pool.map(lambda _: asked(client, content).status_code, range(200)))
    assert set(statuses) <= {200, 503} and statuses.count(200) >= 8
    assert "compress_busy 0" in client.get("/metrics").text


def test_fault_inside_is_told_without_its_words(client: TestClient, monkeypatch) -> None:
    def fail(self: Served, number: int) -> Any:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(Served, "answer_sample", fail)
    response = client.post("/predict", json={"sample": 0})
    assert response.status_code == 500 and response.json() == {"error": "the server could not answer"}


def test_large_picture_within_the_limit_is_answered(client: TestClient) -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((1500, 2000, 3), np.uint8)).save(file, "JPEG")
    assert asked(client, file.getvalue()).status_code == 200

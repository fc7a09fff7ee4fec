"""500 hostile requests over real connections to `compress serve` in a process of its own: it stays up, tells no path, keeps its memory, answers on."""

from __future__ import annotations

import io
import json
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from PIL import Image

from compress.device.predictor import Predictor

REQUESTS, AT_ONCE, SLOW, LARGE, QUEUE = 500, 200, 20, 40, 8
GROWTH_MIB = 20  # that they may leave behind; were the bodies kept, it would be 40
STATUSES = {200, 400, 403, 404, 405, 408, 413, 415, 421, 503, 507}  # never 500
TEXT = "what colour is the square ?"
PATHS = [
    "/../etc/passwd",
    "/%2e%2e%2f%2e%2e%2fetc/passwd",
    "//etc/passwd",
    "/page.js%00.py",
    "/samples/..;/",
    "\\..\\app.py",
    "/" + "a/" * 9_000,
    "*",
    "http://evil/",
]
NAMES = ["../../../etc/passwd", "/etc/passwd", "x\x00.png", "C:\\boot.ini", "a" * 5_000, '"; filename="y', "\u202egnp.exe"]


class Server(NamedTuple):
    process: subprocess.Popen
    port: int
    secrets: list[bytes]  # what no answer may hold


@pytest.fixture
def server(bundle: Path, tmp_path: Path) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--port", port, "--queue", QUEUE, "--upload-mb", 1, "--keep", tmp_path / "kept", "--keep-mb", 1]
    command = [sys.executable, "-m", "compress", "serve", bundle, *options]
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert process.stdout and process.stdout.readline().startswith("student: "), (tmp_path / "errors").read_text()
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
        yield Server(process, port, [str(tmp_path).encode(), b"site-packages", b"Traceback", b"root:", b".py"])
        assert "Traceback" not in (tmp_path / "errors").read_text()
    finally:
        process.terminate()
        process.wait(30)
        assert process.stdout
        process.stdout.close()


def send(port: int, request: bytes, *, half: bool = False) -> bytes:
    """All that comes back; `half`: nothing more will be sent, and the other side may know it."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(request)
            if half:
                connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                answer += part
    except (ConnectionResetError, BrokenPipeError):  # it closed before it had read everything, as it may
        pass
    return answer


def head(path: str, length: int | str, kind: str, *, method: str = "POST", more: str = "", host: str = "localhost") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Content-Type: {kind}", f"Content-Length: {length}", "Connection: close"]
    return ("\r\n".join(lines) + f"\r\n{more}\r\n").encode("utf-8")


def form(picture: bytes, *, name: str = "x.png", text: str = TEXT, label: str = "", path: str = "/predict") -> bytes:
    fields = f'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\n{text}\r\n'
    fields += f'--b\r\nContent-Disposition: form-data; name="label"\r\n\r\n{label}\r\n' if label else ""
    opening = f'{fields}--b\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
    body = opening.encode("utf-8") + picture + b"\r\n--b--\r\n"
    return head(path, len(body), "multipart/form-data; boundary=b") + body


def hostile(draw: random.Random, picture: bytes) -> tuple[bytes, bool]:
    """A request of one of many kinds, and whether the sending side is closed behind it."""
    good = form(picture, label=draw.choice(["", "red"]), path=draw.choice(["/predict", "/keep"]))
    junk, kind = (
        draw.randbytes(draw.randrange(1, 3_000)),
        draw.choice(["application/json", "multipart/form-data; boundary=b", "text/plain", "\x7f"]),
    )
    deep = draw.choice([b"[", b'{"text":']) * 50_000
    makers = [
        lambda: (good[: draw.randrange(1, len(good))], True),  # ends early, anywhere
        lambda: (_flipped(draw, good), True),
        lambda: (junk, True),
        lambda: (head("/predict", len(junk), kind) + junk, False),
        lambda: (head("/predict", 10**9, kind) + junk, True),  # promises more than is taken
        lambda: (head("/predict", draw.choice(["-1", "1e3", "9" * 400, "0x10", ""]), kind) + junk, True),
        lambda: (head("/predict", 1_200_000, kind) + bytes(1_200_000), True),  # brings more than is taken
        lambda: (head("/predict", len(deep), "application/json") + deep, False),
        lambda: (head(draw.choice(PATHS), 0, kind, method=draw.choice(["GET", "POST", "PUT", "CONNECT"])), True),
        lambda: (form(picture, name=draw.choice(NAMES), label="red", path="/keep"), False),
        lambda: (form(draw.choice([junk, b"", picture[: draw.randrange(len(picture))]]), label=draw.choice(NAMES), path="/keep"), False),
        lambda: (form(picture, text=draw.choice(["", "\u202e" * 999, "x" * 900_000, "\x00", "/etc/passwd"])), False),
        lambda: (_json(draw, "/predict"), False),
        lambda: (_json(draw, "/keep"), False),
        lambda: (head("/predict", 2, "application/json", host=draw.choice(["evil.example", "localhost\r\nHost: x", ""])) + b"{}", True),
        lambda: (head("/predict", 2, "application/json", more="Origin: http://evil.example\r\n") + b"{}", False),
        lambda: (head("/", 0, kind, method="GET", more="X: " + "y" * draw.choice([10, 70_000]) + "\r\n"), True),
        lambda: (head("/predict", 0, kind, more="Transfer-Encoding: chunked\r\n") + b"fffffffff\r\nxx", True),
    ]
    return draw.choice(makers)()


def large(draw: random.Random) -> bytes:
    """A picture of 0.7 MB."""
    file = io.BytesIO()
    Image.frombytes("RGB", (480, 480), draw.randbytes(480 * 480 * 3)).save(file, "PNG")
    return file.getvalue()


def _flipped(draw: random.Random, request: bytes) -> bytes:
    changed = bytearray(request)
    for _ in range(draw.randrange(1, 9)):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def _json(draw: random.Random, path: str) -> bytes:
    value = draw.choice(
        ["/etc/passwd", "\ud800", "\x00", 10**400, -1, True, None, [], {}, [[1]], {"base64": "AAAA"}, {"base64": "*"}, {"path": "/"}]
    )
    keys = draw.sample(["image", "text", "label", "sample", "../x", "__class__", "id"], draw.randrange(1, 6))
    body = json.dumps({key: draw.choice([value, TEXT, "red"]) for key in keys}).encode()
    return head(path, len(body), "application/json") + body


def test_hostile_requests_leave_the_server_as_it_was(server: Server, bundle: Path, picture: Path, tmp_path: Path) -> None:
    draw = random.Random(0)
    pictures = [large(draw) for _ in range(3)]
    requests = [hostile(draw, draw.choice(pictures)) for _ in range(REQUESTS - AT_ONCE - SLOW - LARGE)]
    requests += [(form(draw.choice(pictures)), False) for _ in range(LARGE)]
    process, good = psutil.Process(server.process.pid), form(picture.read_bytes())

    def attack(pool: ThreadPoolExecutor, some: list[tuple[bytes, bool]]) -> list[bytes]:
        return list(pool.map(lambda one: send(server.port, one[0], half=one[1]), some))

    with ThreadPoolExecutor(QUEUE - 2) as pool:
        answers = attack(pool, requests[:100])
        before = process.memory_info().rss
        answers += attack(pool, requests[100:])
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(SLOW)]
    for number, connection in enumerate(
        slow
    ):  # they stay half said; a body that is awaited takes a place in the queue, so not all are of that kind
        connection.sendall(good[:-9] if number < QUEUE // 2 else good[:number])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        at_once = attack(pool, [(good, False)] * AT_ONCE)
    growth = (process.memory_info().rss - before) / 2**20

    statuses = [int(answer.split(b" ", 2)[1]) for answer in answers + at_once if answer]
    assert set(statuses) <= STATUSES and {200, 400, 403, 404, 413, 415, 421, 503, 507} <= set(statuses) and len(statuses) > REQUESTS / 2
    assert [secret for secret in server.secrets if any(secret in answer for answer in answers + at_once)] == []
    assert {int(answer.split(b" ", 2)[1]) for answer in at_once if answer} <= {200, 503}
    assert server.process.poll() is None and growth < GROWTH_MIB

    kept = [path.relative_to(tmp_path / "kept").as_posix() for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert "rows.jsonl" in kept and all(re.fullmatch(r"rows\.jsonl|files/[0-9a-f]{64}\.png", name) for name in kept)

    for connection in slow:
        connection.close()
    started = time.monotonic()
    answer = send(server.port, good)
    assert time.monotonic() - started < 5
    with Predictor(bundle) as predictor:
        expected = predictor.predict(image=picture, text=TEXT)
    told = json.loads(answer.split(b"\r\n\r\n", 1)[1])["answers"][0]
    assert {key: told[key] for key in expected} == expected

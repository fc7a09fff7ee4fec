"""Who may ask: names, other sites' pages, tokens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from compress.serving.guards import host_name

TOKEN = "correct-horse-battery"
EVERYTHING = ("/", "/page.js", "/samples", "/metrics", "/openapi.json", "/healthz")


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8321", "", "192.168.0.1", "[::2]", "localhost@evil"]
)
def test_other_names_are_not_served(client: TestClient, host: str) -> None:
    for path in EVERYTHING:
        assert client.get(path, headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8321", "127.0.0.1:8321", "[::1]:8321", "[::1]"])
def test_names_of_loopback_are_served(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},  # another program on this machine
        {"origin": "http://localhost"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_pages_of_other_sites_may_not_ask(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/predict", json={"sample": 0}, headers=headers).status_code == 403


def test_own_page_may_ask(client: TestClient) -> None:
    headers = {"origin": "http://localhost:8321", "sec-fetch-site": "same-origin"}
    assert client.post("/predict", json={"sample": 0}, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "given", [None, "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", "Bearer \xff"]
)
def test_wrong_tokens_are_refused(make_client: Callable[..., TestClient], given: str | None) -> None:
    client = make_client(token=TOKEN)
    headers = {"authorization": given.encode("latin-1")} if given is not None else {}
    for path in ("/samples", "/metrics", "/openapi.json"):
        response = client.get(path, headers=headers)
        assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer"
    assert client.post("/predict", json={"sample": 0}, headers=headers).status_code == 401
    assert client.get(f"/samples?token={TOKEN}", headers=headers).status_code == 401  # never in an address


def test_right_token_is_taken_and_the_page_needs_none(make_client: Callable[..., TestClient]) -> None:
    client = make_client(token=TOKEN)
    assert client.post("/predict", json={"sample": 0}, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    page = client.get("/")
    assert page.status_code == 200 and TOKEN not in page.text and 'type="password"' in page.text


def test_refusals_carry_the_guarding_headers_too(client: TestClient) -> None:
    refused = client.get("/", headers={"host": "evil.example"})
    assert refused.headers["cache-control"] == "no-store" and "default-src 'none'" in refused.headers["content-security-policy"]


@pytest.mark.parametrize(("value", "name"), [("a.b:80", "a.b"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("A", "a"), ("[::1", "[::1]")])
def test_host_name_leaves_the_port_out(value: str, name: str) -> None:
    assert host_name(value) == name

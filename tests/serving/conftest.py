"""A server of a tiny bundle, and clients that ask it as a browser on this machine would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from compress.serving.app import make_app
from compress.serving.requests import Limits
from compress.serving.served import Served, open_served

HOSTS = ("localhost", "127.0.0.1", "[::1]")
QUESTION = "what colour is the square ?"


@pytest.fixture
def served(bundle: Path) -> Served:
    return open_served(bundle, None)


@pytest.fixture
def make_client(served: Served) -> Iterator[Callable[..., TestClient]]:
    """A client of a server with these limits and this token, under the name localhost."""
    clients: list[TestClient] = []

    def make(*, token: str | None = None, hosts: tuple[str, ...] = HOSTS, **limits: float) -> TestClient:
        app = make_app(served, hosts=hosts, token=token, limits=Limits(**limits))  # type: ignore[arg-type]
        clients.append(TestClient(app, base_url="http://localhost:8321", raise_server_exceptions=False))
        return clients[-1].__enter__()

    yield make
    for client in clients:
        client.__exit__()


@pytest.fixture
def client(make_client: Callable[..., TestClient]) -> TestClient:
    return make_client()

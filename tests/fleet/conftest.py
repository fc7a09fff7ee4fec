"""An ssh server for the tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compress.fleet.remote import Device


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A `Server` of tests/support/ssh_server.py."""
    if shutil.which("ssh") is None:
        pytest.skip("the system has no ssh client (openssh-client)")
    pytest.importorskip("asyncssh", reason="the ssh server of this test is asyncssh")
    from ssh_server import serve

    with serve(tmp_path_factory.mktemp("ssh")) as running:
        yield running


@pytest.fixture
def there(server: Any, tmp_path: Path) -> Any:
    """The server with an empty folder of this test as the place for copies."""
    folder = tmp_path / "there"
    folder.mkdir()
    server.commands.clear()
    return type(server)(
        Device(server.device.host, server.device.user, server.device.port, str(folder)), server.ssh_options, server.commands
    )

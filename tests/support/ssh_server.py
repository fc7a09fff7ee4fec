"""An ssh server on loopback whose commands are run by this machine's shell."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from compress.fleet.remote import Device


@dataclass
class Server:
    """An ssh server of this test and how to reach it; `commands` lists what it was asked to run."""

    device: Device
    ssh_options: list[str]
    commands: list[str] = field(default_factory=list)


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """asyncssh on loopback, one key allowed, each command run by this machine's shell after a login script that prints a line."""
    host_key, user_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    user_key.write_private_key(folder / "key")
    (folder / "key").chmod(0o600)
    user_key.write_public_key(folder / "allowed")
    commands: list[str] = []

    async def handle(process: Any) -> None:
        commands.append(process.command)
        pipe = asyncio.subprocess.PIPE
        shell = await asyncio.create_subprocess_exec(
            "sh", "-c", f"echo welcome; {process.command}", stdin=pipe, stdout=pipe, stderr=pipe, cwd=folder
        )
        out, err = await shell.communicate(await process.stdin.read())
        process.stdout.write(out)
        process.stderr.write(err)
        process.exit(shell.returncode)

    async def listen() -> Any:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[host_key],
            authorized_client_keys=str(folder / "allowed"),
            process_factory=handle,
            encoding=None,
        )

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    listener = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    port = listener.get_port()
    public = host_key.export_public_key().decode().strip()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}\n")
    files = {"UserKnownHostsFile": folder / "known_hosts", "GlobalKnownHostsFile": "/dev/null", "IdentityFile": folder / "key"}
    yield Server(
        Device("127.0.0.1", "tester", port), [f"{name}={value}" for name, value in files.items()] + ["IdentitiesOnly=yes"], commands
    )
    asyncio.run_coroutine_threadsafe(_close(listener), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


async def _close(listener: Any) -> None:
    listener.close()
    await listener.wait_closed()

"""Starts the server: on which address, with which token, and what is refused before it listens."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.errors import CompressError, DependencyError

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
SHORTEST = 16  # characters of a token
HEAD_SECONDS = 5.0  # a head that has not come within twice this has not come


@dataclass(frozen=True)
class Address:
    """Where the server listens, and under which names it may be asked."""

    host: str = "127.0.0.1"
    port: int = 8321
    names: tuple[str, ...] = ()  # besides the host itself; on loopback its usual names
    certificate: Path | None = None
    key: Path | None = None

    @property
    def on_loopback(self) -> bool:
        """Whether this machine alone can ask."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names in a Host header that are taken."""
        if self.on_loopback:
            return (*LOOPBACK, *self.names)
        own = f"[{self.host}]" if ":" in self.host else self.host
        return tuple(name for name in (own, *self.names) if name not in ("0.0.0.0", "[::]"))


def check_address(address: Address, token: str | None) -> None:
    """Raises CompressError where the server would listen to others without a token, under no name, or with half of a certificate."""
    if not address.on_loopback and token is None:
        raise CompressError(
            f"--host {address.host}: others could ask, so give --token-file; "
            'python -c "import secrets; print(secrets.token_urlsafe(32))" > token.txt makes one'
        )
    if not address.hosts:
        raise CompressError(f"--host {address.host}: say under which name it is asked: --name NAME, as it stands in the address")
    if (address.certificate is None) != (address.key is None):
        raise CompressError("--tls-cert and --tls-key belong together; give both")


def read_token(path: Path) -> str:
    """The token in a file. Raises CompressError where there is none, or one that could be guessed."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise CompressError(f"--token-file {path}: cannot be read: {error}") from error
    if len(token) < SHORTEST or not token.isascii() or any(c.isspace() for c in token):
        raise CompressError(f"--token-file {path}: a token has at least {SHORTEST} letters or digits and no spaces; make a new one")
    return token


def require_extra() -> None:
    """Raises DependencyError where a package of the extra is missing."""
    try:
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise DependencyError(f"compress serve needs the extra serve ({error}): pip install 'compress[serve]'") from error


def serve(
    bundle: Path,
    run: Path | None,
    *,
    address: Address,
    token: str | None,
    limits: dict[str, Any],
    model: str | None = None,
    keep: Path | None = None,
    keep_bytes: int = 100 * 10**6,
    say: Callable[[str], None] = print,
) -> None:
    """Verifies, opens and serves until it is interrupted; samples are kept in the folder `keep`, where one is given."""
    check_address(address, token)
    require_extra()
    import uvicorn

    from compress.serving.app import make_app
    from compress.serving.impatient import impatient
    from compress.serving.kept import Kept
    from compress.serving.requests import Limits
    from compress.serving.served import open_served

    served, bounds = open_served(bundle, run, model=model), Limits(**limits)
    kept = Kept(keep, served.bundle, most_bytes=keep_bytes) if keep else None
    app = make_app(served, hosts=address.hosts, token=token, limits=bounds, kept=kept)
    for line in opening_lines(address, [member.role for member in served.members], kept=keep):
        say(line)
    uvicorn.run(
        app,
        host=address.host,
        port=address.port,
        http=impatient(HEAD_SECONDS),
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=4 * bounds.queue,  # connections, so that slow ones cannot pile up
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
        ssl_certfile=address.certificate and str(address.certificate),
        ssl_keyfile=address.key and str(address.key),
    )


def opening_lines(address: Address, roles: Sequence[str], *, kept: Path | None = None) -> list[str]:
    """What is said before it listens."""
    scheme, name = "https" if address.certificate else "http", address.hosts[0] if not address.on_loopback else "localhost"
    lines = [f"{' and '.join(roles)}: {scheme}://{name}:{address.port}/ (verified; end with Ctrl-C)"]
    if kept:
        lines.append(f"samples that somebody says were answered wrongly are kept in {kept}")
    if not address.on_loopback and address.certificate is None:
        lines.append(
            "warning: without TLS token, pictures and texts travel readable; give --tls-cert and --tls-key, or a proxy that has them"
        )
    return lines

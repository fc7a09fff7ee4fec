"""`Guard`: who may ask, before anything of a request is read: host, origin, token; and the headers that every response carries."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PUBLIC = ("/", "/page.js", "/page.css", "/healthz")  # hold nothing of the data, so they need no token
POLICY = "; ".join(
    [
        *(
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src data: blob:",
            "media-src data: blob:",
        ),
        *("form-action 'none'", "base-uri 'none'", "frame-ancestors 'none'"),
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """An ASGI application that lets through to `app` what comes to one of `hosts`, from no other site, with the token where there is one.

    The name in Host is checked on loopback too: a page of another site may have its name lead here. A digest of the token is kept and
    compared in constant time; it comes in a header, never in an address, which would stand in histories and logs.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], token: str | None) -> None:
        self.app, self.hosts = app, {host.lower() for host in hosts}
        self.digest = _digest(token.encode()) if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send) if scope["type"] == "lifespan" else None

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refused = self.refuse(Headers(scope=scope), path=scope["path"])
        if refused is None:
            return await self.app(scope, receive, send_guarded)
        status, reason = refused
        extra = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        await JSONResponse({"error": reason}, status, headers={**extra, "Connection": "close"})(scope, receive, send_guarded)

    def refuse(self, headers: Headers, *, path: str) -> tuple[int, str] | None:
        """The status and the reason of a request that is not let through."""
        named, origin = headers.getlist("host"), headers.getlist("origin")
        if len(named) != 1 or host_name(named[0]) not in self.hosts:
            return 421, "this name is not served here"
        same = {f"{scheme}://{named[0].lower()}" for scheme in ("http", "https")}
        if any(site.lower() not in same for site in origin) or headers.get("sec-fetch-site", "") in ("cross-site", "same-site"):
            return 403, "pages of other sites may not ask"
        if self.digest is None or path in PUBLIC:
            return None
        kind, _, given = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(_digest(given.strip().encode("utf-8", "replace")), self.digest)
        return None if right and kind.lower() == "bearer" else (401, "a token is needed: Authorization: Bearer ...")


def host_name(value: str) -> str:
    """The name in a Host header, without its port, in small letters."""
    name = value.strip().lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0]


def _digest(value: Any) -> bytes:
    return hashlib.sha256(value).digest()

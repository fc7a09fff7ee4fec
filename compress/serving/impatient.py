"""`impatient`: uvicorn's HTTP protocol, which waits for a request's head only so long; by itself it would wait for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


def impatient(seconds: float) -> type[H11Protocol]:
    """A protocol that closes a connection in which no request has begun between two looks, `seconds` apart."""

    class Impatient(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.loop.call_later(seconds, self.look, object())

        def look(self, before: Any) -> None:
            """`before`: what was going on at the last look."""
            if self.transport.is_closing():
                return
            answering = self.cycle is not None and not self.cycle.response_complete
            if not answering and self.cycle is before:
                self.transport.close()
            else:
                self.loop.call_later(seconds, self.look, object() if answering else self.cycle)

    return Impatient

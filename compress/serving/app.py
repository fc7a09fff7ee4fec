"""The web application: one page, its API, and what a monitor reads."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from compress.device.errors import DeviceError
from compress.modalities.modality import modality
from compress.reporting.page import find_template
from compress.serving.guards import Guard
from compress.serving.metrics import Metrics
from compress.serving.openapi import describe_api
from compress.serving.requests import Limits, read_question
from compress.serving.served import Served

FOLDER = Path(__file__).parent
WORKERS = min(4, os.cpu_count() or 1)  # answers that are made at once


def make_app(served: Served, *, hosts: tuple[str, ...], token: str | None = None, limits: Limits | None = None) -> Guard:
    """The application for these models; `hosts` are the names it may be asked under."""
    app = _App(served, limits or Limits(), needs_token=token is not None)
    routes = {"/": app.page, "/page.js": app.script, "/page.css": app.style, "/healthz": app.health}
    routes |= {"/metrics": app.show_metrics, "/openapi.json": app.openapi, "/samples": app.samples}
    starlette = Starlette(
        routes=[
            *(Route(path, app.counted(path, endpoint), methods=["GET"]) for path, endpoint in routes.items()),
            Route("/predict", app.counted("/predict", app.predict), methods=["POST"]),
        ],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )
    return Guard(starlette, hosts=hosts, token=token)


class _App:
    def __init__(self, served: Served, limits: Limits, *, needs_token: bool) -> None:
        self.served, self.limits, self.metrics = served, limits, Metrics()
        self.turns = anyio.Semaphore(WORKERS)
        inputs = [{"name": name, "file": modality(name).reads_files, "worded": modality(name).worded} for name in served.bundle.asked]
        template = find_template("serve.html.j2")
        self.html = template.render(
            name=served.name, inputs=inputs, members=served.members, needs_token=needs_token, gaps=served.bundle.takes_gaps
        )
        self.css = find_template("style.css.j2").render() + (FOLDER / "page.css").read_text(encoding="utf-8")
        self.js = (FOLDER / "page.js").read_text(encoding="utf-8")
        self.api = describe_api(served, limits=limits, needs_token=needs_token)
        self.offered = [{"number": i, "shown": s.shown, "label": s.label} for i, s in enumerate(served.samples)]

    def counted(self, route: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def call(request: Request) -> Response:
            status = 500
            try:
                response = await endpoint(request)
                status = response.status_code
                return response
            except HTTPException as error:
                status = error.status_code
                raise
            finally:
                self.metrics.requests[route, status] += 1

        return call

    async def page(self, request: Request) -> Response:
        return Response(self.html, media_type="text/html")

    async def script(self, request: Request) -> Response:
        return Response(self.js, media_type="text/javascript")

    async def style(self, request: Request) -> Response:
        return Response(self.css, media_type="text/css")

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def show_metrics(self, request: Request) -> Response:
        told = self.served.members[0].predictor
        return Response(self.metrics.render(identity=told.bundle.identity, model=told.model.name), media_type="text/plain; version=0.0.4")

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(self.api)

    async def samples(self, request: Request) -> Response:
        return JSONResponse(self.offered)

    async def predict(self, request: Request) -> Response:
        if self.metrics.busy >= self.limits.queue:
            raise HTTPException(503, "busy; try again", headers={"Retry-After": "1"})
        self.metrics.busy += 1
        try:
            asked = await read_question(request, inputs=self.served.bundle.asked, gaps=self.served.bundle.takes_gaps, limits=self.limits)
            answers = await self._in_turn(self._answer, asked)
        finally:
            self.metrics.busy -= 1
        for answer in answers:
            self.metrics.answered(answer["role"], answer["model_ms"] / 1000)
        return JSONResponse({"bundle": self.served.bundle.identity, "answers": answers})

    async def _in_turn(self, work: Callable[[Any], Any], asked: Any) -> Any:
        try:
            with anyio.fail_after(self.limits.wait_seconds):
                await self.turns.acquire()
        except TimeoutError:
            raise HTTPException(503, "busy; try again", headers={"Retry-After": "5"}) from None
        try:
            return await anyio.to_thread.run_sync(work, asked)
        finally:
            self.turns.release()

    def _answer(self, asked: dict[str, Any] | int) -> list[dict[str, Any]]:
        if isinstance(asked, int):
            if asked >= len(self.served.samples):
                raise HTTPException(404, "there is no such sample")
            return self.served.answer_sample(asked)
        try:
            return self.served.answer(asked)
        except DeviceError as error:
            raise HTTPException(400, str(error)) from error


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    """What went wrong inside stands in the server's own log and nowhere else."""
    return JSONResponse({"error": "the server could not answer"}, 500)

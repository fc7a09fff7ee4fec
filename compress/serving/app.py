"""The web application: one page, its API, and what a monitor reads."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Coroutine
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
from compress.serving.kept import Full, Kept, Unfit
from compress.serving.metrics import Metrics
from compress.serving.openapi import describe_api
from compress.serving.requests import Limits, read_question, read_row
from compress.serving.served import Served

FOLDER = Path(__file__).parent
WORKERS = min(4, os.cpu_count() or 1)  # answers that are made at once


def make_app(
    served: Served, *, hosts: tuple[str, ...], token: str | None = None, limits: Limits | None = None, kept: Kept | None = None
) -> Guard:
    """The application for these models; `hosts` are the names it may be asked under, `kept` is where samples are kept, if they are."""
    app = _App(served, limits or Limits(), kept, needs_token=token is not None)
    posts = {"/predict": app.predict} | ({"/keep": app.keep} if kept else {})
    routes = {"/": app.page, "/page.js": app.script, "/page.css": app.style, "/healthz": app.health}
    routes |= {"/metrics": app.show_metrics, "/openapi.json": app.openapi, "/samples": app.samples}
    starlette = Starlette(
        routes=[
            *(Route(path, app.counted(path, endpoint), methods=["GET"]) for path, endpoint in routes.items()),
            *(Route(path, app.counted(path, endpoint), methods=["POST"]) for path, endpoint in posts.items()),
        ],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )
    return Guard(starlette, hosts=hosts, token=token)


class _App:
    def __init__(self, served: Served, limits: Limits, kept: Kept | None, *, needs_token: bool) -> None:
        self.served, self.limits, self.kept, self.metrics = served, limits, kept, Metrics()
        self.form: dict[str, Any] = {"inputs": served.bundle.asked, "gaps": served.bundle.takes_some, "limits": limits}
        self.turns = anyio.Semaphore(WORKERS)
        inputs = [{"name": name, "file": modality(name).reads_files, "worded": modality(name).worded} for name in served.bundle.asked]
        template = find_template("serve.html.j2")
        self.html = template.render(
            name=served.name, inputs=inputs, members=served.members, needs_token=needs_token, gaps=served.bundle.takes_some, kept=kept
        )
        self.css = find_template("style.css.j2").render() + (FOLDER / "page.css").read_text(encoding="utf-8")
        self.js = (FOLDER / "page.js").read_text(encoding="utf-8")
        self.api = describe_api(served, limits=limits, needs_token=needs_token, keeps=kept is not None)
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
        answers = await self._one_of_few(read_question(request, **self.form), self._answer)
        for answer in answers:
            self.metrics.answered(answer["role"], answer["model_ms"] / 1000)
        return JSONResponse({"bundle": self.served.bundle.identity, "answers": answers})

    async def keep(self, request: Request) -> Response:
        return JSONResponse({"kept": await self._one_of_few(read_row(request, **self.form), self._keep)})

    async def _one_of_few(self, reading: Coroutine[Any, Any, Any], work: Callable[[Any], Any]) -> Any:
        """What `work` makes of what is read, where the queue has room for it."""
        if self.metrics.busy >= self.limits.queue:
            reading.close()
            raise HTTPException(503, "busy; try again", headers={"Retry-After": "1"})
        self.metrics.busy += 1
        try:
            return await self._in_turn(work, await reading)
        finally:
            self.metrics.busy -= 1

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

    def _keep(self, row: tuple[dict[str, Any], str]) -> bool:
        assert self.kept
        values, label = row
        try:
            self.served.members[0].predictor.read(values)  # what the student cannot read teaches it nothing
            return self.kept.add(values, label)
        except Full as error:
            raise HTTPException(507, str(error)) from error
        except (DeviceError, Unfit) as error:
            raise HTTPException(400, str(error)) from error


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    """What went wrong inside stands in the server's own log and nowhere else."""
    return JSONResponse({"error": "the server could not answer"}, 500)

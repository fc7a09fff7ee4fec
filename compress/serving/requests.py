"""What a request asks: one value for each input, from a form or from JSON, within limits; nothing of it is ever used as a path."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import anyio
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from compress.device.errors import DeviceError
from compress.device.image_file import image_size
from compress.modalities.modality import modality

MAX_FIELDS = 16
MAX_TEXT = 10_000  # characters of what is kept, as the page takes them


@dataclass(frozen=True)
class Limits:
    """What one request may cost."""

    upload_bytes: int = 16 * 2**20
    pixels: int = 24_000_000  # of a picture; each takes 3 bytes and more while it is decoded
    body_seconds: float = 10.0  # in which a body must have come
    wait_seconds: float = 30.0  # in which its turn must have come
    queue: int = 32  # requests at once, those that are answered included


class _InMemory(MultiPartParser):
    spool_max_size = 2**40  # the body is in memory already, and within the limit: no file is written


async def read_question(request: Request, *, inputs: list[str], gaps: bool, limits: Limits) -> dict[str, Any] | int:
    """One value for each input (with `gaps` for some of them: an empty one is none), or the number of a sample. Raises HTTPException for
    anything else."""
    fields = await _read_fields(request, limits)
    if set(fields) == {"sample"}:
        return _sample(fields["sample"])
    return _values(fields, inputs=inputs, gaps=gaps, limits=limits)


async def read_row(request: Request, *, inputs: list[str], gaps: bool, limits: Limits) -> tuple[dict[str, Any], str]:
    """The same values, and the right answer to them, `label`. Raises HTTPException for anything else, a sample too: that is a row that models
    are tested with, which must not be trained on."""
    fields = await _read_fields(request, limits)
    label = fields.pop("label", None)
    if not isinstance(label, str) or not label.strip() or "sample" in fields:
        raise HTTPException(400, "send the right answer as label, beside values of your own")
    values = _values(fields, inputs=inputs, gaps=gaps, limits=limits)
    if any(isinstance(value, str | list) and len(value) > MAX_TEXT for value in (label, *values.values())):
        raise HTTPException(400, f"texts of at most {MAX_TEXT:,} characters are kept")
    return values, label


async def _read_fields(request: Request, limits: Limits) -> dict[str, Any]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("multipart/form-data", "application/json"):
        raise HTTPException(415, "send multipart/form-data or application/json")
    body = await _read_body(request, limits)
    fields = await _read_form(request, body) if kind == "multipart/form-data" else _read_json(body)
    if not all(_is_text(value) for value in fields.values() if isinstance(value, str)):
        raise HTTPException(400, "a text holds what is no character")
    return fields


def _values(fields: dict[str, Any], *, inputs: list[str], gaps: bool, limits: Limits) -> dict[str, Any]:
    if gaps:
        fields = {name: value for name, value in fields.items() if value not in ("", b"")}
    unknown = sorted(set(fields) - set(inputs))
    if unknown or not (bool(fields) if gaps else all(name in fields for name in inputs)):
        raise HTTPException(400, f"send one value for each of: {', '.join(inputs)}")
    for name, value in fields.items():
        _check(name, value, limits)
    return fields


async def _read_body(request: Request, limits: Limits) -> bytes:
    told = request.headers.get("content-length", "")
    if told.isascii() and told.isdigit() and int(told[:20]) > limits.upload_bytes:
        raise HTTPException(413, f"at most {limits.upload_bytes:,} bytes")
    parts, size = [], 0
    try:
        with anyio.fail_after(limits.body_seconds):
            async for part in request.stream():
                size += len(part)
                if size > limits.upload_bytes:
                    raise HTTPException(413, f"at most {limits.upload_bytes:,} bytes")
                parts.append(part)
    except TimeoutError:
        raise HTTPException(408, f"the body did not come within {limits.body_seconds:g} s") from None
    except ClientDisconnect:
        raise HTTPException(400, "the body ended early") from None
    return b"".join(parts)


async def _read_form(request: Request, body: bytes) -> dict[str, Any]:
    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await _InMemory(request.headers, once(), max_files=MAX_FIELDS, max_fields=MAX_FIELDS, max_part_size=len(body)).parse()
    except (MultiPartException, ValueError, KeyError, AssertionError, UnicodeError):
        raise HTTPException(400, "this is no form") from None
    try:
        items = form.multi_items()
        if len({name for name, _ in items}) != len(items):
            raise HTTPException(400, "a field is given twice")
        return {name: value if isinstance(value, str) else await value.read() for name, value in items}
    finally:
        await form.close()


def _read_json(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body.decode("utf-8"), parse_constant=lambda name: _refuse(name))
    except (ValueError, RecursionError):
        raise HTTPException(400, "this is no JSON") from None
    if not isinstance(data, dict) or len(data) > MAX_FIELDS:
        raise HTTPException(400, "send an object with a value for each input")
    return {name: _json_value(name, value) for name, value in data.items()}


def _json_value(name: str, value: Any) -> Any:
    """A text, a flat list of numbers, the content of a file as {"base64": ...}, or the number of a sample."""
    if isinstance(value, str) or (name == "sample" and isinstance(value, int)):
        return value
    if isinstance(value, list) and all(isinstance(number, int | float) and not isinstance(number, bool) for number in value):
        return value
    if isinstance(value, dict) and set(value) == {"base64"} and isinstance(value["base64"], str):
        try:
            return base64.b64decode(value["base64"], validate=True)
        except (binascii.Error, ValueError):
            raise HTTPException(400, "a file's content is no base64") from None
    raise HTTPException(400, 'each value is a text, a list of numbers, or {"base64": ...}')


def _check(name: str, value: Any, limits: Limits) -> None:
    """Refuses a text where a file is read, which its reader would take for a path, and pictures that would take much to decode."""
    if not modality(name).reads_files:
        return
    if not isinstance(value, bytes):
        raise HTTPException(400, "send the file itself, not its name")
    try:
        width, height = image_size(value)
    except DeviceError:  # no picture, or none that can be read, which the input's own reader says
        return
    if width * height > limits.pixels:
        raise HTTPException(413, f"at most {limits.pixels:,} pixels")


def _sample(value: Any) -> int:
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) < 4):
        raise HTTPException(400, "a sample is a number")
    return int(text)


def _is_text(value: str) -> bool:
    """Whether it could be written down: halves of characters, which JSON and odd encodings can bring, cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are no JSON

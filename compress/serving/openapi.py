"""The OpenAPI document of a server, made from the ports of the bundle that it serves."""

from __future__ import annotations

from typing import Any

from compress.device.modalities import reader
from compress.modalities.modality import modality
from compress.serving.requests import Limits
from compress.serving.served import Served

REFUSALS = {
    "400": "A value that cannot be read.",
    "401": "The token is missing or wrong.",
    "403": "Asked by a page of another site.",
    "404": "No such sample.",
    "408": "The body came too slowly.",
    "413": "Too many bytes or pixels.",
    "415": "Neither a form nor JSON.",
    "421": "This name is not served here.",
    "503": "Too many questions at once; Retry-After says when to ask again.",
}


def describe_api(served: Served, *, limits: Limits, needs_token: bool, keeps: bool) -> dict[str, Any]:
    """The document, OpenAPI 3.1; `keeps`: whether samples are kept."""
    names = served.bundle.asked
    needed = {"minProperties": 1} if served.bundle.takes_some else {"required": names}
    form = {"type": "object", **needed, "properties": {name: _form_value(name) for name in names}}
    values = {"type": "object", **needed, "properties": {name: _json_value(name) for name in names}}
    sample = {"type": "object", "required": ["sample"], "properties": {"sample": {"type": "integer", "minimum": 0}}}
    answer = {
        "role": {"type": "string", "enum": [member.role for member in served.members]},
        "model": {"type": "string"},
        "size_bytes": {"type": "integer"},
        "read_ms": {"type": "number", "description": "Reading the values, such as decoding a picture."},
        "model_ms": {"type": "number", "description": "The model alone."},
    }
    answers = {"type": "array", "items": {"type": "object", "properties": answer, "required": list(answer)}}
    result = {"type": "object", "properties": {"bundle": {"type": "string"}, "answers": answers}}
    error = {"type": "object", "properties": {"error": {"type": "string"}}}
    content = {"multipart/form-data": {"schema": form}, "application/json": {"schema": {"oneOf": [values, sample]}}}
    responses = {"200": _response("Answers, the student's first, each with what its task gives.", result)}
    responses |= {code: _response(text, error) for code, text in REFUSALS.items()}
    summary = f"Ask; at most {limits.upload_bytes:,} bytes"
    paths: dict[str, Any] = {
        "/predict": {"post": {"summary": summary, "requestBody": {"required": True, "content": content}, "responses": responses}},
        "/samples": {"get": {"summary": "Rows to ask about, by number", "responses": {"200": {"description": "The rows."}}}},
        "/healthz": {"get": {"summary": "Whether it is there", "security": [], "responses": {"200": {"description": "It is."}}}},
        "/metrics": {"get": {"summary": "Counts, for Prometheus", "responses": {"200": {"description": "Text."}}}},
    }
    if keeps:
        paths["/keep"] = {"post": _keeping(form, values, error)}
    document: dict[str, Any] = {"openapi": "3.1.0", "info": {"title": served.name, "version": served.bundle.identity[:12]}, "paths": paths}
    if needs_token:
        document |= {"components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}, "security": [{"token": []}]}
    return document


def _keeping(form: dict[str, Any], values: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    """Keeping a sample takes what asking takes, and the right answer."""

    def with_label(schema: dict[str, Any]) -> dict[str, Any]:
        label = {"type": "string", "description": "The right answer, as the training data write it."}
        return {**schema, "required": [*schema.get("required", []), "label"], "properties": {**schema["properties"], "label": label}}

    done = {"type": "object", "properties": {"kept": {"type": "boolean", "description": "false: this very row was there already."}}}
    refusals = {**REFUSALS, "507": "No room for it."}
    kinds = {"multipart/form-data": form, "application/json": values}
    content = {kind: {"schema": with_label(schema)} for kind, schema in kinds.items()}
    responses = {"200": _response("It is kept.", done), **{code: _response(text, error) for code, text in refusals.items()}}
    summary = "Keep a sample with the right answer, as a row for the next training"
    return {"summary": summary, "requestBody": {"required": True, "content": content}, "responses": responses}


def _form_value(name: str) -> dict[str, Any]:
    return {"type": "string", "description": reader(name).HELP, **({"format": "binary"} if modality(name).reads_files else {})}


def _json_value(name: str) -> dict[str, Any]:
    if modality(name).reads_files:
        content = {"type": "string", "contentEncoding": "base64"}
        return {"type": "object", "required": ["base64"], "properties": {"base64": content}}
    text = {"type": "string", "description": reader(name).HELP}
    return text if modality(name).worded else {"oneOf": [text, {"type": "array", "items": {"type": "number"}}]}


def _response(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}

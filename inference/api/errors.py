"""Refusals, in OpenAI's form: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from inference.api.schema import NOT_SUPPORTED, field_names

BODY = "body"
NAME_CHARACTERS = 100
"""Most characters of an unknown name that are repeated in a message."""

SHOULD = "Input should be "
"""How pydantic begins to say what a value must be."""
UNKNOWN = "none_required"
"""Pydantic's type of error for a field that may only be null, as an unknown one may."""
REMEDIES = {
    "tools": "leave it out, and say in a message what the model may answer",
    "previous_response_id": "no conversation is kept here, send all of it as input",
    "conversation": "no conversation is kept here, send all of it as input",
    "logit_bias": "leave it out, or let it be empty",
}
"""What to do without a field, where there is more to say than to leave it out."""
SUPPORTED_ONLY_EMPTY = re.compile(rf"(messages\[\d+\]\.)?({'|'.join(sorted(NOT_SUPPORTED))})\b")


class ErrorBody(BaseModel):
    """What went wrong."""

    message: str = Field(description="One sentence for a person.")
    type: str = Field(description="The kind of mistake, such as invalid_request_error.")
    param: str | None = Field(description="The field that is wrong, such as messages[0].content.")
    code: str | None = Field(description="The mistake, for a program.")


class ErrorResponse(BaseModel):
    """The body of every response that is not a success."""

    error: ErrorBody


class ApiError(Exception):
    """A refusal."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})
        self.param, self.code = param, code

    @property
    def body(self) -> ErrorResponse:
        """What the client reads."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = ErrorBody(message=self.message, type=kind, param=self.param, code=self.code)
        return ErrorResponse(error=error)

    def response(self) -> JSONResponse:
        """The HTTP response."""
        return JSONResponse(self.body.model_dump(), self.status, self.headers)


def overloaded(message: str, seconds: int) -> ApiError:
    """A refusal for now (503), such as a full queue (`Service.admit`), with the time to come back
    after; routes.REASONS and drawing.js know the number too."""
    return ApiError(503, message, code="overloaded", headers={"Retry-After": str(seconds)})


def of_http(status: int, path: str, method: str, headers: Mapping[str, str] | None) -> ApiError:
    """A refusal of the router: unknown paths and wrong methods."""
    if status == HTTPStatus.NOT_FOUND:
        message = f"there is nothing at {path}: this server has /v1/chat/completions, "
        message += "/v1/responses, /v1/completions, /v1/embeddings and /v1/models, so a client's "
        message += "base URL ends with /v1"
        return ApiError(404, message, code="unknown_url")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        message = f"{path} does not take {method}"
        return ApiError(405, message, code="method_not_supported", headers=headers)
    return ApiError(status, HTTPStatus(status).phrase, headers=headers)


def of_validation(errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """A refusal of a body that does not fit its schema: the mistake that lies deepest, and of
    several what is not supported.

    Args:
        errors: pydantic's.
    """
    places = [field_path(error["loc"][1:], error["type"]) for error in errors]
    deepest = max(places, key=lambda place: (depth(place), bool(SUPPORTED_ONLY_EMPTY.match(place))))
    found = [error for error, place in zip(errors, places, strict=True) if place == deepest]
    kind = found[0]["type"]
    if deepest == BODY:
        return ApiError(400, "the body must be a JSON object", BODY, "invalid_json")
    if unsupported := SUPPORTED_ONLY_EMPTY.match(deepest):
        remedy = REMEDIES.get(unsupported[2], "leave it out")
        message = f"{unsupported[0]} is not supported by this server: {remedy}"
        return ApiError(400, message, unsupported[0], "unsupported_parameter")
    if kind == UNKNOWN:
        message = f"unknown parameter {deepest}: this server does not know it, leave it out"
        return ApiError(400, message, deepest, "unknown_parameter")
    reason = " or ".join(dict.fromkeys(error["msg"].removeprefix(SHOULD) for error in found))
    reason = f"must be {reason}" if found[0]["msg"].startswith(SHOULD) else reason
    code = "missing_required_parameter" if kind == "missing" else "invalid_value"
    return ApiError(400, f"{deepest}: {reason}", deepest, code)


def field_path(location: Sequence[str | int], kind: str) -> str:
    """A place in a body as OpenAI writes it: messages[0].content."""
    path = ""
    for number, step in enumerate(location):
        if isinstance(step, int):
            path += f"[{step}]"
        elif step in field_names() or (kind == UNKNOWN and number == len(location) - 1):
            path += f".{step[:NAME_CHARACTERS]}" if path else step[:NAME_CHARACTERS]
    return path or BODY


def depth(path: str) -> int:
    """How deep a place lies."""
    return path.count(".") + path.count("[")

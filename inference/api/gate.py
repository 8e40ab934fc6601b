"""What a request must pass before it is looked at: a host that is meant, a key where one is asked
for, and a body of JSON that arrives in time and is not too large."""

from __future__ import annotations

import asyncio
import hmac

from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference.api.errors import ApiError
from inference.api.settings import LOOPBACK, ServeConfig

OPEN_PATHS = ("/", "/health")
"""What needs no key: the page, which asks for one, and the question whether the server is well."""


class GoneError(Exception):
    """The client went away while it was heard."""


class Gate:
    """An ASGI middleware."""

    def __init__(self, app: ASGIApp, config: ServeConfig, key: str | None) -> None:
        """key: what clients must send; None: nothing."""
        self.app, self.config, self.key = app, config, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through, or refuses it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self.check_host(headers)
            self.check_key(scope["path"], headers)
            if scope["method"] == "POST":
                receive = await self.read(headers, receive)
        except ApiError as error:
            await error.response()(scope, receive, send)
        except GoneError:
            pass
        else:
            await self.app(scope, receive, send)

    def check_host(self, headers: Headers) -> None:
        """Refuses other names for a server that is for this machine alone.

        A web page elsewhere could else make its own name mean 127.0.0.1 and use the API from its
        visitors' browsers (DNS rebinding).
        """
        if self.key or self.config.host not in LOOPBACK:
            return
        host = headers.get("host", LOOPBACK[0])
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if name.lower() not in LOOPBACK:
            message = "this server is for its own machine: use 127.0.0.1, or start it with a key"
            raise ApiError(403, message, code="host_not_allowed")

    def check_key(self, path: str, headers: Headers) -> None:
        """Refuses a missing or wrong key, in a time that does not depend on what is right in it."""
        if self.key is None or path in OPEN_PATHS:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode("utf-8"), self.key.encode("utf-8"))
        if scheme.lower() != "bearer" or not right:
            message = "the API key is missing or wrong: send it as Authorization: Bearer KEY"
            headers_back = {"WWW-Authenticate": "Bearer"}
            raise ApiError(401, message, code="invalid_api_key", headers=headers_back)

    async def read(self, headers: Headers, receive: Receive) -> Receive:
        """Reads the whole body, and gives it to the app as if it came now."""
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        # Also: a browser asks first before it sends JSON to another origin, and is refused.
        if kind != "application/json":
            message = "send JSON, with the header Content-Type: application/json"
            raise ApiError(415, message, "body", "unsupported_media_type")
        if headers.get("content-length", "0").isdecimal():
            self.check_size(int(headers.get("content-length", "0")[:20]))
        try:
            body = await asyncio.wait_for(self.collect(receive), self.config.request_seconds)
        except asyncio.TimeoutError as error:
            message = f"the body did not arrive within {self.config.request_seconds:g} s"
            close = {"Connection": "close"}
            raise ApiError(408, message, "body", "request_timeout", close) from error
        check_json(body)
        return replay(body, receive)

    async def collect(self, receive: Receive) -> bytes:
        """The body."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise GoneError
            body += message.get("body", b"")
            self.check_size(len(body))
            if not message.get("more_body", False):
                return bytes(body)

    def check_size(self, size: int) -> None:
        """Refuses a body that is too large."""
        if size > self.config.max_body:
            message = f"the body has more than {self.config.max_body} bytes"
            raise ApiError(413, message, "body", "body_too_large")


def check_json(body: bytes) -> None:
    """Refuses what is no JSON in UTF-8, is nested too deeply, or names half a surrogate pair, which
    no text can hold."""
    try:
        from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}", "body", "invalid_json") from error


def replay(body: bytes, receive: Receive) -> Receive:
    """A receive that gives a body first."""
    given = False

    async def first_the_body() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return first_the_body

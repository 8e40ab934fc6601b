"""The application: what a request passes on its way, from outside in.

RequestCount    counts it by route, method and status
CORS            lets pages of other origins in, where they are named
Gate            a host that is meant, a key, and a body of JSON in time and size
routes          see routes.py; refusals in OpenAI's form
"""

from __future__ import annotations

import asyncio
import hmac
import re
from codecs import BOM_UTF8
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import Response
from fastapi.routing import APIRoute
from prometheus_client import Counter
from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference.api.errors import ApiError, of_http, of_validation
from inference.api.routes import PAGE_FILES, router
from inference.api.service import Service
from inference.settings import LOOPBACK, ServeConfig

ROUTES = {"/openapi.json", *(route.path for route in router.routes if isinstance(route, APIRoute))}
METHODS = ("GET", "POST", "OPTIONS", "HEAD", "PUT", "DELETE", "PATCH")
OTHER = "other"
"""Label of all other paths and methods: clients must not be able to make up series of numbers."""
GONE, FAILED = 499, 500
HALF_A_PAIR = re.compile(
    rb"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""Escapes of JSON that are passed over, and half a surrogate pair."""

OPEN_PATHS = (*PAGE_FILES, "/health")
"""What needs no key: the page, which asks for one, and the health check."""


def make_app(service: Service, key: str | None) -> FastAPI:
    """The app that serves a model; its service starts and ends with it.

    Args:
        service: the model.
        key: what clients must send; None: nothing.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.close()

    app = FastAPI(
        title="Etude",
        description="The OpenAI API of a model trained with Etude.",
        lifespan=lifespan,
        docs_url=None,  # these pages would fetch their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    app.state.service = service
    app.include_router(router)
    add_refusals(app)
    # The last one added stands first.
    app.add_middleware(Gate, config=service.config, key=key)
    if service.config.cors_origin:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.config.cors_origin,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            allow_private_network=True,  # a browser asks before a page of the web calls localhost
            expose_headers=["Retry-After"],
        )
    app.add_middleware(RequestCount, counter=service.metrics.http_requests)
    return app


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description, without the refusals of FastAPI's own form, which are never sent."""
    page = app.openapi_schema
    if page is None:
        page = FastAPI.openapi(app)
        for operation in (one for path in page["paths"].values() for one in path.values()):
            operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            page["components"]["schemas"].pop(name, None)
    return page


def add_refusals(app: FastAPI) -> None:
    """Writes every refusal in OpenAI's form."""

    @app.exception_handler(ApiError)
    async def refuse(_: Request, error: ApiError) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def refuse_fields(_: Request, error: RequestValidationError) -> Response:
        return of_validation(error.errors()).response()

    @app.exception_handler(HTTPException)
    async def refuse_route(request: Request, error: HTTPException) -> Response:
        path = request.url.path[:100]
        return of_http(error.status_code, path, request.method, error.headers).response()

    @app.exception_handler(Exception)
    async def internal_error(_: Request, __: Exception) -> Response:
        return ApiError(500, "the server has failed; its log says how").response()


class RequestCount:
    """An ASGI middleware that counts responses."""

    def __init__(self, app: ASGIApp, counter: Counter) -> None:
        self.app, self.counter = app, counter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Counts a request when its response has been sent."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = GONE

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception:
            status = FAILED
            raise
        finally:
            route = scope["path"] if scope["path"] in ROUTES else OTHER
            method = scope["method"] if scope["method"] in METHODS else OTHER
            self.counter.labels(route, method, str(status)).inc()


class Gate:
    """An ASGI middleware that checks host, key and body."""

    def __init__(self, app: ASGIApp, config: ServeConfig, key: str | None) -> None:
        """key: what clients must send; None: nothing."""
        self.app, self.config, self.key = app, config, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through, or refuses it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        # Base URLs are typed by people, and joined by clients: /v1/ and /v1//models are meant well.
        scope["path"] = re.sub("/+", "/", scope["path"]).rstrip("/") or "/"
        try:
            self.check_host(headers)
            self.check_key(scope["path"], headers)
            if scope["method"] == "POST":
                receive = await self.read(scope, receive)
        except ApiError as error:
            await error.response()(scope, receive, send)
        except ClientDisconnect:
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
        if name.lower() not in {*LOOPBACK, *map(str.lower, self.config.allowed_host)}:
            message = "this server is for its own machine: use 127.0.0.1, or start it with "
            message += f"--allowed_host {name[:100]}, or with a key"
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

    async def read(self, scope: Scope, receive: Receive) -> Receive:
        """Reads the whole body; returns a receive that gives it to the app."""
        request = Request(scope, receive)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        # Also: a browser asks first before it sends JSON to another origin, and is refused.
        if kind != "application/json":
            message = "send JSON, with the header Content-Type: application/json"
            raise ApiError(415, message, "body", "unsupported_media_type")
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            message = "send the body as it is, without Content-Encoding"
            raise ApiError(415, message, "body", "unsupported_media_type")
        # The HTTP parser has seen to it that this is a number.
        self.check_size(int(request.headers.get("content-length", 0)))
        try:
            body = await asyncio.wait_for(self.collect(request), self.config.request_seconds)
        except asyncio.TimeoutError as error:
            message = f"the body did not arrive within {self.config.request_seconds:g} s"
            close = {"Connection": "close"}
            raise ApiError(408, message, "body", "request_timeout", close) from error
        body = HALF_A_PAIR.sub(whole_or_replaced, body.removeprefix(BOM_UTF8))
        check_json(body)
        return replay(body, receive)

    async def collect(self, request: Request) -> bytes:
        """The body, as far as it is not too large."""
        body = bytearray()
        async for piece in request.stream():
            body += piece
            self.check_size(len(body))
        return bytes(body)

    def check_size(self, size: int) -> None:
        """Refuses a body that is too large."""
        if size > self.config.max_body:
            message = f"the body has more than {self.config.max_body} bytes"
            raise ApiError(413, message, "body", "body_too_large")


def whole_or_replaced(escape: re.Match[bytes]) -> bytes:
    """An escape of JSON, or U+FFFD for half a surrogate pair: no text can hold that, and clients
    that cut texts by UTF-16 units send it in all turns after."""
    return rb"\ufffd" if escape["half"] else escape[0]


def check_json(body: bytes) -> None:
    """Refuses what is not JSON in UTF-8, or is nested too deeply."""
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

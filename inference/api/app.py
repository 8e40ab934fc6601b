"""The application: routes, refusals, and what stands before them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from inference.api.errors import ApiError, of_http, of_validation
from inference.api.gate import Gate
from inference.api.request_count import RequestCount
from inference.api.routes import router
from inference.api.serving import Serving

ROUTES = (
    *("/", "/health", "/metrics", "/openapi.json", "/v1/models"),
    *("/v1/chat/completions", "/v1/completions"),
)
"""The paths that are counted apart."""


def make_app(serving: Serving, key: str | None) -> FastAPI:
    """An app that answers by a model; its service begins and ends with it.

    Args:
        serving: the model and the rules.
        key: what clients must send; None: nothing.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        serving.service.start()
        yield
        serving.service.close()

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
    app.state.serving = serving
    app.include_router(router)
    add_refusals(app)
    # The last one added stands first.
    app.add_middleware(Gate, config=serving.config, key=key)
    if serving.config.cors_origin:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=serving.config.cors_origin,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["Retry-After"],
        )
    app.add_middleware(RequestCount, metrics=serving.requests, routes=ROUTES)
    return app


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI page, without the refusals of FastAPI's own form, which are never sent."""
    page = app.openapi_schema
    if page is None:
        page = FastAPI.openapi(app)
        for operation in (one for path in page["paths"].values() for one in path.values()):
            operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            page["components"]["schemas"].pop(name, None)
    return page


def add_refusals(app: FastAPI) -> None:
    """Gives every refusal OpenAI's form."""

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
    async def admit_a_fault(_: Request, __: Exception) -> Response:
        return ApiError(500, "the server has failed; its log says how").response()

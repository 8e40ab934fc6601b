"""Counts requests by route, method and status."""

from __future__ import annotations

from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference.api.metrics import RequestMetrics

METHODS = ("GET", "POST", "OPTIONS", "HEAD", "PUT", "DELETE", "PATCH")
OTHER = "other"
"""For what a client made up: it must not be able to make up series of numbers."""

GONE, FAILED = 499, 500


class RequestCount:
    """An ASGI middleware."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics, routes: Collection[str]) -> None:
        """routes: the paths that are counted apart."""
        self.app, self.metrics, self.routes = app, metrics, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Counts a request when it has been replied to."""
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
            route = scope["path"] if scope["path"] in self.routes else OTHER
            method = scope["method"] if scope["method"] in METHODS else OTHER
            self.metrics.add(route, method, status)

"""The HTTP server: uvicorn, with limits on connections and a graceful shutdown."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import signal
import socket
from collections.abc import Callable
from http import HTTPStatus
from types import FrameType
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from config import UserError
from inference.api.errors import ApiError, overloaded
from inference.api.service import Service
from inference.settings import ServeConfig
from terminal import say


class ListenerConfig(uvicorn.Config):
    """Uvicorn's configuration, and the server's."""

    def __init__(self, app: FastAPI, settings: ServeConfig) -> None:
        super().__init__(
            app,
            http=Connection,
            ws="none",
            lifespan="on",
            loop="asyncio",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            # Answers are ended before; this is for clients that do not take them.
            timeout_graceful_shutdown=math.ceil(settings.shutdown_seconds) + 2,
        )
        self.settings = settings


class Connection(H11Protocol):
    """A connection that must send its requests and take its replies within a time."""

    config: ListenerConfig

    def connection_made(self, transport: Any) -> None:
        """Accepts the connection, unless too many are open."""
        super().connection_made(transport)
        self.arrival: asyncio.TimerHandle | None = None
        self.delivery: asyncio.TimerHandle | None = None
        if len(self.connections) > self.config.settings.max_connections:
            self.refuse(overloaded("too many connections are open", 1))
        self.watch_arrival()

    def data_received(self, data: bytes) -> None:
        """Restarts the clock for what comes next."""
        super().data_received(data)
        self.watch_arrival()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the clocks."""
        super().connection_lost(exc)
        for timer in (self.arrival, self.delivery):
            if timer:
                timer.cancel()

    def watch_arrival(self) -> None:
        """Limits the time for the head of a request, and for the rest of a body that was refused;
        the time for a body that is read is limited by the gate."""
        replied = self.cycle is not None and self.cycle.response_complete
        due = self.conn.their_state is h11.IDLE or (
            self.conn.their_state is h11.SEND_BODY and replied
        )
        if self.arrival and not due:
            self.arrival.cancel()
            self.arrival = None
        elif due and not self.arrival:
            self.arrival = self.loop.call_later(self.config.settings.request_seconds, self.time_out)

    def time_out(self) -> None:
        """Closes a connection that sends too slowly."""
        if self.conn.their_state is not h11.IDLE:
            self.transport.close()
            return
        self.refuse(ApiError(408, "the request did not arrive in time", code="request_timeout"))

    def pause_writing(self) -> None:
        """Limits the time that a client does not read what is sent to it."""
        super().pause_writing()
        seconds = self.config.settings.request_seconds
        self.delivery = self.loop.call_later(seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Stops the clock of a client that reads again."""
        super().resume_writing()
        if self.delivery:
            self.delivery.cancel()

    def send_400_response(self, msg: str) -> None:
        """Refuses what is not HTTP."""
        self.refuse(ApiError(400, "this is not a request of HTTP/1.1", code="invalid_http"))

    def refuse(self, error: ApiError) -> None:
        """Closes the connection with a response, unless another one is being sent."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            body = error.body.model_dump_json().encode("utf-8")
            status = f"{error.status} {HTTPStatus(error.status).phrase}"
            head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n"
            for name, value in error.headers.items():
                head += f"{name}: {value}\r\n"
            head += f"Content-Length: {len(body)}\r\n\r\n"
            self.transport.write(head.encode("ascii") + body)
        self.transport.close()


class Listener(uvicorn.Server):
    """Serves until Ctrl-C, SIGTERM or a failure of the engine."""

    def __init__(self, app: FastAPI, service: Service, ready: Callable[[], None]) -> None:
        """ready: called when the first request can come."""
        super().__init__(ListenerConfig(app, service.config))
        self.service, self.ready = service, ready
        service.on_failure = self.stop

    def stop(self) -> None:
        """Shuts down as after a signal."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Answers Ctrl-C at once; a second signal cuts what still runs."""
        if sig == signal.SIGINT and not self.should_exit:
            seconds = self.service.config.shutdown_seconds
            say(f"stopping; answers have {seconds:g} s to end, Ctrl-C again cuts them")
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts listening."""
        await super().startup(sockets)
        self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets running answers finish for a time, then cuts them."""
        self.service.close_within(self.service.config.shutdown_seconds)
        await super().shutdown(sockets)


def listen(host: str, port: int) -> socket.socket:
    """A socket at an address; at ::, which means all addresses, also at those of IPv4.

    Raises:
        UserError: it is taken, or not this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # Without a system's help for both, :: is what it says.
        both = address[0] == "::" and socket.has_dualstack_ipv6()
        listening = socket.create_server(address, family=family, backlog=512, dualstack_ipv6=both)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot listen at {host}, port {port} ({reason}): name another --port or --host"
        ) from error
    return listening


def address_of(listening: socket.socket) -> str:
    """The URL by which this machine reaches a socket: no browser opens http://[::]."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

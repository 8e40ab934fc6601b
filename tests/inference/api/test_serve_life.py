"""A server under way: clients that go away or are too slow, too many of them, its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from config import ROOT, ModelConfig, UserError
from inference.api.listener import listen
from inference.api.service import Service
from inference.engine.answers import GenerationOutput
from inference.engine.loading import LoadedModel
from inference.settings import ServeConfig, choose_key
from model.tokenizer import EtudeTokenizer
from tests.inference.http_server import CONFIG, Server, running, tiny_model

pytestmark = pytest.mark.full

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
LONG = {"prompt": "Once", "temperature": 1.5, "seed": 1, "max_tokens": 4_000}
"""Asks for an answer that takes seconds."""

MakeModel = Callable[..., LoadedModel]


@pytest.fixture
def make(tokenizer: EtudeTokenizer, model_config: ModelConfig) -> MakeModel:
    def make(slots: int = 2) -> LoadedModel:
        model = tiny_model(tokenizer, model_config, slots, context=8_000)
        # Nothing ends an answer but its length.
        object.__setattr__(model, "is_chat", False)
        never = type("Endless", (LoadedModel,), {"stop_ids": ()})
        return never(**vars(model))  # type: ignore[no-any-return]

    return make


@pytest.fixture
def server(make: MakeModel) -> Iterator[Server]:
    config = replace(CONFIG, slots=2, max_queue=1, request_seconds=0.5)
    with running(make(), config) as server:
        yield server


def connect(server: Server) -> socket.socket:
    """A connection without a client's manners."""
    host, port = server.address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def post(server: Server, body: dict[str, Any]) -> socket.socket:
    """A connection by which a text has been asked for."""
    connection = connect(server)
    content = json.dumps(body).encode("utf-8")
    head = f"POST {TEXT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode("ascii") + content)
    return connection


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def ended(service: Service, ending: str) -> float:
    """How many answers something has ended."""
    labels = {"ending": ending}
    return service.metrics.registry.get_sample_value("etude_answers_total", labels) or 0.0


def sends(connection: socket.socket, data: bytes) -> bool:
    """Whether the other side still listens."""
    try:
        connection.sendall(data)
    except OSError:
        return False
    return True


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    data = b""
    while piece := connection.recv(65_536):
        data += piece
    return data


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_slot(server: Server, stream: bool) -> None:
    service = server.service
    with closing(post(server, {**LONG, "n": 2, "stream": stream})):
        until(lambda: service.engine.running == 2)
    assert server.idle(within=1.0)
    assert ended(service, "cancelled") == 2


def test_a_client_that_goes_away_while_it_waits_leaves_the_queue(server: Server) -> None:
    service = server.service
    with closing(post(server, {**LONG, "n": 2})):
        until(lambda: service.engine.running == 2)
        with closing(post(server, LONG)):
            until(lambda: service.waiting == 1)
        until(lambda: service.waiting == 0, seconds=1.0)
        assert service.engine.running == 2


def test_more_than_may_wait_are_told_when_to_come_back(server: Server) -> None:
    service = server.service
    with closing(post(server, {**LONG, "n": 2})), closing(post(server, LONG)):
        until(lambda: service.engine.running + service.waiting == 3)
        with server.client() as client:
            reply = client.post(TEXT, json=LONG)
            assert reply.status_code == 503
            assert 1 <= int(reply.headers["retry-after"]) <= 60
            assert reply.json()["error"]["code"] == "overloaded"
            # The server is not ill: tokens are made, though for others.
            assert client.get("/health").status_code == 200
    assert server.idle()
    with server.client() as client:
        assert client.post(TEXT, json={"prompt": "Once", "max_tokens": 2}).status_code == 200


def test_what_arrives_too_slowly_is_given_up(server: Server) -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for sent in (b"", b"GET / HTTP/1.1\r\nX-Slow: ", head + b"Content-Length: 9\r\n\r\n{"):
        with closing(connect(server)) as connection:
            connection.sendall(sent)
            begin = time.monotonic()
            reply = read_all(connection)
            assert reply.startswith(b"HTTP/1.1 408 ")
            assert b'"request_timeout"' in reply
            assert 0.3 < time.monotonic() - begin < 2.0


def test_a_trickle_after_a_refusal_is_given_up(server: Server) -> None:
    with closing(connect(server)) as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n")
        connection.sendall(b"Content-Type: text/plain\r\nContent-Length: 1000000\r\n\r\n")
        begin = time.monotonic()
        until(lambda: not sends(connection, b"x"))
        assert time.monotonic() - begin < 2


def test_a_client_that_does_not_read_is_given_up(make: MakeModel) -> None:
    with running(make(), replace(CONFIG, slots=2, request_seconds=0.2)) as server:
        for listening in server.listener.servers[0].sockets:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with closing(post(server, {**LONG, "logprobs": 20, "stream": True})):
            until(lambda: ended(server.service, "cancelled") == 1)
            until(lambda: not server.listener.server_state.connections)


def test_connections_beyond_the_limit_are_refused(make: MakeModel) -> None:
    with running(make(), replace(CONFIG, max_connections=3)) as server:
        connections = [connect(server) for _ in range(4)]
        refused = read_all(connections[3])
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1\r\n" in refused
        for connection in connections:
            connection.close()
        with server.client() as client:
            assert client.get("/v1/models").status_code == 200


def test_what_is_not_http_is_refused_in_json(server: Server) -> None:
    with closing(connect(server)) as connection:
        connection.sendall(b"\x16\x03\x01 a TLS greeting\r\n\r\n")
        reply = read_all(connection)
    assert reply.startswith(b"HTTP/1.1 400 ")
    assert json.loads(reply.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_http"


def test_an_answer_that_takes_too_long_ends_as_it_is(make: MakeModel) -> None:
    config = replace(CONFIG, slots=1, answer_seconds=0.3)
    with running(make(slots=1), config) as server, server.client() as client:
        choice = client.post(TEXT, json=LONG).json()["choices"][0]
        assert choice["text"]
        assert (choice["finish_reason"], choice["cut_by"]) == ("length", "time")


def test_answers_have_time_to_end_when_the_server_ends(make: MakeModel) -> None:
    with running(make(), replace(CONFIG, shutdown_seconds=30)) as server:
        replies: list[httpx.Response] = []
        asked = {**LONG, "max_tokens": 400}
        with server.client() as client:
            thread = threading.Thread(target=lambda: replies.append(client.post(TEXT, json=asked)))
            thread.start()
            until(lambda: server.service.engine.running == 1)
            server.listener.stop()
            thread.join()
    assert replies[0].json()["choices"][0]["cut_by"] == "max_tokens"


def test_answers_that_do_not_end_in_time_are_ended_with_a_reason(make: MakeModel) -> None:
    config = replace(CONFIG, shutdown_seconds=0.2)
    with (
        running(make(), config) as server,
        closing(post(server, {**LONG, "stream": True})) as connection,
    ):
        until(lambda: server.service.engine.running == 1)
        server.listener.stop()
        stream = read_all(connection).decode("utf-8")
    assert '"finish_reason":"length","cut_by":"shutdown"' in stream
    assert "data: [DONE]" in stream


def test_health_fails_when_no_token_comes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with server.client() as client:
        assert client.get("/health").json() == {"status": "ok", "model": "tiny"}
        made = server.service.engine.step
        monkeypatch.setattr(server.service, "config", replace(CONFIG, health_seconds=0.2))

        def stuck() -> list[GenerationOutput]:
            time.sleep(0.05)
            return []

        monkeypatch.setattr(server.service.engine, "step", stuck)
        reply = client.get("/health")
        assert reply.status_code == 503
        assert "retry-after" in reply.headers
        monkeypatch.setattr(server.service.engine, "step", made)
        assert client.get("/health").status_code == 200


def test_health_does_not_take_what_chats_remember(server: Server) -> None:
    asked = {"prompt": "Once upon a time a little fox", "max_tokens": 1}
    with server.client() as client:
        client.post(TEXT, json=asked)
        for _ in range(5):
            assert client.get("/health").status_code == 200
        usage = client.post(TEXT, json=asked).json()["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == usage["prompt_tokens"] - 1


def test_an_engine_that_fails_ends_the_server_and_leaves_nobody_waiting(
    make: MakeModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with running(make()) as server, server.client() as client:

        def fail(self: Service, answers: list[GenerationOutput]) -> None:
            raise MemoryError("no room")

        monkeypatch.setattr(Service, "publish", fail)
        reply = client.post(TEXT, json=LONG)
        assert reply.status_code == 500
        assert reply.json()["error"]["code"] == "engine_failed"
        server.thread.join(10)
        assert not server.thread.is_alive()
    assert "no room" in caplog.text


def test_metrics_count_requests_and_tokens(server: Server) -> None:
    with server.client() as client:
        client.post(TEXT, json={"prompt": "Once", "max_tokens": 5})
        client.get("/made/up")
        client.request("MADEUP", "/health")
        page = client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = (line.rsplit(" ", 1) for line in page.text.splitlines() if line[0] != "#")
    values = {name: float(value) for name, value in lines}
    assert values["etude_generated_tokens_total"] == 5
    assert values['etude_answers_total{ending="max_tokens"}'] == 1
    assert values["etude_time_to_first_token_seconds_count"] == 1
    assert values["etude_token_seconds_count"] == 4
    assert values['etude_token_seconds_bucket{le="+Inf"}'] == 4
    for route, method, status in (
        (TEXT, "POST", 200),
        ("other", "GET", 404),
        ("/health", "other", 405),
    ):
        label = f'method="{method}",route="{route}",status="{status}"'
        assert values[f"etude_http_requests_total{{{label}}}"] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGTERM")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -15), (signal.SIGINT, 130)])
def test_the_script_says_where_it_is_and_ends_in_good_order(
    model_dir: Path, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "inference/serve.py", "--model_dir", str(model_dir), "--port", "0"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
    )
    assert process.stdout is not None
    line = process.stdout.readline().decode("utf-8")
    address = line.split("web page at ")[1].split(",")[0]
    assert httpx.get(f"{address}/health").status_code == 200
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == code
    assert b"Traceback" not in errors


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"cannot listen at 127.0.0.1, port {port}"):
            listen("127.0.0.1", port)
    with pytest.raises(UserError, match="name another"):
        listen("not a host", 80)


@pytest.mark.parametrize("key", ["geheim-schlüssel", "密码", "   ", "key ", "two\nlines", "\x7f"])
def test_a_key_that_no_client_can_send_is_refused(key: str) -> None:
    assert "api_key cannot be sent" in "; ".join(ServeConfig(api_key=key).problems())
    with pytest.raises(UserError, match=r"ETUDE_API_KEY cannot be sent .* unset it"):
        choose_key(ServeConfig(), {"ETUDE_API_KEY": key})


def test_a_key_is_taken_from_the_flag_or_the_environment() -> None:
    assert choose_key(ServeConfig(), {}) is None
    assert choose_key(ServeConfig(), {"ETUDE_API_KEY": ""}) is None
    assert choose_key(ServeConfig(), {"ETUDE_API_KEY": "s3cret, too!"}) == "s3cret, too!"
    assert choose_key(ServeConfig(api_key="mine"), {"ETUDE_API_KEY": "other"}) == "mine"

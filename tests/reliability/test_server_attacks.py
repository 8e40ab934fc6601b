"""R17: a server cannot be knocked over. Requests made up from its own OpenAPI page, torn bodies,
clients that dawdle or leave: no failure, no growth, and it goes on answering."""

from __future__ import annotations

import json
import random
import select
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from config import ModelConfig
from model.tokenizer import EtudeTokenizer
from tests.reliability.server_process import ServerProcess, save_tiny, serving
from tests.reliability.trials import Trials

pytestmark = [
    pytest.mark.full,
    pytest.mark.promise("R17"),
    pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process in /proc"),
]

CHECKS = (
    *(not_a_server_error, status_code_conformance, content_type_conformance),
    *(response_schema_conformance, negative_data_rejection),
)
"""All of schemathesis's but one: a request that fits the schema may still be refused, such as a
conversation without a text."""

MOST_GROWTH = 0.05
REQUEST_SECONDS = 1.0
Operation = APIOperation[Any, Any, Any, Any]
QUESTION = {"messages": [{"role": "user", "content": "Hello 你好"}], "max_tokens": 4}
LONG = {"prompt": "Once", "temperature": 1.5, "seed": 1, "max_tokens": 1_000}


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: EtudeTokenizer, model_config: ModelConfig
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp("server") / "tiny"
    save_tiny(directory, tokenizer, model_config, context=8_000, endless=True)
    limits = ("--max_queue", "8", "--max_tokens", "1000", "--max_body", "50000")
    with serving(directory, *limits, "--request_seconds", str(REQUEST_SECONDS)) as server:
        yield server


def message(body: bytes, length: int | None = None, address: str = "/v1/completions") -> bytes:
    """A request as it goes over the wire."""
    length = len(body) if length is None else length
    head = f"POST {address} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {length}\r\n\r\n".encode("ascii") + body


def answers(server: ServerProcess) -> bool:
    """Whether the server answers as it should, soon."""
    begin = time.monotonic()
    reply = httpx.post(f"{server.address}/v1/chat/completions", json=QUESTION, timeout=20)
    well = httpx.get(f"{server.address}/health", timeout=20)
    return reply.status_code == well.status_code == 200 and time.monotonic() - begin < 5


def names_the_field(reply: Any) -> bool:
    """Whether a refusal of a body says where the mistake is."""
    return reply.status_code != 400 or bool(reply.json()["error"]["param"])


def operations(server: ServerProcess) -> list[Operation]:
    """What the server's own OpenAPI page says it can do."""
    schema = schemathesis.openapi.from_url(f"{server.address}/openapi.json")
    found = list(schema.get_all_operations())
    assert found
    assert all(isinstance(one, Ok) for one in found), found
    return [one.ok() for one in found if isinstance(one, Ok)]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_made_up_requests_are_answered_as_the_openapi_page_says(
    server: ServerProcess, trials: Trials, mode: GenerationMode
) -> None:
    for operation in operations(server):
        has_body = operation.method.upper() == "POST"
        if mode is GenerationMode.NEGATIVE and not has_body:
            continue  # there is nothing that could be wrong
        count = trials.size(15, 2_000) if has_body else trials.size(3, 100)
        problem, growth = fuzz(server, operation, mode, count, trials.book.settings.seed)
        facts = {"requests": count, "problem": problem, "growth": round(growth, 4)}
        passed = not problem and growth < MOST_GROWTH and answers(server)
        trials.record(f"{operation.method} {operation.path} {mode.value}", passed, **facts)
    trials.verdict()


def fuzz(
    server: ServerProcess,
    operation: Operation,
    mode: GenerationMode,
    count: int,
    number: int,
) -> tuple[str, float]:
    """What went wrong in many requests, and how the server's memory grew after the first ones."""

    def repeat(count: int, number: int) -> str:
        @seed(number)
        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Case[Any]) -> None:
            if mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
                case.body = brief(case.body)
            reply = case.call(timeout=60)
            assert reply.status_code < 500, reply.text
            assert names_the_field(reply), reply.text
            if reply.status_code != 413:  # which schemathesis does not take for a refusal
                case.validate_response(reply, checks=list(CHECKS))

        try:
            ask()
        except (Exception, FailureGroup) as error:  # whatever was found, in whatever form
            return "".join(traceback.format_exception(error))[:2_000]
        return ""

    early = repeat(max(2, count // 5), number)
    before = server.memory()
    return early or repeat(count, number + 1), server.memory() / before - 1


def brief(body: dict[str, Any]) -> dict[str, Any]:
    """A request for a short answer: what is tried is the asking."""
    return {**body, "max_tokens": 4, **({"max_completion_tokens": 4} if "messages" in body else {})}


def torn(rng: random.Random) -> bytes:
    """A body in which something is wrong, or many things."""
    body = bytearray(json.dumps(QUESTION, ensure_ascii=rng.random() < 0.5).encode("utf-8"))
    for _ in range(rng.choice((1, 1, 3, 20))):
        place = rng.randrange(len(body) or 1)
        act = rng.randrange(4)
        if act == 0:
            body[place : place + 1] = bytes([rng.randrange(256)])
        elif act == 1:
            del body[place : place + rng.choice((1, 5, 50))]
        elif act == 2:
            body[place:place] = rng.choice((b"[" * 300, b"\xff", b'"\\ud800"', b"null", b"9" * 400))
        else:
            body[place:place] = body[: rng.randrange(len(body) or 1)]
    return bytes(body)


def test_torn_bodies_are_refused_and_the_field_is_named(
    server: ServerProcess, trials: Trials
) -> None:
    before = 0
    header = {"Content-Type": "application/json"}
    with httpx.Client(base_url=server.address, timeout=60) as client:
        for number, (name, rng) in enumerate(trials.draws(trials.size(100, 5_000))):
            reply = client.post("/v1/chat/completions", content=torn(rng), headers=header)
            passed = reply.status_code in (200, 400, 404, 413) and names_the_field(reply)
            if not passed or number % 50 == 0:
                trials.record(name, passed, status=reply.status_code)
            before = before or server.memory()
    trials.record("memory", server.memory() / before - 1 < MOST_GROWTH and answers(server))
    trials.verdict()


def vanish(connection: socket.socket, rng: random.Random) -> None:
    """Leaves, politely or not."""
    if rng.random() < 0.5:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def leave_in_the_middle(server: ServerProcess, rng: random.Random) -> str:
    """Goes away at some moment of a request; the moment."""
    connection = server.connect()
    whole = message(json.dumps({**LONG, "stream": rng.random() < 0.5}).encode("utf-8"))
    moment = rng.choice(("head", "body", "asked", "answered"))
    cut = {"head": rng.randrange(60), "body": len(whole) - rng.randint(1, 20)}
    connection.sendall(whole[: cut.get(moment, len(whole))])
    if moment == "answered":
        time.sleep(rng.random() * 0.1)
        select.select([connection], [], [], 0.2)
    vanish(connection, rng)
    return moment


def test_clients_that_leave_free_their_slots_within_a_second(
    server: ServerProcess, trials: Trials
) -> None:
    cancelled = 'etude_answers_total{ending="cancelled"}'
    before = server.metric(cancelled)
    for name, rng in trials.draws(trials.size(6, 100)):
        moments = [leave_in_the_middle(server, rng) for _ in range(rng.randint(1, 12))]
        seconds = server.idle_after(within=1.0)
        trials.record(name, seconds is not None, moments=moments, seconds=seconds)
    # A fast machine may have ended some of the answers before their clients left, but not all.
    trials.record("cancelled", server.metric(cancelled) > before)
    trials.record("health", answers(server))
    trials.verdict()


Dawdle = Callable[[int], bytes]
"""What a slow client sends next."""

DAWDLES: dict[str, tuple[bytes, Dawdle]] = {
    "nothing": (b"", lambda _: b""),
    "head": (b"GET / HTTP/1.1\r\n", lambda number: f"X-{number}: a\r\n".encode("ascii")),
    "body": (message(b"{", length=9_000), lambda _: b" "),
    "refused": (message(b"", 9_000).replace(b"/json", b"/xml"), lambda _: b" "),
    "pipelined": (b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET", lambda _: b"T"),
}


@pytest.mark.parametrize("kind", DAWDLES)
def test_slow_clients_are_given_up_and_others_do_not_notice(
    server: ServerProcess, trials: Trials, kind: str
) -> None:
    first, following = DAWDLES[kind]
    with ExitStack() as stack:
        slow = [stack.enter_context(closing(server.connect())) for _ in range(trials.size(40, 300))]
        begin, open_ones, number = time.monotonic(), list(slow), 0
        for connection in slow:
            connection.sendall(first)
        others = answers(server)
        while open_ones and time.monotonic() - begin < 10 * REQUEST_SECONDS:
            time.sleep(0.1)
            number += 1
            open_ones = [c for c in open_ones if is_open(c, following(number))]
        seconds = time.monotonic() - begin
    passed = others and not open_ones and seconds < 5 * REQUEST_SECONDS
    trials.record(kind, passed, clients=len(slow), seconds=round(seconds, 1), others=others)
    trials.verdict()


def is_open(connection: socket.socket, data: bytes) -> bool:
    """Sends a little more; whether the other side still listens."""
    try:
        connection.sendall(data)
        ready, _, _ = select.select([connection], [], [], 0)
        return not ready or connection.recv(65_536) != b""
    except OSError:
        return False

"""A server that the web page is tested with: it answers by a script, in the form of the API."""

from __future__ import annotations

import codecs
import json
import math
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from inference.api.routes import PAGE_FILES, page_file

Piece = str | bytes | dict[str, Any]
"""A token: its text, or its bytes where it is a part of a character; or what a stream brings beside
text: a thought, calls of tools."""

CONTEXT = 400
SAMPLING = {"temperature": 0.7, "top_k": 50, "top_p": 0.9, "max_tokens": 1024, "seed": None}


@dataclass
class Refusal:
    """A reply that says what went wrong."""

    status: int
    message: str = "no"
    code: str | None = None
    retry_after: int | None = None


@dataclass
class Script:
    """What the server says."""

    answers: dict[str, Sequence[Piece]] = field(default_factory=dict)
    """The tokens of the answer to a message."""
    otherwise: Sequence[Piece] = ("All", " right", ".")
    """The answer to every other message."""
    refusals: list[Refusal] = field(default_factory=list)
    """What happens to the next requests, one each, before there is an answer again."""
    key: str | None = None
    """What clients must send."""
    chat: bool = True
    models: Sequence[str] = ("scripted_model",)
    card: dict[str, Any] = field(default_factory=dict)
    """What is said of each model beside the usual."""
    ending: str = "stop"
    """Why answers end: a finish_reason, or one of CUTS."""
    delay: float = 0.0
    """Seconds between two tokens."""
    breaks_after: int | None = None
    """Ends the connection after this many tokens."""
    torn: bool = False
    """Tears every character of several bytes, and each event, into packets of their own."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    """What was asked."""
    gone: threading.Event = field(default_factory=threading.Event)
    """Set when a client went away before its answer was complete."""


CUTS = ("max_tokens", "context", "time", "shutdown")


def logprob_of(number: int) -> float:
    """The log-probability of a token by its place: some likely, some not."""
    return math.log((0.9, 0.6, 0.05)[number % 3])


def entry(piece: str | bytes, logprob: float) -> dict[str, Any]:
    """A token in the form of the chat API."""
    data = piece.encode("utf-8") if isinstance(piece, str) else piece
    text = piece if isinstance(piece, str) else "bytes:" + "".join(f"\\x{b:02x}" for b in data)
    return {"token": text, "bytes": list(data), "logprob": logprob}


def events(script: Script, body: dict[str, Any], pieces: Sequence[Piece]) -> Iterator[Any]:
    """The events of an answer."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    wanted = body.get("top_logprobs") or body.get("logprobs")
    for number, piece in enumerate(pieces):
        if isinstance(piece, dict):
            yield {"choices": [{"index": 0, "delta": piece, "finish_reason": None}]}
            continue
        text = decoder.decode(piece.encode("utf-8") if isinstance(piece, str) else piece)
        logprob = logprob_of(number)
        top = sorted(
            [entry(piece, logprob), entry(" perhaps", math.log(0.08)), entry(b"\xe4\xbd", -4.0)],
            key=lambda one: -one["logprob"],
        )
        logprobs = {"content": [{**entry(piece, logprob), "top_logprobs": top}]} if wanted else None
        yield choice(script, text, logprobs, None)
    yield choice(script, "", None, script.ending)
    count = sum(len(m["content"]) for m in body.get("messages", [])) + len(body.get("prompt", ""))
    yield {
        "choices": [],
        "usage": {"prompt_tokens": count, "completion_tokens": len(pieces)},
    }


def choice(script: Script, text: str, logprobs: Any, finish: str | None) -> dict[str, Any]:
    """An event."""
    said = {"delta": {"content": text}} if script.chat else {"text": text}
    cut_by = finish if finish in CUTS else None
    ending = {"finish_reason": "length" if cut_by else finish, "cut_by": cut_by}
    return {"choices": [{"index": 0, **said, "logprobs": logprobs, **ending}]}


def make_handler(script: Script) -> type[BaseHTTPRequestHandler]:
    """What answers the requests of a server."""

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if self.path in PAGE_FILES:
                file = page_file(self.path, self.headers.get("If-None-Match", ""))
                headers = {key.decode(): value.decode() for key, value in file.raw_headers}
                self.reply(file.status_code, bytes(file.body), headers)
            elif self.path == "/v1/models" and self.may_pass():
                kind = "chat" if script.chat else "completion"
                card = {
                    "kind": kind,
                    "context_length": CONTEXT,
                    "sampling": SAMPLING,
                    **script.card,
                }
                self.reply_json(200, {"data": [{"id": name, **card} for name in script.models]})
            elif self.path != "/v1/models":
                self.reply_json(404, {"error": {"message": f"no {self.path}"}})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self.may_pass():
                return
            script.requests.append(body)
            if script.refusals:
                self.refuse(script.refusals.pop(0))
                return
            asked = body["messages"][-1]["content"] if script.chat else body["prompt"]
            with suppress(BrokenPipeError, ConnectionResetError):
                self.stream(body, script.answers.get(asked, script.otherwise))
                return
            script.gone.set()

        def may_pass(self) -> bool:
            if script.key and self.headers.get("Authorization") != f"Bearer {script.key}":
                self.refuse(Refusal(401, "the API key is missing or wrong"))
                return False
            return True

        def stream(self, body: dict[str, Any], pieces: Sequence[Piece]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            self.end_headers()
            for number, event in enumerate(events(script, body, pieces)):
                if number == script.breaks_after:
                    return
                self.send(f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode())
                time.sleep(script.delay)
            self.send(b"data: [DONE]\n\n")

        def send(self, data: bytes) -> None:
            for packet in re.split(rb"(?<=[\xc0-\xff])", data) if script.torn else [data]:
                self.wfile.write(packet)
                self.wfile.flush()
                time.sleep(0.001 * script.torn)  # else they would arrive as one

        def refuse(self, refusal: Refusal) -> None:
            wait = refusal.retry_after
            headers = {"Retry-After": str(wait)} if wait else {}
            error = {"message": refusal.message, "code": refusal.code}
            self.reply_json(refusal.status, {"error": error}, headers)

        def reply_json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
            own = {"Content-Type": "application/json", **(headers or {})}
            self.reply(status, json.dumps(body).encode(), own)

        def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() != "content-length":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


class Listener(ThreadingHTTPServer):
    """Takes as many connections at once as a browser opens for a page's files."""

    daemon_threads = True
    request_queue_size = 64


class PageServer:
    """A server in a thread, at an address of its own."""

    def __init__(self) -> None:
        self.script = Script()
        self.server: Listener | None = None
        self.start()

    def start(self, port: int = 0) -> None:
        """Begins to listen."""
        self.server = Listener(("127.0.0.1", port), make_handler(self.script))
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Is gone."""
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.port}/"

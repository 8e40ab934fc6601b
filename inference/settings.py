"""The settings of the chats (inference/inference.py, inference/hf.py) and of the server
(inference/serve.py): the fields are their flags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import Interval

from config import (
    Above0,
    Count,
    DeviceName,
    PathConfig,
    QuantizeName,
    SamplingConfig,
    Settings,
    TransformersSampling,
    UserError,
)

API_KEY_VARIABLE = "ETUDE_API_KEY"
UNSENDABLE = "cannot be sent in a header: choose letters, digits and signs of ASCII"
ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^/\s]+")
"""What a browser sends as Origin: of a web page, or of an app or extension (app://obsidian.md);
null is a file's. * is all of them."""
HOST = re.compile(r"[\w.-]+|[0-9a-fA-F:]+")
"""A name or an address without scheme and port."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of the machine itself, which no other machine can reach."""


@dataclass(frozen=True)
class TransformersChatConfig(Settings):
    """A chat in the terminal, as far as transformers can be asked for it."""

    model_dir: Path = PathConfig.sft_model_dir
    """The model's directory."""
    prompt: str | None = None
    """Answer this (or continue it, with a pretrained model) and end; only the answer is printed."""
    system: str | None = None
    """A system prompt: what the model should be or keep to."""
    tools: Path | None = None
    """A JSON file with what the model may call, a list of tools in OpenAI's form; after a call, the
    next message is its result, unless there is a tool_file."""
    tool_file: Path | None = None
    """A Python file with a function for each tool, of its name: it is called with the arguments of
    a call, and what it returns is the result."""
    enable_thinking: bool | None = None
    """Whether the model should think before it answers, where its chat template has that choice."""
    device: DeviceName = "auto"
    """auto (CUDA where there is one, else the CPU), cpu, cuda or cuda:N."""
    json: bool = False
    """Write one JSON object a line for each answer, for scripts: its text, why it ended, its token
    counts and time."""
    sampling: TransformersSampling = field(default_factory=TransformersSampling)
    """How the next token is chosen."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        if self.tools or not self.tool_file:
            return []
        return ["tool_file is for --tools, which says what the model may call"]


@dataclass(frozen=True)
class ChatConfig(TransformersChatConfig):
    """A chat in the terminal."""

    adapter: Path | None = None
    """Directory of an adapter of this model, which is merged into it."""
    quantize: QuantizeName = "none"
    """Round the weights to int8 (8 bits) or int4, and what they are multiplied with to 8 bits: on a
    CPU faster, and a quarter or a sixth of float32's memory."""
    logprobs: Annotated[int | None, Interval(ge=0, le=20)] = None
    """With --json: each token's log-probability too, and this many of the likeliest tokens at its
    place."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """How the next token is chosen."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        found = super().conflicts()
        if self.logprobs is not None and not self.json:
            found.append("logprobs is only for --json; in a chat, /tokens shows them")
        return found


@dataclass(frozen=True)
class ServeConfig(Settings):
    """A server of a model."""

    model_dir: Path = PathConfig.sft_model_dir
    """The model's directory."""
    adapter: tuple[Path, ...] = ()
    """Directories of adapters of this model, served beside it, each by the name of its directory;
    the first one answers requests that name no model."""
    model_name: str | None = None
    """What clients call the model; None: the name of its directory."""
    host: str = LOOPBACK[0]
    """Address to listen at; the usual one can be reached from this machine alone, 0.0.0.0 from
    everywhere, :: by IPv6 too."""
    port: Annotated[int, Interval(ge=0, le=65_535)] = 8000
    """Port to listen at; 0: a free one."""
    api_key: str | None = None
    """Clients must send this key. Better in the environment variable ETUDE_API_KEY, since command
    lines can be seen by all users of a machine."""
    cors_origin: tuple[str, ...] = ()
    """Web pages of these origins (https://example.org) may use the API from a browser, beside the
    page that is served here; * stands for all."""
    allowed_host: tuple[str, ...] = ()
    """Other names of this machine, such as host.docker.internal, by which clients may call a server
    that listens at 127.0.0.1 and has no key."""
    device: DeviceName = "auto"
    """auto (CUDA where there is one, else the CPU), cpu, cuda or cuda:N."""
    quantize: QuantizeName = "none"
    """Round the weights to int8 (8 bits) or int4, and what they are multiplied with to 8 bits: on a
    CPU faster, and a quarter or a sixth of float32's memory."""
    slots: Count = 8
    """Answers that are generated at once; further ones wait."""
    max_queue: Annotated[int, Interval(ge=0, le=1_000_000)] = 64
    """Answers that may wait; a request beyond is refused until later (503). One request may ask for
    as many answers as have a slot or may wait."""
    max_body: Count = 1 << 20
    """Most bytes of a request."""
    max_stop: Count = 16
    """Most stop texts of a request."""
    max_connections: Count = 512
    """Most open connections."""
    request_seconds: Above0 = 20.0
    """Longest time that a request may take to arrive, and that a client may refuse to take what is
    sent to it."""
    answer_seconds: Above0 = 600.0
    """Longest time for an answer, waiting included; it ends there as if max_tokens were reached."""
    health_seconds: Above0 = 10.0
    """/health fails when no token is generated within this time."""
    shutdown_seconds: Annotated[float, Interval(ge=0, le=1_000_000)] = 10.0
    """Time that answers have to end by themselves after Ctrl-C or SIGTERM."""
    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(max_tokens=4096))
    """How the next token is chosen where a request does not say; max_tokens is also the most tokens
    of an answer, whatever the request says."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, or with texts, a sentence each."""
        found = []
        if self.model_name in {path.name for path in self.adapter}:
            found.append(f"model_name {self.model_name} is the name of an adapter: choose another")
        if self.api_key is not None and not can_be_sent(self.api_key):
            found.append(f"api_key {UNSENDABLE}, or leave it out")
        found += [
            f"cors_origin {origin}: write it as a browser does, like https://example.org"
            for origin in self.cors_origin
            if not ORIGIN.fullmatch(origin)
        ]
        found += [
            f"allowed_host {name}: write the name alone, like host.docker.internal"
            for name in self.allowed_host
            if not HOST.fullmatch(name)
        ]
        return found


def can_be_sent(key: str) -> bool:
    """Whether every client can send a key: headers hold ASCII, without blanks at their ends."""
    return key.isascii() and key.isprintable() and key == key.strip() != ""


def choose_key(config: ServeConfig, environment: Mapping[str, str]) -> str | None:
    """The key that clients must send, by the flag or the environment; None: they need none.

    Raises:
        UserError: no client could send the environment's.
    """
    key = config.api_key or environment.get(API_KEY_VARIABLE) or None
    if key is not None and not can_be_sent(key):
        raise UserError(f"{API_KEY_VARIABLE} {UNSENDABLE}, or unset it")
    return key

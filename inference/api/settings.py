"""What a server can be told; the fields are the flags of inference/serve.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from config import (
    DeviceName,
    PathConfig,
    QuantizeName,
    SamplingConfig,
    UserError,
    in_range,
    positive,
)

API_KEY_VARIABLE = "ETUDE_API_KEY"
UNSENDABLE = "cannot be sent in a header: choose letters, digits and signs of ASCII"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of the machine itself, which no other machine can reach."""


@dataclass(frozen=True)
class ServeConfig:
    """A server of a model."""

    model_dir: Path = PathConfig.sft_model_dir
    """The model's directory."""
    model_name: str | None = None
    """What clients call the model; None: the name of its directory."""
    host: str = LOOPBACK[0]
    """Address to listen at; the usual one can be reached from this machine alone, 0.0.0.0 from
    everywhere."""
    port: int = 8000
    """Port to listen at; 0: a free one."""
    api_key: str | None = None
    """Clients must send this key. Better in the environment variable ETUDE_API_KEY, since command
    lines can be seen by all users of a machine."""
    cors_origin: tuple[str, ...] = ()
    """Web pages of these origins (https://example.org) may use the API from a browser, beside the
    page that is served here."""
    device: DeviceName = "auto"
    """auto (CUDA where there is one, else the CPU), cpu, cuda or cuda:N."""
    quantize: QuantizeName = "none"
    """int8: round the weights to 8 bits, which on a CPU makes answers come about three times as
    fast."""
    slots: int = 8
    """Answers that are made at once; further ones wait."""
    max_queue: int = 64
    """Answers that may wait; a request beyond is told to come back later (503)."""
    max_body: int = 1 << 20
    """Most bytes of a request."""
    max_messages: int = 256
    """Most messages of a request."""
    max_n: int = 8
    """Most answers to a request."""
    max_stop: int = 16
    """Most stop texts of a request."""
    max_connections: int = 512
    """Most open connections."""
    request_seconds: float = 20.0
    """Longest time that a request may take to arrive, and that a client may refuse to take what is
    sent to it."""
    answer_seconds: float = 600.0
    """Longest time for an answer, waiting included; it ends there as if max_tokens were reached."""
    health_seconds: float = 10.0
    """/health fails when no token can be made within this time."""
    shutdown_seconds: float = 10.0
    """Time that answers have to end by themselves after Ctrl-C or SIGTERM."""
    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(max_tokens=4096))
    """How the next token is chosen where a request does not say; max_tokens is also the most that a
    request may ask for."""

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        found = self.sampling.problems() + in_range(self, 0, 65_535, "port")
        found += positive(self, "slots", "max_body", "max_messages", "max_n", "max_stop")
        found += positive(self, "max_connections", "request_seconds", "answer_seconds")
        found += positive(self, "health_seconds")
        found += in_range(self, 0, 1_000_000, "max_queue", "shutdown_seconds")
        if self.max_n > self.slots + self.max_queue:
            found.append(
                f"max_n is {self.max_n}, more than slots and max_queue hold together: lower it"
            )
        if self.api_key is not None and not can_be_sent(self.api_key):
            found.append(f"api_key {UNSENDABLE}, or leave it out")
        found += [
            f"cors_origin {origin}: write it as a browser does, like https://example.org"
            for origin in self.cors_origin
            if not origin.startswith(("http://", "https://")) or origin.count("/") != 2
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

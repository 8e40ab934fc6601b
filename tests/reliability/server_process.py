"""inference/serve.py as a process of its own, with a tiny model."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import torch

from config import ROOT, ModelConfig
from model.directory.pretrained import save_pretrained
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude


@dataclass(frozen=True)
class ServerProcess:
    """A server that runs."""

    process: subprocess.Popen[bytes]
    address: str

    def connect(self) -> socket.socket:
        """A connection without a client's manners."""
        host, port = self.address.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=20)

    def memory(self) -> int:
        """Bytes of memory that it has in use."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def metric(self, name: str) -> float:
        """A number of its /metrics; 0 where it does not stand there."""
        for line in httpx.get(f"{self.address}/metrics", timeout=20).text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.rsplit(" ", 1)[1])
        return 0.0

    def idle_after(self, within: float) -> float | None:
        """Seconds until no answer is under way; None: longer than some seconds."""
        begin = time.monotonic()
        while time.monotonic() - begin < within:
            if not self.metric("etude_running_answers") + self.metric("etude_waiting_answers"):
                return time.monotonic() - begin
            time.sleep(0.02)
        return None


def save_tiny(
    directory: Path, tokenizer: EtudeTokenizer, shape: ModelConfig, context: int, endless: bool
) -> None:
    """Writes a chat model of random weights that is sure of itself.

    Args:
        directory: a new directory.
        tokenizer: its tokenizer.
        shape: its shape.
        context: its context, in tokens.
        endless: make the tokens that end an answer unlikely.
    """
    model = Etude(replace(shape, max_position_embeddings=context))
    model.initialize(torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(8)
        if endless:
            model.lm_head.weight[list(tokenizer.end_ids(is_chat=True))] = 0
    directory.mkdir()
    save_pretrained(directory, model.eval(), tokenizer, {"made_by": "a test"}, is_chat=True)


@contextmanager
def serving(model_dir: Path, *flags: str) -> Iterator[ServerProcess]:
    """Lets a server run; it must end by itself when it is asked to, and have nothing to complain
    about."""
    command = [sys.executable, "inference/serve.py", "--model_dir", str(model_dir), "--port", "0"]
    process = subprocess.Popen(
        [*command, *flags], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    line = process.stdout.readline().decode("utf-8")
    try:
        yield ServerProcess(process, line.split("web page at ")[1].split(",")[0])
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert errors == b"", errors.decode("utf-8", "replace")

"""A server in this process, as inference/serve.py makes it, with a tiny model of random weights."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import torch

from config import ModelConfig, SamplingConfig
from inference.api.app import make_app
from inference.api.listener import Listener, listen
from inference.api.service import Service
from inference.engine.answers import GenerationOutput, GenerationRequest
from inference.engine.engine import Engine
from inference.engine.loading import LoadedModel
from inference.engine.native import LIBRARY
from inference.settings import ServeConfig
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude

NAME = "tiny"
CONFIG = ServeConfig(port=0, slots=4, max_queue=16, shutdown_seconds=1)


@dataclass
class Server:
    """A server that runs."""

    address: str
    service: Service
    listener: Listener
    thread: threading.Thread

    def client(self, **settings: Any) -> httpx.Client:
        """A client of it."""
        return httpx.Client(base_url=self.address, timeout=30, **settings)

    def idle(self, within: float = 1.0) -> bool:
        """Whether all slots become free within some seconds."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            if not self.service.jobs and not self.service.engine.busy:
                return True
            time.sleep(0.01)
        return False


def tiny_model(
    tokenizer: EtudeTokenizer,
    shape: ModelConfig,
    slots: int = 4,
    context: int = 512,
    is_chat: bool = True,
) -> LoadedModel:
    """A model that is random, but always the same, and sure of itself."""
    LIBRARY.prepare()
    LIBRARY.wait()
    model = Etude(replace(shape, max_position_embeddings=context))
    model.initialize(torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(8)
    engine = Engine(model.eval(), tokenizer, slots)
    return LoadedModel(engine, tokenizer, NAME, is_chat, "a tiny model")


@contextmanager
def running(
    model: LoadedModel,
    config: ServeConfig = CONFIG,
    key: str | None = None,
    others: Sequence[LoadedModel] = (),
) -> Iterator[Server]:
    """Lets a server run."""
    listening = listen(config.host, config.port)
    service = Service(config, model, others)
    ready = threading.Event()
    listener = Listener(make_app(service, key), service, ready.set)
    thread = threading.Thread(target=listener.run, args=([listening],), daemon=True)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    thread.start()
    assert ready.wait(20)
    try:
        yield Server(address, service, listener, thread)
    finally:
        listener.stop()
        thread.join(20)
        assert not thread.is_alive()


def offline(model: LoadedModel, request: GenerationRequest) -> GenerationOutput:
    """The answer of an engine of its own."""
    engine = Engine(model.engine.model, model.tokenizer, slots=1)
    answer = engine.submit(request)
    while engine.busy:
        engine.step()
    return answer


def sampled(seed: int = 7, max_tokens: int = 24, **settings: Any) -> SamplingConfig:
    """Settings of an offline answer: the server's, with a seed."""
    return replace(CONFIG.sampling, seed=seed, max_tokens=max_tokens, **settings)

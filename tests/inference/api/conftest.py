"""A server of a tiny chat model for the tests of a file, and the official client of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from config import ModelConfig
from model.tokenizer import EtudeTokenizer
from tests.inference.http_server import Server, running, tiny_model


@pytest.fixture(scope="module")
def server(tokenizer: EtudeTokenizer, model_config: ModelConfig) -> Iterator[Server]:
    with running(tiny_model(tokenizer, model_config)) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    """Its overloads are not what is tested, so it is Any."""
    with OpenAI(base_url=f"{server.address}/v1", api_key="-", max_retries=0) as client:
        yield client

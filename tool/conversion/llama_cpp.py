"""llama.cpp, run on a GGUF file by the `xllamacpp` package, where that is installed.

It answers over HTTP on an address of this machine that nobody else knows.
"""

from __future__ import annotations

import importlib.util
import json
import os
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def is_installed() -> bool:
    """Whether xllamacpp can be imported."""
    return importlib.util.find_spec("xllamacpp") is not None


class LlamaCpp:
    """A model in llama.cpp. Use it in a process of its own: its threads outlive it."""

    def __init__(
        self, path: Path, threads: int, context: int, slots: int = 1, exact: bool = False
    ) -> None:
        """Loads a GGUF file.

        Args:
            path: the file.
            threads: for prompts and answers alike.
            context: tokens of one answer and its prompt.
            slots: answers at once.
            exact: keep keys and values in float32 and not, as it likes best, in float16.
        """
        import xllamacpp  # type: ignore[import-untyped]

        silence_standard_error()
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(path)
        parameters.n_ctx, parameters.n_parallel = context * slots, slots
        parameters.cpuparams.n_threads = threads
        parameters.cpuparams_batch.n_threads = threads
        parameters.warmup = True
        if exact:
            parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
            disabled = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
            parameters.flash_attn_type = disabled
        self.server = xllamacpp.Server(parameters)

    def post(self, route: str, body: dict[str, Any]) -> Any:
        """What the server answers to a request."""
        request = urllib.request.Request(
            self.server.listening_address + route,
            json.dumps(body).encode("utf-8"),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=300) as response:
            return json.load(response)

    def tokenize(self, text: str) -> list[int]:
        """The ids of a text, in which nothing stands for a control token."""
        body = {"content": text, "add_special": False, "parse_special": False}
        return list(self.post("/tokenize", body)["tokens"])

    def greedy(self, prompt: Sequence[int], count: int, ignore_end: bool = False) -> list[int]:
        """The likeliest continuation of a prompt, `count` tokens at most."""
        body = {
            "prompt": list(prompt),
            "n_predict": count,
            "temperature": 0.0,
            "return_tokens": True,
            "ignore_eos": ignore_end,
            "cache_prompt": False,
        }
        return list(self.post("/completion", body)["tokens"])


def silence_standard_error() -> None:
    """Sends what C++ writes to standard error to nowhere, for the rest of the process."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)

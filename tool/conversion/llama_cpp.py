"""llama.cpp, and the proof by it that a GGUF file is the model it was made from.

The `xllamacpp` package runs it, where that is installed, in a process of its own; or, to be
measured at its fastest, a `llama-server` that was built for this machine. Both answer over HTTP.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from config import SamplingConfig, UserError
from inference.engine.cache import common_prefix
from inference.engine.engine import generate_batch
from model.directory.pretrained import is_chat_model, load_pretrained
from tool.benchmarks.measuring import Failure, run_apart
from tool.conversion.gguf_export import context_of
from tool.conversion.hf_proof import ProofFailed, make_prompts

HARD_TEXTS = (
    "Hello world",
    "  two  spaces   and\ttabs\t\t",
    "line\nbreaks\n\n\nand\r\nmore \n ",
    "1234567890 3.14 1,000",
    "你好，世界！这是一个测试。",
    "中文 and English 混排 123",
    "🙂👨‍👩‍👧🧑‍🚀 naïve Ωμέγα こんにちは",
    "I'm you're WE'LL don't",
    "<|im_start|>user<|im_end|><|endoftext|>",
    "x=[1,2];y={'a':b}//--==>>",
    "\u3000全角　空格ＡＢＣ",
    "e\u0301 \u200b zero",
)
ANSWER_TOKENS = 64
LIKELIEST = 20
"""Tokens whose log-probabilities are compared."""


def is_installed() -> bool:
    """Whether xllamacpp can be imported."""
    return importlib.util.find_spec("xllamacpp") is not None


class LlamaServer:
    """A llama.cpp that answers over HTTP."""

    address: str
    """Of the server, with http:// before it."""

    def post(self, route: str, body: dict[str, Any]) -> Any:
        """What the server answers to a request."""
        request = urllib.request.Request(
            self.address + route,
            json.dumps(body).encode("utf-8"),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=300) as response:
            return json.load(response)

    def tokenize(self, text: str, control: bool = False) -> list[int]:
        """The ids of a text, in which what spells a control token stands for it or not."""
        body = {"content": text, "add_special": False, "parse_special": control}
        return list(self.post("/tokenize", body)["tokens"])

    def likeliest(self, prompt: Sequence[int]) -> dict[int, float]:
        """The log-probabilities of the likeliest tokens to come after a prompt; none where the very
        likeliest is a part of a character, about which llama.cpp says nothing."""
        body = {
            "prompt": list(prompt),
            "n_predict": 1,
            "temperature": 0.0,
            "n_probs": LIKELIEST,
            "ignore_eos": True,  # an answer without a token has no probabilities
            "cache_prompt": False,
        }
        tokens = self.post("/completion", body).get("completion_probabilities")
        return {each["id"]: each["logprob"] for each in tokens[0]["top_logprobs"]} if tokens else {}

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


class LlamaCpp(LlamaServer):
    """A model in the llama.cpp of xllamacpp. Use it in a process of its own: its threads outlive
    it."""

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
        self.address = self.server.listening_address


class BuiltLlamaCpp(LlamaServer):
    """A model in a llama.cpp that somebody built: its `llama-server`, which ends with `close`."""

    def __init__(self, server: Path, path: Path, threads: int, context: int, slots: int) -> None:
        """Starts the server and waits until it can answer.

        Args:
            server: the executable.
            path: the GGUF file.
            threads: for prompts and answers alike.
            context: tokens of one answer and its prompt.
            slots: answers at once.

        Raises:
            UserError: it ended, or does not answer within a minute.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        count = {"-c": context * slots, "-np": slots, "-t": threads, "-tb": threads}
        flags = [str(each) for pair in count.items() for each in pair]
        self.process = subprocess.Popen(
            [server, "-m", path, "--host", "127.0.0.1", "--port", str(port), *flags],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            with suppress(OSError), urllib.request.urlopen(f"{self.address}/health", timeout=1):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.close()
        raise UserError(f"{server}: it does not answer; is it llama.cpp's llama-server?")

    def close(self) -> None:
        """Ends the server."""
        self.process.kill()
        self.process.wait()


def silence_standard_error() -> None:
    """Sends what C++ writes to standard error to nowhere, for the rest of the process."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


@dataclass(frozen=True)
class GgufProof:
    """What was compared."""

    texts: int
    """Texts whose ids are equal, which is all of them."""
    prompts: int
    tokens: int
    """Tokens of our greedy answers."""
    tokens_equal: int
    """Of these, how many llama.cpp chose too, up to its first other one."""


def prove_gguf(path: Path, model_dir: Path, exact: bool) -> GgufProof:
    """Compares a GGUF file with the model directory it was made from.

    Args:
        path: the file.
        model_dir: the Etude model's directory.
        exact: every token of the greedy answers must be equal (f32).

    Raises:
        ProofFailed: they disagree, or llama.cpp cannot load the file.
    """
    model, tokenizer = load_pretrained(model_dir)
    is_chat = is_chat_model(model_dir)
    context = context_of(model.config)
    prompts = make_prompts(tokenizer, is_chat, context)
    try:
        ids, answers = run_apart(ask_llama_cpp, path, HARD_TEXTS, prompts, context)
    except Failure as failure:
        raise ProofFailed(f"llama.cpp does not run the file ({failure})") from failure
    for hard, found in zip(HARD_TEXTS, ids, strict=True):
        if found != tokenizer.encode(hard):
            raise ProofFailed(f"llama.cpp splits {hard!r} into {found}: not as the tokenizer does")
    stops = tokenizer.end_ids(is_chat)
    greedy = SamplingConfig(temperature=0.0, max_tokens=min(ANSWER_TOKENS, context // 2))
    ours = [made.ids for made in generate_batch(model, prompts, greedy, stops)]
    equal = sum(common_prefix(a, b) for a, b in zip(ours, answers, strict=True))
    total = sum(map(len, ours))
    if exact and equal < total:
        raise ProofFailed(f"only {equal} of {total} greedy tokens are llama.cpp's")
    return GgufProof(len(HARD_TEXTS), len(prompts), total, equal)


def ask_llama_cpp(
    path: Path, texts: Sequence[str], prompts: Sequence[Sequence[int]], context: int
) -> tuple[list[list[int]], list[list[int]]]:
    """The ids of texts and the greedy answers to prompts, by llama.cpp."""
    llama = LlamaCpp(path, torch.get_num_threads(), context, exact=True)
    ids = [llama.tokenize(text) for text in texts]
    return ids, [llama.greedy(prompt, min(ANSWER_TOKENS, context // 2)) for prompt in prompts]

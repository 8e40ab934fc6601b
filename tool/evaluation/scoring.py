"""Log-likelihoods of texts under a model, many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from config import QuantizeName
from inference.engine.quantization import quantize_model
from model.device import pick_device
from model.directory.pretrained import is_chat_model, load_pretrained
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from train.machine import keep_freed_memory

BATCH_TOKENS = 4_096
"""Tokens of a batch, padding included."""

Logits = Callable[[Tensor], Tensor]
"""Token ids (batch, seq) -> logits (batch, seq, vocab)."""


@dataclass(frozen=True)
class Judge:
    """A model whose opinion of texts is asked."""

    logits: Logits
    model: Etude
    tokenizer: EtudeTokenizer
    context: int
    """Most tokens at once."""
    is_chat: bool
    device: torch.device
    written: dict[Path, list[list[int]]] = field(default_factory=dict)
    """What it wrote to the prompts of a file, so that it need not write it twice."""


@dataclass(frozen=True)
class Outcome:
    """What one record gave."""

    group: str
    """Phenomenon, subject or script."""
    value: float
    weight: float = 1.0
    """The measure is the sum of values over the sum of weights: of bits per byte, the bytes."""


@dataclass(frozen=True)
class Span:
    """Tokens of which the later ones are judged, each given all before it."""

    ids: Sequence[int]
    first: int
    """The first token that is judged; at least 1."""


def load_judge(
    directory: Path, device_name: str, engine: str, quantize: QuantizeName = "none"
) -> Judge:
    """The model in a directory, run by Etude or, for a converted one, by transformers.

    Args:
        directory: a model directory.
        device_name: as --device.
        engine: etude or transformers.
        quantize: int8: with its weights rounded, as it answers with --quantize int8.

    Raises:
        UserError: there is no such device or model.
    """
    device = pick_device(device_name)
    keep_freed_memory()  # a third of the time went into fresh pages for logits
    model, tokenizer = load_pretrained(directory, device)
    if quantize == "int8":
        quantize_model(model)
    context = model.config.max_position_embeddings
    logits: Logits = model
    if engine == "transformers":
        from transformers import AutoModelForCausalLM

        # Etude computes in float32, whatever the number format of the file.
        llama: Any = AutoModelForCausalLM.from_pretrained(
            directory, dtype=torch.float32, local_files_only=True
        )
        llama = llama.to(device).eval()

        def logits(ids: Tensor) -> Tensor:
            return llama(ids, use_cache=False).logits

    return Judge(logits, model, tokenizer, context, is_chat_model(directory), device)


@torch.inference_mode()
def log_likelihoods(judge: Judge, spans: Sequence[Span]) -> list[float]:
    """The summed log-probability (nats) of each span's judged tokens.

    Of a span that is longer than the context, the beginning is left out; a judged token that would
    be left out with it counts as if it were not judged.
    """
    order = sorted(range(len(spans)), key=lambda number: len(spans[number].ids))
    results = [0.0] * len(spans)
    while order:
        longest = min(len(spans[order[-1]].ids), judge.context)
        batch = order[-max(1, BATCH_TOKENS // longest) :]
        del order[-len(batch) :]
        for number, total in zip(batch, score(judge, [spans[n] for n in batch]), strict=True):
            results[number] = total
    return results


def score(judge: Judge, spans: Sequence[Span]) -> list[float]:
    """`log_likelihoods` of one batch."""
    rows = [list(span.ids[-judge.context :]) for span in spans]
    width = max(map(len, rows))
    # Padding comes last, where causal attention never looks.
    padded = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=judge.device)
    logprobs = judge.logits(padded[:, :-1]).float().log_softmax(dim=-1)
    chosen = logprobs.gather(2, padded[:, 1:, None])[..., 0].double()  # (batch, width - 1)
    places = torch.arange(1, width, device=judge.device)
    first = [max(1, span.first - max(0, len(span.ids) - judge.context)) for span in spans]
    begin = torch.tensor(first, device=judge.device)[:, None]
    end = torch.tensor([len(row) for row in rows], device=judge.device)[:, None]
    return (chosen * ((places >= begin) & (places < end))).sum(dim=1).tolist()

"""What a model finds likely: log-likelihoods, many at once, and the measures made of them.

Each measure takes the model and the records of a file, and gives an `Outcome` a record.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from config import QuantizeName
from inference.engine.constraint import Grammar
from inference.engine.rounding import quantize_model
from model.chat import render, render_prompt
from model.conversation import Conversation, said
from model.device import pick_device
from model.directory.pretrained import is_chat_model, load_pretrained
from model.tokenizer import EtudeTokenizer, script_of
from model.transformer import Etude
from train.machine import keep_freed_memory

Record = dict[str, Any]
BATCH_TOKENS = 4_096
"""Tokens of a batch, padding included."""

Logits = Callable[[Tensor], Tensor]
"""Token ids (batch, seq) -> logits (batch, seq, vocab)."""


@dataclass(frozen=True)
class LikelihoodModel:
    """A model that says how likely texts are."""

    logits: Logits
    model: Etude
    tokenizer: EtudeTokenizer
    context: int
    """Most tokens at once."""
    is_chat: bool
    device: torch.device
    written: dict[tuple[str, ...], list[list[int]]] = field(default_factory=dict)
    """The continuations of prompts, so that two measures of them need one generation."""
    answered: dict[tuple[str, ...], list[tuple[str, bool]]] = field(default_factory=dict)
    """The same of answers that must be JSON, and whether each ended by itself."""
    grammar: Grammar | None = None
    """What these answers are held to; None: any text."""
    native: bool = True
    """Generate with the C++ forward pass where it can be."""
    stopped: Callable[[], bool] = lambda: False
    """Whether to give up; then `Stopped` is raised."""


class Stopped(Exception):
    """A measure was stopped before its end."""


@dataclass(frozen=True)
class Outcome:
    """What one record gave."""

    group: str
    """Phenomenon, subject or script."""
    value: float
    weight: float = 1.0
    """The measure is the sum of values over the sum of weights: of bits per byte, the bytes."""
    asked: str = ""
    """Of a measure of right and wrong: what was asked."""
    said: str = ""
    """What the model said, or found likeliest."""


@dataclass(frozen=True)
class Span:
    """Tokens of which the later ones are scored, each given all before it."""

    ids: Sequence[int]
    first: int
    """The first token that is scored; at least 1."""


def load_likelihood_model(
    directory: Path, device_name: str, engine: str, quantize: QuantizeName = "none"
) -> LikelihoodModel:
    """The model in a directory, run by Etude or, for a converted one, by transformers.

    Args:
        directory: a model directory.
        device_name: as --device.
        engine: etude or transformers.
        quantize: with its weights rounded, as it answers with --quantize.

    Raises:
        UserError: there is no such device or model.
    """
    device = pick_device(device_name)
    keep_freed_memory()  # a third of the time went into fresh pages for logits
    model, tokenizer = load_pretrained(directory, device)
    if quantize != "none":
        quantize_model(model, quantize)
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

    return LikelihoodModel(logits, model, tokenizer, context, is_chat_model(directory), device)


@torch.inference_mode()
def log_likelihoods(scorer: LikelihoodModel, spans: Sequence[Span]) -> list[float]:
    """The summed log-probability (nats) of each span's scored tokens.

    Of a span that is longer than the context, the beginning is left out; a token that would be left
    out with it does not count.

    Raises:
        Stopped: it was stopped before its end.
    """
    order = sorted(range(len(spans)), key=lambda number: len(spans[number].ids))
    results = [0.0] * len(spans)
    while order:
        if scorer.stopped():
            raise Stopped
        longest = min(len(spans[order[-1]].ids), scorer.context)
        batch = order[-max(1, BATCH_TOKENS // longest) :]
        del order[-len(batch) :]
        for number, total in zip(batch, score(scorer, [spans[n] for n in batch]), strict=True):
            results[number] = total
    return results


def score(scorer: LikelihoodModel, spans: Sequence[Span]) -> list[float]:
    """`log_likelihoods` of one batch."""
    rows = [list(span.ids[-scorer.context :]) for span in spans]
    width = max(map(len, rows))
    # Padding comes last, where causal attention never looks.
    padded = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=scorer.device)
    logprobs = scorer.logits(padded[:, :-1]).float().log_softmax(dim=-1)
    chosen = logprobs.gather(2, padded[:, 1:, None])[..., 0].double()  # (batch, width - 1)
    places = torch.arange(1, width, device=scorer.device)
    first = [max(1, span.first - max(0, len(span.ids) - scorer.context)) for span in spans]
    begin = torch.tensor(first, device=scorer.device)[:, None]
    end = torch.tensor([len(row) for row in rows], device=scorer.device)[:, None]
    return (chosen * ((places >= begin) & (places < end))).sum(dim=1).tolist()


def bits_of(scorer: LikelihoodModel, spans: Sequence[Sequence[Span]]) -> list[float]:
    """The bits of each record's spans together."""
    found = iter(log_likelihoods(scorer, [span for of_record in spans for span in of_record]))
    return [sum(-next(found) / math.log(2) for _ in of_record) for of_record in spans]


def measure_texts(scorer: LikelihoodModel, records: list[Record]) -> list[Outcome]:
    """Bits per byte of texts. Every token counts once, with at least half a context before it
    where the text has one."""
    texts = [record["text"] for record in records]
    border = scorer.tokenizer.end_of_text_id
    ids = [[border, *scorer.tokenizer.encode(text)] for text in texts]
    bits = bits_of(scorer, [list(windows(row, scorer.context)) for row in ids])
    return [
        Outcome(script_of(text), value, len(text.encode("utf-8")))
        for text, value in zip(texts, bits, strict=True)
    ]


def windows(ids: Sequence[int], context: int) -> Iterator[Span]:
    """Spans that score each token after the first once, moving by half a context."""
    done = 1
    while done < len(ids):
        end = min(len(ids), context if done == 1 else done + context // 2)
        begin = max(0, end - context)
        yield Span(ids[begin:end], done - begin)
        done = end


def measure_conversations(scorer: LikelihoodModel, records: list[Record]) -> list[Outcome]:
    """Bits per byte of what an assistant says, as far as the context reaches; ends of turns are
    neither bits nor bytes. A record of which nothing is reached has no bytes."""
    spans, sizes = [], []
    for record in records:
        conversation = Conversation(record["conversations"], record.get("tools") or ())
        ids, mask = render(scorer.tokenizer, conversation)
        ids, mask = ids[: scorer.context], mask[: scorer.context]
        turns = [turn for turn in runs(mask) if ids[turn[1] - 1] == scorer.tokenizer.end_of_turn_id]
        spans.append([Span(ids[: end - 1], begin) for begin, end in turns])
        answers = [scorer.tokenizer.decode(ids[begin : end - 1]) for begin, end in turns]
        sizes.append(sum(len(answer.encode("utf-8")) for answer in answers))
    groups = [script_of("".join(map(said, r["conversations"]))) for r in records]
    found = zip(groups, bits_of(scorer, spans), sizes, strict=True)
    return [Outcome(group, bits, size) for group, bits, size in found]


def measure_references(scorer: LikelihoodModel, records: list[Record]) -> list[Outcome]:
    """Bits per byte of the reference answers to questions: of one-turn conversations. An open
    question, whose reference is empty, has no bytes."""
    turns = (("user", "question"), ("assistant", "reference"))
    asked = [
        {"conversations": [{"role": role, "content": record[key]} for role, key in turns]}
        for record in records
        if record["reference"]
    ]
    found = iter(measure_conversations(scorer, asked))
    outcomes = [next(found) if record["reference"] else Outcome("", 0, 0) for record in records]
    return [
        replace(outcome, group=str(record.get("class", outcome.group)))
        for record, outcome in zip(records, outcomes, strict=True)
    ]


def runs(mask: Sequence[bool]) -> list[list[int]]:
    """Where stretches of True begin and end."""
    return np.flatnonzero(np.diff([False, *mask, False])).reshape(-1, 2).tolist()


@dataclass(frozen=True)
class Question:
    """Candidates of which the likeliest is the model's answer."""

    spans: tuple[Span, ...]
    lengths: tuple[int, ...]
    """What the log-likelihoods are divided by: bytes, or 1."""
    answer: int
    group: str
    asked: str
    texts: Sequence[str]
    """The candidates."""


def measure_pairs(scorer: LikelihoodModel, records: list[Record]) -> list[Outcome]:
    """Whether the good sentence of each pair is likelier than the bad one (arXiv 1912.00582)."""
    questions = []
    for record in records:
        texts = [record[key] for key in ("good", "bad")]
        border, encode = scorer.tokenizer.end_of_text_id, scorer.tokenizer.encode
        spans = tuple(Span([border, *encode(text)], 1) for text in texts)
        group = str(record.get("phenomenon", ""))
        questions.append(Question(spans, (1, 1), 0, group, texts[0], texts))
    return answer_all(scorer, questions)


def measure_choices(scorer: LikelihoodModel, records: list[Record]) -> list[Outcome]:
    """Multiple choice: the answer whose log-likelihood per byte is largest, as lm-eval's
    acc_bytes."""
    questions = []
    for record in records:
        prompt = question_prompt(scorer, record["question"])
        choices = [str(choice) for choice in record["choices"]]
        ids = [scorer.tokenizer.encode(choice) for choice in choices]
        spans = tuple(Span([*prompt, *answer], len(prompt)) for answer in ids)
        lengths = tuple(len(choice.encode("utf-8")) for choice in choices)
        group = str(record.get("subject", ""))
        asked = record["question"]
        questions.append(Question(spans, lengths, record["answer"], group, asked, choices))
    return answer_all(scorer, questions)


def question_prompt(scorer: LikelihoodModel, question: str) -> list[int]:
    """What stands before an answer: a user's turn, or, for a pretrained model, the text and a
    line break."""
    if scorer.is_chat:
        return render_prompt(scorer.tokenizer, [{"role": "user", "content": question}])
    return [scorer.tokenizer.end_of_text_id, *scorer.tokenizer.encode(question + "\n")]


def answer_all(scorer: LikelihoodModel, questions: Sequence[Question]) -> list[Outcome]:
    """1 where the right candidate is the likeliest, 0 where it is not; equal ones share the
    point."""
    found = iter(log_likelihoods(scorer, [span for q in questions for span in q.spans]))
    outcomes = []
    for question in questions:
        scores = [next(found) / length for length in question.lengths]
        best = max(scores)
        winners = [number for number, value in enumerate(scores) if value == best]
        point = 1 / len(winners) if question.answer in winners else 0.0
        said = question.texts[winners[0]]
        outcomes.append(Outcome(question.group, point, asked=question.asked, said=said))
    return outcomes

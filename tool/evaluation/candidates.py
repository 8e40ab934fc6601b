"""Measures by candidates: the likeliest of several texts is the model's answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.chat import render_prompt
from tool.evaluation.scoring import Judge, Outcome, Span, log_likelihoods

CHARACTERS_AFTER = 40


DISTRACTORS = 9
"""Words of other records beside the right one, where a record names no candidates."""


@dataclass(frozen=True)
class Question:
    """Candidates of which the likeliest is the model's answer."""

    spans: tuple[Span, ...]
    lengths: tuple[int, ...]
    """What the log-likelihoods are divided by: bytes, or 1."""
    answer: int
    group: str


def measure_pairs(judge: Judge, path: Path, records: list[dict[str, Any]]) -> list[Outcome]:
    """Whether the good sentence of each pair is likelier than the bad one (arXiv 1912.00582)."""
    questions = []
    for record in records:
        spans = tuple(text_span(judge, record[key]) for key in ("good", "bad"))
        questions.append(Question(spans, (1, 1), 0, str(record.get("phenomenon", ""))))
    return answer_all(judge, questions)


def measure_choices(judge: Judge, path: Path, records: list[dict[str, Any]]) -> list[Outcome]:
    """Multiple choice: the answer whose log-likelihood per byte is largest, as lm-eval's
    acc_bytes."""
    questions = []
    for record in records:
        prompt = question_prompt(judge, record["question"])
        spans = tuple(
            Span([*prompt, *judge.tokenizer.encode(str(choice))], len(prompt))
            for choice in record["choices"]
        )
        lengths = tuple(len(str(choice).encode("utf-8")) for choice in record["choices"])
        questions.append(Question(spans, lengths, record["answer"], str(record.get("subject", ""))))
    return answer_all(judge, questions)


def question_prompt(judge: Judge, question: str) -> list[int]:
    """What stands before an answer: a user's turn, or, for a pretrained model, the text and a
    line break."""
    if judge.is_chat:
        return render_prompt(judge.tokenizer, [{"role": "user", "content": question}])
    return [judge.tokenizer.end_of_text_id, *judge.tokenizer.encode(question + "\n")]


def measure_idioms(judge: Judge, path: Path, records: list[dict[str, Any]]) -> list[Outcome]:
    """Cloze with given words: the word that makes the whole text likeliest."""
    questions = []
    for record in records:
        spans = tuple(
            text_span(judge, record["content"].replace("#idiom#", word))
            for word in record["candidates"]
        )
        questions.append(Question(spans, (1,) * len(spans), int(record["answer"]), ""))
    return answer_all(judge, questions)


def measure_sentences(judge: Judge, path: Path, records: list[dict[str, Any]]) -> list[Outcome]:
    """Cloze with given sentences: each blank for itself, the others filled rightly; the sentence
    and a little of what follows are judged, per byte."""
    questions = []
    for record in records:
        choices, answers = record["choices"], record["answers"]
        for blank, answer in enumerate(answers):
            before, after = record["context"].split(f"[BLANK{blank + 1}]")
            for other, right in enumerate(answers):
                before = before.replace(f"[BLANK{other + 1}]", choices[right])
                after = after.replace(f"[BLANK{other + 1}]", choices[right])
            head = text_span(judge, before).ids
            tails = [choice + after[:CHARACTERS_AFTER] for choice in choices]
            spans = tuple(Span([*head, *judge.tokenizer.encode(tail)], len(head)) for tail in tails)
            lengths = tuple(len(tail.encode("utf-8")) for tail in tails)
            questions.append(Question(spans, lengths, int(answer), ""))
    return answer_all(judge, questions)


def measure_words(judge: Judge, path: Path, records: list[dict[str, Any]]) -> list[Outcome]:
    """Cloze without given words: the right one among those of nine other records (drawn from a
    fixed seed); the passage and the filled query are judged."""
    words = sorted({record["answer"] for record in records})
    draw = random.Random(1)
    questions = []
    for record in records:
        others = [word for word in words if word != record["answer"]]
        candidates = [record["answer"], *draw.sample(others, min(DISTRACTORS, len(others)))]
        spans = tuple(
            text_span(judge, f"{record['passage']}\n{record['query']}".replace(record["blank"], w))
            for w in candidates
        )
        questions.append(Question(spans, (1,) * len(spans), 0, str(record.get("source", ""))))
    return answer_all(judge, questions)


def text_span(judge: Judge, text: str) -> Span:
    """A whole text, as after the border of a document."""
    return Span([judge.tokenizer.end_of_text_id, *judge.tokenizer.encode(text)], 1)


def answer_all(judge: Judge, questions: Sequence[Question]) -> list[Outcome]:
    """1 where the right candidate is the likeliest, 0 where it is not; equal ones share the
    point."""
    found = iter(log_likelihoods(judge, [span for q in questions for span in q.spans]))
    outcomes = []
    for question in questions:
        scores = [next(found) / length for length in question.lengths]
        best = max(scores)
        winners = [number for number, value in enumerate(scores) if value == best]
        point = 1 / len(winners) if question.answer in winners else 0.0
        outcomes.append(Outcome(question.group, point))
    return outcomes

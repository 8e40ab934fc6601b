"""What a model writes: answers to held-out questions, and free continuations of prompts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import SamplingConfig
from data_process.records.jsonl import read_records
from data_process.records.kinds import question_problems, with_tools
from data_process.sample.evaluation import is_right
from inference.engine.constraint import Grammar
from inference.engine.engine import generate_batch
from model.chat import render_prompt
from model.conversation import Conversation, Message, as_conversation
from model.tokenizer import EtudeTokenizer, script_of
from model.transformer import Etude
from train.measures.likelihood import (
    LikelihoodModel,
    Outcome,
    Record,
    Stopped,
    question_prompt,
)
from train.rollouts.rewards import contains

CONTINUATION_TOKENS = 100
ANSWER_TOKENS = 200
"""Longest answer to a question; one that is cut there is wrong."""


@dataclass(frozen=True)
class Answer:
    """A question, what the model said, and the verdict."""

    id: str
    language: str
    category: str
    question: str
    """The last user's turn."""
    answer: str
    right: bool
    """The answer is accepted and ended by itself."""
    ended: bool
    """The model ended the answer; it was not cut at the limit."""


def read_questions(path: Path) -> list[Record]:
    """The questions of a JSONL file; the fields are explained in data_process/sample/evaluation.py.

    Raises:
        UserError: a record lacks a field or its messages are malformed; the line is named.
    """
    return [record.value for record in read_records(path, question_problems)]


def ask(
    model: Etude, tokenizer: EtudeTokenizer, questions: Sequence[Record], max_tokens: int
) -> list[Answer]:
    """The model's greedy answers to all questions, each right or wrong."""
    given = greedy_answers(model, tokenizer, [q["messages"] for q in questions], max_tokens)
    return [
        Answer(
            id=question["id"],
            language=question["language"],
            category=question["category"],
            question=question["messages"][-1]["content"],
            answer=text,
            right=ended and is_right(question, text),
            ended=ended,
        )
        for question, (text, ended) in zip(questions, given, strict=True)
    ]


def greedy_answers(
    model: Etude,
    tokenizer: EtudeTokenizer,
    conversations: Sequence[Conversation | Sequence[Message]],
    max_tokens: int,
    native: bool = True,
    stopped: Callable[[], bool] = lambda: False,
    grammar: Grammar | None = None,
) -> list[tuple[str, bool]]:
    """The likeliest answer to each conversation, and whether it ended by itself. One that fills
    the context is cut at its beginning. With a grammar all answers are held to it.

    Raises:
        Stopped: it was stopped before its end; see `generate_batch`.
    """
    room = model.config.max_position_embeddings - 1
    prompts = [
        render_prompt(tokenizer, found.messages, found.tools)[-room:]
        for found in map(as_conversation, conversations)
    ]
    sampling = SamplingConfig(temperature=0.0, max_tokens=max_tokens)
    stops = tokenizer.end_ids(is_chat=True)
    made = generate_batch(
        model, prompts, sampling, stops, native=native, stopped=stopped, grammar=grammar
    )
    if len(made) < len(prompts):
        raise Stopped
    return [(tokenizer.decode(found.ids), found.finish_reason == "stop") for found in made]


def measured_answers(
    scorer: LikelihoodModel,
    conversations: Sequence[Conversation | Sequence[Message]],
    grammar: Grammar | None = None,
) -> list[tuple[str, bool]]:
    """`greedy_answers` of a model that is measured, of at most ANSWER_TOKENS each."""
    return greedy_answers(
        scorer.model,
        scorer.tokenizer,
        conversations,
        ANSWER_TOKENS,
        scorer.native,
        scorer.stopped,
        grammar,
    )


def measure_questions(scorer: LikelihoodModel, records: list[Record]) -> list[Outcome]:
    """Whether the greedy answer to each question is right."""
    return measure_answers(scorer, records, [r["messages"] for r in records], is_right)


def measure_prompts(scorer: LikelihoodModel, records: list[Record]) -> list[Outcome]:
    """Whether the greedy answer to each prompt of reinforcement learning is accepted."""
    return measure_answers(scorer, records, [with_tools(r) for r in records], is_accepted)


def is_accepted(record: Record, answer: str) -> bool:
    """Whether an answer holds one of the record's "answers"."""
    return contains(answer, record) == 1


def measure_answers(
    scorer: LikelihoodModel,
    records: list[Record],
    conversations: Sequence[Conversation | Sequence[Message]],
    is_right: Callable[[Record, str], bool],
) -> list[Outcome]:
    """Whether the greedy answer to each conversation is right, and ended by itself."""
    given = measured_answers(scorer, conversations)
    outcomes = []
    found = map(as_conversation, conversations)
    for record, conversation, (text, ended) in zip(records, found, given, strict=True):
        asked = conversation.messages[-1]["content"]
        group = str(record.get("category") or script_of(asked))
        right = float(ended and is_right(record, text))
        outcomes.append(Outcome(group, right, asked=asked, said=text))
    return outcomes


def report(answers: Sequence[Answer]) -> dict[str, Any]:
    """Shares of right answers: over all, by category and language, and of answers that ended."""
    by_cell: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for answer in answers:
        by_cell[answer.category][answer.language].append(answer.right)
    return {
        "questions": len(answers),
        "right": sum(answer.right for answer in answers) / len(answers),
        "ended": sum(answer.ended for answer in answers) / len(answers),
        "by_category": {
            category: {language: sum(cell) / len(cell) for language, cell in cells.items()}
            for category, cells in by_cell.items()
        },
    }


def table(result: dict[str, Any]) -> str:
    """A report as a table for the terminal."""
    languages = sorted({lang for cells in result["by_category"].values() for lang in cells})
    lines = ["category      " + "".join(f"{language:>8}" for language in languages)]
    for category, cells in result["by_category"].items():
        shares = "".join(
            f"{cells[language]:8.0%}" if language in cells else " " * 8 for language in languages
        )
        lines.append(f"{category:<14}{shares}")
    lines.append(
        f"right {result['right']:.1%} of {result['questions']} questions; "
        f"{result['ended']:.1%} of the answers ended by themselves"
    )
    return "\n".join(lines)


def measure_repetition(scorer: LikelihoodModel, records: list[Record]) -> list[Outcome]:
    """The share of 4-grams of tokens that a free continuation had written before."""
    return [
        Outcome(language, len(grams) - len(set(grams)), len(grams))
        for language, grams in ngrams(scorer, records, 4)
    ]


def measure_distinct(scorer: LikelihoodModel, records: list[Record]) -> list[Outcome]:
    """The share of different ones among the pairs of tokens of each free continuation (distinct-2,
    arXiv 1510.03055)."""
    return [
        Outcome(language, len(set(pairs)), len(pairs))
        for language, pairs in ngrams(scorer, records, 2)
    ]


def ngrams(
    scorer: LikelihoodModel, records: list[Record], size: int
) -> Iterator[tuple[str, list[tuple[int, ...]]]]:
    """The language of each record, and the n-grams of its continuation."""
    for record, ids in zip(records, continuations(scorer, records), strict=True):
        yield str(record.get("lang", "")), list(zip(*(ids[n:] for n in range(size)), strict=False))


def continuations(scorer: LikelihoodModel, records: list[Record]) -> list[list[int]]:
    """What the model writes to each prompt, with the sampling of a chat and fixed seeds."""
    texts = tuple(record["prompt"] for record in records)
    if texts not in scorer.written:
        sampling = SamplingConfig(max_tokens=CONTINUATION_TOKENS, seed=1)
        room = scorer.context - CONTINUATION_TOKENS
        prompts = [question_prompt(scorer, text)[-room:] for text in texts]
        stops = scorer.tokenizer.end_ids(scorer.is_chat)
        made = generate_batch(
            scorer.model, prompts, sampling, stops, native=scorer.native, stopped=scorer.stopped
        )
        if len(made) < len(prompts):
            raise Stopped
        scorer.written[texts] = [generation.ids for generation in made]
    return scorer.written[texts]

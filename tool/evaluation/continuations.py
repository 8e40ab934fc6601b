"""Measures of what a model writes freely."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

from config import SamplingConfig
from inference.engine.batch import generate_batch
from tool.evaluation.candidates import question_prompt
from tool.evaluation.scoring import Judge, Outcome

CONTINUATION_TOKENS = 100


def measure_repetition(judge: Judge, path: Path, records: list[dict[str, Any]]) -> list[Outcome]:
    """The share of 4-grams of tokens that a free continuation had written before."""
    outcomes = []
    for record, ids in zip(records, continuations(judge, path, records), strict=True):
        grams = list(zip(*(ids[n:] for n in range(4)), strict=False))
        repeated = len(grams) - len(set(grams))
        outcomes.append(Outcome(str(record.get("lang", "")), repeated, len(grams)))
    return outcomes


def measure_distinct(judge: Judge, path: Path, records: list[dict[str, Any]]) -> list[Outcome]:
    """The share of different ones among the pairs of tokens of each free continuation (distinct-2,
    arXiv 1510.03055)."""
    outcomes = []
    for record, ids in zip(records, continuations(judge, path, records), strict=True):
        pairs = list(pairwise(ids))
        outcomes.append(Outcome(str(record.get("lang", "")), len(set(pairs)), len(pairs)))
    return outcomes


def continuations(judge: Judge, path: Path, records: list[dict[str, Any]]) -> list[list[int]]:
    """What the model writes to each prompt, with the sampling of a chat and fixed seeds."""
    if path not in judge.written:
        sampling = SamplingConfig(max_tokens=CONTINUATION_TOKENS, seed=1)
        room = judge.context - CONTINUATION_TOKENS
        prompts = [question_prompt(judge, record["prompt"])[-room:] for record in records]
        stops = judge.tokenizer.end_ids(judge.is_chat)
        made = generate_batch(judge.model, prompts, sampling, stops)
        judge.written[path] = [generation.ids for generation in made]
    return judge.written[path]

"""The files of the sample, made from one seed, and how much of everything they hold."""

from __future__ import annotations

import json
import random
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from config import UserError
from data_process.sample.conversations import CATEGORIES, ConversationWriter, make_records
from data_process.sample.evaluation import make_evaluation
from data_process.sample.messages import make_messages
from data_process.sample.pretraining import KINDS, make_texts
from data_process.sample.questions import Holdout, make_holdout
from data_process.sample.reinforcement import PromptWriter
from data_process.sample.tasks import HeldNumbers
from data_process.sample.templates import AMOUNTS, LANGUAGES, Row, TextFile
from data_process.sample.tool_use import (
    TOOL_CATEGORIES,
    ToolQuestionWriter,
    ToolTextWriter,
    ToolWriter,
    all_tools,
)

PRETRAIN_FILE = Path("pretrain", "pretrain_sample.jsonl")
SFT_FILE = Path("sft", "sft_sample.jsonl")
RL_FILE = Path("rl", "rl_sample.jsonl")
EVAL_FILE = Path("eval", "eval_sample.jsonl")
TOOL_TEXT_FILE, TOOL_SFT_FILE, TOOL_EVAL_FILE = (
    Path(folder, "tools_sample.jsonl") for folder in ("pretrain", "sft", "eval")
)
TOOLS_FILE = Path("tools.json")
TOOL_COLUMNS = ("category", "training", "texts", "held_out")


@dataclass(frozen=True)
class Amounts:
    """How many records of each kind the sample holds; all but the first are for each language."""

    texts: dict[str, dict[str, int]]  # kind -> language -> texts of the pretraining file
    conversations: dict[str, int]  # category -> conversations of the SFT file
    prompts: dict[str, int]  # category -> prompts of the RL file
    questions: dict[str, int]  # category -> held-out questions of the eval file
    tools: dict[str, dict[str, int]]  # texts, training, held_out -> category -> of the tools' files


def read_amounts(size: float = 1.0, path: Path = AMOUNTS) -> Amounts:
    """The amounts that stand in texts/amounts.txt, with `size` times the training records (at
    least one of each kind).

    Raises:
        UserError: a table is malformed; the line is named.
    """
    file = TextFile(path)
    texts = by_name(file.table("texts", "kind", *LANGUAGES), "kind", KINDS)
    columns = ("category", "training", "rl", "held_out")
    chats = by_name(file.table("conversations", *columns), "category", CATEGORIES)

    uses = by_name(file.table("tools", *TOOL_COLUMNS), "category", TOOL_CATEGORIES)

    def scaled(row: Row, column: str) -> int:
        return max(1, round(row.count(column) * size))

    return Amounts(
        texts={n: {code: scaled(row, code) for code in LANGUAGES} for n, row in texts.items()},
        conversations={name: scaled(row, "training") for name, row in chats.items()},
        prompts={name: scaled(row, "rl") for name, row in chats.items() if row.count("rl")},
        questions={name: row.count("held_out") for name, row in chats.items()},
        tools={
            column: {
                name: row.count(column) if column == "held_out" else scaled(row, column)
                for name, row in uses.items()
                if row.count(column)
            }
            for column in TOOL_COLUMNS[1:]
        },
    )


def by_name(rows: list[Row], column: str, known: Collection[str]) -> dict[str, Row]:
    """The rows by a column, each of whose values must be a known one."""
    names = ", ".join(known)
    for row in rows:
        if row[column] not in known:
            raise UserError(f"{row.place}: {row[column]} is not a {column}: use one of {names}")
    return {row[column]: row for row in rows}


def build_sample(amounts: Amounts, seed: int) -> dict[Path, list[dict[str, Any]]]:
    """Records by relative path. Each part has its own generator, so that a change of one amount
    leaves the split and the other files as they are."""
    holdout = make_holdout(random.Random(f"split {seed}"))
    texts = make_texts(holdout, amounts.texts, random.Random(f"pretrain {seed}"))
    pretrain = [{"text": text} for text in texts]
    rng = random.Random(f"sft {seed}")
    sft = make_records(ConversationWriter, holdout, amounts.conversations, rng)
    training_text = "\n".join(texts + [m["content"] for c in sft for m in c["conversations"]])
    rng = random.Random(f"eval {seed}")
    evaluation = make_evaluation(holdout, amounts.questions, training_text, rng)
    rng = random.Random(f"rl {seed}")
    prompts = make_records(PromptWriter, holdout, amounts.prompts, rng)
    files = {PRETRAIN_FILE: pretrain, SFT_FILE: sft, RL_FILE: prompts, EVAL_FILE: evaluation}
    return files | build_tool_use(amounts.tools, holdout, seed) | make_messages()


def build_tool_use(
    amounts: dict[str, dict[str, int]], holdout: Holdout, seed: int
) -> dict[Path, list[dict[str, Any]]]:
    """The records with tools, by relative path."""
    held = HeldNumbers.drawn(random.Random(f"tools split {seed}"))
    files = {}
    for path, column, kind in (
        (TOOL_TEXT_FILE, "texts", ToolTextWriter),
        (TOOL_SFT_FILE, "training", ToolWriter),
        (TOOL_EVAL_FILE, "held_out", ToolQuestionWriter),
    ):
        rng = random.Random(f"tools {column} {seed}")
        files[path] = make_records(partial(kind, held=held), holdout, amounts[column], rng)
    return {**files, TOOLS_FILE: all_tools()}


def to_bytes(path: Path, records: list[dict[str, Any]]) -> bytes:
    """The content of a file of the sample."""
    if path.suffix == ".json":
        return (json.dumps(records, ensure_ascii=False, indent=2) + "\n").encode("utf-8")
    return to_jsonl(records)


def to_jsonl(records: list[dict[str, Any]]) -> bytes:
    """One record a line, UTF-8, lines ended by a newline on every system."""
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    return "".join(lines).encode("utf-8")


def is_written(path: Path, content: bytes, overwrite: bool) -> bool:
    """Whether `path` holds this very content already.

    Raises:
        UserError: it holds another one, and `overwrite` is off.
    """
    if path.is_file() and path.read_bytes() == content:
        return True
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists with other content: move it away, or pass --overwrite")
    return False

"""Messages and the JSON that each is to become: 200 to fine-tune a real model on, 100 held out.

Written by hand, line by line; names and nearly all items of the held-out ones are not in the
others. The same whatever the seed is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data_process.sample import templates
from data_process.sample.templates import Row, TextFile

TRAINING_FILE = Path("sft", "messages_sample.jsonl")
HELD_OUT_FILE = Path("eval", "messages_sample.jsonl")
FIELDS = ("kind", "name", "item", "quantity", "day", "time")


def make_messages() -> dict[Path, list[dict[str, Any]]]:
    """Conversations to train on, and prompts with the JSON object that the answer must be.

    Raises:
        UserError: the file is malformed; the line is named.
    """
    file = TextFile(templates.TEXTS / "messages.txt")
    instruction, columns = file.one("instruction").text, (*FIELDS, "message")

    def turns(row: Row) -> list[dict[str, str]]:
        texts = {"system": instruction, "user": row["message"]}
        return [{"role": role, "content": text} for role, text in texts.items()]

    training = [
        {"conversations": [*turns(row), {"role": "assistant", "content": answer_of(row)}]}
        for row in file.table("training", *columns)
    ]
    held_out = [
        {"category": row["kind"], "conversations": turns(row), "json": fields_of(row)}
        for row in file.table("held out", *columns)
    ]
    return {TRAINING_FILE: training, HELD_OUT_FILE: held_out}


def fields_of(row: Row) -> dict[str, str | int | None]:
    """The object that a message is to become; None: the message does not say it."""
    fields: dict[str, str | int | None] = {name: row[name] or None for name in FIELDS}
    return fields | {"quantity": row.count("quantity") if row["quantity"] else None}


def answer_of(row: Row) -> str:
    """The same as the text that is trained."""
    return json.dumps(fields_of(row), ensure_ascii=False)

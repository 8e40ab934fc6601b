"""Recognising data that is written as others do where ours is expected, and saying what helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_process.records.formats import ANSWERS, FORMATS, QUESTIONS, TEXTS, TURNS, formats_of
from data_process.records.kinds import kind_of, type_name

LOOKED_AT = 100
"""First records of each file, by which it is decided what all are."""
NEEDED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("alpaca", ("instruction", "output")),
    ("alpaca", ("instruction", "response")),
    *(("question", (q, a)) for q in QUESTIONS for a in ANSWERS),
    *(("conversations", (name,)) for name in TURNS[:3]),
    *(("text", (name,)) for name in TEXTS),
)
"""Keys by which a record is known, whatever stands under them."""


def mistyped(record: dict[str, Any]) -> str | None:
    """Which key of a record that is nearly of a known format does not hold what it should."""
    for name, keys in NEEDED:
        right = list if name == "conversations" else str
        wrong = [key for key in keys if not isinstance(record.get(key), right)]
        if all(key in record for key in keys) and wrong:
            what = "a list of messages" if right is list else "a text"
            value = record[wrong[0]]
            return f'nearly {name}, but "{wrong[0]}" is {type_name(value)}, and must be {what}'
    lists = [k for k, v in record.items() if isinstance(v, list) and len(v) > 1]
    held = [key for key in lists if all(isinstance(item, dict) for item in record[key])]
    if held and not formats_of(record):
        return (
            f'the key "{held[0]}" holds {len(record[held[0]]):,} objects: if they are the records, '
            f"write each in a line of its own, such as by jq -c '.[\"{held[0]}\"][]' FILE"
        )
    return None


def advice(record: dict[str, Any], path: str, to_preference: bool = False) -> str | None:
    """How to convert the file of a record that is written as others do, to preferences where these
    are wanted; None for ours, and for what is not known, or cannot become what is wanted."""
    if kind_of(record) != "any":
        return None
    names = formats_of(record)
    if len(names) != 1:
        return mistyped(record)
    if to_preference and names[0] != "preference":
        return None
    folder, flag = "pretrain" if names[0] == "text" else "sft", ""
    if to_preference:
        folder, flag = "preference", " --to preference"
    stem = Path(path).name.split(".")[0]
    output = f"training_data/{folder}/{stem}.jsonl"
    if Path(path).as_posix().endswith(output):
        output = f"training_data/{folder}/{stem}_converted.jsonl"
    return (
        f"this is {names[0]}, {FORMATS[names[0]].example}; convert it: python "
        f"data_process/process_jsonl.py convert {path}{flag} --output {output}"
    )

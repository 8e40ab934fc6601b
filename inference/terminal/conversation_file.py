"""Conversations in files: JSON in the form of the training data, as the web page exports them too.

{"conversations": [{"role": "user", "content": "..."}, {"role": "assistant", "content": ...}]}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from config import UserError
from model.chat import Message, check_messages


def save_conversation(path: Path, messages: Sequence[Message]) -> None:
    """Writes a conversation to a file that is not there yet, or was written by this before.

    Raises:
        UserError: it cannot be written.
    """
    text = json.dumps({"conversations": list(messages)}, ensure_ascii=False, indent=2)
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise UserError(f"{path}: it cannot be written ({error.strerror})") from error


def load_conversation(path: Path) -> list[Message]:
    """Reads a conversation: maybe a system turn, then exchanges; a question without an answer at
    the end is left out.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: it cannot be read ({error.strerror})") from error
    except ValueError as error:  # not UTF-8, not JSON
        raise UserError(f"{path}: this is no conversation in JSON ({error})") from error
    messages = content.get("conversations") if isinstance(content, dict) else None
    if problem := check_messages(messages):
        raise UserError(f"{path}: {problem}")
    found: list[Message] = [
        {"role": message["role"], "content": message["content"]} for message in messages or []
    ]
    return found[:-1] if found[-1]["role"] == "user" else found

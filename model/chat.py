"""The chat format, ChatML, in the one place where it is made.

    <|im_start|>system\nYou are
    kind.<|im_end|>\n<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\nHi!<|im_end|>\n

`render_batch` makes token ids and the mask of trained tokens in one pass; `render_prompt` makes the
ids that an answer continues. Contents are trimmed of white space at both ends (so that a token can
never span the line break before them, and the Jinja template in `model/tokenizer.py` gives the same
ids) and encoded with control tokens switched off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypedDict

from config import UserError
from model.tokenizer import EtudeTokenizer

ROLES = ("system", "user", "assistant")


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


def check_messages(messages: object) -> str | None:
    """What is wrong with a conversation first, or None; see `message_problems`."""
    return next(message_problems(messages), None)


def message_problems(messages: object) -> Iterator[str]:
    """Everything that is wrong with a conversation: a system turn may come first, then user and
    assistant alternate."""
    if not isinstance(messages, list) or not messages:
        yield "a conversation must be a non-empty list of messages"
        return
    expected = "user"
    for position, message in enumerate(messages):
        where = f"message {position + 1}"
        if not isinstance(message, dict):
            yield f"{where} must be an object with role and content, not {type(message).__name__}"
            continue
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            yield f"{where} has the role {role!r:.40}: use system, user or assistant"
            continue
        if not isinstance(content, str):
            yield f"{where} needs a content that is text, not {type(content).__name__}"
        elif not content.strip():
            yield f"{where} has an empty content"
        if role == "system" and position == 0:
            continue
        if role != expected:
            yield (
                f"{where} has the role {role}, but {expected} is due: user and assistant alternate"
            )
        expected = "assistant" if role == "user" else "user"


def render_batch(
    tokenizer: EtudeTokenizer, conversations: Sequence[Sequence[Message]]
) -> list[tuple[list[int], list[bool]]]:
    """Ids of conversations and the masks of their trained tokens.

    Trained are an assistant's content and its end-of-turn token.

    Raises:
        UserError: a conversation is malformed.
    """
    for messages in conversations:
        if problem := check_messages(list(messages)):
            raise UserError(problem)
    contents = [m["content"].strip() for messages in conversations for m in messages]
    encoded = iter(tokenizer.encode_batch(contents))
    heads = {role: [tokenizer.im_start_id, *tokenizer.encode(f"{role}\n")] for role in ROLES}
    line_break = tokenizer.encode("\n")
    rendered = []
    for messages in conversations:
        ids: list[int] = []
        mask: list[bool] = []
        for message in messages:
            head, body = heads[message["role"]], [*next(encoded), tokenizer.im_end_id]
            ids += head + body + line_break
            mask += [False] * len(head)
            mask += [message["role"] == "assistant"] * len(body)
            mask += [False] * len(line_break)
        rendered.append((ids, mask))
    return rendered


def render(tokenizer: EtudeTokenizer, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
    """Ids of one conversation and the mask of its trained tokens; see `render_batch`."""
    return render_batch(tokenizer, [messages])[0]


def render_prompt(tokenizer: EtudeTokenizer, messages: Sequence[Message]) -> list[int]:
    """Ids of a conversation that ends with a user's turn, up to where the assistant's answer
    begins.

    Raises:
        UserError: the conversation is malformed, or does not end with a user's turn.
    """
    ids, _ = render(tokenizer, messages)
    if messages[-1]["role"] != "user":
        raise UserError(
            "there is nothing to answer: the conversation must end with a user's message"
        )
    return [*ids, tokenizer.im_start_id, *tokenizer.encode("assistant\n")]


def fit_turns(
    render: Callable[[Sequence[Message]], list[int]], messages: Sequence[Message], max_tokens: int
) -> tuple[list[int], int]:
    """The prompt of a conversation that may be too long: the oldest exchanges go first, a system
    turn stays.

    Args:
        render: makes the prompt ids of a conversation.
        messages: a conversation that ends with a user's turn.
        max_tokens: the most tokens the prompt may have.

    Returns:
        The ids of the prompt and the number of messages left out.

    Raises:
        UserError: the last user's turn alone does not fit.
    """
    system = [m for m in messages[:1] if m["role"] == "system"]
    turns = list(messages[len(system) :])
    dropped = 0
    while True:
        ids = render([*system, *turns[dropped:]])
        if len(ids) <= max_tokens:
            return ids, dropped
        if len(turns) - dropped < 2:
            raise UserError(
                f"the message has {len(ids)} tokens with its frame, but only {max_tokens} fit: "
                "shorten it"
            )
        dropped += 2

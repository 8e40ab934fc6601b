"""The chat format, ChatML, in the one place where it is made.

    <|im_start|>system\nYou are
    kind.<|im_end|>\n<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\nHi!<|im_end|>\n

`render_batch` makes token ids and the mask of trained tokens in one pass; `render_prompt` makes the
ids that an answer continues. Contents are trimmed of white space at both ends (so that a token can
never span the line break before them, and the Jinja template in `model/tokenizer.py` gives the same
ids) and encoded with control tokens switched off.

What is trained must be well formed (`message_problems`). What clients send as a conversation often
is not: `merge_turns` makes of it what the model has learned to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypedDict

from config import TrainOnName, UserError
from model.tokenizer import EtudeTokenizer

ROLES = ("system", "user", "assistant")


class MessageOptions(TypedDict, total=False):
    """What a turn may have."""

    weight: int
    """0: an assistant's turn that is not trained; 1, or left out: one that is."""


class Message(MessageOptions):
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
        weight = message.get("weight")
        if weight not in (None, 0, 1):
            yield f"{where} has the weight {weight!r:.40}: use 0 (not trained) or 1"
        elif weight and role != "assistant":
            yield f"{where} has the weight 1, but only the assistant's turns can be trained"
        if role == "system" and position == 0:
            continue
        if role != expected:
            yield (
                f"{where} has the role {role}, but {expected} is due: user and assistant alternate"
            )
        expected = "assistant" if role == "user" else "user"


def trained_turns(messages: Sequence[Message], train_on: TrainOnName = "all") -> list[bool]:
    """Which turns are trained: the assistant's, or its last one, but none of weight 0."""
    answers = [message["role"] == "assistant" for message in messages]
    if train_on == "last" and True in answers:
        last = len(answers) - 1 - answers[::-1].index(True)
        answers = [number == last for number in range(len(answers))]
    weights = [message.get("weight") for message in messages]
    return [answer and weight != 0 for answer, weight in zip(answers, weights, strict=True)]


def render_batch(
    tokenizer: EtudeTokenizer,
    conversations: Sequence[Sequence[Message]],
    train_on: TrainOnName = "all",
) -> list[tuple[list[int], list[bool]]]:
    """Ids of conversations and the masks of their trained tokens.

    Trained are the content and the end-of-turn token of `trained_turns`.

    Raises:
        UserError: a conversation is malformed.
    """
    for messages in conversations:
        if problem := check_messages(list(messages)):
            raise UserError(problem)
    return frame_batch(tokenizer, conversations, train_on)


def frame_batch(
    tokenizer: EtudeTokenizer,
    conversations: Sequence[Sequence[Message]],
    train_on: TrainOnName = "all",
) -> list[tuple[list[int], list[bool]]]:
    """The same as `render_batch`, whatever the order of the roles."""
    contents = [m["content"].strip() for messages in conversations for m in messages]
    encoded = iter(tokenizer.encode_batch(contents))
    heads = {role: [tokenizer.im_start_id, *tokenizer.encode(f"{role}\n")] for role in ROLES}
    line_break = tokenizer.encode("\n")
    rendered = []
    for messages in conversations:
        ids: list[int] = []
        mask: list[bool] = []
        for message, trained in zip(messages, trained_turns(messages, train_on), strict=True):
            head, body = heads[message["role"]], [*next(encoded), tokenizer.im_end_id]
            ids += head + body + line_break
            mask += [False] * len(head)
            mask += [trained] * len(body)
            mask += [False] * len(line_break)
        rendered.append((ids, mask))
    return rendered


def render(
    tokenizer: EtudeTokenizer, messages: Sequence[Message], train_on: TrainOnName = "all"
) -> tuple[list[int], list[bool]]:
    """Ids of one conversation and the mask of its trained tokens; see `render_batch`."""
    return render_batch(tokenizer, [messages], train_on)[0]


def merge_turns(messages: Sequence[Message]) -> list[Message]:
    """A conversation as the model has learned to read it, without a loss of text.

    Empty messages are left out; neighbours of one role become one turn, with an empty line between
    them, as on the web page. System messages at the beginning are the system turn; one that comes
    later is read at its place, as a part of the user's turn.
    """
    turns: list[Message] = []
    for message in messages:
        role, content = message["role"], message["content"]
        if not content.strip():
            continue
        if role == "system" and any(turn["role"] != "system" for turn in turns):
            role = "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += f"\n\n{content}"
        else:
            turns.append({"role": role, "content": content})
    return turns


def render_prompt(tokenizer: EtudeTokenizer, messages: Sequence[Message]) -> list[int]:
    """Ids of a conversation, merged by `merge_turns`, up to where the answer begins; where the last
    turn is the assistant's, that turn is what the answer continues.

    Raises:
        UserError: there is no text in it.
    """
    turns = merge_turns(messages)
    if not turns:
        raise UserError("there is nothing to answer: no message has a text")
    ids, _ = frame_batch(tokenizer, [turns])[0]
    if turns[-1]["role"] == "assistant":
        return ids[: len(ids) - len([tokenizer.im_end_id, *tokenizer.encode("\n")])]
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

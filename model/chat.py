"""Conversations: what is well formed, what of them is trained, and their token ids.

The chat template of the model says how they are written; `model/chat_renderer.py` makes tokens of
that, so that no content can forge a turn. `render_batch` gives the ids and the mask of trained
tokens; `render_prompt` the ids that an answer continues.

What is trained must be well formed (`message_problems`). What clients send as a conversation often
is not: `merge_turns` makes of it what the model has learned to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypedDict

from config import TrainOnName, UserError
from model.chat_renderer import renderer_of
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


class Rendering(NamedTuple):
    """A conversation as it is trained."""

    ids: list[int]
    mask: list[bool]
    """Where a token is trained."""
    answers: str
    """The contents that are trained, as they are rendered."""


def render_batch(
    tokenizer: EtudeTokenizer,
    conversations: Sequence[Sequence[Message]],
    train_on: TrainOnName = "all",
) -> list[Rendering]:
    """Conversations as ids, with the masks of their trained tokens: of `trained_turns` the content
    and the token that ends it.

    Raises:
        UserError: a conversation is malformed; UnfitConversation: the model's chat template refuses
            one, or nothing can be trained with it.
    """
    for messages in conversations:
        if problem := check_messages(list(messages)):
            raise UserError(problem)
    return frame_batch(tokenizer, conversations, train_on)


def frame_batch(
    tokenizer: EtudeTokenizer,
    conversations: Sequence[Sequence[Message]],
    train_on: TrainOnName = "all",
) -> list[Rendering]:
    """The same as `render_batch`, whatever the order of the roles."""
    results = []
    rendered = renderer_of(tokenizer).render_batch(conversations)
    for found, messages in zip(rendered, conversations, strict=True):
        trained = trained_turns(messages, train_on)
        mask = [owner >= 0 and trained[owner] for owner in found.owners]
        answers = "".join(text for text, on in zip(found.contents, trained, strict=True) if on)
        results.append(Rendering(found.ids, mask, answers))
    return results


def render(
    tokenizer: EtudeTokenizer, messages: Sequence[Message], train_on: TrainOnName = "all"
) -> tuple[list[int], list[bool]]:
    """Ids of one conversation and the mask of its trained tokens; see `render_batch`."""
    ids, mask, _ = render_batch(tokenizer, [messages], train_on)[0]
    return ids, mask


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
        UserError: there is no text in it, or the model's chat template refuses it.
    """
    turns = merge_turns(messages)
    if not turns:
        raise UserError("there is nothing to answer: no message has a text")
    return renderer_of(tokenizer).prompt_ids(turns)


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

"""Conversations: what is well formed, what of them is trained, and their token ids.

The chat template of the model says how they are written; `model/chat_renderer.py` makes tokens of
that, so that no content can forge a turn. `render_batch` gives the ids and the mask of trained
tokens; `render_prompt` the ids that an answer continues.

What is trained must be well formed (`message_problems`). What clients send as a conversation often
is not: `merge_turns` makes of it what the model has learned to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from config import TrainOnName, UserError
from model.chat_renderer import Rendered, renderer_of
from model.conversation import Conversation, Tool, arguments_of, as_conversation
from model.conversation import Message as Message  # also from here
from model.tokenizer import EtudeTokenizer

ROLES = ("system", "user", "assistant", "tool")


def check_messages(messages: object) -> str | None:
    """What is wrong with a conversation first, or None; see `message_problems`."""
    return next(message_problems(messages), None)


def message_problems(messages: object) -> Iterator[str]:
    """Everything that is wrong with a conversation: a system turn may come first, then user and
    assistant alternate; where an assistant calls tools, their results come before it goes on."""
    if not isinstance(messages, list) or not messages:
        yield "a conversation must be a non-empty list of messages"
        return
    expected: tuple[str, ...] = ("user",)
    for position, message in enumerate(messages):
        where = f"message {position + 1}"
        if not isinstance(message, dict):
            yield f"{where} must be an object with role and content, not {type(message).__name__}"
            continue
        role = message.get("role")
        if role not in ROLES:
            yield f"{where} has the role {role!r:.40}: use {', '.join(ROLES[:-1])} or {ROLES[-1]}"
            continue
        yield from (f"{where} {problem}" for problem in problems_of(message))
        if role == "system" and position == 0:
            continue
        if role not in expected:
            order = "user and assistant alternate"
            if "tool" in (role, expected[0]):
                order = "calls of tools are followed by their results"
            due = " or ".join(name for name in expected if name != "tool" or "user" not in expected)
            yield f"{where} has the role {role}, but {due} is due: {order}"
        expected = NEXT["call" if message.get("tool_calls") else role]


NEXT: dict[str, tuple[str, ...]] = {
    "user": ("assistant",),
    "system": ("user",),
    "assistant": ("user", "tool"),
    "call": ("tool",),
    "tool": ("assistant", "tool"),
}
"""The roles that may follow a turn; call: that of an assistant who calls tools. Some data has
results of calls that nobody made."""


def problems_of(message: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a message by itself, as the end of a sentence about it."""
    role, content = message["role"], message.get("content")
    calls, thoughts = message.get("tool_calls"), message.get("reasoning_content")
    if content is None and calls and role == "assistant":
        pass
    elif not isinstance(content, str):
        yield f"needs a content that is text, not {type(content).__name__}"
    elif not content.strip() and not calls and role != "tool":
        yield "has an empty content"
    weight = message.get("weight")
    if weight not in (None, 0, 1):
        yield f"has the weight {weight!r:.40}: use 0 (not trained) or 1"
    elif weight and role != "assistant":
        yield "has the weight 1, but only the assistant's turns can be trained"
    for key in ("tool_calls", "reasoning_content"):
        if message.get(key) and role != "assistant":
            yield f"has {key}, which only the assistant's turns can have"
    if not isinstance(thoughts, str | None):
        yield f"needs a reasoning_content that is text, not {type(thoughts).__name__}"
    yield from call_problems(calls)
    for key in ("tool_call_id", "name"):
        if not isinstance(message.get(key), str | None):
            yield f"needs a {key} that is text"


def call_problems(calls: object) -> Iterator[str]:
    """What is wrong with an assistant's calls of tools, as the end of a sentence about it."""
    if not isinstance(calls, list | None):
        yield "needs tool_calls that are a list"
        return
    for call in calls or []:
        found = call.get("function") if isinstance(call, dict) else None
        function = found if isinstance(found, dict) else {}
        name = function.get("name")
        if not (name and isinstance(name, str) and isinstance(call.get("id"), str | None)):
            yield f"has a call that is not {CALL_EXAMPLE}"
            continue
        try:
            arguments_of(function)
        except UserError as error:
            yield f"calls {name!r:.40}, but {error}"


CALL_EXAMPLE = '{"type": "function", "function": {"name": "...", "arguments": {...}}}'
TOOL_EXAMPLE = '{"type": "function", "function": {"name": "...", "parameters": {...}}}'


def tool_problems(tools: object) -> Iterator[str]:
    """Everything that is wrong with the tools of a conversation."""
    if not isinstance(tools, list):
        yield f"tools must be a list of {TOOL_EXAMPLE}, not {type(tools).__name__}"
        return
    for number, tool in enumerate(tools, 1):
        function = tool.get("function") if isinstance(tool, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or not name:
            yield f"tool {number} must be {TOOL_EXAMPLE}"


def trained_turns(messages: Sequence[Message], train_on: TrainOnName = "all") -> list[bool]:
    """Which turns are trained: the assistant's, or its last one, but none of weight 0."""
    answers = [message["role"] == "assistant" for message in messages]
    if train_on == "last" and True in answers:
        last = len(answers) - 1 - answers[::-1].index(True)
        answers = [number == last for number in range(len(answers))]
    weights = [message.get("weight") for message in messages]
    return [answer and weight != 0 for answer, weight in zip(answers, weights, strict=True)]


class Rendering(NamedTuple):
    """A conversation, or a beginning of it, as it is trained."""

    ids: list[int]
    mask: list[bool]
    """Where a token is trained."""
    answers: str
    """What is trained, without control tokens."""
    owners: list[int]
    """The message that each token belongs to, from 0; TEMPLATE: to none."""


def render_batch(
    tokenizer: EtudeTokenizer,
    conversations: Sequence[Conversation | Sequence[Message]],
    train_on: TrainOnName = "all",
) -> list[list[Rendering]]:
    """Conversations as ids, with the masks of their trained tokens: of `trained_turns` all that is
    generated, thoughts and calls of tools included, and the token that ends it.

    Each comes whole or, where the chat template changes earlier answers when later turns come, up
    to each of these too.

    Raises:
        UserError: a conversation is malformed; UnfitConversation: the model's chat template refuses
            one, or nothing can be trained with it.
    """
    refuse_malformed(conversations)
    return frame_batch(tokenizer, conversations, train_on)


def refuse_malformed(conversations: Sequence[Conversation | Sequence[Message]]) -> None:
    """Raises UserError for a conversation that is malformed."""
    for conversation in map(as_conversation, conversations):
        if problem := check_messages(list(conversation.messages)):
            raise UserError(problem)


def frame_batch(
    tokenizer: EtudeTokenizer,
    conversations: Sequence[Conversation | Sequence[Message]],
    train_on: TrainOnName = "all",
) -> list[list[Rendering]]:
    """The same as `render_batch`, whatever the order of the roles."""
    every = rendered_samples(tokenizer, conversations, train_on)
    return [
        [sample for sample in samples if True in sample.mask] or samples[:1] for samples in every
    ]


def rendered_samples(
    tokenizer: EtudeTokenizer,
    conversations: Sequence[Conversation | Sequence[Message]],
    train_on: TrainOnName,
) -> list[list[Rendering]]:
    """Of each conversation the whole, also where nothing is trained in it, and more samples."""
    given = [as_conversation(conversation) for conversation in conversations]
    trained = [trained_turns(conversation.messages, train_on) for conversation in given]
    return [
        [rendering_of(rendered) for rendered in samples]
        for samples in renderer_of(tokenizer).render_batch(given, trained)
    ]


def rendering_of(rendered: Rendered) -> Rendering:
    """A rendered sample with its mask."""
    draft = rendered.draft
    mask = [owner in draft.answers for owner in rendered.owners]
    return Rendering(rendered.ids, mask, draft.text, rendered.owners)


def render(
    tokenizer: EtudeTokenizer,
    conversation: Conversation | Sequence[Message],
    train_on: TrainOnName = "all",
) -> tuple[list[int], list[bool]]:
    """Ids of one whole conversation and the mask of what is trained in it: not an answer that
    later turns have changed; see `render_batch`."""
    refuse_malformed([conversation])
    sample = rendered_samples(tokenizer, [conversation], train_on)[0][0]
    return sample.ids, sample.mask


def merge_turns(messages: Sequence[Message]) -> list[Message]:
    """A conversation as the model has learned to read it, without a loss of text.

    Empty messages are left out; neighbours of one role become one turn, with an empty line between
    them, as on the web page. System messages at the beginning are the system turn; one that comes
    later is read at its place, as a part of the user's turn. Calls of tools and their results stay
    as they are.
    """
    turns: list[Message] = []
    for given in messages:
        role, content = given["role"], given.get("content") or ""
        more = role == "tool" or any(given.get(k) for k in ("tool_calls", "reasoning_content"))
        if not content.strip() and not more:
            continue
        if role == "system" and any(turn["role"] != "system" for turn in turns):
            role = "user"
        alone = more or not turns or turns[-1]["role"] != role or "tool_calls" in turns[-1]
        if alone:
            turns.append({**given, "role": role, "content": content})
        else:
            turns[-1]["content"] += f"\n\n{content}"
    return turns


def render_prompt(
    tokenizer: EtudeTokenizer,
    messages: Sequence[Message],
    tools: Sequence[Tool] = (),
    options: Mapping[str, Any] = {},  # never changed
) -> list[int]:
    """Ids of a conversation, merged by `merge_turns`, up to where the answer begins; where the last
    turn is the assistant's, that turn is what the answer continues.

    Args:
        tokenizer: with its chat template.
        messages: the conversation.
        tools: what may be called.
        options: other variables of the template, such as enable_thinking.

    Raises:
        UserError: there is no text in it, or the model's chat template refuses it.
    """
    turns = merge_turns(messages)
    if not turns:
        raise UserError("there is nothing to answer: no message has a text")
    conversation = Conversation(turns, tools, tuple(options.items()))
    return renderer_of(tokenizer).prompt_ids(conversation)


def fit_turns(
    render: Callable[[Sequence[Message]], list[int]], messages: Sequence[Message], max_tokens: int
) -> tuple[list[int], int]:
    """The prompt of a conversation that may be too long: the oldest exchanges go first, a system
    turn stays.

    Args:
        render: makes the prompt ids of a conversation.
        messages: a conversation that ends with a user's turn, or the result of a tool.
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
        later = (n for n in range(dropped + 1, len(turns)) if turns[n]["role"] == "user")
        following = next(later, None)
        if following is None:
            raise UserError(
                f"the message has {len(ids)} tokens with its frame, but only {max_tokens} fit: "
                "shorten it"
            )
        dropped = following

"""Conversations become ids and a mask in one pass, and no text can forge a turn."""

from __future__ import annotations

import random
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError

from config import TrainOnName, UserError
from model.chat import (
    check_messages,
    fit_turns,
    merge_turns,
    render,
    render_batch,
    render_prompt,
)
from model.chat_template import IM_END, IM_START
from model.conversation import Message
from model.tokenizer import SPECIAL_TOKENS, EtudeTokenizer, tokenizer_config, tokenizer_json
from train.tokenizer.bpe import train_bpe

TOKENIZER = EtudeTokenizer(train_bpe(["system user assistant\nhello 你好"] * 3, 300))
SPACES = ["", " ", "\n", "\r\n", "\t", "\u3000", "\u00a0", "\u2028", "\x1c", "  \n\n "]
WORDS = [
    "hello",
    "你好，世界！",
    "👩\u200d👩\u200d👧",
    "1 + 1 = 2",
    "line one\n\nline two",
    "user\nassistant\n",
    "e\u0301",
    "{{ x }} {% y %} \\n",
    "don't",
]


def turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def conversation(generator: random.Random) -> list[Message]:
    """A random conversation whose contents begin and end with any white space."""
    roles = ["user", "assistant"] * 3
    roles = ["system"] * generator.randint(0, 1) + roles[: generator.randint(1, 6)]
    contents = [
        generator.choice(SPACES)
        + generator.choice(SPACES).join(generator.choices(WORDS, k=generator.randint(1, 3)))
        + generator.choice(SPACES)
        for _ in roles
    ]
    return [turn(role, content) for role, content in zip(roles, contents, strict=True)]


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
FORGERY = st.lists(
    st.sampled_from([*SPECIAL_TOKENS, "\n", "user", "assistant", " ", "x", "<|im_", "end|>"]),
    min_size=1,
).map("".join)
CONTENT = (ANY_TEXT | FORGERY).filter(lambda text: bool(text.strip()))


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    roles = ["user", "assistant"] * 2
    roles = ["system"] * draw(st.integers(0, 1)) + roles[: draw(st.integers(1, 4))]
    return [turn(role, draw(CONTENT)) for role in roles]


@settings(max_examples=200, deadline=None)
@given(conversations())
def test_user_text_cannot_forge_a_turn(messages: list[Message]) -> None:
    ids, _ = render(TOKENIZER, messages)
    marks = [token for token in ids if token < len(SPECIAL_TOKENS)]
    assert marks == [TOKENIZER.backend.token_to_id(IM_START), TOKENIZER.end_of_turn_id] * len(
        messages
    )


@settings(max_examples=200, deadline=None)
@given(conversations())
def test_what_is_trained_is_what_the_assistant_says_and_its_end(messages: list[Message]) -> None:
    ids, mask = render(TOKENIZER, messages)
    trained = [token for token, is_trained in zip(ids, mask, strict=True) if is_trained]
    said = [m["content"].strip() + IM_END for m in messages if m["role"] == "assistant"]
    assert TOKENIZER.decode(trained, skip_special_tokens=False) == "".join(said)


@settings(max_examples=200, deadline=None)
@given(conversations())
def test_a_conversation_reads_as_chatml(messages: list[Message]) -> None:
    text = "".join(f"<|im_start|>{m['role']}\n{m['content'].strip()}<|im_end|>\n" for m in messages)
    ids, _ = render(TOKENIZER, messages)
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == text


@settings(max_examples=100, deadline=None)
@given(conversations())
def test_a_prompt_is_how_the_longer_conversation_begins(messages: list[Message]) -> None:
    asked = messages if messages[-1]["role"] == "user" else [*messages, turn("user", "Why?")]
    prompt = render_prompt(TOKENIZER, asked)
    ids, mask = render(TOKENIZER, [*asked, turn("assistant", "Because.")])
    assert ids[: len(prompt)] == prompt
    assert mask[len(prompt)], "the first token that is generated is a trained one"
    assert not mask[len(prompt) - 1], "and the one before it is not"


@settings(max_examples=100, deadline=None)
@given(conversations())
def test_a_last_turn_of_the_assistant_is_continued(messages: list[Message]) -> None:
    begun = messages if messages[-1]["role"] == "assistant" else messages[:-1]
    if begun and begun[-1]["role"] == "assistant":
        prompt = render_prompt(TOKENIZER, begun)
        ids, mask = render(TOKENIZER, begun)
        assert ids[: len(prompt)] == prompt
        assert ids[len(prompt)] == TOKENIZER.end_of_turn_id, "what the model may say next"
        assert mask[len(prompt)]


def test_a_prompt_needs_a_text() -> None:
    for messages in ([], [turn("user", " \n"), turn("assistant", "")]):
        with pytest.raises(UserError, match="nothing to answer"):
            render_prompt(TOKENIZER, messages)


MERGED = [
    # (role, content) as sent; as merged
    ("s:a u:b", "s:a u:b"),
    ("s:a s:b u:c", "s:a/b u:c"),
    ("u:a u:b", "u:a/b"),
    ("u:a a: u:b", "u:a/b"),
    ("u:a a:b a:c u:d", "u:a a:b/c u:d"),
    ("a:a u:b", "a:a u:b"),
    ("s:a a:b u:c", "s:a a:b u:c"),
    ("u: s:a u:b", "s:a u:b"),
    ("s:a u:b s:c", "s:a u:b/c"),
    ("u:a s:b", "u:a/b"),
    ("u:a a:b s:c", "u:a a:b u:c"),
    ("s:a u:b a:c s:d u:e", "s:a u:b a:c u:d/e"),
    ("s: u:a a: ", "u:a"),
    ("s:a", "s:a"),
    ("u: a: s:", ""),
]


@pytest.mark.parametrize(("sent", "merged"), MERGED)
def test_turns_merge_without_a_loss(sent: str, merged: str) -> None:
    names = {"s": "system", "u": "user", "a": "assistant"}

    def read(turns: str) -> list[Message]:
        pairs = (one.split(":") for one in turns.split())
        return [turn(names[role], text.replace("/", "\n\n")) for role, text in pairs]

    messages = read(sent)
    assert merge_turns(messages) == read(merged)
    assert messages == read(sent), "what was given is as it was"
    assert merge_turns(read(merged)) == read(merged)


@settings(max_examples=100, deadline=None)
@given(conversations())
def test_a_wellformed_conversation_is_merged_to_itself(messages: list[Message]) -> None:
    assert merge_turns(messages) == messages


def test_many_conversations_at_once_are_rendered_as_one_by_one() -> None:
    generator = random.Random(2)
    many = [conversation(generator) for _ in range(50)]
    batch = [(ids, mask) for ((ids, mask, _, _),) in render_batch(TOKENIZER, many)]
    assert batch == [render(TOKENIZER, messages) for messages in many]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same tokenizer and template, read by transformers."""
    from transformers import AutoTokenizer

    directory: Path = tmp_path_factory.mktemp("tokenizer")
    (directory / "tokenizer.json").write_text(tokenizer_json(TOKENIZER), encoding="utf-8")
    (directory / "tokenizer_config.json").write_text(
        tokenizer_config(128, IM_END), encoding="utf-8"
    )
    return AutoTokenizer.from_pretrained(directory)


def test_the_template_gives_the_same_ids_through_transformers(theirs: Any) -> None:
    generator = random.Random(1)
    for _ in range(500):
        messages = conversation(generator)
        ids, _ = render(TOKENIZER, messages)
        assert theirs.apply_chat_template(messages, return_dict=False) == ids, messages
        if messages[-1]["role"] == "user":
            prompt = theirs.apply_chat_template(
                messages, add_generation_prompt=True, return_dict=False
            )
            assert prompt == render_prompt(TOKENIZER, messages), messages


def test_a_content_may_come_as_parts_of_text(theirs: Any) -> None:
    generator = random.Random(2)
    for _ in range(500):
        messages = conversation(generator)
        parted: list[Any] = [{**m, "content": in_parts(m["content"], generator)} for m in messages]
        ids, _ = render(TOKENIZER, messages)
        assert theirs.apply_chat_template(parted, return_dict=False) == ids, parted


def in_parts(text: str, generator: random.Random) -> list[dict[str, str]]:
    """A text cut into OpenAI's parts, some of them empty."""
    cuts = sorted(generator.choices(range(len(text) + 1), k=generator.randint(0, 3)))
    return [
        {"type": "text", "text": text[start:end]} for start, end in pairwise([0, *cuts, len(text)])
    ]


TEXT_PART = {"type": "text", "text": "Look:"}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user"},
        {"role": "user", "content": None},
        {"role": "user", "content": []},
        {"role": "user", "content": 3},
        {"role": "user", "content": True},
        {"role": "user", "content": TEXT_PART},
        {"role": "user", "content": [TEXT_PART, {"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "user", "content": [TEXT_PART, {"type": "image", "text": "a caption"}]},
        {"role": "user", "content": [{"type": "text"}]},
        {"role": "user", "content": [{"type": "text", "text": None}]},
        {"role": "user", "content": [{"type": "text", "text": ["x"]}]},
        {"role": "user", "content": ["Look", "here"]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "user<|im_end|>", "content": "x"},
        {"content": "x"},
    ],
)
def test_the_template_refuses_what_the_model_cannot_read(theirs: Any, message: Any) -> None:
    assert check_messages([message])
    with pytest.raises(TemplateError, match=r"^(a message|a part of a content) "):
        theirs.apply_chat_template([turn("user", "x"), message], return_dict=False)


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "non-empty list"),
        ("hello", "non-empty list"),
        (["hello"], "message 1 must be an object"),
        ([{"role": "bot", "content": "x"}], "message 1 has the role 'bot': use system, user"),
        ([{"role": "tool", "content": "x"}], "message 1 has the role tool, but user is due"),
        ([{"content": "x"}], "message 1 has the role None"),
        ([{"role": ["user"], "content": "x"}], "message 1 has the role"),
        ([turn("assistant", "x")], "message 1 has the role assistant, but user is due"),
        ([turn("system", "x"), turn("assistant", "x")], "message 2 has the role assistant"),
        ([turn("user", "x"), turn("user", "x")], "message 2 has the role user, but assistant"),
        ([turn("user", "x"), turn("system", "x")], "message 2 has the role system"),
        ([turn("user", " \n")], "message 1 has an empty content"),
        ([{"role": "user", "content": 3}], "message 1 needs a content that is text, not int"),
        ([{"role": "user"}], "message 1 needs a content that is text, not NoneType"),
    ],
)
def test_a_malformed_conversation_is_named(messages: Any, problem: str) -> None:
    assert problem in (check_messages(messages) or "")
    if messages:
        with pytest.raises(UserError):
            render(TOKENIZER, messages)


def test_a_wellformed_conversation_has_no_problem() -> None:
    assert check_messages([turn("user", "x"), turn("assistant", "y"), turn("user", "z")]) is None
    assert check_messages([turn("system", "s"), turn("user", "x")]) is None


RENDER = partial(render_prompt, TOKENIZER)
LONG = [
    turn("system", "Be kind."),
    turn("user", "first question"),
    turn("assistant", "first answer"),
    turn("user", "second question"),
    turn("assistant", "second answer"),
    turn("user", "third question"),
]


def test_a_conversation_that_fits_is_kept_whole() -> None:
    ids = render_prompt(TOKENIZER, LONG)
    assert fit_turns(RENDER, LONG, len(ids)) == (ids, 0)


def test_the_oldest_exchanges_go_first_and_the_system_turn_stays() -> None:
    lengths = [len(render_prompt(TOKENIZER, [LONG[0], *LONG[1 + n :]])) for n in (0, 2, 4)]
    for (longer, shorter), dropped in zip(pairwise(lengths), (2, 4), strict=True):
        kept = render_prompt(TOKENIZER, [LONG[0], *LONG[1 + dropped :]])
        assert fit_turns(RENDER, LONG, longer - 1) == (kept, dropped)
        assert fit_turns(RENDER, LONG, shorter) == (kept, dropped)


def test_a_message_too_long_by_itself_is_refused_with_its_size() -> None:
    least = len(render_prompt(TOKENIZER, [LONG[0], LONG[-1]]))
    with pytest.raises(UserError, match=f"has {least} tokens .* only {least - 1} fit: shorten it"):
        fit_turns(RENDER, LONG, least - 1)


def trained_text(messages: list[Message], train_on: TrainOnName = "all") -> str:
    """What is trained of a conversation, as text."""
    ids, mask = render(TOKENIZER, messages, train_on)
    trained = [token for token, on in zip(ids, mask, strict=True) if on]
    return TOKENIZER.decode(trained, skip_special_tokens=False)


WEIGHED: list[Message] = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "b", "weight": 0},
    {"role": "user", "content": "c", "weight": 0},
    {"role": "assistant", "content": "d", "weight": 1},
    {"role": "user", "content": "e"},
    {"role": "assistant", "content": "f"},
]


def test_a_turn_of_weight_0_is_read_and_not_trained() -> None:
    assert trained_text(WEIGHED) == f"d{IM_END}f{IM_END}"
    plain = [turn(m["role"], m["content"]) for m in WEIGHED]
    assert render(TOKENIZER, WEIGHED)[0] == render(TOKENIZER, plain)[0]
    assert trained_text(plain) == f"b{IM_END}d{IM_END}f{IM_END}"


def test_only_the_last_answer_is_trained_when_asked_and_weight_0_stays_0() -> None:
    assert trained_text(WEIGHED, "last") == f"f{IM_END}"
    assert trained_text(WEIGHED[:5], "last") == f"d{IM_END}"
    assert trained_text(WEIGHED[:2], "last") == ""
    assert trained_text([turn("user", "a")], "last") == ""


@pytest.mark.parametrize(
    "wrong",
    [
        ("assistant", 0.5, "message 2 has the weight 0.5"),
        ("assistant", "0", "message 2 has the weight '0'"),
        ("assistant", -1, "message 2 has the weight -1"),
        ("user", 1, "message 1 has the weight 1, but only the assistant"),
    ],
)
def test_a_weight_that_cannot_be_honoured_is_named(wrong: tuple[str, Any, str]) -> None:
    role, weight, sentence = wrong
    messages: list[dict[str, Any]] = [dict(turn("user", "a")), dict(turn("assistant", "b"))]
    messages[role == "assistant"]["weight"] = weight
    assert sentence in str(check_messages(messages))
    messages[role == "assistant"]["weight"] = None  # as if it were not there
    assert check_messages(messages) is None

"""Calls of tools, their results and thoughts, by any chat template: transformers' ids, the right
mask, and no way to forge a token."""

from __future__ import annotations

import dataclasses
import datetime
import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from config import UserError
from model.answer_parts import AnswerParser, call_form, has_thoughts
from model.chat import check_messages, render, render_batch, render_prompt
from model.chat_template import CHAT_TEMPLATE
from model.conversation import Conversation, template_turns
from model.tokenizer import EtudeTokenizer
from tests.model.templates import CHATML_TOKENS, KINDS, Kind, chatml, save_tokenizer

ENDS = ("<|endoftext|>", "<|im_end|>", "<|im_end|>")
MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
EVERY = {
    "etude": Kind(CHAT_TEMPLATE, CHATML_TOKENS, *ENDS, trims=True),
    "etude with added tokens": Kind(CHAT_TEMPLATE, CHATML_TOKENS, *ENDS, plain=MARKS, trims=True),
    **{name: KINDS[name] for name in ("qwen2.5", "qwen3", "llama3", "mistral")},
}
THINKING = [name for name in EVERY if name.startswith(("etude", "qwen3"))]
TEXTS = [
    "Hello!",
    "你好，世界！",
    'a "quoted"\nline',
    "3 + 8 = 11.",
    "\\n \t{{ x }}",
    "👩\u200d👧",
    ".",
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "calculate",
            "description": 'Works out "an expression".',
            "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}},
        },
    },
    {"type": "function", "function": {"name": "查询", "parameters": {}}},
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tokenizer of a kind, as Etude reads it and as transformers does, both of today."""

    @cache
    def read(name: str) -> tuple[EtudeTokenizer, Any]:
        directory = save_tokenizer(tmp_path_factory.mktemp("kind"), EVERY[name])
        tokenizer = EtudeTokenizer.load(directory)
        today = datetime.date.today().isoformat()
        dated = dataclasses.replace(tokenizer.chat_format, date=today)
        theirs = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        return EtudeTokenizer(tokenizer.backend, dated), theirs

    return read


def call_of(text: str, number: int = 0, as_text: bool = False) -> dict[str, Any]:
    arguments = {"expression": text, "n": number, "deep": [{"a": text, "b": None}]}
    given = json.dumps(arguments, ensure_ascii=False) if as_text else arguments
    return {"type": "function", "function": {"name": "calculate", "arguments": given}}


def conversation(generator: random.Random, name: str) -> Conversation:
    """A random conversation with calls and thoughts, as far as a kind knows them."""

    def text() -> str:
        return generator.choice(TEXTS)

    messages: list[Any] = [{"role": "system", "content": text()}] * generator.randint(0, 1)
    for n in range(generator.randint(1, 3)):
        # Mistral's template shows the tools before each turn that is equal to the last question.
        messages.append({"role": "user", "content": f"{text()} {n}"})
        for _ in range(generator.randint(0, 2)):
            count = 1 if name == "llama3" else generator.randint(1, 2)
            calls = [call_of(text(), n, generator.random() < 0.5) for n in range(count)]
            said = text() if generator.random() < 0.3 and name in THINKING else ""
            messages.append({"role": "assistant", "content": said, "tool_calls": calls})
            messages += [{"role": "tool", "content": text()} for _ in calls]
        messages.append({"role": "assistant", "content": text()})
    for message in messages:
        if message["role"] == "assistant" and name in THINKING and generator.random() < 0.5:
            message["reasoning_content"] = text()
    tools = TOOLS[: generator.randint(0, 2)]
    return Conversation(messages[: generator.randint(2, len(messages))], tools)


@pytest.mark.parametrize("name", EVERY)
def test_ids_are_those_of_transformers(name: str, pair: Any) -> None:
    tokenizer, theirs = pair(name)
    generator = random.Random(4)
    for _ in range(60):
        talk = conversation(generator, name)
        assert check_messages(talk.messages) is None
        turns: Any = template_turns(talk.messages)
        tools = talk.tools or None
        expected = theirs.apply_chat_template(turns, tools=tools, return_dict=False)
        assert render(tokenizer, talk)[0] == expected, talk
        if turns[-1]["role"] != "assistant":
            expected = theirs.apply_chat_template(
                turns, tools=tools, add_generation_prompt=True, return_dict=False
            )
            assert render_prompt(tokenizer, talk.messages, talk.tools) == expected, talk


@pytest.mark.parametrize("name", EVERY)
def test_each_answer_is_trained_as_it_is_generated(name: str, pair: Any) -> None:
    """Each answer's trained tokens are what the longer conversation has behind its prompt, and
    each is trained in exactly one sample."""
    tokenizer, _ = pair(name)
    generator = random.Random(5)
    for _ in range(40):
        talk = conversation(generator, name)
        answers = [n for n, m in enumerate(talk.messages) if m["role"] == "assistant"]
        found = []
        for sample in render_batch(tokenizer, [talk])[0]:
            for number in {o for o, on in zip(sample.owners, sample.mask, strict=True) if on}:
                prompt = render_prompt(tokenizer, talk.messages[:number], talk.tools)
                whole, _ = render(tokenizer, talk._replace(messages=talk.messages[: number + 1]))
                end = len(sample.ids) - sample.owners[::-1].index(number)
                assert sample.ids[:end] == whole[:end]
                assert sample.ids[: len(prompt)] == prompt
                assert sample.owners.index(number) == len(prompt)
                assert sample.ids[end - 1] == tokenizer.end_of_turn_id
                found.append(number)
        assert sorted(found) == answers


TALK: list[Any] = [
    {"role": "user", "content": "Q"},
    {"role": "assistant", "content": None, "tool_calls": [call_of("3")], "reasoning_content": "T"},
    {"role": "tool", "content": "R"},
    {"role": "assistant", "content": "A", "reasoning_content": "U"},
    {"role": "user", "content": "P"},
    {"role": "assistant", "content": "B"},
]
ARGUMENTS = '{"expression": "3", "n": 0, "deep": [{"a": "3", "b": null}]}'
HERMES = f'<tool_call>\n{{"name": "calculate", "arguments": {ARGUMENTS}}}\n</tool_call>'
TRAINED = {
    "etude": [
        f"<think>\nT\n</think>\n\n{HERMES}<|im_end|>",
        "<think>\nU\n</think>\n\nA<|im_end|>",
        "B<|im_end|>",
    ],
    "qwen3": [
        f"<think>\nT\n</think>\n\n{HERMES}<|im_end|>",
        "<think>\nU\n</think>\n\nA<|im_end|>",
        "<think>\n\n</think>\n\nB<|im_end|>",
    ],
    "qwen2.5": [f"{HERMES}<|im_end|>", "A<|im_end|>", "B<|im_end|>"],
    "llama3": [
        f'{{"name": "calculate", "parameters": {ARGUMENTS}}}<|eot_id|>',
        "A<|eot_id|>",
        "B<|eot_id|>",
    ],
    "mistral": [
        f'[TOOL_CALLS] [{{"name": "calculate", "arguments": {ARGUMENTS}, "id": "call00000"}}]</s>',
        " A</s>",
        " B</s>",
    ],
}
TRAINED["etude with added tokens"] = TRAINED["etude"]


@pytest.mark.parametrize("name", EVERY)
def test_calls_and_thoughts_are_trained_and_results_are_not(name: str, pair: Any) -> None:
    tokenizer, _ = pair(name)
    kept = {"role", "content", "tool_calls", *(["reasoning_content"] * (name in THINKING))}
    talk: list[Any] = [{key: value for key, value in m.items() if key in kept} for m in TALK]
    samples = render_batch(tokenizer, [Conversation(talk, TOOLS)])[0]
    found = []
    for sample in sorted(samples, key=lambda sample: sample.owners[sample.mask.index(True)]):
        on = [i for i, trained in zip(sample.ids, sample.mask, strict=True) if trained]
        found.append(tokenizer.decode(on, skip_special_tokens=False))
    assert "".join(found) == "".join(TRAINED[name])


@pytest.mark.parametrize("name", EVERY)
def test_what_is_trained_is_read_back_as_the_message_that_it_was(name: str, pair: Any) -> None:
    tokenizer, _ = pair(name)
    template = tokenizer.chat_format.template
    form, thinks = call_form(template), has_thoughts(template)
    for text, message in zip(TRAINED[name], (TALK[1], TALK[3], TALK[5]), strict=True):
        for token in EVERY[name].special:  # a decoder leaves them out
            text = text.replace(token, "")
        parser = AnswerParser(form, ["calculate"], thinks)
        parts = [part for c in text for part in parser.step(c)] + list(parser.finish())
        found = {
            kind: "".join(p.text for p in parts if p.kind == kind).strip()
            for kind in ("content", "reasoning_content")
        }
        assert found["content"] == (message["content"] or "")
        if thinks:
            assert found["reasoning_content"] == message.get("reasoning_content", "")
        calls = [(p.name, json.loads(p.text)) for p in parts if p.kind == "call"]
        made = [call["function"] for call in message.get("tool_calls", [])]
        assert calls == [(call["name"], call["arguments"]) for call in made]


def test_thoughts_that_a_template_drops_later_are_trained_in_samples_of_their_own(
    pair: Any,
) -> None:
    tokenizer, _ = pair("qwen3")
    samples = render_batch(tokenizer, [Conversation(TALK, TOOLS)])[0]
    texts = [tokenizer.decode(sample.ids, skip_special_tokens=False) for sample in samples]
    assert len(texts) == 2
    assert "U" not in texts[0]
    assert texts[0].endswith("</think>\n\nB<|im_end|>\n")
    assert texts[1].endswith("<think>\nU\n</think>\n\nA<|im_end|>\n")
    assert len(render_batch(tokenizer, [Conversation(TALK, TOOLS)], "last")[0]) == 1


@pytest.mark.parametrize("name", EVERY)
def test_nothing_of_a_conversation_can_forge_an_added_token(name: str, pair: Any) -> None:
    tokenizer, _ = pair(name)
    kind, generator = EVERY[name], random.Random(6)
    parts = [*kind.special, *kind.plain, *(n[:-1] for n in kind.special), "|>", ">", '"', "\n", "x"]

    def bad() -> str:
        return "x" + "".join(generator.choices(parts, k=4)) + "y"

    def filled(text: Any) -> Conversation:
        call = {"name": text(), "arguments": {text(): text(), "deep": [text(), {"n": text()}]}}
        messages: list[Any] = [
            {"role": "system", "content": text()},
            {"role": "user", "content": text()},
            {"role": "assistant", "content": "", "tool_calls": [{"function": call}]},
            {"role": "tool", "content": text()},
        ]
        if name in THINKING:
            messages[2]["reasoning_content"] = text()
        function = {"name": text(), "description": text(), "parameters": {text(): text()}}
        return Conversation(messages, [{"type": "function", "function": function}])

    def controls(ids: list[int]) -> list[int]:
        return [token for token in ids if token in tokenizer.control_ids]

    plain = filled(lambda: "x")
    expected = controls(render_prompt(tokenizer, plain.messages, plain.tools))
    trained = controls(render(tokenizer, plain)[0])
    for _ in range(50):
        talk = filled(bad)
        assert controls(render_prompt(tokenizer, talk.messages, talk.tools)) == expected, talk
        assert controls(render(tokenizer, talk)[0]) == trained, talk


def test_thinking_is_switched_off_by_the_templates_own_variable(pair: Any) -> None:
    tokenizer, theirs = pair("qwen3")
    messages: Any = [{"role": "user", "content": "Q"}]
    for enabled in (True, False):
        ids = render_prompt(tokenizer, messages, options={"enable_thinking": enabled})
        assert ids == theirs.apply_chat_template(
            messages, add_generation_prompt=True, enable_thinking=enabled, return_dict=False
        )
    assert tokenizer.decode(ids, skip_special_tokens=False).endswith("<think>\n\n</think>\n\n")


@pytest.mark.parametrize("name", ["etude", "etude with added tokens"])
def test_the_marks_in_etudes_template_give_transformers_our_mask(name: str, pair: Any) -> None:
    tokenizer, theirs = pair(name)
    generator = random.Random(7)
    for talk in [conversation(generator, name) for _ in range(60)]:
        for message in talk.messages:  # what later turns change is trained in other samples
            message.pop("reasoning_content", None)
        given: Any = template_turns(talk.messages)
        found = theirs.apply_chat_template(
            given, tools=talk.tools or None, return_dict=True, return_assistant_tokens_mask=True
        )
        ids, mask = render(tokenizer, talk)
        assert (found["input_ids"], found["assistant_masks"]) == (ids, list(map(int, mask)))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"reasoning_content": "T"}, "does not show the thoughts of message 2"),
        ({"tool_calls": [call_of("3")]}, "does not show the calls of message 2"),
        ({}, "does not show tools"),
    ],
)
def test_what_a_template_does_not_show_is_not_left_out_in_silence(
    change: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    kind = Kind(chatml("x"), CHATML_TOKENS, *ENDS)
    tokenizer = EtudeTokenizer.load(save_tokenizer(tmp_path, kind))
    messages: list[Any] = [
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": "A", **change},
    ]
    with pytest.raises(UserError, match=problem):
        render(tokenizer, Conversation(messages, () if change else TOOLS))

"""Any chat template gives transformers' ids, the right mask, and no way to forge a token."""

from __future__ import annotations

import dataclasses
import datetime
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from config import UserError
from model.chat import render, render_batch, render_prompt
from model.chat_renderer import UnfitConversation
from model.chat_template import ChatFormat
from model.conversation import Message
from model.tokenizer import EtudeTokenizer
from tests.model.templates import CHATML_TOKENS, KINDS, Kind, backend_of, chatml, save_tokenizer

Pair = tuple[EtudeTokenizer, Any]
CONTENTS = [
    "Hello!",
    "  what is it?\n",
    "\n\nline\n\nbreaks\r\n",
    "\n kept inside \n",
    "\u3000你好，世界！",
    "I don't know 3 + 8 = 11.",
    "user\nassistant\nsystem",
    "👩\u200d👩\u200d👧 e\u0301",
    "{{ x }} {% y %} \\n",
    "\ue0000\ue000",
    ".",
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """The tokenizer of a kind, as Etude reads it and as transformers does, both of today."""
    found: dict[str, Pair] = {}

    def read(name: str) -> Pair:
        if name not in found:
            directory = save_tokenizer(tmp_path_factory.mktemp(name), KINDS[name])
            tokenizer = EtudeTokenizer.load(directory)
            today = datetime.date.today().isoformat()
            dated = dataclasses.replace(tokenizer.chat_format, date=today)
            theirs = AutoTokenizer.from_pretrained(directory, local_files_only=True)
            found[name] = EtudeTokenizer(tokenizer.backend, dated), theirs
        return found[name]

    return read


def turns(*pairs: tuple[str, str]) -> list[Message]:
    return [{"role": role, "content": content} for role, content in pairs]


def conversation(generator: random.Random, system: bool = True) -> list[Message]:
    roles = (["user", "assistant"] * 3)[: generator.randint(1, 6)]
    if system and generator.random() < 0.5:
        roles = ["system", *roles]
    return [{"role": role, "content": generator.choice(CONTENTS)} for role in roles]


@pytest.mark.parametrize("name", KINDS)
def test_ids_are_those_of_transformers(name: str, pair: Callable[[str], Pair]) -> None:
    tokenizer, theirs = pair(name)
    generator = random.Random(1)
    for _ in range(150):
        messages: Any = conversation(generator, system=name != "gemma")
        expected = theirs.apply_chat_template(messages, return_dict=False)
        assert render(tokenizer, messages)[0] == expected, messages
        answered = messages[-1]["role"] == "assistant"
        way = {"continue_final_message": True} if answered else {"add_generation_prompt": True}
        expected = theirs.apply_chat_template(messages, return_dict=False, **way)
        assert render_prompt(tokenizer, messages) == expected, messages


MASKED = {
    "smollm2": ["A one<|im_end|>", " A two\n<|im_end|>"],
    "qwen2.5": ["A one<|im_end|>", " A two\n<|im_end|>"],
    "qwen3": [
        "<think>\n\n</think>\n\nA one<|im_end|>",
        "<think>\n\n</think>\n\n A two\n<|im_end|>",
    ],
    "llama3": ["A one<|eot_id|>", "A two<|eot_id|>"],
    "mistral": [" A one</s>", "  A two\n</s>"],
    "gemma": ["A one<end_of_turn>", "A two<end_of_turn>"],
    "phi3": ["A one<|end|>", "A two\n<|end|>"],
}


def trained(tokenizer: EtudeTokenizer, *what: Any) -> str:
    """What is trained of a conversation, over all its samples."""
    samples = render_batch(tokenizer, [what[0]], *what[1:])[0]
    return "".join(
        tokenizer.decode(
            [token for token, on in zip(sample.ids, sample.mask, strict=True) if on],
            skip_special_tokens=False,
        )
        for sample in sorted(samples, key=lambda sample: len(sample.ids))
    )


@pytest.mark.parametrize("name", KINDS)
def test_answers_and_what_ends_them_are_trained(name: str, pair: Callable[[str], Pair]) -> None:
    tokenizer, _ = pair(name)
    assert tokenizer.backend.id_to_token(tokenizer.end_of_turn_id) == KINDS[name].end
    messages = turns(
        ("user", "Q"), ("assistant", "A one"), ("user", "Q"), ("assistant", " A two\n")
    )

    one, two = MASKED[name]
    assert trained(tokenizer, messages) == one + two
    assert trained(tokenizer, messages, "last") == two
    messages[1]["weight"] = 0
    assert trained(tokenizer, messages) == two
    ids, mask = render(tokenizer, messages)
    prompt = render_prompt(tokenizer, messages[:3])
    assert ids[: len(prompt)] == prompt
    assert mask[len(prompt)], "the first token that is generated is a trained one"


@pytest.mark.parametrize("name", KINDS)
def test_no_added_token_can_be_forged(name: str, pair: Callable[[str], Pair]) -> None:
    tokenizer, _ = pair(name)
    kind, generator = KINDS[name], random.Random(2)
    names = [*kind.special, *kind.plain]
    parts = [
        *names,
        *(n[:-1] for n in names),
        *(n[1:] for n in names),
        "\n",
        "user",
        " ",
        "x",
        "中",
    ]

    def controls(ids: list[int]) -> list[int]:
        return [token for token in ids if token in tokenizer.control_ids]

    plain = turns(("user", "a"), ("assistant", "b"), ("user", "c"))
    expected = controls(render_prompt(tokenizer, plain))
    for _ in range(300):
        forged = ["".join(generator.choices(parts, k=generator.randint(1, 5))) for _ in plain]
        forged = [text if text.strip() else "x" for text in forged]
        messages = turns(*zip(("user", "assistant", "user"), forged, strict=True))
        assert controls(render_prompt(tokenizer, messages)) == expected, forged
        assert not controls(tokenizer.encode(forged[0]))
        if name != "qwen3":  # it looks into contents
            ids, _ = render(tokenizer, messages)
            assert controls(ids) == controls(render(tokenizer, plain)[0])


def test_what_a_template_looks_into_is_refused_for_training_and_still_serves(
    pair: Callable[[str], Pair],
) -> None:
    tokenizer, _ = pair("qwen3")
    thought = turns(("user", "Q"), ("assistant", "<think>\nhm\n</think>\n\nA"), ("user", "R"))
    good = turns(("user", "Q"), ("assistant", "A"))
    with pytest.raises(UnfitConversation, match="changes what is said here") as caught:
        render_batch(tokenizer, [good, thought])
    assert caught.value.number == 1
    text = tokenizer.decode(render_prompt(tokenizer, thought), skip_special_tokens=False)
    assert text.count("<think>\nhm\n</think>\n\nA<|im_end|>") == 1


def of_template(template: str, *tokens: str) -> EtudeTokenizer:
    kind = Kind(template, tokens or CHATML_TOKENS, "<|endoftext|>", "<|im_end|>", "<|im_end|>")
    names = (("bos_token", kind.bos), ("eos_token", kind.eos))
    return EtudeTokenizer(backend_of(kind), ChatFormat(template, names))


SHOUTING = chatml("x").replace("message['content']", "message['content']|upper")
QUOTED = chatml("x").replace("message['content']", "message['content']|tojson")
SILENT = chatml("x").replace(
    "{{'<|im_start|>'", "{% if message['role'] != 'user' %}{{'<|im_start|>'"
)
SILENT = SILENT.replace("{% endfor %}", "{% endif %}{% endfor %}")
OPEN = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (SHOUTING, "changes what is said here"),
        (QUOTED, "changes what is said here"),
        (SILENT, "does not show message 1 once"),
        (OPEN, "ends an answer without a control token"),
        (chatml("x").replace("message['content']", "'-'"), "does not show message 1 once"),
    ],
)
def test_a_template_without_a_mask_is_refused_for_training_and_still_serves(
    template: str, problem: str
) -> None:
    tokenizer = of_template(template)
    messages = turns(("user", 'Say "x\n'), ("assistant", "a\nb"))
    with pytest.raises(UserError, match=f"chat template {problem}.*nothing can be trained"):
        render(tokenizer, messages)
    assert render_prompt(tokenizer, messages[:1])


def test_escaped_contents_are_trained_where_nothing_is_escaped_and_served_anywhere() -> None:
    tokenizer = of_template(QUOTED)
    ids, mask = render(tokenizer, turns(("user", "Q"), ("assistant", "A")))
    trained = [token for token, on in zip(ids, mask, strict=True) if on]
    assert tokenizer.decode(trained, skip_special_tokens=False) == '"A"<|im_end|>'
    shown = tokenizer.decode(render_prompt(tokenizer, turns(("user", "a <|im_end|>\nb"))))
    assert '"a <|im_end|>\\nb"' in shown


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{{ raise_exception('no such role') }}", "refuses this: no such role"),
        ("{{ messages[7].content }}", "refuses this"),
        ("{% for %}", "not readable as Jinja"),
        ("{{ ''.__class__.__mro__ }}", "refuses this: access to attribute '__class__'"),
        ("{{ messages.append(1) }}", "refuses this: access to attribute 'append'"),
    ],
)
def test_what_a_template_refuses_is_said(template: str, sentence: str) -> None:
    tokenizer = of_template(template)
    for function in (render, render_prompt):
        with pytest.raises(UserError, match=f"chat template.* {sentence}"):
            function(tokenizer, turns(("user", "Q")))


def test_the_date_of_a_template_is_fixed() -> None:
    kind = KINDS["llama3"]
    names = (("bos_token", kind.bos), ("eos_token", kind.eos))
    chat_format = ChatFormat(kind.template, names, "2025-03-04")
    tokenizer = EtudeTokenizer(backend_of(kind), chat_format)
    shown = tokenizer.decode(render_prompt(tokenizer, turns(("user", "Q"))))
    assert "Today Date: 04 Mar 2025\n" in shown
    other = dataclasses.replace(chat_format, date="2025-03-05")
    assert other.fingerprint != chat_format.fingerprint


def test_a_merge_that_spells_a_control_token_gives_none(tmp_path: Path) -> None:
    vocab = {"<": 0, "a": 1, ">": 2, "<a": 3, "<a>": 4, "<|endoftext|>": 5}
    from tokenizers import AddedToken, models

    backend = Tokenizer(models.BPE(vocab, [("<", "a"), ("<a", ">")]))
    backend.add_special_tokens([AddedToken("<a>"), AddedToken("<|endoftext|>")])
    assert EtudeTokenizer(backend, ChatFormat("x")).encode("<a>") == [3, 2]


def reference(tokenizer: EtudeTokenizer, messages: list[Message]) -> tuple[list[int], list[bool]]:
    """Etude's own ChatML by hand."""
    ids: list[int] = []
    mask: list[bool] = []
    start, end = (tokenizer.backend.token_to_id(name) or -1 for name in CHATML_TOKENS[1:])
    for message in messages:
        head = [start, *tokenizer.encode(message["role"] + "\n")]
        body = [*tokenizer.encode(message["content"].strip()), end]
        ids += [*head, *body, *tokenizer.encode("\n")]
        mask += [False] * len(head) + [message["role"] == "assistant"] * len(body) + [False]
    return ids, mask


def test_etudes_own_template_gives_what_it_always_gave(tokenizer: EtudeTokenizer) -> None:
    generator = random.Random(3)
    for _ in range(1_000):
        messages = conversation(generator)
        ids, mask = reference(tokenizer, messages)
        assert render(tokenizer, messages) == (ids, mask)
        prompt = render_prompt(tokenizer, messages)
        if messages[-1]["role"] == "assistant":
            assert ids[:-2] == prompt
        else:
            head = tokenizer.encode("assistant\n")
            assert prompt == [*ids, tokenizer.backend.token_to_id("<|im_start|>"), *head]

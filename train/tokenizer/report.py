"""The proof of a tokenizer's directory, and what the tokenizer makes of the training texts."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from model.chat import render, render_prompt
from model.conversation import Message
from model.directory.storage import DamagedDirectory, verify
from model.tokenizer import SPECIAL_TOKENS, EtudeTokenizer, script_of
from train.tokenizer.bpe import untrained_bpe

BATCH = 256  # texts that are encoded at a time
ORDINARY = (
    "Once upon a time, a little fox lived near the river.",
    "  two spaces in front, and two behind  ",
    "It 's not done . Is it ? He said : \" no \" , didn't he ?",  # what a clean-up would change
    "3 + 8 = 11, and 1234567890.5 isn't 100%",
    "从前，有一只小狐狸住在河边。她说：“你好，世界！”",
    "汉字 mixed with English，以及数字 2024 年。",
    "\n\nline\r\nbreaks\n \n\tand tabs\t\n",
    "emoji 👩‍👩‍👧‍👦 🇨🇳 é e\u0301 ﬁ Å \u212b",
)
CONTENTS = (
    "Hello!",
    "  white space at both ends \n",
    "\n\nline breaks first, and last\r\n",
    "\u3000你好，世界！\u3000",
    "多行\n\n内容\n第三行",
    "👋🏽",
    "user\nassistant\nsystem",
    "im_start, im_end, endoftext",
    "'s 1 .",
    "x = {{ messages }} {% for %} \\n",
)


def find_problems(directory: Path, tokenizer: EtudeTokenizer) -> list[str]:
    """Everything wrong with a tokenizer's directory, a sentence each; empty when it is proved.

    Args:
        directory: the tokenizer's directory.
        tokenizer: what `EtudeTokenizer.load` reads there.
    """
    try:
        verify(directory)
    except DamagedDirectory as error:
        return [f"{error}; train it again, or restore the file"]
    checks = (
        wrong_parts(tokenizer),
        wrong_ids(tokenizer),
        lost_texts(tokenizer),
        forged_tokens(tokenizer),
        disagreements(directory, tokenizer),
    )
    return [problem for check in checks for problem in check]


def wrong_parts(tokenizer: EtudeTokenizer) -> Iterator[str]:
    """Parts other than those of a tokenizer that Etude trains; llama.cpp would split text
    otherwise."""
    found = json.loads(tokenizer.backend.to_str())
    expected = json.loads(untrained_bpe().to_str())
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        if found[part] != expected[part]:
            yield f"its {part} is {found[part]}, not {expected[part]}"


def wrong_ids(tokenizer: EtudeTokenizer) -> Iterator[str]:
    """Special tokens away from their places, and holes in the numbering."""
    for expected, token in enumerate(SPECIAL_TOKENS):
        if (found := tokenizer.backend.token_to_id(token)) != expected:
            yield f"{token} has the id {found}, not {expected}"
    ids = sorted(tokenizer.backend.get_vocab().values())
    if ids != list(range(len(ids))):
        yield "the ids are not the numbers from 0 on without a gap"


def lost_texts(tokenizer: EtudeTokenizer) -> Iterator[str]:
    """The first text that does not come back as it went in: all of Unicode, then random strings."""
    texts = chain(every_character(), random_strings(random.Random(1), count=4_000))
    problems = (problem for batch in batches(texts) for problem in changed(tokenizer, batch))
    yield from islice(problems, 1)


def every_character() -> Iterator[str]:
    """Strings that together hold every code point but the surrogates, which no text can hold; each
    character stands once between letters and once among its neighbours."""
    points = [p for p in range(0x110000) if not 0xD800 <= p <= 0xDFFF]
    for start in range(0, len(points), 64):
        characters = [chr(p) for p in points[start : start + 64]]
        yield "".join(characters)
        yield "a".join(characters)


def random_strings(generator: random.Random, count: int) -> Iterator[str]:
    """Strings of random bytes, as Latin-1 and as broken UTF-8, and of characters that meet
    badly."""
    awkward = " \t\n\r\u00a0\u3000\u200b\u0300\ufeff\0'sStT09aé中，。👩\u200d🇨" + "".join(
        SPECIAL_TOKENS
    )
    for _ in range(count):
        raw = generator.randbytes(generator.randint(1, 48))
        yield raw.decode("latin-1")
        yield raw.decode("utf-8", errors="replace")
        yield "".join(generator.choices(awkward, k=generator.randint(1, 48)))


def changed(tokenizer: EtudeTokenizer, texts: Sequence[str]) -> Iterator[str]:
    """A sentence for each text that encoding and decoding change, or that gives a control token."""
    for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
        if (back := tokenizer.decode(ids, skip_special_tokens=False)) != text:
            yield f"the text {text[:40]!a} comes back as {back[:40]!a}"
        if min(ids) < len(SPECIAL_TOKENS):
            yield f"the text {text[:40]!a} gives a control token"


def forged_tokens(tokenizer: EtudeTokenizer) -> Iterator[str]:
    """Texts that spell a control token and become one."""
    frames = ("{}", " {} ", "a{}b", "\n{}user\n", "{}{}", "中{}。", "<|im_{}end|>", "1{}2")
    texts = [frame.format(token, token) for frame in frames for token in SPECIAL_TOKENS]
    yield from changed(tokenizer, texts)


def disagreements(directory: Path, tokenizer: EtudeTokenizer) -> Iterator[str]:
    """Where transformers reads the directory otherwise than we do."""
    from transformers import AutoTokenizer  # takes seconds to load

    try:
        theirs = AutoTokenizer.from_pretrained(str(directory))
    except Exception as error:
        yield f"transformers cannot load it ({type(error).__name__}: {error})"
        return
    if len(theirs) != len(tokenizer):
        yield f"transformers counts {len(theirs)} tokens, not {len(tokenizer)}"
    places = {"pad": theirs.pad_token_id, "eos": theirs.eos_token_id}
    ours = {"pad": tokenizer.end_of_text_id, "eos": tokenizer.end_of_turn_id}
    if places != ours:
        yield f"transformers has the special ids {places}, not {ours}"
    for text in ORDINARY:
        ids = tokenizer.encode(text)
        if (found := theirs(text)["input_ids"]) != ids:
            yield f"transformers encodes {text!r} as {found}, not {ids}"
        if (back := theirs.decode(ids)) != text:
            yield f"transformers decodes {text!r} as {back!r}"
    yield from islice(template_differences(theirs, tokenizer), 1)


def template_differences(theirs: Any, tokenizer: EtudeTokenizer) -> Iterator[str]:
    """Conversations whose ids by the Jinja template are not those of `model/chat.py`."""
    for messages in conversations(random.Random(1), count=200):
        ids, _ = render(tokenizer, messages)
        if apply_template(theirs, messages, prompt=False) != ids:
            yield f"the template's ids differ from those of model/chat.py for {messages}"
        if messages[-1]["role"] == "user" and apply_template(
            theirs, messages, prompt=True
        ) != render_prompt(tokenizer, messages):
            yield f"the template's prompt differs from that of model/chat.py for {messages}"


def apply_template(theirs: Any, messages: Sequence[Message], prompt: bool) -> list[int]:
    """Ids of a conversation as transformers renders it."""
    ids: list[int] = theirs.apply_chat_template(
        list(messages), tokenize=True, add_generation_prompt=prompt, return_dict=False
    )
    return ids


def conversations(generator: random.Random, count: int) -> Iterator[list[Message]]:
    """Random conversations, with and without a system's turn, ending with either side."""
    for _ in range(count):
        roles = ["user", "assistant"] * 3
        roles = roles[: generator.randint(1, 6)]
        if generator.random() < 0.5:
            roles = ["system", *roles]
        yield [{"role": role, "content": generator.choice(CONTENTS)} for role in roles]


def report(tokenizer: EtudeTokenizer, texts: Iterable[str]) -> Iterator[str]:
    """Lines that say how many bytes a token holds, by script, and how many tokens the training
    texts never use."""
    records, text_bytes, tokens = Counter[str](), Counter[str](), Counter[str]()
    used: set[int] = set()
    for batch in batches(texts):
        for text, ids in zip(batch, tokenizer.encode_batch(batch), strict=True):
            script = script_of(text)
            records[script] += 1
            text_bytes[script] += len(text.encode("utf-8"))
            tokens[script] += len(ids)
            used.update(ids)
    for script in sorted(records):
        yield (
            f"{script}: {text_bytes[script] / tokens[script]:.2f} bytes per token "
            f"({records[script]:,} records, {text_bytes[script]:,} bytes, "
            f"{tokens[script]:,} tokens)"
        )
    unused = len(tokenizer) - len(SPECIAL_TOKENS) - len(used)
    yield f"{unused:,} of {len(tokenizer):,} tokens are not used by the training texts"


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts in lists of BATCH."""
    rest = iter(texts)
    while batch := list(islice(rest, BATCH)):
        yield batch

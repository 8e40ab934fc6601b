"""The tokenizer that a GGUF file holds: vocabulary, merges, the way to split text, the tokens that
no text becomes, and the chat template."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from config import UserError
from model.chat_template import CHAT_TEMPLATE, END_OF_TEXT, ChatFormat
from train.tokenizer.bpe import QWEN2_PATTERN

LLAMA3_PATTERN = QWEN2_PATTERN.replace(r"\p{N}|", r"\p{N}{1,3}|")
"""Llama 3's split: as Qwen2's, but digits in groups of up to three."""
DIGITS = "digits"
"""Stands for a step that cuts digits out one by one, before GPT-2's split."""
SPLITS = {
    "gpt-2": "",
    "smollm": DIGITS,
    "llama-bpe": LLAMA3_PATTERN,
    "qwen2": QWEN2_PATTERN,
}
"""How text is split, by llama.cpp's names for it: by a pattern, or as GPT-2 does."""
ALIASES = {
    **dict.fromkeys(("llama3", "llama-v3", "llama-3"), "llama-bpe"),
    **dict.fromkeys(("deepseek-r1-qwen",), "qwen2"),
    **dict.fromkeys(("starcoder", "refact", "command-r", "codeshell"), "smollm"),
    **dict.fromkeys(("gpt2", "phi-2", "mpt", "olmo"), "gpt-2"),
}
"""Other names of the same in llama.cpp."""
WHOLE_WORDS = ("llama-bpe",)
"""Kinds that take a word that is a token as it is, whatever the merges say."""


def read_tokenizer(path: Path, fields: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of a GGUF file.

    Args:
        path: the file, for messages.
        fields: its metadata.

    Raises:
        UserError: it is of another kind, or damaged.
    """
    kind = fields.get(gguf.Keys.Tokenizer.MODEL)
    named = str(fields.get(gguf.Keys.Tokenizer.PRE, "gpt-2"))
    name = ALIASES.get(named, named)
    if kind != "gpt2" or name not in SPLITS:
        what = f"splits text as {named}" if kind == "gpt2" else f"is a {kind} model"
        raise UserError(
            f"{path}: its tokenizer {what}, which is not read from GGUF: there is a way in for "
            f"byte-level BPE of the kinds {', '.join(SPLITS)}; of another model, download the "
            "transformers directory and bring it in with tool/convert_hf.py --from_hf"
        )
    try:
        tokens = list(fields[gguf.Keys.Tokenizer.LIST])
        merges = [tuple(merge.split(" ")) for merge in fields[gguf.Keys.Tokenizer.MERGES]]
        kinds = fields.get(gguf.Keys.Tokenizer.TOKEN_TYPE) or [gguf.TokenType.NORMAL] * len(tokens)
        return build_tokenizer(name, without_padding(tokens, kinds), merges, kinds)
    except Exception as error:  # tokenizers raises plain Exception
        raise UserError(f"{path}: its tokenizer is damaged ({error})") from error


def without_padding(tokens: list[str], kinds: list[int]) -> list[str]:
    """The tokens without those at the end that only fill the embedding up ([PAD151936])."""
    count = len(tokens)
    while kinds[count - 1] == gguf.TokenType.UNUSED and tokens[count - 1].startswith("[PAD"):
        count -= 1
    return tokens[:count]


def build_tokenizer(name: str, tokens: list[str], merges: list[Any], kinds: list[int]) -> Tokenizer:
    """A tokenizer.

    Args:
        name: how it splits text, a key of SPLITS.
        tokens: by their ids.
        merges: pairs of tokens, the first ones first.
        kinds: a gguf.TokenType for each token.
    """
    vocabulary = {token: number for number, token in enumerate(tokens)}
    if len(vocabulary) < len(tokens):
        raise ValueError("a token is there twice")
    model = models.BPE(vocab=vocabulary, merges=merges, ignore_merges=name in WHOLE_WORDS)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = splitter(SPLITS[name])
    tokenizer.decoder = decoders.ByteLevel()
    special = {gguf.TokenType.CONTROL: True, gguf.TokenType.USER_DEFINED: False}
    added = [
        AddedToken(token, special=special[gguf.TokenType(kind)], normalized=False)
        for token, kind in zip(tokens, kinds, strict=False)
        if kind in special
    ]
    tokenizer.add_tokens(added)
    return tokenizer


def splitter(way: str) -> Any:
    """What splits text: by a pattern, or as GPT-2 does, digits apart where that is the way."""
    if not way:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if way == DIGITS:
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    split = pre_tokenizers.Split(Regex(way), behavior="isolated")
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([split, plain])


def read_chat_format(fields: Mapping[str, Any]) -> ChatFormat:
    """The chat template of a GGUF file, with the tokens that it may call by name; Etude's where the
    file has none."""
    tokens = fields[gguf.Keys.Tokenizer.LIST]
    keys = gguf.Keys.Tokenizer
    named = {"bos_token": END_OF_TEXT}
    for name, key in (("bos", keys.BOS_ID), ("eos", keys.EOS_ID), ("unk", keys.UNK_ID)):
        if 0 <= fields.get(key, -1) < len(tokens):
            named[f"{name}_token"] = tokens[fields[key]]
    ends = (fields.get(key) for key in (keys.EOS_ID, keys.EOT_ID))
    return ChatFormat(
        fields.get(keys.CHAT_TEMPLATE) or CHAT_TEMPLATE,
        tuple(named.items()),
        eos_ids=tuple(dict.fromkeys(end for end in ends if end is not None)),
    )

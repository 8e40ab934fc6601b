"""Outputs held to a grammar: JSON of a schema, a regular expression, a call of a tool.

    vocabulary = Vocabulary(tokenizer, vocab_size, stop_ids)      # once a model
    grammar = Grammar(vocabulary, json_grammar(schema))           # once a request; UserError
    constraint = grammar.start(limit)                             # once an output
    logits = constraint.mask(logits); constraint.accept(token)    # at each token

llguidance (github.com/guidance-ai/llguidance) says which tokens may come next. A model that has
learned little may write a string for ever; so an output whose last tokens are near takes the
shortest way to the grammar's end, and what comes out is whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from llguidance import LLMatcher, LLTokenizer
from torch import Tensor

from config import UserError
from model.tokenizer import EtudeTokenizer

COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON in one line, spaced as Python writes it: where white space is free, small models write
nothing else."""
OPENERS = frozenset(b'[{,:"')
"""Bytes of a token behind which an output may have a much longer way to its end than before."""
PARTS = frozenset({"$ref", "anyOf", "oneOf", "if", "dependentSchemas", "unevaluatedProperties"})
"""Keywords of JSON Schema that may list properties beside `properties`."""
VALUES = ("enum", "const", "default", "examples")
"""Keywords whose values are no schemas."""
QUIET = 8
"""By so many tokens another one may make that way longer, itself included: "t" needs "rue"."""
REPEATS = 64
"""A way that takes the same token more often in a row goes round in circles."""


class Vocabulary:
    """The tokens of a model as llguidance wants them."""

    def __init__(
        self,
        tokenizer: EtudeTokenizer,
        spell: Callable[[int], bytes],
        size: int,
        stop_ids: Collection[int],
    ) -> None:
        """Takes what gives a token's bytes, the number of logits, and the tokens that end an
        output."""
        self.tokenizer = LLTokenizer(
            tokenizer.backend.to_str(), n_vocab=size, eos_token=list(stop_ids)
        )
        self.spell, self.size, self.stop_ids = spell, size, list(stop_ids)
        self.known = len(tokenizer)
        self.special = {
            token.content: number
            for number, token in tokenizer.backend.get_added_tokens_decoder().items()
            if self.tokenizer.is_special_token(number)
        }
        """By their names, the tokens that no text of a grammar holds."""

    @cached_property
    def closers(self) -> list[int]:
        """What is taken first on the way to the end: closing brackets and quotes, the comma behind
        a number, then what is a value by itself."""
        return [self.singles[byte] for byte in b'}]",:0' if byte in self.singles]

    @cached_property
    def singles(self) -> dict[int, int]:
        """Tokens of one byte, by that byte."""
        spelt = ((self.spell(token), token) for token in range(self.known))
        found = {data[0]: token for data, token in spelt if len(data) == 1}
        special = set(self.special.values())
        return {byte: token for byte, token in found.items() if token not in special}

    @cached_property
    def rank(self) -> Tensor:
        """(size,): of other texts the longest is taken, since it may be a required one; opening
        brackets last. The lowest is first."""
        last = {b"[": 30, b"{": 31}
        control = self.tokenizer.is_special_token
        ranks = [
            40 if control(token) else last.get(data, 20 - min(len(data), 10))
            for token in range(self.known)
            for data in [self.spell(token)]
        ]
        return torch.tensor(ranks + [50] * (self.size - self.known))

    @cached_property
    def letter(self) -> int:
        """A token that a string may hold and nothing else of JSON may begin with."""
        return self.tokenizer.tokenize_str("a")[0]

    @cached_property
    def quote(self) -> int:
        """The token that ends a string."""
        return self.tokenizer.tokenize_str('"')[0]


@dataclass(frozen=True)
class Grammar:
    """What an output must be."""

    vocabulary: Vocabulary
    text: str
    """A grammar of llguidance's: see `json_grammar`."""
    begun: str = ""
    """What is there of the output already."""

    def __post_init__(self) -> None:
        """Raises UserError when the grammar is none, or not that of what is there."""
        _ = self.matcher

    @cached_property
    def matcher(self) -> LLMatcher:
        """At the beginning of an output."""
        matcher = LLMatcher(self.vocabulary.tokenizer, self.text, log_level=0)
        if matcher.is_error():
            raise UserError(matcher.get_error().split("\n")[0][:300])
        if not matcher.consume_tokens(self.vocabulary.tokenizer.tokenize_str(self.begun)):
            raise UserError(f"what is begun cannot be gone on with: {self.begun[:60]!r}")
        return matcher

    def start(self, limit: int) -> Constraint:
        """For an output of at most so many tokens."""
        return Constraint(self, limit)


class Constraint:
    """What one output may go on with."""

    def __init__(self, grammar: Grammar, limit: int) -> None:
        self.vocabulary, self.matcher = grammar.vocabulary, grammar.matcher.deep_copy()
        self.left = limit
        """Tokens that may still come."""
        self.slack = 0
        """So many of them are certainly not needed for the way to the end."""
        self.opened = 64 + len(grammar.text) // 3
        """By so many tokens one may make that way longer, as what it begins is in the grammar."""
        self.cut = False
        """Whether the end is brought about by the limit."""
        self.way = list[int]()
        """Then, the tokens to come, the last one first."""

    def mask(self, logits: Tensor) -> Tensor:
        """Logits (vocab,) with -inf for what the grammar does not allow."""
        allowed = allowed_tokens(self.matcher.compute_logit_bias()).to(logits.device)
        return logits.masked_fill(~allowed, -torch.inf)

    def choose(self, token: int) -> int:
        """The token to be taken in the place of one that was sampled: itself, unless the output
        could not be ended behind it."""
        if self.cut:
            return self.next_of_way()
        if token in self.vocabulary.stop_ids:
            return token
        self.slack -= QUIET if OPENERS.isdisjoint(self.vocabulary.spell(token)) else self.opened
        if self.slack > 0:
            return token
        behind = self.matcher.deep_copy()
        behind.consume_token(token)
        way = way_to_end(behind, self.vocabulary, self.left - 1)
        if way is not None:
            self.slack = self.left - 1 - len(way)
            return token
        way = way_to_end(self.matcher, self.vocabulary, self.left)
        if way is None:
            self.slack = self.opened  # nothing helps here; perhaps later
            return token
        self.cut, self.way = True, way[::-1]
        return self.next_of_way()

    def next_of_way(self) -> int:
        """The next token of the way to the end, and behind it what ends an output."""
        return self.way.pop() if self.way else self.vocabulary.stop_ids[0]

    def accept(self, token: int) -> None:
        """Goes on behind a token."""
        self.matcher.consume_token(token)
        self.left -= 1


def allowed_tokens(bias: bytes) -> Tensor:
    """(vocab,) of bool: what may come next."""
    return torch.frombuffer(bytearray(bias), dtype=torch.bool)


def way_to_end(matcher: LLMatcher, vocabulary: Vocabulary, most: int) -> list[int] | None:
    """Few tokens behind which the grammar's end may be, () at its end; None: no such way of at most
    so many was found."""
    for step in (short_step, varied_step):
        behind, way = matcher.deep_copy(), list[int]()
        while not behind.is_accepting():
            token = step(behind.compute_logit_bias(), vocabulary, way) if len(way) < most else None
            if token is None:
                break
            behind.consume_token(token)
            way.append(token)
        else:
            return way
    return None


def short_step(allowed: bytes, vocabulary: Vocabulary, way: Sequence[int]) -> int | None:
    """The next token of what is mostly the shortest way; None where it goes round in circles, or
    nothing may come.

    Args:
        allowed: of each token whether it may come, 0 or not.
        vocabulary: the tokens.
        way: the tokens before.
    """
    if len(way) > REPEATS and len(set(way[-REPEATS:])) == 1:
        return None
    if allowed[vocabulary.letter] and allowed[vocabulary.quote]:
        return vocabulary.quote  # inside of a string, where brackets are text
    for token in vocabulary.closers:
        if allowed[token]:
            return token
    return required_step(allowed, vocabulary)


def varied_step(allowed: bytes, vocabulary: Vocabulary, way: Sequence[int]) -> int | None:
    """The next token of a way through patterns that could go round in circles: of those of one
    byte the one that was taken least often."""
    if allowed[vocabulary.quote]:
        return vocabulary.quote
    singles = [token for token in vocabulary.singles.values() if allowed[token]]
    return min(singles, key=way.count) if singles else required_step(allowed, vocabulary)


def required_step(allowed: bytes, vocabulary: Vocabulary) -> int | None:
    """The token of a text that is the only one; None where nothing may come."""
    masked = vocabulary.rank.masked_fill(~allowed_tokens(allowed), 100)
    return int(masked.argmin()) if any(allowed) else None


def json_grammar(schema: Mapping[str, Any], lenient: bool = False) -> str:
    """The grammar of the JSON texts that a JSON schema describes; lenient: keywords that llguidance
    does not know are left out of account, else they are an error."""
    options = {**COMPACT, "lenient": lenient}
    return LLMatcher.grammar_from_json_schema(json.dumps({**closed(schema), "x-guidance": options}))


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema whose objects have no other properties than those that are listed, unless
    `additionalProperties` says so, as in vLLM and llama.cpp: small models would go on and on. One
    that puts objects together from several parts stays as it is."""
    return dict(schema) if has_parts(schema) else without_others(schema)


def has_parts(value: Any) -> bool:
    """Whether the properties of an object are listed in more than one place of a schema."""
    if isinstance(value, Mapping):
        listed = "properties" in value and not PARTS.isdisjoint(value)
        return listed or "allOf" in value or any(map(has_parts, value.values()))
    return isinstance(value, list) and any(map(has_parts, value))


def without_others(value: Any) -> Any:
    """A schema, or a part of one, with objects that are closed."""
    if isinstance(value, list):
        return [without_others(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    found = {key: item if key in VALUES else without_others(item) for key, item in value.items()}
    if isinstance(value.get("properties"), Mapping):
        found.setdefault("additionalProperties", False)
    return found

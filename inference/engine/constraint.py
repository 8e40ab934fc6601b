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
from collections.abc import Callable, Collection, Mapping
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
SLACK = 64
"""The way to the end is looked for when no more tokens than this, and four times the shortest
output, are left. One token opens few brackets, so the way is never longer by then."""


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
    def rank(self) -> Tensor:
        """(size,): how soon a token is taken on the way to the end; the lowest is first.

        Closing brackets and quotes first, then a comma, which ends a number (a digit would go on
        with it for ever), then what is a value by itself, opening brackets last; of other texts
        the longest, since it may be a required one.
        """
        first = {b"}": 0, b"]": 1, b'"': 2, b",": 3, b"0": 4, b":": 5, b"[": 30, b"{": 31}
        control = self.tokenizer.is_special_token
        ranks = [
            40 if control(token) else first.get(data, 20 - min(len(data), 10))
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

    @cached_property
    def shortest(self) -> int:
        """About the fewest tokens of an output."""
        return len(way_to_end(self.matcher, self.vocabulary, 4096) or ())

    def start(self, limit: int) -> Constraint:
        """For an output of at most so many tokens."""
        return Constraint(self, limit)


class Constraint:
    """What one output may go on with."""

    def __init__(self, grammar: Grammar, limit: int) -> None:
        self.vocabulary, self.matcher = grammar.vocabulary, grammar.matcher.deep_copy()
        self.left = limit
        """Tokens that may still come."""
        self.near = SLACK + 4 * grammar.shortest
        self.cut = False
        """Whether the end was brought about by the limit."""

    def mask(self, logits: Tensor) -> Tensor:
        """Logits (vocab,) with -inf for what the grammar does not allow."""
        allowed = allowed_tokens(self.matcher).to(logits.device)
        return logits.masked_fill(~allowed, -torch.inf)

    def choose(self, token: int) -> int:
        """The token to be taken in the place of one that was sampled: itself, unless the output
        could not be ended behind it."""
        if self.left > self.near or token in self.vocabulary.stop_ids:
            return token
        behind = self.matcher.deep_copy()
        behind.consume_token(token)
        if way_to_end(behind, self.vocabulary, self.left - 1) is not None:
            return token
        way = way_to_end(self.matcher, self.vocabulary, self.left)
        self.cut = self.cut or bool(way)
        return way[0] if way else token

    def accept(self, token: int) -> None:
        """Goes on behind a token."""
        self.matcher.consume_token(token)
        self.left -= 1


def allowed_tokens(matcher: LLMatcher) -> Tensor:
    """(vocab,) of bool: what may come next."""
    return torch.frombuffer(bytearray(matcher.compute_logit_bias()), dtype=torch.bool)


def way_to_end(matcher: LLMatcher, vocabulary: Vocabulary, most: int) -> list[int] | None:
    """Few tokens behind which the grammar's end may be, () at its end; None: no such way of at most
    so many was found."""
    matcher, way = matcher.deep_copy(), list[int]()
    while not matcher.is_accepting():
        allowed = allowed_tokens(matcher)
        if len(way) >= most or not allowed.any():
            return None
        if allowed[vocabulary.letter] and allowed[vocabulary.quote]:
            token = vocabulary.quote  # inside of a string, where brackets are text
        else:
            token = int(vocabulary.rank.masked_fill(~allowed, 100).argmin())
        matcher.consume_token(token)
        way.append(token)
    return way


def json_grammar(schema: Mapping[str, Any], lenient: bool = False) -> str:
    """The grammar of the JSON texts that a JSON schema describes; lenient: keywords that llguidance
    does not know are left out of account, else they are an error."""
    options = {**COMPACT, "lenient": lenient}
    return LLMatcher.grammar_from_json_schema(json.dumps({**schema, "x-guidance": options}))

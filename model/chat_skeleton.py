"""What a chat template writes around the texts of a conversation: its pieces, and whose each is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from config import UserError
from model.conversation import HOLDER, Conversation, Outline
from model.tokenizer import EtudeTokenizer

HOLDERS = re.compile(f"{HOLDER}(\\d+){HOLDER}")


class Piece(NamedTuple):
    """A part of a rendering."""

    text: str
    """What the template writes; empty where a text of the conversation stands."""
    owner: int
    """The message it belongs to, from 0: its content and, of an answer, all that is generated (up
    to the token that ends it); else TEMPLATE."""
    content: int | None = None
    """Which of the texts stands here, by their order in the rendering."""
    control: int | None = None
    """The id, when it is a control token."""


@dataclass(frozen=True)
class Stretch:
    """A control token, or what lies between two of them."""

    parts: list[tuple[int, list[Piece]]]
    """Its pieces, by owner."""
    ids: list[int] | None
    """Its tokens, when the template alone has written it."""
    owners: list[int]
    """The owners of those tokens or, of another stretch, of its first part, when the template alone
    has written that."""
    head: list[int]
    """The tokens of that first part."""
    strips: bool
    """The control token before it takes in white space (rstrip)."""

    def text(self, contents: Sequence[str], parts: int | None = None) -> str:
        """It as text, or its first parts."""
        pieces = (piece for _, run in self.parts[:parts] for piece in run)
        text = "".join([p.text if p.content is None else contents[p.content] for p in pieces])
        return text.lstrip() if self.strips else text


@dataclass(frozen=True)
class Skeleton:
    """What a template writes around the texts of a conversation."""

    pieces: list[Piece]
    stretches: list[Stretch]
    literals: list[str]
    """What it writes before the first text, between two, and behind the last."""
    leaves: list[int]
    """The numbers of the texts between these."""
    faithful: frozenset[int]
    """The answers that stand here as they are generated."""
    problem: str | None
    """Why nothing can be trained with such a conversation."""


@dataclass(frozen=True)
class View:
    """A conversation with place holders, as its template shows beginnings of it."""

    tokenizer: EtudeTokenizer
    outline: Outline
    conversation: Conversation

    def text(self, count: int, add_generation_prompt: bool) -> str:
        """Its first messages as text, with place holders."""
        turns, tools = self.outline.turns[:count], self.outline.tools
        options = self.conversation.options
        return self.tokenizer.chat_format.render(turns, add_generation_prompt, tools, options)

    def owned(self, text: str, count: int) -> list[tuple[int, int, int]]:
        """Where in the text of its first messages begins and ends what belongs to a message, and
        its number."""
        places = [(*p.span(), self.outline.leaves[int(p[1])].owner) for p in HOLDERS.finditer(text)]
        found = []
        for number, turn in enumerate(self.outline.turns[:count]):
            own = [place for place in places if place[2] == number]
            if own and turn["role"] == "assistant":
                found.append((*self.answer_span(text, number, own, places), number))
            else:
                found += own
        return found

    def answer_span(
        self, text: str, number: int, own: list[tuple[int, int, int]], places: list[Any]
    ) -> tuple[int, int]:
        """Where an answer begins and ends in a text. It begins where the prompt for it ends
        (Mistral puts a space behind that, Qwen3 empty thoughts), and ends with the first token
        behind its texts that ends a turn (or, of other templates, the first control token)."""
        begin, last = own[0][0], own[-1][1]
        prompt = self.text(number, add_generation_prompt=True) if number else ""
        if prompt and text.startswith(prompt):
            begin = len(prompt)
        following = [place[0] for place in places if place[0] >= last]
        limit = following[0] if following else len(text)
        controls = list(self.tokenizer.control_pattern.finditer(text, last, limit))
        ends = [found.end() for found in controls if found[0] in self.tokenizer.end_tokens]
        return begin, next(iter([*ends, *(found.end() for found in controls)]), last)

    def faithful(self, text: str) -> frozenset[int]:
        """The answers that stand in its whole text as the model generates them: as they do where
        the conversation ends with them."""
        found = set()
        for number, turn in enumerate(self.outline.turns):
            if turn["role"] == "assistant" and self.stands_in(text, number):
                found.add(number)
        return frozenset(found)

    def stands_in(self, text: str, number: int) -> bool:
        """Whether a text begins as the conversation does that ends with an answer."""
        if number + 1 == len(self.outline.turns):
            return True
        try:
            begun = self.text(number + 1, add_generation_prompt=False)
            spans = self.owned(begun, number + 1)
        except UserError:  # it is named when that is a sample
            return False
        end = max((end for _, end, owner in spans if owner == number), default=len(begun))
        return text.startswith(begun[:end])


def problem_of(
    pieces: Sequence[Piece], leaves: Sequence[int], outline: Outline, faithful: frozenset[int]
) -> str | None:
    """Why nothing can be trained with conversations of a skeleton: what it does not show."""
    shown = [(p.owner, outline.leaves[leaves[p.content]]) for p in pieces if p.content is not None]
    for leaf in outline.leaves:
        times = sum(owner == leaf.owner and found is leaf for owner, found in shown)
        message = f"message {leaf.owner + 1}"
        if leaf.part == "content" and times != 1:
            return f"does not show {message} once"
        if leaf.part == "reasoning_content" and leaf.owner in faithful and times != 1:
            return f"does not show the thoughts of {message}"
        if leaf.part == "name" and not times:
            return (
                "does not show tools" if leaf.owner < 0 else f"does not show the calls of {message}"
            )
    for number in faithful:
        if [piece for piece in pieces if piece.owner == number][-1].control is None:
            return "ends an answer without a control token of the model's tokenizer"
    return None

"""Token ids of conversations by the chat template of the model, which no content can forge, and
whose each token is: the template's, or a message's.

A conversation is rendered twice: with its contents, and with a place holder (a number between
private-use characters) for each. The second shows which control tokens are the template's own and
where the contents stand; the first, whether they stand there as they are or trimmed. The text is
cut at the template's own control tokens. What lies between two of them, contents included, is
encoded in one piece with all control tokens switched off, because a token may span the border of a
content: so the ids are those of transformers wherever no content spells a control token.

A template that looks into contents (splits or escapes them) cannot be trained with. It can still
make prompts: what could be a piece of a control token is hidden from it and put back afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise, zip_longest
from typing import NamedTuple

from config import UserError
from model.tokenizer import EtudeTokenizer

TEMPLATE = -1
"""The owner of what a template writes by itself."""
HOLDER = "\ue000"
"""Encloses the number of a place holder."""

Turn = Mapping[str, object]
"""A message with role and content."""


class Piece(NamedTuple):
    """A part of a rendering."""

    text: str
    """What the template writes; empty where a content stands."""
    owner: int
    """The message it belongs to, from 0: its content and, of an answer, all that is generated (up
    to the token that ends it); else TEMPLATE."""
    content: int | None = None
    """The number of the content that stands here."""
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
    """What a template writes around the contents of messages that have certain roles."""

    pieces: list[Piece]
    stretches: list[Stretch]
    literals: list[str]
    """The text before the first content, between two, and behind the last."""
    contents: list[int]
    """The messages whose contents stand between these."""
    problem: str | None
    """Why nothing can be trained with such a conversation."""


class Rendered(NamedTuple):
    """A conversation in tokens."""

    ids: list[int]
    owners: list[int]
    """The owner of each token, as of a piece."""
    contents: list[str]
    """Of each message, as it is rendered."""


class UnfitConversation(UserError):
    """A conversation that the template refuses, or with which nothing can be trained."""

    def __init__(self, problem: str, number: int) -> None:
        self.number = number
        """Which one of the batch, from 0."""
        super().__init__(problem)


@lru_cache(maxsize=8)
def renderer_of(tokenizer: EtudeTokenizer) -> ChatRenderer:
    """The renderer of a tokenizer, which remembers what it has learned of the template."""
    return ChatRenderer(tokenizer)


class ChatRenderer:
    """Makes token ids of conversations, by the tokenizer's chat template."""

    def __init__(self, tokenizer: EtudeTokenizer) -> None:
        self.tokenizer, self.format = tokenizer, tokenizer.chat_format
        self.skeletons: dict[tuple[tuple[str, ...], bool], Skeleton] = {}

    def render_batch(self, conversations: Sequence[Sequence[Turn]]) -> list[Rendered]:
        """Conversations as they are trained.

        Raises:
            UnfitConversation: see there.
        """
        every = []
        for number, messages in enumerate(conversations):
            try:
                every.append(self.trainable(messages))
            except UserError as error:
                raise UnfitConversation(str(error), number) from error
        return self.encode(every)

    def trainable(self, messages: Sequence[Turn]) -> tuple[list[Stretch], list[str]]:
        """The stretches of a conversation, and its contents as they are rendered; UserError when it
        cannot be known which tokens are the answers."""
        skeleton = self.skeleton(messages, add_generation_prompt=False)
        contents = self.aligned(messages, skeleton, add_generation_prompt=False)
        problem = skeleton.problem
        if contents is None:
            problem = "changes what is said here (it looks into contents, or escapes them)"
        if problem or contents is None:
            raise UserError(
                f"the model's chat template {problem}, so nothing can be trained with this "
                "conversation; to train with Etude's own ChatML, bring the model in without its "
                "template"
            )
        return skeleton.stretches, contents

    def prompt_ids(self, messages: Sequence[Turn]) -> list[int]:
        """Ids of a conversation up to where an answer begins or, where the last message is the
        assistant's, up to where that goes on.

        Raises:
            UserError: the template refuses the conversation.
        """
        continued = messages[-1]["role"] == "assistant"
        skeleton = self.skeleton(messages, not continued)
        pieces, contents = skeleton.pieces, self.aligned(messages, skeleton, not continued)
        if contents is None:
            pieces, contents = self.disguised(messages, not continued)
        if continued:
            last = [piece.content == len(contents) - 1 for piece in pieces]
            if True not in last:
                raise UserError("the model's chat template does not show the turn to be continued")
            pieces = pieces[: len(last) - last[::-1].index(True)]
        return self.encode([(self.stretches(pieces), contents)])[0].ids

    def aligned(
        self, messages: Sequence[Turn], skeleton: Skeleton, add_generation_prompt: bool
    ) -> list[str] | None:
        """The contents as they stand in a rendering, as they are or trimmed; None when that is not
        the skeleton, filled with them."""
        contents = [str(message["content"]) for message in messages]
        if self.format.is_etudes:  # it trims: the second rendering takes a third of the time
            return [content.strip() for content in contents]
        plain = self.format.render(messages, add_generation_prompt)
        if not plain.startswith(skeleton.literals[0]):
            return None
        place = len(skeleton.literals[0])
        for number, after in zip(skeleton.contents, skeleton.literals[1:], strict=True):
            whole = contents[number]
            forms = (whole, whole.strip(), whole.rstrip(), whole.lstrip())
            fitting = (form for form in forms if plain.startswith(form + after, place))
            if (form := next(fitting, None)) is None:
                return None
            contents[number] = form
            place += len(form + after)
        return contents if place == len(plain) else None

    def skeleton(self, messages: Sequence[Turn], add_generation_prompt: bool) -> Skeleton:
        """The skeleton of a conversation, which depends on its roles."""
        key = tuple(str(message["role"]) for message in messages), add_generation_prompt
        if key not in self.skeletons:
            text = self.with_holders(*key)
            pieces = list(self.pieces(text, HOLDER, list(self.owned(text, key[0]))))
            literals, contents = [""], []
            for piece in pieces:
                if piece.content is None:
                    literals[-1] += piece.text
                else:
                    literals.append("")
                    contents.append(piece.content)
            problem = problem_of(pieces, key[0])
            stretches = self.stretches(pieces)
            self.skeletons[key] = Skeleton(pieces, stretches, literals, contents, problem)
        return self.skeletons[key]

    def with_holders(self, roles: tuple[str, ...], add_generation_prompt: bool) -> str:
        """A conversation of some roles as text, with place holders for contents."""
        contents = (f"{HOLDER}{number}{HOLDER}" for number in range(len(roles)))
        turns = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=True)]
        return self.format.render(turns, add_generation_prompt)

    def owned(self, text: str, roles: tuple[str, ...]) -> Iterator[tuple[int, int, int]]:
        """Where in a text with place holders begins and ends what belongs to a message, and its
        number. An answer begins where the prompt for it ends (Mistral puts a space behind that,
        Qwen3 empty thoughts) and ends with the first control token behind its content."""
        holders = list(re.finditer(f"{HOLDER}(\\d+){HOLDER}", text))
        for holder, following in zip_longest(holders, holders[1:]):
            (begin, end), number = holder.span(), int(holder[1])
            if roles[number] == "assistant":
                prompt = self.with_holders(roles[:number], True) if number else ""
                if prompt and text.startswith(prompt):
                    begin = len(prompt)
                after = following.start() if following else len(text)
                if control := self.tokenizer.control_pattern.search(text, end, after):
                    end = control.end()
            yield begin, end, number

    def pieces(
        self, text: str, mark: str, owned: Sequence[tuple[int, int, int]] = ()
    ) -> Iterator[Piece]:
        """A rendering cut at its place holders (numbers between marks), at control tokens and where
        an owner begins."""
        control = self.tokenizer.control_pattern.pattern
        places = re.compile(f"{mark}(\\d+){mark}|{control}").finditer(text)
        found = {place.start(): place for place in places}
        ends = (place.end() for place in found.values())
        borders = {0, *found, *ends, *(begin for begin, _, _ in owned), len(text)}
        for begin, end in pairwise(sorted(borders)):
            owners = (owner for first, last, owner in owned if first <= begin < last)
            owner, place, part = next(owners, TEMPLATE), found.get(begin), text[begin:end]
            if place and place[1]:
                yield Piece("", owner, content=int(place[1]))
            elif place:
                yield Piece(part, owner, control=self.tokenizer.backend.token_to_id(part))
            else:
                yield Piece(part, owner)

    def disguised(
        self, messages: Sequence[Turn], add_generation_prompt: bool
    ) -> tuple[list[Piece], list[str]]:
        """The pieces of a rendering, and the contents that stand in it: of the messages' contents
        the template does not see the control tokens that they spell, nor the characters at their
        ends, which could complete a token with its own text."""
        texts = [str(message["content"]) for message in messages]
        mark = next(c for c in map(chr, range(0xE000, 0xF8FF)) if c not in "".join(texts))
        hidden: list[str] = []

        def hide(text: str) -> str:
            hidden.append(text)
            return f"{mark}{len(hidden) - 1}{mark}"

        turns = []
        for message, text in zip(messages, texts, strict=True):
            core = text.strip()
            inner = core[1:-1]
            shown = hide(core[0])
            shown += self.tokenizer.control_pattern.sub(lambda found: hide(found[0]), inner)
            shown += hide(core[-1]) if core[1:] else ""
            turns.append({"role": message["role"], "content": text.replace(core, shown)})
        rendered = self.format.render(turns, add_generation_prompt)
        return list(self.pieces(rendered, mark)), hidden

    def stretches(self, pieces: Sequence[Piece]) -> list[Stretch]:
        """Control tokens, each alone, and what lies between two of them together."""
        found: list[Stretch] = []
        strips = False
        for is_control, run in groupby(pieces, lambda piece: piece.control is not None):
            for group in [[piece] for piece in run] if is_control else [list(run)]:
                found.append(self.stretch(group, strips))
                control = self.tokenizer.control_tokens.get(group[0].text) if is_control else None
                strips = control is not None and control.rstrip
        return found

    def stretch(self, pieces: Sequence[Piece], strips: bool) -> Stretch:
        """A stretch of pieces, with the tokens that are the same whatever the contents are."""
        if pieces[0].control is not None:
            return Stretch([], [pieces[0].control], [pieces[0].owner], [], False)
        parts = [(owner, list(run)) for owner, run in groupby(pieces, lambda piece: piece.owner)]
        stretch = Stretch(parts, None, [], [], strips)
        if all(piece.content is None for piece in pieces):
            ids = self.tokenizer.encode(stretch.text(()))
            return Stretch(parts, ids, self.owners_of(ids, stretch, ()), [], strips)
        if len(parts) == 2 and all(piece.content is None for piece in parts[0][1]):
            head = self.tokenizer.encode(stretch.text((), 1))
            return Stretch(parts, None, [parts[0][0]] * len(head), head, strips)
        return stretch

    def encode(
        self, conversations: Sequence[tuple[Sequence[Stretch], list[str]]]
    ) -> list[Rendered]:
        """The tokens of conversations in stretches; texts of many are encoded at once."""
        texts = [
            stretch.text(contents)
            for stretches, contents in conversations
            for stretch in stretches
            if stretch.ids is None
        ]
        encoded = iter(self.tokenizer.encode_batch(texts))
        results = []
        for stretches, contents in conversations:
            ids: list[int] = []
            owners: list[int] = []
            for stretch in stretches:
                if stretch.ids is not None:
                    ids += stretch.ids
                    owners += stretch.owners
                else:
                    found = next(encoded)
                    ids += found
                    owners += self.owners_of(found, stretch, contents)
            results.append(Rendered(ids, owners, contents))
        return results

    def owners_of(self, ids: Sequence[int], stretch: Stretch, contents: Sequence[str]) -> list[int]:
        """The owner of each token of a stretch. A token that spans a border belongs to the message,
        not to the template."""
        parts, head = stretch.parts, stretch.head
        if len(parts) == 1:
            return [parts[0][0]] * len(ids)
        if head and ids[: len(head)] == head:  # no offsets are needed: twice as fast
            return stretch.owners + [parts[1][0]] * (len(ids) - len(head))
        text = stretch.text(contents)
        offsets = self.tokenizer.encoder.encode(text, add_special_tokens=False).offsets
        owners: list[int] = []
        for number, (owner, _) in enumerate(parts[:-1], 1):
            border = len(stretch.text(contents, number))
            owners += [owner] * (first_token(offsets, border, owner == TEMPLATE) - len(owners))
        return owners + [parts[-1][0]] * (len(ids) - len(owners))


def problem_of(pieces: Sequence[Piece], roles: Sequence[str]) -> str | None:
    """Why nothing can be trained with conversations of a skeleton."""
    for number, role in enumerate(roles):
        owned = [piece for piece in pieces if piece.owner == number]
        if sum(piece.content == number for piece in owned) != 1:
            return f"does not show message {number + 1} once"
        if role == "assistant" and owned[-1].control is None:
            return "ends an answer without a control token of the model's tokenizer"
    return None


def first_token(offsets: Sequence[tuple[int, int]], border: int, takes_spanning: bool) -> int:
    """The first token behind a border between characters; it may span the border if it is taken."""
    for number, (begin, end) in enumerate(offsets):
        if end > border and (takes_spanning or begin >= border):
            return number
    return len(offsets)

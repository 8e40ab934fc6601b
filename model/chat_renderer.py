"""Token ids of conversations by the chat template of the model, which no content can forge, and
whose each token is: the template's, or a message's.

A conversation is rendered twice: with its texts, and with a place holder (a number between
private-use characters) for each. The second shows which control tokens are the template's own and
where the texts stand; the first, whether they stand there as they are, trimmed or escaped. The text
is cut at the template's own control tokens. What lies between two of them, contents included, is
encoded in one piece with all control tokens switched off, because a token may span the border of a
content: so the ids are those of transformers wherever no content spells a control token.

Some templates change earlier turns when later ones come (Qwen3 drops earlier thoughts). An answer
that would not stand in the whole conversation as the model has to generate it is trained in a
sample of its own, which ends with it.

A template that looks into contents (splits or escapes them) cannot be trained with. It can still
make prompts: what could be a piece of a control token is hidden from it and put back afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby, pairwise
from typing import NamedTuple

from config import UserError
from model.chat_skeleton import Piece, Skeleton, Stretch, View, problem_of
from model.conversation import (
    HOLDER,
    TEMPLATE,
    Conversation,
    Leaf,
    outline_of,
    with_texts,
)
from model.tokenizer import EtudeTokenizer

PLAIN_KEYS = {"role", "content", "weight"}


class Draft(NamedTuple):
    """A conversation, or a beginning of it, of which all is known but the tokens of its texts."""

    stretches: Sequence[Stretch]
    contents: list[str]
    """The texts as they are rendered, in their order there."""
    answers: frozenset[int] = frozenset()
    """The messages that are trained in it."""

    @property
    def text(self) -> str:
        """What is trained, without control tokens."""
        return "".join(
            piece.text if piece.content is None else self.contents[piece.content]
            for stretch in self.stretches
            for owner, run in stretch.parts
            if owner in self.answers
            for piece in run
        )


class Rendered(NamedTuple):
    """A conversation in tokens."""

    ids: list[int]
    owners: list[int]
    """The owner of each token, as of a piece."""
    draft: Draft


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
        self.skeletons: dict[tuple[object, ...], Skeleton] = {}

    def render_batch(
        self, conversations: Sequence[Conversation], trained: Sequence[Sequence[bool]]
    ) -> list[list[Rendered]]:
        """Conversations as they are trained: each first whole and, for answers that do not stand
        in it as they are generated, up to these.

        Args:
            conversations: well-formed ones.
            trained: of each, which messages are trained.

        Raises:
            UnfitConversation: see there.
        """
        drafts: list[list[Draft]] = []
        for number, conversation in enumerate(conversations):
            try:
                drafts.append(self.drafts(conversation, trained[number]))
            except UserError as error:
                raise UnfitConversation(str(error), number) from error
        rendered = iter(self.encode([draft for some in drafts for draft in some]))
        return [[next(rendered) for _ in some] for some in drafts]

    def drafts(self, conversation: Conversation, trained: Sequence[bool]) -> list[Draft]:
        """The samples of a conversation; UserError when it cannot be known which tokens are the
        answers."""
        found: list[Draft] = []
        wanted, end = {number for number, on in enumerate(trained) if on}, len(trained)
        while wanted or not found:
            part = conversation._replace(messages=conversation.messages[:end])
            skeleton, contents = self.trainable(part)
            answers = skeleton.faithful & wanted
            found.append(Draft(skeleton.stretches, contents, answers))
            wanted -= answers
            end = max(wanted, default=0) + 1
        return found

    def trainable(self, conversation: Conversation) -> tuple[Skeleton, list[str]]:
        """The skeleton of a conversation, and its texts as they are rendered; UserError when they
        do not stand in it."""
        skeleton = self.skeleton(conversation, add_generation_prompt=False)
        contents = self.aligned(conversation, skeleton, add_generation_prompt=False)
        problem = skeleton.problem
        if contents is None:
            problem = "changes what is said here (it looks into contents, or escapes them)"
        if problem or contents is None:
            raise UserError(
                f"the model's chat template {problem}, so nothing can be trained with this "
                "conversation; to train with Etude's own ChatML, bring the model in without its "
                "template"
            )
        return skeleton, contents

    def prompt_ids(self, conversation: Conversation) -> list[int]:
        """Ids of a conversation up to where an answer begins or, where the last message is the
        assistant's, up to where that goes on.

        Raises:
            UserError: the template refuses the conversation.
        """
        last = conversation.messages[-1]
        continued = last["role"] == "assistant"
        if continued and last.get("tool_calls"):
            raise UserError("the last message calls tools: their results must follow")
        skeleton = self.skeleton(conversation, not continued)
        pieces, leaves = skeleton.pieces, skeleton.leaves
        contents = self.aligned(conversation, skeleton, not continued)
        if contents is None:
            pieces, leaves, contents = self.disguised(conversation, not continued)
        if continued:
            final = max(leaves, default=0)
            ends = [p.content is not None and leaves[p.content] == final for p in pieces]
            if True not in ends:
                raise UserError("the model's chat template does not show the turn to be continued")
            pieces = pieces[: len(ends) - ends[::-1].index(True)]
        return self.encode([Draft(self.stretches(pieces), contents)])[0].ids

    def aligned(
        self, conversation: Conversation, skeleton: Skeleton, add_generation_prompt: bool
    ) -> list[str] | None:
        """The texts as they stand in a rendering; None when that is not the skeleton, filled with
        them."""
        messages = conversation.messages
        if self.format.is_etudes and is_plain(conversation):
            # It trims: the second rendering takes a third of the time.
            return [message["content"].strip() for message in messages]
        turns, tools = with_texts(conversation, lambda leaf: leaf.text)
        plain = self.format.render(turns, add_generation_prompt, tools, conversation.options)
        if not plain.startswith(skeleton.literals[0]):
            return None
        leaves = outline_of(conversation, self.tokenizer.control_pattern).leaves
        place, contents = len(skeleton.literals[0]), []
        for number, after in zip(skeleton.leaves, skeleton.literals[1:], strict=True):
            leaf = leaves[number]
            forms = leaf.forms(leaf.owner >= 0 and messages[leaf.owner]["role"] == "assistant")
            fitting = (form for form in forms if plain.startswith(form + after, place))
            if (form := next(fitting, None)) is None:
                return None
            contents.append(form)
            place += len(form + after)
        return contents if place == len(plain) else None

    def skeleton(self, conversation: Conversation, add_generation_prompt: bool) -> Skeleton:
        """The skeleton of a conversation, which depends on its roles alone where it is plain."""
        roles = tuple(message["role"] for message in conversation.messages)
        key = (roles, repr(conversation.options), add_generation_prompt)
        plain = is_plain(conversation)
        if not (plain and key in self.skeletons):
            found = self.new_skeleton(conversation, add_generation_prompt)
            if not plain:
                return found
            self.skeletons[key] = found
        return self.skeletons[key]

    def new_skeleton(self, conversation: Conversation, add_generation_prompt: bool) -> Skeleton:
        """The skeleton of a conversation."""
        outline = outline_of(conversation, self.tokenizer.control_pattern)
        view = View(self.tokenizer, outline, conversation)
        text = view.text(len(outline.turns), add_generation_prompt)
        pieces, leaves = self.pieces(text, HOLDER, view.owned(text, len(outline.turns)))
        literals = [""]
        for piece in pieces:
            if piece.content is None:
                literals[-1] += piece.text
            else:
                literals.append("")
        faithful = frozenset() if add_generation_prompt else view.faithful(text)
        problem = problem_of(pieces, leaves, outline, faithful)
        return Skeleton(pieces, self.stretches(pieces), literals, leaves, faithful, problem)

    def pieces(
        self, text: str, mark: str, owned: Sequence[tuple[int, int, int]] = ()
    ) -> tuple[list[Piece], list[int]]:
        """A rendering cut at its place holders (numbers between marks), at control tokens and where
        an owner begins; and the numbers."""
        control = self.tokenizer.control_pattern.pattern
        places = re.compile(f"{mark}(\\d+){mark}|{control}").finditer(text)
        found = {place.start(): place for place in places}
        ends = (place.end() for place in found.values())
        borders = {0, *found, *ends, *(begin for begin, _, _ in owned), len(text)}
        pieces: list[Piece] = []
        numbers: list[int] = []
        for begin, end in pairwise(sorted(borders)):
            owners = (owner for first, last, owner in owned if first <= begin < last)
            owner, place, part = next(owners, TEMPLATE), found.get(begin), text[begin:end]
            if place and place[1]:
                pieces.append(Piece("", owner, content=len(numbers)))
                numbers.append(int(place[1]))
            elif place:
                control_id = self.tokenizer.backend.token_to_id(part)
                pieces.append(Piece(part, owner, control=control_id))
            else:
                pieces.append(Piece(part, owner))
        return pieces, numbers

    def disguised(
        self, conversation: Conversation, add_generation_prompt: bool
    ) -> tuple[list[Piece], list[int], list[str]]:
        """The pieces of a rendering, and the texts that stand in it: of the messages' contents
        the template does not see the control tokens that they spell, nor the characters at their
        ends, which could complete a token with its own text."""
        every: list[str] = []

        def see(leaf: Leaf) -> str:
            every.append(leaf.text)
            return leaf.text

        with_texts(conversation, see)
        mark = next(c for c in map(chr, range(0xE000, 0xF8FF)) if c not in "".join(every))
        hidden: list[str] = []

        def hide(text: str) -> str:
            hidden.append(text)
            return f"{mark}{len(hidden) - 1}{mark}"

        def disguise(leaf: Leaf) -> str:
            core = leaf.text.strip()
            has_ends = bool(core) and leaf.part in ("content", "reasoning_content")
            inner = core[1:-1] if has_ends else core
            shown = hide(core[0]) if has_ends else ""
            shown += self.tokenizer.control_pattern.sub(lambda found: hide(found[0]), inner)
            shown += hide(core[-1]) if has_ends and core[1:] else ""
            return leaf.text.replace(core, shown) if core else leaf.text

        turns, tools = with_texts(conversation, disguise)
        rendered = self.format.render(turns, add_generation_prompt, tools, conversation.options)
        pieces, numbers = self.pieces(rendered, mark)
        return pieces, numbers, [hidden[number] for number in numbers]

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

    def encode(self, drafts: Sequence[Draft]) -> list[Rendered]:
        """The tokens of conversations; texts of many are encoded at once."""
        texts = [
            stretch.text(draft.contents)
            for draft in drafts
            for stretch in draft.stretches
            if stretch.ids is None
        ]
        encoded = iter(self.tokenizer.encode_batch(texts))
        results = []
        for draft in drafts:
            ids: list[int] = []
            owners: list[int] = []
            for stretch in draft.stretches:
                if stretch.ids is not None:
                    ids += stretch.ids
                    owners += stretch.owners
                else:
                    found = next(encoded)
                    ids += found
                    owners += self.owners_of(found, stretch, draft.contents)
            results.append(Rendered(ids, owners, draft))
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


def is_plain(conversation: Conversation) -> bool:
    """Whether a conversation has nothing but contents."""
    return not conversation.tools and all(
        message.keys() <= PLAIN_KEYS and bool(message["content"])
        for message in conversation.messages
    )


def first_token(offsets: Sequence[tuple[int, int]], border: int, takes_spanning: bool) -> int:
    """The first token behind a border between characters; it may span the border if it is taken."""
    for number, (begin, end) in enumerate(offsets):
        if end > border and (takes_spanning or begin >= border):
            return number
    return len(offsets)

"""Long texts into pieces of about one size, cut where a reader would cut them.

A piece is cut at the best kind of place (paragraph, sentence, line, clause, word, character) that
its second half holds, so that it is full and still ends well; the last two share what is left. The
text is read as it comes, and only a few pieces of it are held in memory. Pieces that are joined
give the text back, to the character.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from data_process.text.sentences import (
    FINDERS,
    Finder,
    is_character_border,
    paragraph_ends,
    sentence_ends,
)
from model.tokenizer import EtudeTokenizer

BLOCK = 1 << 16
"""Characters that are read at a time."""
LONGEST_CHARACTER = 1_000
"""A letter with more marks than this is cut."""


@dataclass(frozen=True)
class Piece:
    """A part of a text."""

    begin: int
    """Where it begins in the text, in characters."""
    overlap: int
    """How many of its first characters end the piece before."""
    text: str


class Ruler(Protocol):
    """How long a text is."""

    def ends(self, text: str) -> Sequence[int]:
        """For each unit of a text, the character it ends before; never falling."""

    def length(self, text: str) -> int:
        """Units of a text that stands alone."""


class CharacterRuler:
    """Measures in characters (code points)."""

    def ends(self, text: str) -> Sequence[int]:
        """Each character ends before the next."""
        return range(1, len(text) + 1)

    def length(self, text: str) -> int:
        """Number of characters."""
        return len(text)


class TokenRuler:
    """Measures in tokens."""

    def __init__(self, tokenizer: EtudeTokenizer) -> None:
        self.tokenizer = tokenizer

    def ends(self, text: str) -> Sequence[int]:
        """The character before which each token ends."""
        encoding = self.tokenizer.backend.encode(text, add_special_tokens=False)
        ends = [end for _, end in encoding.offsets]
        for index in range(1, len(ends)):  # offsets may leave out white space
            ends[index] = max(ends[index], ends[index - 1])
        return ends

    def length(self, text: str) -> int:
        """Number of tokens."""
        return len(self.tokenizer.encode_batch([text])[0])  # `encode` finds offsets too


@dataclass(frozen=True)
class Splitter:
    """Cuts texts into pieces."""

    ruler: Ruler
    size: int
    """Most units of a piece, its overlap and its white space included."""
    overlap: int = 0
    """Most units that a piece repeats of the one before, in whole sentences; at most half the
    size."""

    def split(self, chunks: Iterable[str]) -> Iterator[Piece]:
        """The pieces of a text that comes in chunks of any length."""
        buffer, base, begin, new = "", 0, 0, 0  # new: where the text begins that no piece has yet
        for block, is_last in blocks(chunks, max(BLOCK, 8 * self.size)):
            buffer, base, new, begin = buffer[begin:] + block, base + begin, new - begin, 0
            ends = self.ruler.ends(buffer)
            while new < len(buffer):
                left = len(ends) - bisect_right(ends, begin)
                if not is_last and left < 3 * self.size:
                    break
                begin, cut = self.next_cut(buffer, ends, begin, new)
                yield Piece(base + begin, new - begin, buffer[begin:cut])
                begin, new = self.overlap_begin(buffer, ends, begin, cut), cut

    def next_cut(self, text: str, ends: Sequence[int], begin: int, new: int) -> tuple[int, int]:
        """Where the piece that is to begin at `begin` begins and ends. Tokens of a piece that
        stands alone may be more than those it had in the text; then it gets less room, and in the
        end no overlap."""
        room = self.size
        while True:
            cut = self.cut_within(text, ends, begin, new, room)
            excess = self.ruler.length(text[begin:cut]) - self.size
            if excess <= 0 or (room == 1 and begin == new):
                return begin, cut
            if room == 1:
                begin, room = new, self.size
            else:
                room = max(1, room - excess)

    def cut_within(self, text: str, ends: Sequence[int], begin: int, new: int, room: int) -> int:
        """The best place to end a piece of at most `room` units."""
        first = bisect_right(ends, begin)
        left = len(ends) - first
        if left <= room:
            return len(text)
        low, high, wanted = room // 2, room, room
        if left < 1.5 * room:  # what is left is shared by two
            wanted = left // 2
            high = min(room, left - left // 3)
            low = min(max(left - room + self.overlap, left // 3), high)
        low, high, wanted = (ends[first + max(n, 1) - 1] for n in (low, high, wanted))
        low = max(low, new + 1)
        return best_place(text, low, max(low, high), wanted, new + 1)

    def overlap_begin(self, text: str, ends: Sequence[int], begin: int, cut: int) -> int:
        """Where the piece after a cut begins: as many whole sentences before it as the overlap
        takes."""
        before = bisect_right(ends, cut) - self.overlap
        if not self.overlap or cut == len(text):
            return cut
        low = max(begin + 1, ends[before - 1] if before > 0 else 0)
        finders = (paragraph_ends, sentence_ends)
        return min((p for find in finders for p in borders(find, text, low, cut)), default=cut)


def best_place(text: str, low: int, high: int, wanted: int, least: int) -> int:
    """The place of the best kind from `low` to `high`, and of these the one nearest to `wanted`.
    Where a single character fills all of that, it is put off (down to `least`), or taken whole."""
    for find in FINDERS:
        if found := borders(find, text, low, high):
            return min(found, key=lambda place: abs(place - wanted))
    before, beyond = range(low - 1, least - 1, -1), range(high + 1, high + LONGEST_CHARACTER)
    places: Iterator[int] = chain(nearest(wanted, low, high), before, beyond)
    place = next((place for place in places if is_character_border(text, place)), high)
    return min(place, len(text))


def nearest(wanted: int, low: int, high: int) -> Iterator[int]:
    """The numbers from `low` to `high`, the nearest to `wanted` first."""
    for distance in range(high - low + 1):
        for number in dict.fromkeys((wanted - distance, wanted + distance)):
            if low <= number <= high:
                yield number


def borders(find: Finder, text: str, low: int, high: int) -> list[int]:
    """The places of a kind that cut no character."""
    return [place for place in find(text, low, high) if is_character_border(text, place)]


def blocks(chunks: Iterable[str], size: int) -> Iterator[tuple[str, bool]]:
    """The same text in blocks of `size` characters up to twice as many, the last one told as
    such."""
    waiting: list[str] = []
    length = 0
    ready: str | None = None
    for chunk in (text[at : at + size] for text in chunks for at in range(0, len(text), size)):
        waiting.append(chunk)
        length += len(chunk)
        if length >= size:
            if ready is not None:
                yield ready, False
            ready, waiting, length = "".join(waiting), [], 0
    if ready is not None and waiting:
        yield ready, False
        ready = None
    yield "".join(waiting) if ready is None else ready, True


def join_pieces(pieces: Iterable[Piece]) -> str:
    """The text that was cut."""
    return "".join(piece.text[piece.overlap :] for piece in pieces)

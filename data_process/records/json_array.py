"""The items of a file that is one JSON array, one by one, in bounded memory."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from data_process.records.jsonl import PIECE_BYTES, WrongFile, json_reason, refuse_other_formats

SPACE = " \t\r\n"
NEAR = 20
"""Characters before the end of what was read in which an error may come from what was not."""


def array_items(path: Path, file: IO[bytes], longest: int) -> Iterator[tuple[int, bytes]]:
    """The items of an array, each as a line of JSONL, with the number of the line in which it
    begins; an item that is a text is {"text": ...}.

    Args:
        path: the file, for messages.
        file: it, open at its begin.
        longest: an item with more characters is refused.

    Raises:
        WrongFile: it is no array, or one that cannot be read on; the line is named.
    """
    text = ArrayText(path, file, longest)
    if text.symbol() != "[":
        raise text.wrong("the file is no JSON array")
    if text.symbol() != "]":
        text.place -= 1
        while True:
            yield text.item()
            symbol = text.symbol()
            if symbol == "]":
                break
            if symbol != ",":
                raise text.wrong("an item must be followed by a comma or by the array's end")
    if text.symbol():
        raise text.wrong("something stands behind the array's end")


class ArrayText:
    """As much of a file's text as is needed."""

    def __init__(self, path: Path, file: IO[bytes], longest: int) -> None:
        self.path, self.file, self.longest = path, file, longest
        self.decode = codecs.getincrementaldecoder("utf-8-sig")()
        # Only for where an item ends: numbers may be of any size.
        self.scan = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode
        self.text, self.place, self.line = "", 0, 1
        self.is_first, self.ended = True, False

    def wrong(self, what: str) -> WrongFile:
        """What is said of a file that cannot be read on."""
        return WrongFile(f"{self.path}:{self.line}: {what}; mend it, or save it as JSONL")

    def read_on(self) -> None:
        """Reads more, as much as is waiting at least, and forgets what is done."""
        waiting = len(self.text) - self.place
        raw = self.file.read(max(PIECE_BYTES, waiting))
        if self.is_first:
            refuse_other_formats(self.path, raw)
            self.is_first = False
        self.ended = not raw
        try:
            more = self.decode.decode(raw, final=self.ended)
        except UnicodeDecodeError as error:
            raise self.wrong("not UTF-8, here or below") from error
        if "\0" in more:
            raise self.wrong("a NUL byte, here or below")
        self.text, self.place = self.text[self.place :] + more, 0

    def symbol(self) -> str:
        """The next character that is no white space, which is passed over; empty at the end."""
        while True:
            while self.place < len(self.text):
                character = self.text[self.place]
                self.place += 1
                if character not in SPACE:
                    return character
                self.line += character == "\n"
            if self.ended:
                return ""
            self.read_on()

    def item(self) -> tuple[int, bytes]:
        """The next item and its line."""
        if not self.symbol():
            raise self.wrong("the array has no end, so the file may be cut")
        self.place -= 1
        while True:
            end = self.end_of_item()
            if end < len(self.text) or self.ended:
                break
            self.read_on()  # a number may go on
        item, line = self.text[self.place : end], self.line
        self.line += item.count("\n")
        self.place = end
        if item.startswith('"'):
            item = f'{{"text": {item}}}'
        return line, item.encode("utf-8") + b"\n"

    def end_of_item(self) -> int:
        """Where the item ends, reading on until it does."""
        while True:
            try:
                _, end = self.scan(self.text, self.place)
                return end
            except (ValueError, RecursionError) as error:
                if self.ended or not self.may_go_on(error):
                    cut = "; the array has no end, so the file may be cut" if self.ended else ""
                    raise self.wrong(f"not valid JSON ({told(error)}){cut}") from error
            if len(self.text) - self.place > self.longest:
                raise self.wrong(f"an item of more than {self.longest:,} characters")
            self.read_on()

    def may_go_on(self, error: Exception) -> bool:
        """Whether an error is only that the text has not been read to the item's end."""
        if not isinstance(error, json.JSONDecodeError):
            return False
        return error.msg.startswith("Unterminated") or error.pos > len(self.text) - NEAR


def told(error: Any) -> str:
    """Why an item is no JSON; the place would be that in the piece that was read."""
    return json_reason(error).partition(" at character")[0]

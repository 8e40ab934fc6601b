"""The text of single tokens, which may be pieces of characters."""

from __future__ import annotations

from collections.abc import Iterator

from inference.engine.token_bytes import TokenBytes
from model.tokenizer import EtudeTokenizer


class TokenTexts:
    """What each token of a byte-level tokenizer stands for, written on one line."""

    def __init__(self, tokenizer: EtudeTokenizer) -> None:
        self.bytes = TokenBytes(tokenizer)

    def __getitem__(self, token: int) -> str:
        """A control token by its name; else the token's characters in quotes, what cannot be seen
        escaped, and bytes that are no whole character in hexadecimal: ' a', '\\n', <E4 BD>."""
        data = self.bytes[token]
        if token in self.bytes.control:
            return data.decode("utf-8")
        return "".join(pieces(data))


def pieces(data: bytes) -> Iterator[str]:
    """Whole characters in quotes and other bytes in hexadecimal, in order."""
    while data:
        try:
            good, bad = data.decode("utf-8"), b""
        except UnicodeDecodeError as error:
            good = data[: error.start].decode("utf-8")
            bad = data[error.start : error.end]
        if good:
            yield f"'{''.join(map(visible_form, good))}'"
        if bad:
            yield f"<{bad.hex(' ').upper()}>"
        data = data[len(good.encode("utf-8")) + len(bad) :]


def visible_form(character: str) -> str:
    """A character, or its escape where a terminal shows nothing or obeys it."""
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")

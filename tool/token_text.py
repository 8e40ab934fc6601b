"""The text of single tokens, which may be pieces of characters."""

from __future__ import annotations

from collections.abc import Iterator

from model.tokenizer import EtudeTokenizer


class TokenTexts:
    """What each token of a byte-level tokenizer stands for, written on one line."""

    def __init__(self, tokenizer: EtudeTokenizer) -> None:
        self.backend = tokenizer.backend
        self.control = self.backend.get_added_tokens_decoder()
        self.byte_of = {letter: byte for byte, letter in enumerate(byte_letters())}

    def __getitem__(self, token: int) -> str:
        """A control token by its name; else the token's characters in quotes, what cannot be seen
        escaped, and bytes that are no whole character in hexadecimal: ' a', '\\n', <E4 BD>."""
        name = self.backend.id_to_token(token) or ""
        if token in self.control:
            return name
        return "".join(pieces(bytes(self.byte_of[letter] for letter in name)))


def byte_letters() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary: itself where it can be
    seen, else one from U+0100 on (GPT-2's table, github.com/openai/gpt-2, src/encoder.py)."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in visible]
    return [chr(b) if b in visible else chr(256 + hidden.index(b)) for b in range(256)]


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

"""The bytes of single tokens, which may be pieces of characters."""

from __future__ import annotations

from model.tokenizer import EtudeTokenizer


class TokenBytes:
    """What each token of a byte-level tokenizer stands for."""

    def __init__(self, tokenizer: EtudeTokenizer) -> None:
        self.backend = tokenizer.backend
        self.control = self.backend.get_added_tokens_decoder()
        self.byte_of = {letter: byte for byte, letter in enumerate(byte_letters())}

    def __getitem__(self, token: int) -> bytes:
        """A token's bytes; those of a control token spell its name."""
        name = self.backend.id_to_token(token) or ""
        if token in self.control:
            return name.encode("utf-8")
        return bytes(self.byte_of[letter] for letter in name)


def token_text(data: bytes) -> str:
    """A token's text; bytes that are no whole characters are spelled out, as OpenAI does."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(
            chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in data
        )


def byte_letters() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary: itself where it can be
    seen, else one from U+0100 on (GPT-2's table, github.com/openai/gpt-2, src/encoder.py)."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in visible]
    return [chr(b) if b in visible else chr(256 + hidden.index(b)) for b in range(256)]

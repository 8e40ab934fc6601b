"""Log-probabilities in OpenAI's two forms."""

from __future__ import annotations

from collections.abc import Sequence

from inference.api.replies import Alternative, ChatLogprobs, TextLogprobs, TokenLogprob
from inference.engine.answers import Token
from inference.engine.token_bytes import TokenBytes, token_text


def chat_logprobs(table: TokenBytes, tokens: Sequence[Token]) -> ChatLogprobs:
    """Those of a chat's answer."""
    content = []
    for token in tokens:
        assert token.logprob is not None, "the engine was not asked for log-probabilities"
        top = [alternative(table, other, value) for other, value in token.alternatives]
        own = alternative(table, token.id, token.logprob)
        content.append(
            TokenLogprob(token=own.token, logprob=own.logprob, bytes=own.bytes, top_logprobs=top)
        )
    return ChatLogprobs(content=content)


def alternative(table: TokenBytes, token: int, logprob: float) -> Alternative:
    """A token with its log-probability."""
    data = table[token]
    return Alternative(token=token_text(data), logprob=logprob, bytes=list(data))


def text_logprobs(table: TokenBytes, tokens: Sequence[Token], offset: int) -> TextLogprobs:
    """Those of a continuation.

    Args:
        table: the bytes of tokens.
        tokens: the tokens of a piece of it.
        offset: characters of the continuation before the piece.
    """
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
    return TextLogprobs(
        tokens=[token_text(table[token.id]) for token in tokens],
        token_logprobs=[token.logprob for token in tokens if token.logprob is not None],
        top_logprobs=[
            {token_text(table[other]): value for other, value in token.alternatives}
            for token in tokens
        ],
        text_offset=offsets,
        bytes=[list(table[token.id]) for token in tokens],
    )

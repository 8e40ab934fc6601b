"""Encoding texts of any length in bounded memory.

A tokenizer needs more than a hundred bytes of memory for every token of a text it encodes. So a
text of megabytes, a whole book in one record, is encoded piece by piece, cut only where the
tokenizer would cut it too: after a line break that a visible character follows, or before a space
between two letters. Elsewhere a cut could change the tokens beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.tokenizer import EtudeTokenizer

PIECE_CHARACTERS = 1 << 17
SAFE_CUT = re.compile(r"(?<=\n)(?=\S)|(?<=[^\W\d_])(?= [^\W\d_])")
"""Between two pre-tokens of `train.tokenizer.bpe.QWEN2_PATTERN`, whatever lies around."""


def encode_texts(
    tokenizer: EtudeTokenizer, texts: Sequence[str], dtype: np.dtype[Any]
) -> Iterator[NDArray[Any]]:
    """Token ids of texts, never a control token, in a number format that holds them."""
    short = [text for text in texts if len(text) <= PIECE_CHARACTERS]
    encoded = iter(tokenizer.encode_batch(short))
    for text in texts:
        if len(text) <= PIECE_CHARACTERS:
            yield np.array(next(encoded), dtype)
        else:
            yield encode_long(tokenizer, text, dtype)


def encode_long(tokenizer: EtudeTokenizer, text: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Token ids of one long text, some pieces at a time."""
    pieces = pieces_of(text, PIECE_CHARACTERS)
    ids = []
    while some := list(islice(pieces, 8)):
        ids += [np.array(piece, dtype) for piece in tokenizer.encode_batch(some)]
    return np.concatenate(ids)


def pieces_of(text: str, size: int) -> Iterator[str]:
    """Consecutive pieces of a text, each cut at the first safe place after `size` characters."""
    begin = 0
    while begin < len(text):
        found = SAFE_CUT.search(text, begin + size)
        end = found.start() if found else len(text)
        yield text[begin:end]
        begin = end

"""Training a byte-level BPE tokenizer, as Qwen2 splits text, so that llama.cpp knows it without a
patch."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from model.tokenizer import SPECIAL_TOKENS

QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen2's split: contractions, words with one leading mark, digits one by one, punctuation, line
breaks, spaces."""


def untrained_bpe() -> Tokenizer:
    """The tokenizer before it has learned: how it splits text and puts it together again.

    There is no normalizer: what is decoded is what was encoded, byte for byte. Nor does a
    post-processor add a token.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def train_bpe(texts: Iterable[str], vocab_size: int, min_frequency: int = 2) -> Tokenizer:
    """Learns a tokenizer; the same texts in the same order give the same tokenizer on any number of
    threads.

    Each distinct word between two splits is held in memory with all its symbols. English repeats
    its words (6 bytes of memory for a byte of text, measured on stories); a Chinese clause without
    punctuation is one word and hardly ever comes twice (about 100 bytes for a byte). So the caller
    must limit the texts.

    Args:
        texts: the training texts, read once.
        vocab_size: tokens to learn, the special tokens (ids 0, 1, 2) and the 256 bytes included.
        min_frequency: how often a pair must occur to be merged.

    Returns:
        The tokenizer; with fewer tokens than asked when the texts hold no more pairs.
    """
    tokenizer = untrained_bpe()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer

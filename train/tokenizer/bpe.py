"""Training a byte-level BPE tokenizer: the texts it learns from, the learning, its directory (its
files, what made it, when it may be replaced).

Text is split as Qwen2 does, so that llama.cpp knows the tokenizer without a patch.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from config import TokenizerConfig, UserError
from data_process.records.jsonl import read_texts
from model.chat_template import IM_END
from model.directory.storage import (
    MANIFEST,
    SUMMARY,
    Writer,
    json_writer,
    sha256_of,
    text_writer,
    verify,
    write_directory,
)
from model.tokenizer import SPECIAL_TOKENS, EtudeTokenizer, tokenizer_config, tokenizer_json

QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen2's split: contractions, words with one leading mark, digits one by one, punctuation, line
breaks, spaces."""

LONGEST_WORD = 256
"""Characters. The longest word in 8,000 English and Chinese documents of the web had 84."""
LONG_RUN = re.compile(
    rf"[^\W\d_]{{{LONGEST_WORD},}}|(?:[^\w\s]|_){{{LONGEST_WORD // 3},}}|\s{{{LONGEST_WORD // 3},}}"
)
"""Letters, marks or white space, as long as the longest part of a longer word must be."""


@dataclass(frozen=True)
class DataFile:
    """What a JSONL file of texts holds."""

    path: Path
    records: int
    text_bytes: int
    """Size of all texts, as UTF-8."""
    sha256: str
    """Fingerprint of the file."""


def survey(path: Path) -> DataFile:
    """Reads a file to its end.

    Raises:
        UserError: it is missing, or a line is not a record with a text; file and line are named.
    """
    records = text_bytes = 0
    for _, text in read_texts(path):
        records += 1
        text_bytes += len(text.encode("utf-8"))
    return DataFile(path, records, text_bytes, sha256_of(path))


@dataclass(frozen=True)
class Sample:
    """Which share of the records is used: all, or so many that they hold about max_bytes."""

    files: tuple[DataFile, ...]
    max_bytes: int

    @property
    def text_bytes(self) -> int:
        """Size of all texts of all files."""
        return sum(file.text_bytes for file in self.files)

    @property
    def share(self) -> float:
        """The share of the records that is used."""
        return min(1.0, self.max_bytes / max(1, self.text_bytes))

    @cached_property
    def texts(self) -> list[str]:
        """The texts that are used, read once: learning from them takes several times their memory.

        A seeded coin decides for each record, the same way every time. Taking every n-th would be
        more even, but where two languages take turns in a file it would see only one of them.
        """
        coin, share = random.Random(1), self.share
        records = chain.from_iterable(read_texts(file.path) for file in self.files)
        return [text for _, text in records if share == 1 or coin.random() < share]


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
    must limit the texts. A word of more than LONGEST_WORD characters (base64, a page without
    punctuation) is learnt from in pieces: time grows with the square of its length.

    Args:
        texts: the training texts, read once.
        vocab_size: tokens to learn, the special tokens (ids 0, 1, 2) and the 256 bytes included.
        min_frequency: how often a pair must occur to be merged.

    Returns:
        The tokenizer; with fewer tokens than asked when the texts hold no more pairs.
    """
    tokenizer = untrained_bpe()
    usual = tokenizer.pre_tokenizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated"),
            pre_tokenizers.Split(Regex(rf"[\s\S]{{1,{LONGEST_WORD}}}"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Learning takes minutes in Rust. In a thread it leaves the signals to this one: Ctrl-C works.
    with ThreadPoolExecutor(1, thread_name_prefix="bpe") as thread:
        thread.submit(tokenizer.train_from_iterator, texts, trainer).result()
    tokenizer.pre_tokenizer = usual
    return tokenizer


def count_long_words(texts: Iterable[str]) -> int:
    """How many words `train_bpe` learns from in pieces."""
    split = pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated")
    # Only a long run of one class can be a long word; texts without one need no split.
    suspects = (text for text in texts if LONG_RUN.search(text))
    words = (word for text in suspects for word, _ in split.pre_tokenize_str(text))
    return sum(len(word) > LONGEST_WORD for word in words)


FILES = ("tokenizer.json", "tokenizer_config.json", SUMMARY, MANIFEST)


def origin_of(settings: TokenizerConfig, sample: Sample) -> dict[str, Any]:
    """What decides a tokenizer: the settings and the fingerprints of the data."""
    return {
        "vocab_size": settings.vocab_size,
        "min_frequency": settings.min_frequency,
        "max_bytes": min(sample.max_bytes, sample.text_bytes),  # a limit above changes nothing
        "data": [file.sha256 for file in sample.files],
    }


def is_there(directory: Path, settings: TokenizerConfig, sample: Sample) -> bool:
    """Whether the directory already holds the tokenizer that these settings and data make.

    Raises:
        UserError: the directory holds something else that must not be replaced.
    """
    refuse_foreign_files(directory)
    if not directory.exists() or not any(directory.iterdir()):
        return False
    try:
        verify(directory)
        summary = json.loads((directory / SUMMARY).read_text(encoding="utf-8"))
        if summary["origin"] == origin_of(settings, sample):
            return True
        problem = "holds a tokenizer that other data or settings made; models may depend on it"
    except (UserError, OSError, ValueError, KeyError, TypeError):
        problem = "holds a tokenizer that is damaged or has no record of what made it"
    if settings.overwrite:
        return False
    raise UserError(
        f"{directory}: {problem}: name another --tokenizer_dir, or replace it with `--overwrite`"
    )


def refuse_foreign_files(directory: Path) -> None:
    """Raises UserError when the place of the directory is taken by a file, or by things that are no
    tokenizer's: they would be lost."""
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory}: is a file; name a directory with --tokenizer_dir")
    names = sorted(path.name for path in directory.iterdir()) if directory.exists() else []
    if foreign := [name for name in names if name not in FILES]:
        raise UserError(
            f"{directory}: holds {foreign[0]}, which is not part of a tokenizer; name a directory "
            "of its own with --tokenizer_dir"
        )


def save_tokenizer(
    directory: Path, tokenizer: EtudeTokenizer, context: int, summary: dict[str, Any]
) -> None:
    """Writes the tokenizer's directory, whole or not at all.

    Args:
        directory: its place.
        tokenizer: what to save.
        context: longest context of the models to come, in tokens.
        summary: the content of `training_summary.json`, with the origin.
    """
    files: dict[str, Writer] = {
        "tokenizer.json": text_writer(tokenizer_json(tokenizer)),
        "tokenizer_config.json": text_writer(tokenizer_config(context, IM_END)),
        SUMMARY: json_writer(summary),
    }
    write_directory(directory, files)

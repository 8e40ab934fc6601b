"""The tokenizer's directory: what lies in it, what made it, and when it may be replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from config import TokenizerConfig, UserError
from model.directory.storage import (
    MANIFEST,
    SUMMARY,
    Writer,
    json_writer,
    text_writer,
    verify,
    write_directory,
)
from model.tokenizer import IM_END, EtudeTokenizer, tokenizer_config, tokenizer_json
from train.tokenizer.texts import Sample

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

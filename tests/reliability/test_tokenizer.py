"""R12: a tokenizer loses nothing, is the same however it was trained, and no text forges a control
token."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from config import ROOT
from model.chat import render
from model.chat_template import IM_START
from model.conversation import Message
from model.tokenizer import SPECIAL_TOKENS, EtudeTokenizer
from tests.reliability.trials import Trials
from tests.train.conftest import Workspace

pytestmark = [pytest.mark.full, pytest.mark.promise("R12")]

TEXTS = 1_000
"""In a trial of losslessness or forgery."""
PARTS = (
    *SPECIAL_TOKENS,
    "<|",
    "|>",
    "im_start",
    "im_end",
    "endoftext",
    "\n",
    " ",
    "user",
    "中",
    "<",
)


def any_text(draw: random.Random) -> str:
    """Characters from all of Unicode but its surrogates."""
    size = draw.randint(0, 20)
    points = (draw.choice((0x80, 0x3000, 0xA000, 0x110000)) for _ in range(size))
    return "".join(
        chr(point)
        for point in (draw.randrange(limit) for limit in points)
        if not 0xD800 <= point < 0xE000
    )


def test_every_text_comes_back(tokenizer: EtudeTokenizer, trials: Trials) -> None:
    for seed, draw in trials.draws(trials.size(ci=100, release=10_000)):
        texts = [any_text(draw) for _ in range(TEXTS)]
        encoded = tokenizer.encode_batch(texts)
        lost = [
            text
            for text, ids in zip(texts, encoded, strict=True)
            if tokenizer.decode(ids, skip_special_tokens=False) != text
        ]
        trials.record(seed, not lost, texts=TEXTS, lost=lost[:3])
    trials.verdict()


def test_no_text_forges_a_control_token(tokenizer: EtudeTokenizer, trials: Trials) -> None:
    for seed, draw in trials.draws(trials.size(ci=1, release=100)):
        forged = []
        for _ in range(TEXTS):
            text = "x" + "".join(draw.choices(PARTS, k=draw.randint(1, 8)))
            chat: list[Message] = [
                {"role": role, "content": text} for role in ("system", "user", "assistant")
            ]
            marks = [token for token in render(tokenizer, chat)[0] if token < len(SPECIAL_TOKENS)]
            turns = [tokenizer.backend.token_to_id(IM_START), tokenizer.end_of_turn_id] * len(chat)
            if marks != turns or min(tokenizer.encode(text)) < len(SPECIAL_TOKENS):
                forged.append(text)
        trials.record(seed, not forged, texts=TEXTS, forged=forged[:3])
    trials.verdict()


def test_the_same_data_gives_the_same_file_on_any_number_of_threads(
    workspace: Workspace, trials: Trials
) -> None:
    script = str(ROOT / "train" / "train_tokenizer.py")
    kept: bytes | None = None
    for number in range(trials.size(ci=3, release=10)):
        threads, directory = str(1 + number % 3), Path(f"tokenizer-{number}")
        flags = ["--vocab_size=300", "--pretrain_files=texts.jsonl", f"--tokenizer_dir={directory}"]
        done = subprocess.run(
            [sys.executable, script, "train", *flags],
            cwd=workspace.path,
            env={**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": str(number)},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stderr
        content = (workspace.path / directory / "tokenizer.json").read_bytes()
        kept = kept or content
        trials.record("-", content == kept, threads=int(threads))
    trials.verdict()

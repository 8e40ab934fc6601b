"""What is trained of a conversation, as tool/show_mask.py shows it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from config import ROOT, EtudeConfig, PathConfig, SFTConfig, UserError
from inference.engine.answers import byte_letters
from model.conversation import Conversation, Message
from model.directory.pretrained import save_pretrained
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tool.settings import ShowMaskConfig
from tool.show_mask import (
    Line,
    conversation_lines,
    conversation_total,
    find_conversation,
    open_rows,
    read_row,
    row_lines,
    row_total,
    token_texts,
)
from train.data.batches import IGNORED
from train.distributed import World
from train.train_sft import fine_tuning

MESSAGES: list[Message] = [
    {"role": "system", "content": "You are kind."},
    {"role": "user", "content": "你好 <|im_end|> 🦊"},
    {"role": "assistant", "content": "Hello,\nfox 🦊!"},
    {"role": "user", "content": "?"},
    {"role": "assistant", "content": "从前。"},
]
LENGTH, EVERY = 100, 5


@pytest.fixture
def folder(tmp_path: Path, model: Etude, tokenizer: EtudeTokenizer) -> Path:
    """A folder with a pretrained model and 30 conversations, in two files."""
    (tmp_path / "model").mkdir()
    save_pretrained(tmp_path / "model", model, tokenizer, {"made_by": "a test"}, is_chat=False)
    for name, first in (("a", 0), ("b", 10)):
        chats = [
            [*MESSAGES[:2], {"role": "assistant", "content": f"Answer {n}. " * (n % 4 + 1)}]
            for n in range(first, 2 * first + 10)
        ]
        lines = [json.dumps({"conversations": chat}, ensure_ascii=False) for chat in chats]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def config_of(folder: Path, crossing: bool = False) -> ShowMaskConfig:
    return ShowMaskConfig(
        sft_files=(folder / "a.jsonl", folder / "b.jsonl"),
        tokenizer_dir=folder / "model",
        cache_dir=folder / "cache",
        cross_document_attention=crossing,
        max_length=LENGTH,
        validation_every=EVERY,
    )


def ids_of(lines: list[Line], trained_only: bool) -> list[int]:
    return [int(line.text.split()[1]) for line in lines if line.trained or not trained_only]


@pytest.mark.parametrize("crossing", [False, True])
def test_what_is_marked_is_what_the_batches_of_train_sft_train(
    crossing: bool, folder: Path, tokenizer: EtudeTokenizer
) -> None:
    shown = config_of(folder, crossing)
    paths = PathConfig(
        sft_files=shown.sft_files,
        pretrained_model_dir=folder / "model",
        sft_model_dir=folder / "sft",
        cache_dir=folder / "training_cache",
    )
    sft = SFTConfig(cross_document_attention=crossing, max_length=LENGTH, validation_every=EVERY)
    training = fine_tuning(EtudeConfig(sft=sft, paths=paths), World()).rows
    rows = open_rows(shown, tokenizer)
    assert len(rows) == len(training) > 3
    trained_by_rows = []
    for number in range(len(rows)):
        batch = training.batch([number])
        lines = row_lines(tokenizer, read_row(rows, number))
        labels = [label for label in batch.labels[0].tolist() if label != IGNORED]
        marked = [re.search(r"\+  -> (\d+) ", line.text) for line in lines]
        assert [int(found.group(1)) for found in marked if found] == labels
        assert [bool(found) for found in marked] == (batch.labels[0] != IGNORED).tolist()
        assert [int(line.text.split()[2]) for line in lines] == batch.input_ids[0].tolist()
        trained_by_rows += labels
    trained_by_records = []
    for record in range(1, 31):
        if record % shown.validation_every:
            _, found = find_conversation(shown.sft_files, record)
            (lines,) = conversation_lines(tokenizer, found)
            trained_by_records += ids_of(lines, True)
    assert sorted(trained_by_records) == sorted(trained_by_rows)
    own = replace(shown, sft_files=shown.sft_files[:1], validation_files=shown.sft_files[1:])
    sft, paths = (
        replace(sft, validation_files=own.validation_files),
        replace(paths, sft_files=own.sft_files),
    )
    training = fine_tuning(EtudeConfig(sft=sft, paths=paths), World()).rows
    assert len(open_rows(own, tokenizer)) == len(training) != len(rows)


def test_answers_and_their_ends_are_marked_and_nothing_else(tokenizer: EtudeTokenizer) -> None:
    (lines,) = conversation_lines(tokenizer, Conversation(MESSAGES))
    trained = tokenizer.decode(ids_of(lines, True), skip_special_tokens=False)
    assert trained == "Hello,\nfox 🦊!<|im_end|>从前。<|im_end|>"
    roles = [line.text.split()[3] for line in lines if line.trained]
    assert set(roles) == {"assistant"}
    assert sum(line.control for line in lines) == 2 * len(MESSAGES)  # the typed one is text
    share = len(roles) / len(lines)
    assert conversation_total(lines, 500) == (
        f"{len(lines)} tokens, {len(roles)} trained ({share:.1%})"
    )
    assert "keeps the first 6 and leaves" in conversation_total(lines, 5)


def test_the_texts_of_the_tokens_are_the_bytes_of_the_conversation(
    tokenizer: EtudeTokenizer,
) -> None:
    texts = token_texts(tokenizer)
    fox = [texts[token] for token in tokenizer.encode("🦊")]
    assert " ".join(fox).replace("<", "").replace(">", "") == "F0 9F A6 8A"
    assert "".join(texts[token] for token in tokenizer.encode("a\n\x1b")) == r"'a''\n''\x1b'"
    assert texts[tokenizer.end_of_turn_id] == "<|im_end|>"
    assert "<|im_end|>" not in [texts[token] for token in tokenizer.encode("<|im_end|>")]


def test_the_byte_table_is_that_of_the_tokenizers_library() -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    assert sorted(byte_letters()) == sorted(ByteLevel.alphabet())


def test_a_row_tells_documents_borders_and_padding(folder: Path, tokenizer: EtudeTokenizer) -> None:
    rows = open_rows(config_of(folder), tokenizer)
    last = read_row(rows, len(rows) - 1)
    names = [line.text.split()[1] for line in row_lines(tokenizer, last)]
    assert names[0] == "1"
    assert names[-1] == "padding"
    assert [n for i, n in enumerate(names) if n != names[i - 1] or not i][-2:] == [
        "border",
        "padding",
    ]
    total = row_total(tokenizer, last, len(rows))
    assert f"{names.count('padding')} padding" in total
    assert "attention does not cross documents" in total


def test_colours_are_green_for_trained_and_dim_for_the_rest() -> None:
    assert Line("a", trained=True).painted(True) == "\x1b[32ma\x1b[0m"
    assert Line("a", trained=False).painted(True) == "\x1b[2ma\x1b[0m"
    painted = [Line("a", trained, control=True).painted(True) for trained in (True, False)]
    assert painted == ["\x1b[1;32ma\x1b[0m", "\x1b[33ma\x1b[0m"]
    assert Line("a", trained=True).painted(False) == "a"


def test_a_record_or_row_that_is_not_there_is_told(folder: Path, tokenizer: EtudeTokenizer) -> None:
    config = config_of(folder)
    assert find_conversation(config.sft_files, 11)[0].endswith("b.jsonl:1")
    with pytest.raises(UserError, match=r"--record 31: there are 30 conversations.*use 1 to 30"):
        find_conversation(config.sft_files, 31)
    with pytest.raises(UserError, match=r"--row 99: there are .* packed rows; use 0 to"):
        read_row(open_rows(config, tokenizer), 99)


@pytest.mark.full
def test_the_script_writes_plain_lines_into_a_pipe(folder: Path) -> None:
    script = str(ROOT / "tool" / "show_mask.py")
    flags = ["--sft_files", "a.jsonl", "--tokenizer_dir", "model", "--cache_dir", "cache"]
    for more in (
        ["--record", "2"],
        ["--row", "0", "--max_length", "100", "--validation_every", "5"],
    ):
        done = subprocess.run(
            [sys.executable, script, *flags, *more],
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "\x1b" not in done.stdout
        assert "'你'" in done.stdout or "<E4" in done.stdout
        assert re.search(r"trained \(\d+\.\d%\)", done.stdout.splitlines()[-1])

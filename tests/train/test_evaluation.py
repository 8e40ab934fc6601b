"""Validation rows: every byte that is paid for is counted, and no other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from config import UserError
from data_process.records.jsonl import read_texts
from model.tokenizer import EtudeTokenizer
from train.data.batches import IGNORED, StreamRows, TokenRows
from train.data.token_files import tokenised_data
from train.distributed import World
from train.evaluation import (
    ValidationGroup,
    bytes_of,
    evaluation_seconds,
    sampled,
    validation_groups,
)


def labels_of(rows: TokenRows) -> list[int]:
    """All labels that are measured, row by row."""
    labels = rows.batch(range(len(rows))).labels
    return [label for label in labels.flatten().tolist() if label != IGNORED]


def chat_file(path: Path, chats: Sequence[Sequence[str]]) -> Path:
    """Conversations of given contents, user first; every second one is for validation."""
    lines = []
    for contents in chats:
        turns = [
            {"role": ("user", "assistant")[n % 2], "content": text}
            for n, text in enumerate(contents)
        ]
        lines += [json.dumps({"conversations": turns}, ensure_ascii=False)] * 2
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_every_token_of_the_held_back_texts_is_measured_once(
    shared_data: Path, tokenizer: EtudeTokenizer, tmp_path: Path
) -> None:
    files = []
    for name in ("pretrain_en.jsonl", "pretrain_zh.jsonl"):
        with (shared_data / name).open("rb") as source:
            (tmp_path / name).write_bytes(b"".join(source.readline() for _ in range(200)))
        files.append(tmp_path / name)
    data = tokenised_data("pretrain", files, tokenizer, 10, tmp_path / "cache")
    groups = validation_groups(
        data.validation, 50, tokenizer, cross_documents=True, max_bytes=10**9
    )
    assert list(groups) == ["han", "latin"]
    texts = [text for file in files for _, text in read_texts(file)][9::10]
    measured = "".join(tokenizer.decode(labels_of(group.rows)) for group in groups.values())
    assert sorted(measured) == sorted("".join(texts))
    num_bytes = sum(len(text.encode("utf-8")) for text in texts)
    assert sum(group.num_bytes for group in groups.values()) == num_bytes


def test_conversations_are_measured_whole_and_answers_keep_their_questions(
    tokenizer: EtudeTokenizer, tmp_path: Path
) -> None:
    chats = [("Hello?", "My name is Etude."), ("3 + 8", "11", "world", "Paris"), ("Lily", "fox")]
    file = chat_file(tmp_path / "chats.jsonl", chats)
    data = tokenised_data("sft", [file], tokenizer, 2, tmp_path / "cache")
    groups = validation_groups(
        data.validation, 63, tokenizer, cross_documents=False, max_bytes=10**9
    )
    answers = ["My name is Etude.", "11Paris", "fox"]
    latin = groups["latin"]
    assert sum(group.num_bytes for group in groups.values()) == len("".join(answers))
    measured = tokenizer.decode(labels_of(latin.rows))
    assert sorted(measured) == sorted("".join(answers))
    assert all(answer in measured for answer in answers)
    for number in range(len(latin.rows)):
        tokens, _ = latin.rows.row(number)
        text = tokenizer.decode(tokens.tolist(), skip_special_tokens=False)
        assert text.startswith("<|im_start|>user\n")
        assert text.count("<|im_start|>") == text.count("<|im_end|>")


@pytest.mark.parametrize("max_length", [20, 21, 22, 23, 24, 30])
def test_of_a_conversation_longer_than_a_row_only_the_bytes_in_the_row_count(
    tokenizer: EtudeTokenizer, tmp_path: Path, max_length: int
) -> None:
    answer = "从前有一只小狐狸𠀀𠀁貓" * 20  # characters of several tokens, so cuts fall inside them
    file = chat_file(tmp_path / "chats.jsonl", [("你好", answer)])
    data = tokenised_data("sft", [file], tokenizer, 2, tmp_path / "cache")
    groups = validation_groups(
        data.validation, max_length, tokenizer, cross_documents=False, max_bytes=10**9
    )
    labels = labels_of(groups["han"].rows)
    answer_ids = tokenizer.encode(answer)
    assert labels == answer_ids[: len(labels)]
    rest = tokenizer.backend.decode(answer_ids[len(labels) :])
    whole = tokenizer.decode(labels).rstrip("\ufffd").encode("utf-8")
    assert len(whole) <= groups["han"].num_bytes < len(whole) + 4
    if not rest.startswith("\ufffd"):
        assert groups["han"].num_bytes == len(whole)


def test_bytes_of_real_answers_are_counted_alike_by_tokens_and_by_text(
    shared_data: Path, tokenizer: EtudeTokenizer, tmp_path: Path
) -> None:
    files = []
    for name in ("sft_en.jsonl", "sft_zh.jsonl"):
        with (shared_data / name).open("rb") as source:
            (tmp_path / name).write_bytes(b"".join(source.readline() for _ in range(300)))
        files.append(tmp_path / name)
    data = tokenised_data("sft", files, tokenizer, 10, tmp_path / "cache")
    for documents in data.validation.values():
        assert documents.mask is not None
        for begin, length, num_bytes, _, _ in documents.table.tolist():
            mask = documents.mask[begin : begin + length]
            trained = documents.tokens[begin : begin + length][mask != 0].tolist()
            assert bytes_of(tokenizer, trained) == num_bytes
    groups = validation_groups(
        data.validation, 64, tokenizer, cross_documents=False, max_bytes=10**9
    )
    for group in groups.values():
        assert bytes_of(tokenizer, labels_of(group.rows)) == group.num_bytes
        assert not tokenizer.control_ids & set(labels_of(group.rows))


def test_when_no_answer_is_in_reach_it_is_said(tokenizer: EtudeTokenizer, tmp_path: Path) -> None:
    file = chat_file(tmp_path / "chats.jsonl", [("Hello, little fox! " * 20, "Hi")])
    data = tokenised_data("sft", [file], tokenizer, 2, tmp_path / "cache")
    with pytest.raises(UserError, match="raise --max_length"):
        validation_groups(data.validation, 32, tokenizer, cross_documents=False, max_bytes=10**9)


@pytest.mark.parametrize("cross_documents", [True, False])
def test_of_much_validation_text_an_even_sample_is_measured_and_its_bytes_counted(
    shared_data: Path, tokenizer: EtudeTokenizer, tmp_path: Path, cross_documents: bool
) -> None:
    file = tmp_path / "texts.jsonl"
    with (shared_data / "pretrain_en.jsonl").open("rb") as source:
        file.write_bytes(b"".join(source.readline() for _ in range(400)))
    data = tokenised_data("pretrain", [file], tokenizer, 4, tmp_path / "cache")

    def groups(max_bytes: int) -> dict[str, ValidationGroup]:
        return validation_groups(data.validation, 50, tokenizer, cross_documents, max_bytes)

    whole, some = groups(10**9)["latin"], groups(20_000)["latin"]
    assert 15_000 < some.num_bytes < 25_000 < whole.num_bytes
    measured = tokenizer.decode(labels_of(some.rows))
    assert abs(some.num_bytes - len(measured.encode("utf-8"))) < 20  # cut characters decode longer
    step = len(whole.rows) / len(some.rows)
    assert torch.equal(some.rows.batch([7]).labels, whole.rows.batch([int(7 * step)]).labels)
    # Counted row by row, all rows hold exactly the bytes of all texts.
    assert sampled(whole, 1.0, tokenizer).num_bytes == whole.num_bytes


def test_how_long_an_evaluation_takes_is_told_by_the_first_rows_of_each_script(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def a_second_a_row(ids: torch.Tensor, *_: object, exact: bool) -> torch.Tensor:
        now[0] += len(ids)
        return torch.zeros(())

    tokens = np.zeros(10_000, dtype=np.uint16)
    groups = {
        name: ValidationGroup(StreamRows(8, 0, True, tokens, count), 1)
        for name, count in (("han", 100), ("latin", 5))
    }
    assert evaluation_seconds(a_second_a_row, groups, World()) == pytest.approx(105)  # type: ignore[arg-type]
    assert now[0] == 2 * (16 + 5)  # and no row of the rest was measured for that

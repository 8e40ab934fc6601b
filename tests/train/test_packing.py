"""Rows: nothing padded in pretraining, whole conversations in fine-tuning, all losses counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from config import UserError
from model.tokenizer import EtudeTokenizer
from train.packing import IGNORED, best_fit, concatenate, pack
from train.token_shards import Documents, tokenise_conversations


def make_documents(
    texts: Sequence[Sequence[int]], masks: Sequence[Sequence[int]] | None = None
) -> Documents:
    flat = np.array([token for text in texts for token in text], dtype=np.uint16)
    mask = None if masks is None else np.array([m for row in masks for m in row], dtype=np.uint8)
    offsets = np.cumsum([0, *(len(text) for text in texts)])
    return Documents(
        flat, mask, offsets, ["latin"] * len(texts), np.ones(len(texts), dtype=np.int64)
    )


def test_every_token_of_the_stream_is_a_label_once() -> None:
    documents = make_documents([[5, 6, 7], [8, 9], [10, 11, 12, 13]])
    rows, report = concatenate(documents, max_length=4, border=0)
    batch = rows.batch(range(len(rows)))
    assert batch.input_ids.tolist() == [[0, 5, 6, 7], [0, 8, 9, 0], [10, 11, 12, 13]]
    assert batch.labels.flatten().tolist() == [5, 6, 7, 0, 8, 9, 0, 10, 11, 12, 13, 0]
    assert report.dropped_tokens == 0


def test_the_unfilled_last_row_is_counted() -> None:
    rows, report = concatenate(make_documents([[5, 6, 7, 8, 9, 10]]), max_length=4, border=0)
    assert len(rows) == 1
    assert report.dropped_tokens == 3  # 9, 10 and the border
    assert "3 tokens left out" in report.sentence()


def test_too_little_text_for_one_row_is_refused() -> None:
    with pytest.raises(UserError, match="--max_length"):
        concatenate(make_documents([[5, 6]]), max_length=10, border=0)


def test_conversations_stay_whole_and_only_answers_are_labels() -> None:
    documents = make_documents(
        [[1, 5, 6, 2], [1, 7, 2], [1, 8, 9, 2]], [[0, 0, 1, 1], [0, 1, 1], [0, 1, 1, 1]]
    )
    rows, report = pack(documents, max_length=9, border=0)
    batch = rows.batch(range(len(rows)))
    seen = sorted(token for token in batch.labels.flatten().tolist() if token != IGNORED)
    assert seen == sorted([6, 2, 7, 2, 8, 9, 2])
    assert report.trained_tokens == 7
    assert report.dropped_documents == report.cut_documents == 0
    for row in rows.tokens.reshape(-1, 10).tolist():
        text = " ".join(map(str, row))
        assert any(whole in text for whole in ("1 5 6 2", "1 7 2", "1 8 9 2"))


def test_a_long_conversation_is_cut_and_one_without_an_answer_in_reach_is_dropped() -> None:
    documents = make_documents(
        [[1, 5, 6, 7, 8, 9, 2], [1, 5, 6, 7, 8, 9, 2]], [[0, 0, 1, 1, 1, 1, 1], [0] * 5 + [1, 1]]
    )
    rows, report = pack(documents, max_length=4, border=0)
    assert len(rows) == 1
    assert (report.cut_documents, report.dropped_documents) == (1, 1)
    assert report.dropped_tokens == 2 + 2 + 5
    assert "1 documents cut" in report.sentence()
    assert "1 documents dropped" in report.sentence()


def test_no_trainable_answer_at_all_is_refused() -> None:
    documents = make_documents([[1, 5, 6, 7, 8, 2]], [[0, 0, 0, 0, 1, 1]])
    with pytest.raises(UserError, match="raise --max_length"):
        pack(documents, max_length=2, border=0)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=60))
def test_best_fit_places_every_piece_once_and_never_overfills(lengths: list[int]) -> None:
    rows = best_fit(lengths, width=20)
    assert sorted(piece for row in rows for piece in row) == list(range(len(lengths)))
    for row in rows:
        # A border follows each piece, but none is needed after a piece that ends the row.
        assert sum(lengths[piece] + 1 for piece in row) <= 20 + 1


@pytest.mark.parametrize("name", ["sft_en.jsonl", "sft_zh.jsonl"])
def test_real_conversations_fill_their_rows(
    shared_data: Path, tokenizer: EtudeTokenizer, tmp_path: Path, name: str
) -> None:
    lines = (shared_data / name).read_text(encoding="utf-8").splitlines(keepends=True)[:1500]
    (tmp_path / name).write_text("".join(lines), encoding="utf-8")
    data = tokenise_conversations([tmp_path / name], tokenizer, 30, tmp_path / "cache")
    rows, report = pack(data.train, max_length=1024, border=tokenizer.end_of_text_id)
    assert report.padding / (len(rows) * 1025) < 0.03 + report.documents / (len(rows) * 1025)


def test_batches_hold_the_next_token_as_label() -> None:
    rows, _ = concatenate(make_documents([list(range(3, 60))]), max_length=8, border=0)
    batch = rows.batch([0, 2])
    assert torch.equal(batch.input_ids[:, 1:], batch.labels[:, :-1])


def test_a_border_ends_a_document_for_attention() -> None:
    documents = make_documents([[1, 5, 2], [1, 7, 2]], [[0, 1, 1], [0, 1, 1]])
    rows, _ = pack(documents, max_length=7, border=0)
    batch = rows.batch([0])
    assert batch.input_ids.tolist() == [[1, 5, 2, 0, 1, 7, 2]]
    assert batch.document_ids is not None
    assert batch.document_ids.tolist() == [[0, 0, 0, 1, 1, 1, 1]]
    crossing, _ = pack(documents, max_length=7, border=0, cross_documents=True)
    assert crossing.batch([0]).document_ids is None

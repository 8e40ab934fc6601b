"""Rows: nothing padded in pretraining, whole conversations in fine-tuning, all losses counted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from config import UserError
from data_process.records.jsonl import read_texts
from model.tokenizer import EtudeTokenizer
from train.data.batches import IGNORED, Batch, TokenRows
from train.data.documents import Documents
from train.data.packing import best_fit, concatenate, pack
from train.data.token_files import tokenised_data
from train.data.token_parts import DOCUMENT
from train.tokenizer.bpe import train_bpe


def make_documents(
    texts: Sequence[Sequence[int]], masks: Sequence[Sequence[int]] | None = None
) -> Documents:
    """A stream in memory: border 0, text, border 0, ..."""
    tokens, trained, table = [0], [0], []
    for number, text in enumerate(texts):
        mask = [1] * len(text) if masks is None else list(masks[number])
        first = mask.index(1) if 1 in mask else 0
        table.append((len(tokens), len(text), 1, first, mask.count(1)))
        tokens += [*text, 0]
        trained += [*mask, 0]
    return Documents(
        np.array(tokens, np.uint16),
        None if masks is None else np.array(trained, np.uint8),
        np.array(table, DOCUMENT),
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
    assert report.dropped_documents == report.cut_documents == 0
    text = " ".join(" ".join(map(str, row)) for row in batch.input_ids.tolist())
    assert all(text.count(whole) == 1 for whole in ("1 5 6 2", "1 7 2", "1 8 9 2"))


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
    row_of = best_fit(np.array(lengths), width=20)
    assert sorted(set(row_of.tolist())) == list(range(row_of.max() + 1))
    for row in range(row_of.max() + 1):
        # A border follows each piece, but none is needed after a piece that ends the row.
        assert sum(length + 1 for length in np.array(lengths)[row_of == row]) <= 20 + 1


@given(st.lists(st.integers(1, 20), min_size=1, max_size=60))
def test_a_row_is_begun_only_when_no_other_has_room(lengths: list[int]) -> None:
    pieces = np.array(lengths)
    row_of = best_fit(pieces, width=20)
    for row in range(1, row_of.max() + 1):
        for earlier in range(row):
            assert sum(pieces[row_of == earlier] + 1) + pieces[row_of == row].max() > 20


def free_positions(rows: TokenRows, border: int) -> int:
    """Positions that hold neither a token nor the border after one, counted in the rows."""
    free = 0
    for number in range(len(rows)):
        tokens, _ = rows.row(number)
        last = int(np.flatnonzero(tokens != border)[-1])
        free += max(0, len(tokens) - (last + 2))
    return free


def test_attention_stays_whole_where_a_chat_template_uses_the_border() -> None:
    """As </s> ends each turn of some models, and separates documents for want of another token."""
    texts, masks = [[5, 6, 0, 7, 8], [9, 0]], [[0, 1, 1, 0, 1], [0, 1]]
    rows, _ = pack(make_documents(texts, masks), max_length=10, border=0)
    batch = rows.batch([0])
    assert batch.document_ids is not None
    assert batch.input_ids.tolist() == [[5, 6, 0, 7, 8, 0, 9, 0, 0, 0]]
    assert batch.document_ids.tolist() == [[0, 0, 0, 0, 0, 1, 1, 1, 2, 3]]
    ignored = IGNORED
    assert batch.labels.tolist() == [[6, 0, ignored, 8, ignored, ignored, 0, *3 * [ignored]]]


def test_a_pair_is_two_documents_with_a_mark_between_them() -> None:
    texts = [[5, 0, 6, 0, 5, 7], [8, 0, 9, 0, 8, 4, 3]]  # each answer is behind a border of its own
    masks = [[0, 0, 1, 2, 0, 1], [0, 0, 1, 2, 0, 1, 1]]
    rows, report = pack(make_documents(texts, masks), 14, border=0, pairs=True)
    batch = rows.batch([0])
    assert batch.document_ids is not None
    assert batch.document_ids.tolist() == [[0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]]
    trained = batch.document_ids[0][batch.labels[0] != IGNORED].tolist()
    assert trained == [0, 1, 2, 3, 3]
    assert report.sentence().startswith("2 pairs in 1 rows")


def test_every_conversation_is_in_a_row_whole_and_the_report_adds_up() -> None:
    texts = [[1, *range(3, 3 + n), 2] for n in (1, 2, 3, 4, 5, 6, 7, 20, 8, 9)]
    masks = [[0, *[1] * (len(text) - 1)] for text in texts]
    rows, report = pack(make_documents(texts, masks), max_length=11, border=0)
    joined = " ".join(" ".join(map(str, rows.row(n)[0].tolist())) for n in range(len(rows)))
    assert all(" ".join(map(str, text[:12])) in joined for text in texts)
    assert report.padding == free_positions(rows, border=0) > 0
    assert report.positions == 12 * len(rows)
    assert report.dropped_tokens == 22 - 12


@pytest.fixture(scope="module")
def large_tokenizer(shared_data: Path) -> EtudeTokenizer:
    """4,096 tokens, so that real conversations have the lengths they have in use."""
    texts = []
    for name in ("pretrain_en.jsonl", "pretrain_zh.jsonl"):
        texts += [text for _, text in islice(read_texts(shared_data / name), 0, None, 20)]
    return EtudeTokenizer(train_bpe(texts, vocab_size=4096))


@pytest.mark.full
@pytest.mark.parametrize("name", ["sft_en.jsonl", "sft_zh.jsonl"])
def test_at_least_97_percent_of_the_positions_of_real_conversations_are_used(
    shared_data: Path, large_tokenizer: EtudeTokenizer, tmp_path: Path, name: str
) -> None:
    data = tokenised_data("sft", [shared_data / name], large_tokenizer, 30, tmp_path)
    for max_length in (256, 512, 1024):
        border = large_tokenizer.end_of_text_id
        rows, report = pack(data.train, max_length, border)
        assert report.share_used >= 0.97
        assert f"{len(rows):,} rows, 9" in report.sentence()
        assert report.padding == free_positions(rows, border)
        labels = rows.batch(range(len(rows))).labels
        mask = data.train.mask
        assert mask is not None
        ends = data.train.table["begin"] + np.minimum(data.train.table["length"], max_length + 1)
        kept = zip(data.train.table["begin"].tolist(), ends.tolist(), strict=True)
        trained = sum(int(mask[begin:end].sum()) for begin, end in kept)
        assert int((labels != IGNORED).sum()) == trained


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


def test_a_batch_keeps_its_content_on_the_way_to_a_device() -> None:
    rows, _ = concatenate(make_documents([list(range(3, 60))]), max_length=8, border=0)
    batch = rows.batch([1])
    assert torch.equal(batch.to(torch.device("cpu")).input_ids, batch.input_ids)
    meta = Batch(batch.input_ids, batch.labels, batch.labels).to(torch.device("meta"))
    assert meta.document_ids is not None
    assert meta.document_ids.device.type == meta.labels.device.type == "meta"

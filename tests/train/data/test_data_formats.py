"""Training reads data in any packing, and names what is wrong with a file before it counts it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from config import UserError
from model.tokenizer import EtudeTokenizer
from train.data.token_files import tokenised_data

TEXTS = [{"text": f"text {n}"} for n in range(70)]
LINES = "".join(json.dumps(record) + "\n" for record in TEXTS)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.json", json.dumps(TEXTS).encode()),
        ("a.jsonl.gz", gzip.compress(LINES.encode())),
        ("cr.jsonl", LINES.replace("\n", "\r").encode()),
        ("a.jsonl", LINES.encode("utf-16")),
    ],
)
def test_texts_in_any_packing_give_the_same_tokens(
    name: str, data: bytes, tmp_path: Path, tokenizer: EtudeTokenizer
) -> None:
    plain, packed = tmp_path / "plain.jsonl", tmp_path / name
    plain.write_text(LINES, encoding="utf-8", newline="\n")
    packed.write_bytes(data)
    one, two = (
        tokenised_data("pretrain", [path], tokenizer, 30, tmp_path / "cache")
        for path in (plain, packed)
    )
    assert one.train.tokens[0:10_000].tolist() == two.train.tokens[0:10_000].tolist()
    assert len(one.train) == len(two.train) == 68


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b'{"text": "a cut li', ":1: not valid JSON .*the file may be cut"),
        (json.dumps([{"instruction": "a", "output": "b"}]).encode(), ":1: this is alpaca"),
        (b'{"text": "one"}\n', ": to keep every 30th record for validation"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_before_records_are_counted(
    data: bytes, sentence: str, tmp_path: Path, tokenizer: EtudeTokenizer
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"^{path}{sentence}"):
        tokenised_data("pretrain", [path], tokenizer, 30, tmp_path / "cache")

"""Files mixed by weights: what is a weight, in which order rows come, and how often each."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config import GRPOConfig, UserError
from model.tokenizer import EtudeTokenizer
from tests.train.conftest import Workspace
from tests.train.run.test_report import stage_to
from train.data.batches import RowOrder
from train.data.mixing import Mix, split_weights
from train.data.packing import concatenate, pack
from train.data.token_files import tokenised_data
from train.distributed import World
from train.rollouts.prompts import read_prompts
from train.rollouts.rewards import Rewards
from train.trainer import train


def mix_of(sizes: list[int], weights: list[float | None]) -> Mix:
    names = tuple(f"{number}.jsonl" for number in range(len(sizes)))
    return Mix(names, tuple(weights)).within(np.cumsum(sizes).tolist())


def test_a_weight_follows_a_colon_unless_the_file_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "a:0.5").touch()
    (tmp_path / "b.jsonl").touch()
    asked = [tmp_path / "a:0.5", tmp_path / "a:0.5:2", tmp_path / "b.jsonl:.25"]
    asked += [
        Path(r"C:\data\new.jsonl"),
        Path(r"C:\data\new.jsonl:3"),
        Path("http://x/y"),
        Path("-"),
    ]
    files, weights = split_weights(asked)
    assert files[:3] == [tmp_path / "a:0.5", tmp_path / "a:0.5", tmp_path / "b.jsonl"]
    assert [str(file) for file in files[3:5]] == [r"C:\data\new.jsonl"] * 2
    assert files[5:] == asked[5:]
    assert weights == [None, 2.0, 0.25, None, 3.0, None, None]


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf", "", "half", "50%"])
def test_a_bad_weight_is_one_sentence(tmp_path: Path, weight: str) -> None:
    (tmp_path / "b.jsonl").touch()
    with pytest.raises(UserError, match=r"b\.jsonl:.*: the weight '.*' is not a number above 0"):
        split_weights([tmp_path / f"b.jsonl:{weight}"])


def test_a_file_without_a_weight_takes_what_the_others_leave() -> None:
    assert mix_of([300, 100, 50], [None, None, 0.2]).shares == pytest.approx([0.6, 0.2, 0.2])
    assert mix_of([300, 100], [3, 1]).shares == [0.75, 0.25]
    assert Mix.of([Path("a"), Path("b")]) == ([Path("a"), Path("b")], None)
    with pytest.raises(
        UserError, match="a has no weight, and those of the other files add up to 1"
    ):
        Mix.of([Path("a"), Path("b:1")])
    with pytest.raises(UserError, match=r"0\.jsonl has a part in the mix, and nothing of it"):
        mix_of([0, 100], [1, 1])
    with pytest.raises(UserError, match=r"1\.jsonl: a share of 0\.001 gives it none of the 10"):
        mix_of([10, 100], [999, 1])


def test_shares_hold_and_no_row_comes_again_before_all_have_come() -> None:
    draw = random.Random(7)
    for _ in range(40):
        sizes = [draw.randint(1, 60) for _ in range(draw.randint(1, 4))]
        weights: list[float | None] = [draw.choice((0.5, 1, 2, 0.3)) for _ in sizes]
        mix = Mix(tuple(map(str, sizes)), tuple(weights), tuple(np.cumsum(sizes).tolist()))
        if not all(mix.counts):
            continue
        order = RowOrder(sum(sizes), 3, seed=draw.randint(0, 9), mix=mix)
        epochs = 5
        rows = [order.row_at(n) for n in range(epochs * mix.epoch_rows)]
        assert sum(mix.counts) == mix.epoch_rows
        begin = 0
        for size, share, count in zip(sizes, mix.shares, mix.counts, strict=True):
            mine = [row for row in rows if begin <= row < begin + size]
            assert len(mine) == epochs * count
            assert abs(count - share * mix.epoch_rows) < 1
            assert count <= size
            seen = Counter(mine)
            assert max(seen.values()) - (min(seen.values()) if len(seen) == size else 0) <= 1
            begin += size
        # A function of (seed, position) alone: asked backwards, and by another object.
        again = RowOrder(sum(sizes), 3, order.seed, mix)
        assert [again.row_at(n) for n in reversed(range(len(rows)))] == rows[::-1]


def test_without_weights_the_order_is_what_it_was() -> None:
    order = RowOrder(100, 4, seed=3)
    for epoch in range(2):
        expected = np.random.Generator(np.random.PCG64([3, epoch])).permutation(100)
        assert [order.row_at(100 * epoch + n) for n in range(100)] == expected.tolist()


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text(text, encoding="utf-8")
    return path


def chat(number: int, answer: str) -> dict[str, Any]:
    turns = [("user", f"My name is {number}."), ("assistant", f"{answer} {number}")]
    return {"conversations": [{"role": role, "content": text} for role, text in turns]}


def test_rows_of_conversations_hold_one_file_each(
    tmp_path: Path, tokenizer: EtudeTokenizer
) -> None:
    (tmp_path / "old").mkdir()
    files = [tmp_path / "new.jsonl:3", tmp_path / "old:1"]
    write(tmp_path / "new.jsonl", [chat(n, "fox") for n in range(40)])
    write(tmp_path / "old" / "a.jsonl", [chat(n, "river") for n in range(60)])
    write(tmp_path / "old" / "b.jsonl", [chat(n, "moon river") for n in range(30)])
    data = tokenised_data("sft", files, tokenizer, 7, tmp_path / "cache")
    plain = tokenised_data(
        "sft", [tmp_path / "new.jsonl", tmp_path / "old"], tokenizer, 7, tmp_path / "cache"
    )
    assert data.fingerprint != plain.fingerprint
    rows, report = pack(data.train, 120, tokenizer.end_of_text_id)
    assert report.documents == len(plain.train)
    assert rows.mix is not None
    assert rows.mix.names == ("new.jsonl", "old")
    end = rows.mix.ends[0]
    texts = [tokenizer.decode(rows.row(n)[0].tolist()) for n in range(len(rows))]
    assert all("fox" in text and "river" not in text for text in texts[:end])
    assert all("river" in text and "fox" not in text for text in texts[end:])
    assert sum(text.count("fox") for text in texts) == 40 - 5  # of 130 every seventh is held out


def test_rows_of_texts_are_told_apart_by_file(tmp_path: Path, tokenizer: EtudeTokenizer) -> None:
    write(tmp_path / "a.jsonl", [{"text": f"the fox {n}"} for n in range(90)])
    write(tmp_path / "b.jsonl", [{"text": f"小狐狸 {n}"} for n in range(50)])
    files = [tmp_path / "a.jsonl:0.5", tmp_path / "b.jsonl:0.5"]
    data = tokenised_data("pretrain", files, tokenizer, 0, tmp_path / "cache")
    rows, _ = concatenate(data.train, 16, tokenizer.end_of_text_id)
    assert rows.mix is not None
    end = rows.mix.ends[0]
    texts = [tokenizer.decode(rows.row(n)[0][1:].tolist()) for n in range(len(rows))]
    assert all("fox" in text for text in texts[: end - 1])
    assert all("fox" not in text for text in texts[end:])
    assert rows.epoch_rows == min(2 * end, 2 * (len(rows) - end))


def test_prompts_are_mixed_too(tmp_path: Path, tokenizer: EtudeTokenizer) -> None:
    def prompt(text: str) -> dict[str, Any]:
        return {"conversations": [{"role": "user", "content": text}], "answers": ["fox"]}

    write(tmp_path / "a.jsonl", [prompt(f"fox {n}") for n in range(30)])
    write(tmp_path / "b.jsonl", [prompt(f"moon {n}") for n in range(10)])
    config = GRPOConfig(max_length=96, max_new_tokens=16, validation_every=10)
    files = [tmp_path / "a.jsonl:1", tmp_path / "b.jsonl:1"]
    found = read_prompts(files, config, tokenizer, Rewards(config))
    assert found.mix is not None
    assert found.mix.ends == (27, 36)
    assert found.epoch_size == 18
    assert (
        found.fingerprint
        != read_prompts(
            [tmp_path / "a.jsonl", tmp_path / "b.jsonl"], config, tokenizer, Rewards(config)
        ).fingerprint
    )
    assert "b.jsonl 50.0% (9 prompts, gone through 1.00 times)" in found.sentence()


def test_a_mix_is_printed_and_resumes_to_the_bit(
    workspace: Workspace, tokenizer: EtudeTokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.add_start(tokenizer)
    write(workspace.path / "old.jsonl", [chat(n, "moon") for n in range(200)])
    mixed = [workspace.path / "chats.jsonl", workspace.path / "old.jsonl:0.25"]
    whole = stage_to(workspace, "whole", mixed=mixed, watch_files=())
    assert train(whole, World()) == 0
    said = capsys.readouterr().out
    assert "mix: chats.jsonl 75.0% (" in said
    assert "old.jsonl 25.0% (" in said
    run = workspace.path / "whole"
    log, weights = ((run / name).read_bytes() for name in ("loss_log.jsonl", "model.safetensors"))
    for name in ("training_summary.json", "checkpoints/step-00000006/state.json"):
        (run / name).unlink()
    assert train(stage_to(workspace, "whole", mixed=mixed, watch_files=()), World()) == 0
    assert (run / "loss_log.jsonl").read_bytes() == log
    assert (run / "model.safetensors").read_bytes() == weights
    mixed[1] = workspace.path / "old.jsonl:0.5"
    with pytest.raises(UserError, match="the data is another"):
        train(stage_to(workspace, "whole", mixed=mixed, watch_files=(), max_steps=7), World())

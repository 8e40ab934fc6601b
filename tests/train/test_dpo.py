"""Learning from preferences, from files to the model directory."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

import numpy as np
import pytest
import torch

from config import DPOConfig, EtudeConfig, LoraConfig, PathConfig, UserError
from model.chat import render
from model.directory.adapter_files import ADAPTER_WEIGHTS
from model.tokenizer import EtudeTokenizer
from tests.train import ranks
from tests.train.conftest import Workspace
from train.data.pairs import PairRows
from train.distributed import World
from train.objectives import pairs
from train.stage import Stage
from train.train_dpo import preferring
from train.trainer import train

NAMES = ("fox", "river", "moon", "狐狸", "河", "月亮")
PROMPT = [{"role": "user", "content": "My name is fox."}]


def pair(number: int) -> dict[str, Any]:
    name = NAMES[number % len(NAMES)]
    prompt = [{"role": "user", "content": f"My name is {name}."}]
    answers = {"chosen": f"Hello, {name} {number}!", "rejected": f"Go away, {name} {number}!"}
    return {"conversations": prompt, **answers}


def labelled(number: int) -> dict[str, Any]:
    record, good = pair(number), number % 3 > 0
    answer = record["chosen" if good else "rejected"]
    turns = [*record["conversations"], {"role": "assistant", "content": answer}]
    return {"conversations": turns, "label": good}


@pytest.fixture
def place(workspace: Workspace, tokenizer: EtudeTokenizer) -> Workspace:
    """The workspace with 90 pairs, 90 labelled answers and a model to start from."""
    workspace.write("pairs.jsonl", [pair(n) for n in range(90)])
    workspace.write("labelled.jsonl", [labelled(n) for n in range(90)])
    workspace.add_start(tokenizer)
    return workspace


def config_of(place: Workspace, output: str = "out", **settings: Any) -> EtudeConfig:
    labels = settings.get("loss") == "kto"
    paths = PathConfig(
        preference_files=(place.path / ("labelled.jsonl" if labels else "pairs.jsonl"),),
        sft_model_dir=place.path / "start",
        dpo_model_dir=place.path / output,
        cache_dir=place.path / "cache",
    )
    defaults: dict[str, Any] = {
        "batch_size": 4,
        "max_length": 127,
        "max_steps": 12,
        "save_steps": 5,
        "eval_steps": 8,
        "validation_every": 10,
        "learning_rate": 1e-3,
        "compile": False,
        "dtype": "float32",
        "sample_tokens": 4,
        "picture": False,
    }
    lora = settings.pop("lora", LoraConfig())
    return EtudeConfig(dpo=DPOConfig(**{**defaults, **settings}), paths=paths, lora=lora)


def stage_of(place: Workspace, output: str = "out", **settings: Any) -> Stage:
    return preferring(config_of(place, output, **settings), World())


def lines_of(place: Workspace, output: str) -> list[dict[str, Any]]:
    text = (place.path / output / "loss_log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


ADAPTER = LoraConfig(4, lora_targets=("all", "lm_head"), lora_dropout=0.2, use_dora=True)


@pytest.mark.parametrize(
    ("loss", "lora"), [("dpo", LoraConfig()), ("kto", LoraConfig()), ("dpo", ADAPTER)]
)
def test_a_run_that_is_continued_gives_the_same_bits(
    place: Workspace, loss: Any, lora: LoraConfig
) -> None:
    """Of a model as of an adapter, whose reference is the model under it."""
    assert train(stage_of(place, "whole", loss=loss, lora=lora), World()) == 0
    resumed = place.path / "resumed"
    shutil.copytree(place.path / "whole" / "checkpoints", resumed / "checkpoints")
    shutil.rmtree(resumed / "checkpoints" / "step-00000012")
    for name in ("loss_log.jsonl", "metrics.jsonl"):
        shutil.copy(place.path / "whole" / name, resumed)
    shutil.rmtree(place.path / "cache")
    assert train(stage_of(place, "resumed", loss=loss, lora=lora), World()) == 0
    assert lines_of(place, "whole")[0]["distance"] < 1e-5  # and dropout is for the gradient
    for name in ("loss_log.jsonl", ADAPTER_WEIGHTS if lora.lora_rank else "model.safetensors"):
        assert (resumed / name).read_bytes() == (place.path / "whole" / name).read_bytes()


@pytest.mark.parametrize("loss", ["dpo", "ipo", "kto", "orpo", "simpo"])
def test_each_loss_learns_what_is_preferred(place: Workspace, loss: Any) -> None:
    stage = stage_of(place, loss=loss, max_steps=30, eval_steps=30)
    assert train(stage, World()) == 0
    lines = lines_of(place, "out")
    first = stage.objective.first_loss
    if first is not None:
        assert lines[0]["loss"] == pytest.approx(first, abs=1e-4)
        assert lines[0]["distance"] < 1e-5
    (found,) = (line for line in lines if "validation_loss" in line)
    assert found["step"] == 30
    assert found["validation_accuracy"] == 1
    assert found["validation_margin"] > 0
    assert found["validation_distance"] > 1e-3
    assert found["validation_chosen_log_prob"] > found["validation_rejected_log_prob"]
    assert found["bits_per_byte"] > 0
    assert lines[29]["loss"] < lines[0]["loss"]


def test_a_run_in_which_nothing_moves_says_so(
    place: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(stage_of(place, learning_rate=1e-9), World()) == 0
    said = capsys.readouterr().out
    assert "ln 2 = 0.693" in said
    assert "raise --learning_rate" in said
    assert train(stage_of(place, "other"), World()) == 0
    assert "raise --learning_rate" not in capsys.readouterr().out


def test_an_answer_in_a_row_is_as_likely_as_alone(
    place: Workspace, tokenizer: EtudeTokenizer
) -> None:
    """Attention never crosses from one answer to the other (but a border stands before each that
    does not begin a row), and the reference is the model of the start."""
    rows, model = stage_of(place).rows, stage_of(place).model
    assert isinstance(rows, PairRows)
    numbers, begin_rows = rows.packed.numbers, set(rows.packed.first_pieces.tolist())
    assert len(numbers) == 81
    records = [pair(n) for n in range(90) if (n + 1) % 10]
    for piece in (0, 7, 80):
        record = records[numbers[piece]]
        for side, name in enumerate(("chosen", "rejected")):
            turns = [*record["conversations"], {"role": "assistant", "content": record[name]}]
            ids, mask = render(tokenizer, turns)
            if side or piece not in begin_rows:
                ids, mask = [tokenizer.end_of_text_id, *ids], [False, *mask]
            logits = model(torch.tensor([ids[:-1]]))[0].log_softmax(dim=-1)
            expected = sum(
                float(logits[n, ids[n + 1]].detach()) for n in range(len(ids) - 1) if mask[n + 1]
            )
            assert rows.facts[piece, side, 0] == pytest.approx(expected, abs=1e-4)


def test_pairs_are_never_cut_and_long_ones_are_counted(
    place: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [pair(n) for n in range(20)]
    records[3]["rejected"] = "Hello, fox! " * 40
    place.write("pairs.jsonl", records)
    stage = stage_of(place, validation_every=0)
    assert isinstance(stage.rows, PairRows)
    assert (stage.packing.documents, stage.packing.dropped_documents) == (20, 1)
    assert "1 pairs dropped: longer than a row" in stage.packing.sentence()
    packed = stage.rows.packed
    assert sorted(packed.numbers) == [n for n in range(20) if n != 3]
    batch = stage.rows.batch(range(len(stage.rows)))
    assert batch.document_ids is not None
    for row in range(len(stage.rows)):
        count = packed.first_pieces[row + 1] - packed.first_pieces[row]
        trained = batch.document_ids[row][batch.labels[row] != -100].tolist()
        assert sorted(set(trained)) == list(range(2 * count))


def test_references_are_computed_once_and_damage_is_mended(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "BLOCK_ROWS", 16)
    computed = []
    compute = pairs.Reference.computed

    def counted(self: Any, rows: Any, first: int) -> Any:
        computed.append(first)
        if len(computed) == 3:
            raise KeyboardInterrupt
        return compute(self, rows, first)

    monkeypatch.setattr(pairs.Reference, "computed", counted)
    with pytest.raises(KeyboardInterrupt):
        stage_of(place)
    first = stage_of(place).rows
    assert computed.count(0) >= 1
    assert computed.count(16) == 1  # what was done before the interruption is kept
    done = len(computed)
    stage_of(place)
    assert len(computed) == done
    damaged = sorted((place.path / "cache").glob("reference-*/rows-*/log_probs.npy"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    again = stage_of(place).rows
    assert len(computed) == done + 1
    assert isinstance(first, PairRows)
    assert isinstance(again, PairRows)
    assert np.array_equal(first.facts, again.facts)


def test_losses_without_a_reference_do_not_compute_one_of_the_training_data(
    place: Workspace,
) -> None:
    rows = stage_of(place, loss="simpo", validation_every=0).rows
    assert isinstance(rows, PairRows)
    assert np.isnan(rows.facts[:, :, 0]).all()
    assert not list((place.path / "cache").glob("reference-*"))


MISTAKES = [
    ("dpo", {"conversations": PROMPT, "chosen": "Hi!", "rejected": " Hi!"}, "the same"),
    ("dpo", {"conversations": PROMPT, "chosen": "Hi!", "rejected": " "}, '"rejected"'),
    ("dpo", {"conversations": PROMPT, "chosen": "Hi!"}, '"rejected": "..."'),
    ("dpo", {"conversations": [], "chosen": "Hi!", "rejected": "No"}, "non-empty list"),
    ("dpo", labelled(1), "--loss kto"),
    ("kto", pair(1), "--loss dpo"),
    ("kto", {"conversations": PROMPT, "label": True}, "must be the last turn"),
    ("kto", {**labelled(1), "label": "yes"}, '"label": true'),
    ("orpo", {"text": "a text"}, "convert --to preference"),
    (
        "dpo",
        {
            "chosen": [*PROMPT, {"role": "assistant", "content": "Hi!"}],
            "rejected": [*PROMPT, {"role": "assistant", "content": "No"}],
        },
        "pairs.jsonl --to preference --output training_data/preference/pairs.jsonl",
    ),
    ("dpo", {"instruction": "Say hi.", "output": "Hi!"}, "convert --to preference"),
]


@pytest.mark.parametrize(("loss", "record", "words"), MISTAKES)
def test_a_bad_record_is_named_by_its_line(
    place: Workspace, loss: Any, record: dict[str, Any], words: str
) -> None:
    name = "labelled.jsonl" if loss == "kto" else "pairs.jsonl"
    make = labelled if loss == "kto" else pair
    place.write(name, [*map(make, range(20)), record, pair(30)])
    with pytest.raises(UserError) as refused:
        stage_of(place, loss=loss)
    assert f"{name}:21: " in str(refused.value)
    assert words in str(refused.value)
    assert not (place.path / "out").exists()


def test_data_that_cannot_teach_are_refused(place: Workspace) -> None:
    good = [labelled(n) for n in range(90) if labelled(n)["label"]]
    place.write("labelled.jsonl", good)
    with pytest.raises(UserError, match="all 54 answers of the training data have the label true"):
        stage_of(place, loss="kto")
    with pytest.raises(UserError, match="no pair of answers fits in a row of 8 tokens"):
        stage_of(place, max_length=8)
    with pytest.raises(UserError, match="directory to write"):
        stage_of(place, "start")


@pytest.mark.skipif(sys.platform == "win32", reason="forks processes")
@pytest.mark.parametrize(
    ("loss", "more"),
    [("dpo", []), ("kto", []), pytest.param("dpo", ["--lora_rank=4"], marks=pytest.mark.full)],
)
def test_two_processes_have_the_losses_of_one(place: Workspace, loss: str, more: list[str]) -> None:
    flags = [f"--loss={loss}", "--max_length=127", "--max_steps=8", "--eval_steps=4", *more]
    if loss == "kto":
        shutil.copy(place.path / "labelled.jsonl", place.path / "pairs.jsonl")
    for size in (1, 2):
        ranks.train_to_end(place, size, "dpo", f"by{size}", *flags)
        shutil.rmtree(place.path / "cache")
    one, two = lines_of(place, "by1"), lines_of(place, "by2")
    assert len(one) == len(two) == 8 + 2 * 2
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() - {"samples"}:
            assert b[name] == pytest.approx(a[name], rel=1e-4, abs=1e-5), name
